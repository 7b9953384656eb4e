"""The exercise: what is done with a module between its load and its unload.

none          nothing
FILE.py       `def exercise(box)` of a Python file
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from kobox.checks.examination import Exercise
from kobox.errors import KoboxError


class ExerciseError(KoboxError):
    """A file is no exercise."""


def exercise_of(spec: str) -> Exercise | None:
    """The exercise that `none` or the path of a Python file names. Raises `ExerciseError`."""
    if spec == "none":
        return None
    return _from_file(Path(spec))


def _from_file(path: Path) -> Exercise:
    try:
        loader = importlib.util.spec_from_file_location(f"kobox_exercise_{path.stem}", path)
        assert loader is not None
        assert loader.loader is not None
        module: Any = importlib.util.module_from_spec(loader)
        loader.loader.exec_module(module)
    except Exception as error:
        raise ExerciseError(f"{path}: cannot be run: {type(error).__name__}: {error}") from error
    if not callable(getattr(module, "exercise", None)):
        raise ExerciseError(f"{path}: has no function `exercise(box)`")
    exercise: Exercise = module.exercise
    return exercise
