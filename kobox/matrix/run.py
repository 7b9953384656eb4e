"""Filling a matrix: what is known is taken from the cache, the rest is built, loaded and checked.

    sources x kernels ──▶ builds ──▶ rows (a source may build several modules) ──▶ loads ──▶ checks

Each result is kept as soon as it is there, so a run that is interrupted has lost nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from kobox.errors import KoboxError
from kobox.images.kernel_image import KernelImage
from kobox.matrix.cell import SKIPPED_STEP, CellStep, Matrix, MatrixCell, MatrixRow, StepOutcome, compared
from kobox.matrix.commands import CommandRunner, needed_files
from kobox.matrix.plan import MatrixPlan, is_module_file
from kobox.matrix.result_cache import ResultCache, compiler, files_digest, source_digest, step_key
from kobox.matrix.steps import CellTask, build_step, run_cell

Told = Callable[[str, int, int], None]
"""Called with what is being done, and how much of it is done, and how much there is in all."""


class CellWorkers(Protocol):
    """Where cells are loaded and checked."""

    def results(self, tasks: Sequence[CellTask]) -> Iterator[list[CellStep]]:
        """Carry out tasks; what came of each, as it comes, in any order."""
        ...


class LocalWorkers:
    """This machine's CPUs: some commands at once, each a process of its own."""

    def __init__(self, runner: CommandRunner, jobs: int = 0) -> None:
        self._runner = runner
        self._jobs = jobs or os.cpu_count() or 1

    def results(self, tasks: Sequence[CellTask]) -> Iterator[list[CellStep]]:
        """Carry out tasks; what came of each, as it comes."""
        with self.pool() as pool:
            yield from as_they_come([pool.submit(run_cell, self._runner, task) for task in tasks])

    @contextmanager
    def pool(self) -> Iterator[ThreadPoolExecutor]:
        """Threads that wait for commands; an exception in the block ends the commands."""
        pool = ThreadPoolExecutor(self._jobs)
        try:
            with self._runner.stopped_by_errors():
                yield pool
        finally:
            pool.shutdown(cancel_futures=True)


def as_they_come(futures: Sequence[Future[list[CellStep]]]) -> Iterator[list[CellStep]]:
    """The results of futures, each as soon as it is there."""
    left = set(futures)
    while left:
        done, left = wait(left, return_when=FIRST_COMPLETED)
        for future in done:
            yield future.result()


@dataclass(slots=True)
class _Build:
    """A source on a kernel: what came of building it, and the modules."""

    source: Path
    kernel: KernelImage
    step: CellStep = SKIPPED_STEP
    modules: list[Path] = field(default_factory=list)


