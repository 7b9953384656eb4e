"""A program of eBPF as it runs, line by line of its source; with what an observation has seen: runs, sides of branches.

guard.bpf.c:23   if (udp->dest != bpf_htons(port))                       3
    17: if w2 != w3 goto pc+24                                           taken 2, not taken 1
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from kobox.box.box import Box
from kobox.box.bpf.observation import BpfObservation, BranchCount, ProgramRun
from kobox.box.bpf.program_code import ProgramCode
from kobox.box.bpf.programs import BpfProgram
from kobox.box.inspect.symbols import SymbolNotFoundError

_CALL, _BY_OFFSET = 0x85, (0, 2)  # calls of helpers and of kernel functions hold an offset of __bpf_call_base


@dataclass(frozen=True, slots=True)
class ListedInstruction:
    """One translated instruction. `taken` and `passed` are of a branch of the program's own: None for all others."""

    index: int
    text: str
    taken: int | None = None
    passed: int | None = None


@dataclass(frozen=True, slots=True)
class ListedLine:
    """The instructions that a line of the source begins with, until another begins. `function` is set where one begins
    here; `reached` how often, None where nobody looked."""

    function: str
    place: str
    source: str
    instructions: tuple[ListedInstruction, ...]
    reached: int | None


@dataclass(frozen=True, slots=True)
class RunCosts:
    """What the runs of a program took: how many, instructions of its own, with what it called, virtual nanoseconds;
    each as the fewest, the mean and the most."""

    runs: int
    own: tuple[int, int, int]
    all: tuple[int, int, int]
    nanoseconds: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class ProgramListing:
    """One program. `sides` of `of_sides` sides of its branches were seen; both 0 and `costs` None where nobody
    looked."""

    program: str
    section: str
    kind: str
    machine_bytes: int
    lines: tuple[ListedLine, ...]
    sides: int = 0
    of_sides: int = 0
    costs: RunCosts | None = None

    def plain(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)

    def missed(self) -> list[str]:
        """The sides that no run took: "guard.bpf.c:23: if (…): never taken: if w2 != w3 goto pc+24"."""
        found = []
        for line in self.lines:
            for one in line.instructions:
                if one.taken is None or (one.taken and one.passed):
                    continue
                which = "never reached" if not one.taken and not one.passed else "always" if one.taken else "never"
                words = which if which == "never reached" else f"the jump was {which} taken"
                found.append(f"{line.place or line.function}: {line.source}: {words}: {one.text}")
        return found


def listing(box: Box, program: BpfProgram, seen: BpfObservation | None = None) -> ProgramListing:
    """A program that is loaded, with what was seen of it. Raises `OSError`, `KoboxError`."""
    code = program.code()
    branches = {one.index: one for one in seen.branches(program.name)} if seen else {}
    reached = {line.index: times for line, times in seen.lines(program.name).items()} if seen else {}
    runs = seen.runs(program.name) if seen else []
    return ProgramListing(
        program.name,
        program.section,
        program.kind,
        sum(len(function.code) for function in code.functions),
        tuple(_lines(code, _functions(box, code), branches, reached if seen else None)),
        sum(one.sides for one in branches.values()),
        2 * len(branches),
        costs(runs) if runs else None,
    )


def costs(runs: list[ProgramRun]) -> RunCosts:
    """The fewest, the mean and the most of at least one run."""

    def three(values: list[int]) -> tuple[int, int, int]:
        return min(values), sum(values) // len(values), max(values)

    return RunCosts(
        len(runs),
        three([one.own for one in runs]),
        three([one.all for one in runs]),
        three([one.nanoseconds for one in runs]),
    )


def _lines(
    code: ProgramCode, calls: dict[int, str], branches: dict[int, BranchCount], reached: dict[int, int] | None
) -> Iterator[ListedLine]:
    functions = {function.index: function.name for function in code.functions}
    starts = sorted({0, *functions, *(line.index for line in code.lines)})
    by_start: dict[int, list[ListedInstruction]] = {start: [] for start in starts}
    at = 0
    for one in code.instructions:
        while at + 1 < len(starts) and starts[at + 1] <= one.index:
            at += 1
        branch = branches.get(one.index)
        by_start[starts[at]].append(
            ListedInstruction(
                one.index, one.text(calls), branch.taken if branch else None, branch.passed if branch else None
            )
        )
    for start, rows in by_start.items():
        line = code.line_of(start)
        times = reached.get(line.index, 0) if reached is not None and line else None
        place, source = (line.place, line.text) if line else ("", "")
        yield ListedLine(functions.get(start, ""), place, source, tuple(rows), times)


def _functions(box: Box, code: ProgramCode) -> dict[int, str]:
    """Names of the functions of the kernel that a program calls, by the number in the instruction."""
    try:
        base = box.inspect.symbols.address("__bpf_call_base")
    except (SymbolNotFoundError, KeyError):
        return {}
    called = {one.constant for one in code.instructions if one.code == _CALL and one.source in _BY_OFFSET}
    return {number: box.inspect.symbols.describe(base + number).split("+", 1)[0] for number in called}
