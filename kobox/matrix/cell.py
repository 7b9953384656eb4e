"""What a matrix is made of: steps, and the cells that they fill.

builds ──▶ loads ──▶ clean        the steps of one module on one kernel; each has an outcome
                                  a cell's state is what the first step that failed says, else `warns` or `clean`
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field


class StepOutcome(enum.StrEnum):
    """How a step ended. SKIPPED: it was not tried, because one before it failed or it does not apply."""

    OK = "ok"
    WARNS = "warns"
    FAILED = "failed"
    SKIPPED = "-"


class CellState(enum.StrEnum):
    """What a table shows for a module on a kernel."""

    CLEAN = "clean"
    WARNS = "warns"
    NOT_CLEAN = "not clean"
    NO_LOAD = "no load"
    NO_BUILD = "no build"
    SKIPPED = "-"

    @property
    def is_red(self) -> bool:
        """Whether it counts as a failure."""
        return self in (CellState.NOT_CLEAN, CellState.NO_LOAD, CellState.NO_BUILD)


@dataclass(frozen=True, slots=True)
class CellStep:
    """What came of one step.

    `seconds` of wall time; `finding` is one line that says what is wrong, `place` where (`file:line`, or a function);
    `changes` are the kernel interfaces that this kernel refuses (`del_timer_sync`, `inode.i_ctime`); `remedy` is the
    next step, with the interface change where it is known; `log` is what was printed, shortened; `key` the address of
    the result in the cache. `cached`: it was not run this time.
    """

    outcome: StepOutcome
    seconds: float = 0.0
    finding: str = ""
    place: str = ""
    changes: tuple[str, ...] = ()
    remedy: str = ""
    log: str = ""
    key: str = ""
    cached: bool = False


SKIPPED_STEP = CellStep(StepOutcome.SKIPPED)


def step_from(facts: Mapping[str, object], *, key: str, cached: bool) -> CellStep:
    """A step out of what JSON holds. Raises `ValueError`, `KeyError` or `TypeError` for anything else."""
    changes = facts["changes"]
    if not isinstance(changes, list):
        raise TypeError("changes: not a list")
    return CellStep(
        StepOutcome(str(facts["outcome"])),
        float(str(facts["seconds"])),
        str(facts["finding"]),
        str(facts["place"]),
        tuple(map(str, changes)),
        str(facts["remedy"]),
        str(facts["log"]),
        key,
        cached,
    )


def step_facts(step: CellStep) -> dict[str, object]:
    """A step as JSON holds it."""
    return {**asdict(step), "outcome": step.outcome.value, "changes": list(step.changes)}


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """One line of the table: a module of a source with one set of parameters."""

    source: str
    module: str
    parameters: str = ""

    @property
    def title(self) -> str:
        """The module and its parameters."""
        return f"{self.module} {self.parameters}".rstrip()


@dataclass(frozen=True, slots=True)
class MatrixCell:
    """A module on a kernel; `why` says why it was skipped, where it was."""

    row: MatrixRow
    kernel: str
    builds: CellStep = SKIPPED_STEP
    loads: CellStep = SKIPPED_STEP
    clean: CellStep = SKIPPED_STEP
    why: str = ""

    @property
    def steps(self) -> dict[str, CellStep]:
        """The steps by name, in their order."""
        return {"builds": self.builds, "loads": self.loads, "clean": self.clean}

    @property
    def state(self) -> CellState:
        """What the table shows."""
        if self.builds.outcome is StepOutcome.FAILED:
            return CellState.NO_BUILD
        if self.loads.outcome is StepOutcome.FAILED:
            return CellState.NO_LOAD
        if self.clean.outcome is StepOutcome.FAILED:
            return CellState.NOT_CLEAN
        if self.why or self.loads.outcome is StepOutcome.SKIPPED:
            return CellState.SKIPPED
        warned = StepOutcome.WARNS in (self.builds.outcome, self.clean.outcome)
        return CellState.WARNS if warned else CellState.CLEAN

    @property
    def deciding(self) -> CellStep:
        """The step that the state comes from."""
        order = (self.builds, self.loads, self.clean)
        for outcome in (StepOutcome.FAILED, StepOutcome.WARNS):
            found = next((step for step in order if step.outcome is outcome), None)
            if found is not None:
                return found
        return self.clean if self.clean.outcome is not StepOutcome.SKIPPED else self.loads


@dataclass(frozen=True, slots=True)
class Matrix:
    """All cells, with the kernels in the order of the columns. `complete`: nothing was left out by an interruption."""

    kernels: tuple[str, ...]
    cells: Mapping[tuple[MatrixRow, str], MatrixCell] = field(default_factory=dict)
    complete: bool = True

    @property
    def rows(self) -> tuple[MatrixRow, ...]:
        """The rows, as they came."""
        return tuple(dict.fromkeys(row for row, _ in self.cells))

    def cell(self, row: MatrixRow, kernel: str) -> MatrixCell:
        """One cell; one that was not reached is skipped."""
        return self.cells.get((row, kernel)) or MatrixCell(row, kernel, why="not run")

    def red(self) -> Sequence[MatrixCell]:
        """The cells that failed."""
        return [cell for cell in self.cells.values() if cell.state.is_red]

    def counts(self) -> dict[str, int]:
        """How many cells have which state."""
        states = [self.cell(row, kernel).state for row in self.rows for kernel in self.kernels]
        return {state.value: states.count(state) for state in CellState if state in states}