class MatrixRun:
    """One run over a plan. `matrix` holds what is known at any moment."""

    def __init__(
        self,
        plan: MatrixPlan,
        *,
        cache: ResultCache | None = None,
        jobs: int = 0,
        workers: CellWorkers | None = None,
        told: Told = lambda stage, done, total: None,
    ) -> None:
        self._plan = plan
        self._cache = cache or ResultCache()
        self._runner = CommandRunner()
        self._local = LocalWorkers(self._runner, jobs)
        self._workers = workers or self._local
        self._told = told
        self._cells: dict[tuple[MatrixRow, str], MatrixCell] = {}
        self._complete = self._lost = False
        self.steps_run = 0
        """How many steps were really run, and not taken from the cache."""

    @property
    def matrix(self) -> Matrix:
        """The table as far as it is known."""
        kernels = tuple(kernel.name for kernel in self._plan.kernels)
        cost = self._plan.cost
        cells = compared(kernels, self._cells, 1 + cost.percent / 100) if cost is not None else dict(self._cells)
        return Matrix(kernels, cells, self._complete)

    def run(self) -> Matrix:
        """Fill all cells. KeyboardInterrupt ends the commands that run; `matrix` has what was done by then.

        Raises `KoboxError`, `OSError`.
        """
        builds = self._built()
        rows = _rows(builds, self._plan.parameters)
        tasks: list[CellTask] = []
        waiting: dict[str, list[tuple[MatrixRow, str, str]]] = {}
        for row, build in rows:
            task = self._prepare(row, build, waiting)
            if task is not None:
                tasks.append(task)
        tasks = list({(task.load_key, task.check_key, task.cost_key): task for task in tasks}.values())
        self._told("load", 0, len(tasks))
        for count, results in enumerate(self._workers.results(tasks), 1):
            for step in results:
                self.steps_run += step.outcome is not StepOutcome.SKIPPED
                self._lost = self._lost or _is_lost(step)
                self._keep(step)
                for place in waiting.get(step.key, ()):
                    self._fill(*place, step)
            self._told("load", count, len(tasks))
        self._complete = not self._lost
        return self.matrix

    # -- building --------------------------------------------------------------------------------------------------

    def _built(self) -> list[_Build]:
        """Every source on every kernel, built where it has to be."""
        builds, missing = [], []
        for source in self._plan.sources:
            if is_module_file(source):
                builds += [_Build(source, kernel, modules=[source]) for kernel in self._plan.kernels]
                continue
            digest = source_digest(source)
            for kernel in self._plan.kernels:
                words = (str(source.resolve()), compiler(), repr(self._plan.build))
                key = step_key("builds", kernel, digest, *words)
                known = None if self._plan.again else self._cache.get(key)
                build = _Build(source, kernel, known or CellStep(StepOutcome.SKIPPED, key=key))
                build.modules = self._cache.modules(key) if known is not None else []
                builds.append(build)
                if known is None or (known.outcome is not StepOutcome.FAILED and not build.modules):
                    missing.append(build)
        self._told("build", 0, len(missing))
        with self._local.pool() as pool:
            futures = [pool.submit(self._build, build) for build in missing]
            for count, _ in enumerate(as_they_come(futures), 1):
                self._told("build", count, len(missing))
        for build in missing if len(self._plan.sources) > 1 else ():
            if "undefined!" in build.step.log:  # another source exports it, and may have been built after this one
                self._build(build)
        return builds

    def _build(self, build: _Build) -> list[CellStep]:
        key = build.step.key
        with self._cache.building(key) as into:
            step = build_step(build.kernel, build.source, into, self._plan.build, lambda: self._runner.stopped)
            if self._runner.stopped:
                raise KoboxError("interrupted")
        build.step = replace(step, key=key)
        build.modules = self._cache.modules(key) if step.outcome is not StepOutcome.FAILED else []
        self.steps_run += 1
        self._keep(build.step)
        return [build.step]

    # -- cells -----------------------------------------------------------------------------------------------------

    def _prepare(
        self, row: MatrixRow, build: _Build, waiting: dict[str, list[tuple[MatrixRow, str, str]]]
    ) -> CellTask | None:
        """Fill what is known of a cell; what is left to do."""
        name = build.kernel.name
        cell = MatrixCell(row, name, builds=build.step)
        self._cells[row, name] = cell
        file = next((path for path in build.modules if _module_of(path) == row.module), None)
        if build.step.outcome is StepOutcome.FAILED:
            return None
        if file is None:
            self._cells[row, name] = replace(cell, why="the source builds no such module for this kernel")
            return None
        why = _other_processor(file, build.kernel)
        if why:
            self._cells[row, name] = replace(cell, why=why)
            return None
        return self._task(row, build, file, waiting)

    def _task(
        self, row: MatrixRow, build: _Build, file: Path, waiting: dict[str, list[tuple[MatrixRow, str, str]]]
    ) -> CellTask | None:
        kernel, plan = build.kernel, self._plan
        others = build.modules if not is_module_file(build.source) else [*filter(is_module_file, plan.sources)]
        files = [*needed_files(file, others), file]
        content = files_digest(files)
        load_key = step_key("loads", kernel, content, row.parameters, *plan.run_words)
        clean_key = step_key("clean", kernel, content, row.parameters, *plan.run_words)
        keys = {"loads": load_key, "clean": clean_key}
        if plan.check is not None:
            keys["checks"] = step_key("checks", kernel, content, row.parameters, *plan.check.words(), *_content(plan))
        if plan.cost is not None:
            words = [*plan.cost.words(), *_digests(plan.cost.exercise)]
            keys["cost"] = step_key("cost", kernel, content, row.parameters, *words)
        known = {step: None if plan.again else self._cache.get(key) for step, key in keys.items()}
        for step, key in keys.items():
            result = known[step]
            if result is None:
                waiting.setdefault(key, []).append((row, kernel.name, step))
            else:
                self._fill(row, kernel.name, step, result)
        loads = known["loads"]
        loaded = loads is not None and (known["clean"] is not None or loads.outcome is StepOutcome.FAILED)
        checked = "checks" not in keys or known["checks"] is not None
        counted = "cost" not in keys or known["cost"] is not None
        if loaded and ((checked and counted) or (loads is not None and loads.outcome is StepOutcome.FAILED)):
            return None
        return CellTask(
            kernel.name,
            tuple(map(str, files)),
            row.parameters,
            plan.run_words,
            plan.check,
            str(build.source if build.source.is_dir() else build.source.parent),
            "" if loaded else load_key,
            clean_key,
            "" if checked else keys["checks"],
            plan.cost,
            "" if counted else keys["cost"],
        )

    def _fill(self, row: MatrixRow, kernel: str, step: str, result: CellStep) -> None:
        """Put a result into its cell. A check is the second half of `clean`: what the run found stays."""
        cell = self._cells[row, kernel]
        if _is_lost(result):
            cell = replace(cell, loads=result, why=result.finding)
        elif step == "loads":
            cell = replace(cell, loads=result)
        elif step == "cost":
            cell = replace(cell, cost=result)
        elif step == "clean" or cell.clean.outcome is not StepOutcome.FAILED:
            cell = replace(cell, clean=_joined(cell.clean, result))
        self._cells[row, kernel] = cell

    def _keep(self, step: CellStep) -> None:
        if step.key and step.outcome is not StepOutcome.SKIPPED and not self._runner.stopped:
            self._cache.put(step)


