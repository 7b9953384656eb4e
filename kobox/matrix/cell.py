"""What a matrix is made of: steps, and the cells that they fill.

builds ──▶ loads ──▶ clean, cost  the steps of one module on one kernel; each has an outcome
                                  a cell's state is what the first step that failed says, else `warns`, `slower`
                                  or `clean`
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace


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
    SLOWER = "slower"
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
    the result in the cache. `cached`: it was not run this time. `instructions`: how many a life took, where that was
    counted.
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
    instructions: int = 0


SKIPPED_STEP = CellStep(StepOutcome.SKIPPED)


def step_from(facts: Mapping[str, object], *, key: str, cached: bool) -> CellStep:
    """A step out of what JSON holds. Raises `ValueError`, `KeyError` or `TypeError` for anything else."""
    changes, instructions = facts["changes"], facts.get("instructions", 0)
    if not isinstance(changes, list):
        raise TypeError("changes: not a list")
    if not isinstance(instructions, int):
        raise TypeError("instructions: not a number")
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
        instructions,
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
    """A module on a kernel; `why` says why it was skipped, where it was.

    `ratio` is what it costs beside the first kernel of the row where that was counted (0: it was not), `most` what it
    may.
    """

    row: MatrixRow
    kernel: str
    builds: CellStep = SKIPPED_STEP
    loads: CellStep = SKIPPED_STEP
    clean: CellStep = SKIPPED_STEP
    cost: CellStep = SKIPPED_STEP
    why: str = ""
    ratio: float = 0.0
    most: float = 0.0

    @property
    def steps(self) -> dict[str, CellStep]:
        """The steps by name, in their order."""
        return {"builds": self.builds, "loads": self.loads, "clean": self.clean, "cost": self.cost}

    @property
    def is_slower(self) -> bool:
        """Whether it costs more than it may."""
        return self.most > 0 and self.ratio > self.most

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
        warned = StepOutcome.WARNS in (self.builds.outcome, self.clean.outcome, self.cost.outcome)
        if warned:
            return CellState.WARNS
        return CellState.SLOWER if self.is_slower else CellState.CLEAN

    @property
    def deciding(self) -> CellStep:
        """The step that the state comes from."""
        order = (self.builds, self.loads, self.clean, self.cost)
        for outcome in (StepOutcome.FAILED, StepOutcome.WARNS):
            found = next((step for step in order if step.outcome is outcome), None)
            if found is not None:
                return found
        if self.is_slower:
            return self.cost
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

    def slower(self) -> Sequence[MatrixCell]:
        """The cells whose state is that they cost more than they may."""
        return [cell for cell in self.cells.values() if cell.state is CellState.SLOWER]

    def red(self) -> Sequence[MatrixCell]:
        """The cells that failed."""
        return [cell for cell in self.cells.values() if cell.state.is_red]

    def counts(self) -> dict[str, int]:
        """How many cells have which state."""
        states = [self.cell(row, kernel).state for row in self.rows for kernel in self.kernels]
        return {state.value: states.count(state) for state in CellState if state in states}


def compared(
    kernels: Sequence[str], cells: Mapping[tuple[MatrixRow, str], MatrixCell], most: float
) -> dict[tuple[MatrixRow, str], MatrixCell]:
    """Cells with what each costs beside the first kernel on which its row was counted; `most` is what it may."""
    first: dict[MatrixRow, MatrixCell] = {}
    for kernel in kernels:
        for row in dict.fromkeys(row for row, _ in cells):
            cell = cells.get((row, kernel))
            if cell is not None and cell.cost.instructions:
                first.setdefault(row, cell)
    found = dict(cells)
    for place, cell in cells.items():
        if cell.cost.instructions:
            base = first[cell.row]
            ratio = cell.cost.instructions / base.cost.instructions
            cost = cell.cost
            if ratio > most:
                said = f"{ratio:.2f} times the instructions of {base.kernel}: {cost.instructions:,}"
                cost = replace(cost, finding=said)
            found[place] = replace(cell, ratio=ratio, most=most, cost=cost)
    return found
