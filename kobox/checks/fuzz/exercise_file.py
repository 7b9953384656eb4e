"""Exercises that the user has written: a Python file with `def exercise(box)`, or with tests."""

from __future__ import annotations

import importlib.util
import inspect
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kobox.checks.runner.session import Exercise
from kobox.errors import KoboxError

if TYPE_CHECKING:
    from kobox.box.box import Box


class ExerciseError(KoboxError):
    """A file is no exercise, or ended with an error."""


class TestFile:
    """The tests of a pytest file: functions `test_…` that load, use and unload the module themselves.

    `tests` are they, one for each set of parameters (pytest.mark.parametrize). They may ask for `box`, `module` or `ko`
    (the module's path) and `modules` (by name); `left_out` names those that ask for more.
    """

    __test__ = False  # pytest: this is none

    def __init__(self, path: Path, functions: dict[str, Callable[..., Any]]) -> None:
        self.left_out: list[str] = []
        self._tests: list[tuple[Callable[..., Any], dict[str, Any]]] = []
        for name, function in functions.items():
            wanted = list(inspect.signature(function).parameters)
            for given in _parameter_sets(function):
                if unknown := set(wanted) - set(given) - _FIXTURES:
                    self.left_out.append(f"{path.name}: {name} wants {', '.join(sorted(unknown))}")
                    break
                self._tests.append((function, given))

    def tests(self, module: Path) -> list[Exercise]:
        """The tests as exercises of a module."""

        def one(function: Callable[..., Any], given: dict[str, Any]) -> Exercise:
            def exercise(box: Box) -> None:
                fixtures = {"box": box, "module": module, "ko": module, "modules": {module.stem: module}}
                wanted = inspect.signature(function).parameters
                _judged(function, {name: fixtures[name] for name in wanted if name in fixtures} | given)

            return exercise

        return [one(function, given) for function, given in self._tests]


_FIXTURES = frozenset(("box", "module", "ko", "modules"))


def _judged(function: Callable[..., Any], arguments: dict[str, Any]) -> None:
    """Call a test. What pytest raises to fail or skip is no Exception."""
    try:
        function(**arguments)
    except Exception:
        raise
    except BaseException as outcome:
        if type(outcome).__name__ == "Failed":
            raise AssertionError(str(outcome)) from outcome
        if type(outcome).__name__ != "Skipped":
            raise


def _parameter_sets(function: Callable[..., Any]) -> list[dict[str, Any]]:
    """The arguments that pytest.mark.parametrize gives: one dictionary for each call."""
    sets: list[dict[str, Any]] = [{}]
    for mark in getattr(function, "pytestmark", ()):
        if mark.name != "parametrize":
            continue
        names = mark.args[0].replace(",", " ").split() if isinstance(mark.args[0], str) else list(mark.args[0])
        rows = [
            getattr(value, "values", value) if len(names) > 1 or hasattr(value, "values") else (value,)
            for value in mark.args[1]
        ]
        sets = [{**before, **dict(zip(names, row, strict=True))} for before in sets for row in rows]
    return sets


def exercise_of(spec: str) -> Exercise | TestFile | None:
    """The exercise that `none` or the path of a Python file names. Raises `ExerciseError`."""
    if spec == "none":
        return None
    return _from_file(Path(spec))


def exercises_of(spec: str, module: Path) -> list[Exercise]:
    """The exercise, or the tests, of a Python file, as exercises of `module`: tests are `LoadsItself`.

    Raises `ExerciseError`; so do they, with the file's line, when they end with an error that is not kobox's.
    """
    found = exercise_of(spec)
    if found is None:
        return []
    if isinstance(found, TestFile):
        return [LoadsItself(_with_its_place(use, spec)) for use in found.tests(module)]
    return [_with_its_place(found, spec)]


class LoadsItself:
    """An exercise that loads and unloads the module, as tests do: it is not loaded before."""

    def __init__(self, use: Exercise) -> None:
        self._use = use

    def __call__(self, box: Box) -> None:
        self._use(box)


def _with_its_place(use: Exercise, file: str) -> Exercise:
    here = os.path.abspath(file)  # so it stands in tracebacks

    def exercise(box: Box) -> None:
        try:
            use(box)
        except KoboxError:
            raise
        except Exception as error:
            lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == here]
            place = f"{file}:{lines[-1]}" if lines else file
            raise ExerciseError(f"{place}: {type(error).__name__}: {error}") from error

    return exercise


def _from_file(path: Path) -> Exercise | TestFile:
    try:
        loader = importlib.util.spec_from_file_location(f"kobox_exercise_{path.stem}", path)
        assert loader is not None
        assert loader.loader is not None
        module: Any = importlib.util.module_from_spec(loader)
        loader.loader.exec_module(module)
    except Exception as error:
        raise ExerciseError(f"{path}: cannot be run: {type(error).__name__}: {error}") from error
    if callable(getattr(module, "exercise", None)):
        exercise: Exercise = module.exercise
        return exercise
    tests = {name: value for name, value in vars(module).items() if name.startswith("test_") and callable(value)}
    if not tests:
        raise ExerciseError(f"{path}: has no function `exercise(box)`, and no tests")
    return TestFile(path, tests)