def _is_lost(step: CellStep) -> bool:
    """Whether a step was to be done, and could not."""
    return step.outcome is StepOutcome.SKIPPED and bool(step.finding)


def _joined(one: CellStep, other: CellStep) -> CellStep:
    """Two halves of a step: the worse outcome counts, both logs stay."""
    if one.outcome is StepOutcome.SKIPPED:
        return other
    worse, better = (one, other) if one.outcome is StepOutcome.FAILED else (other, one)
    log = one.log if one.log == other.log else f"{one.log}\n{other.log}"
    return replace(worse, log=log, seconds=one.seconds + other.seconds, cached=one.cached and better.cached)


def _content(plan: MatrixPlan) -> list[str]:
    """The digests of files that a check's options name."""
    assert plan.check is not None
    return _digests(plan.check.baseline, plan.check.exercise)


def _digests(*names: str) -> list[str]:
    named = [Path(name) for name in names if name not in ("", "auto", "none")]
    return [files_digest(named)] if named else []


def _rows(builds: Sequence[_Build], parameters: Sequence[str]) -> Iterator[tuple[MatrixRow, _Build]]:
    """Each row on each kernel. A source that builds for no kernel has one row, of its own name."""
    names: dict[Path, dict[str, None]] = {}
    for build in builds:
        names.setdefault(build.source, {}).update(dict.fromkeys(map(_module_of, build.modules)))
    for build in builds:
        for name in names[build.source] or {_module_of(build.source): None}:
            for text in parameters:
                yield MatrixRow(str(build.source), name, text), build


def _module_of(path: Path) -> str:
    """The name of the module that a file holds, or that a source is called after."""
    name = path.name if path.name not in ("", "..") else path.resolve().name
    return name.partition(".ko")[0].removesuffix(".c").replace("-", "_")


def _other_processor(file: Path, kernel: KernelImage) -> str:
    """Why a file cannot be for a kernel's processor; "" where it can."""
    from kobox.images.store import processor_of

    processor = processor_of(file)
    return "" if processor in (None, kernel.architecture) else f"built for {processor}"
