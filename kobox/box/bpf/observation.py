"""What programs do while they run: which way each branch went, and how many instructions a run took.

    with loaded.observe() as seen:
        loaded.programs["guard"].test_run(packet)
    seen.branches("guard")          each branch: the line, how often it was taken and how often not
    seen.runs("guard")              each run: instructions of its own, and with what it called

A breakpoint stands at the beginning of every block of the program's machine code (`kobox.machine.stepper`), so the
kernel runs what it always runs: nothing is added to the program, and every count is exact.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType

from kobox.arch.code import Flow, Instruction
from kobox.box.booted import BootedKernel
from kobox.box.bpf.program_code import BpfLine, CodeFunction, ProgramCode
from kobox.bpf.branches import MachineJump, matched, own_branches
from kobox.bpf.instructions import BpfInstruction, instructions
from kobox.errors import KoboxError
from kobox.machine.stepper import Stepper, Stop

_MOST_BLOCKS = 4000
_MOST_RUNS = 1 << 20
_PROLOGUE = 32  # bytes


@dataclass(frozen=True, slots=True)
class BranchCount:
    """A branch of a program: how often it was `taken` (the jump), how often `passed` (what comes behind it). `index` is
    its number in the translated program, `text` the instruction as the object has it."""

    index: int
    text: str
    line: BpfLine | None
    taken: int
    passed: int

    @property
    def sides(self) -> int:
        """How many of its two sides were seen."""
        return (self.taken > 0) + (self.passed > 0)


@dataclass(frozen=True, slots=True)
class ProgramRun:
    """One run: `own` machine instructions of the program and what it tail-calls, `all` with the helpers that it called
    and interrupts that came, virtual `nanoseconds` from its first instruction to its return."""

    own: int
    all: int
    nanoseconds: int


@dataclass(slots=True)
class _Block:
    """A stretch of machine code that is executed as a whole. `branch`: it ends with a conditional jump."""

    length: int
    end: int
    branch: bool


@dataclass(slots=True)
class _Frame:
    """A run under way."""

    program: str
    sp: int
    leaves: int
    count: int
    time: int
    own: int = 0
    block: _Block | None = None


@dataclass(slots=True)
class _Observed:
    """One program: its code, and what was seen of it."""

    code: ProgramCode
    jumps: dict[int, MachineJump]
    branches: dict[int, BpfInstruction]  # by the jump's address
    edges: Counter[tuple[int, int]] = field(default_factory=Counter)  # (behind the jump, where it went)
    reached: Counter[int] = field(default_factory=Counter)
    runs: list[ProgramRun] = field(default_factory=list)


class BpfObservation:
    """Looks at programs until it is closed; a machine has one at a time. Made by `BpfObject.observe`.

    Raises `KoboxError` for a program without machine code (a kernel that interprets), or with more than 4,000 blocks in
    all; `MachineError` while a debugger has the machine.
    """

    def __init__(self, box: BootedKernel, programs: Mapping[str, tuple[ProgramCode, bytes]]) -> None:
        """`programs` by name: code, and the object's instructions."""
        self._box = box
        self._blocks: dict[int, tuple[str, _Block]] = {}
        self._entries: dict[int, str] = {}
        self._frames: list[_Frame] = []
        self._seen = {name: self._prepare(name, *both) for name, both in programs.items()}
        if len(self._blocks) > _MOST_BLOCKS:
            raise KoboxError(
                f"{len(self._blocks)} blocks of code, and {_MOST_BLOCKS} can be looked at", hint="Name fewer programs."
            )
        self._stepper = Stepper(box.machine)
        self._stepper.listener = self._reached
        for address in self._blocks:
            self._stepper.set_breakpoint(address)

    def close(self) -> None:
        """Look no more."""
        self._stepper.close()

    def __enter__(self) -> BpfObservation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def forget_runs(self) -> None:
        """A checkpoint was restored: runs that were under way are no longer."""
        self._frames.clear()

    # -- what was seen -----------------------------------------------------------------------------------------

    def branches(self, program: str) -> list[BranchCount]:
        """The program's own branches, in the order of the code. Raises `KeyError`."""
        seen, found = self._seen[program], []
        for address, branch in seen.branches.items():
            jump = seen.jumps[address]
            taken, passed = seen.edges[jump.next, jump.target], seen.edges[jump.next, jump.next]
            found.append(BranchCount(branch.index, branch.text(), seen.code.line_at(address), taken, passed))
        return sorted(found, key=lambda one: one.index)

    def runs(self, program: str) -> list[ProgramRun]:
        """Every run, oldest first: the first million. Raises `KeyError`."""
        return list(self._seen[program].runs)

    def lines(self, program: str) -> dict[BpfLine, int]:
        """How often each line of the source was reached: where one stands in several places, each for itself."""
        seen = self._seen[program]
        blocks = sorted(address for address, (name, _) in self._blocks.items() if name == program)
        found = {}
        for line in seen.code.lines:
            at = bisect_right(blocks, line.address) - 1
            found[line] = seen.reached[blocks[at]] if at >= 0 else 0
        return found

    def progress(self, program: str) -> int:
        """A number that grows when a block or a side of a branch is reached for the first time. Raises `KeyError`."""
        return len(self._seen[program].edges) + len(self._seen[program].reached)

    # -- looking -----------------------------------------------------------------------------------------------

    def _prepare(self, name: str, code: ProgramCode, original: bytes) -> _Observed:
        jumps: dict[int, MachineJump] = {}
        for function in code.functions:
            if not function.code:
                raise KoboxError(
                    f"{name}: has no machine code that could be looked at",
                    hint="The kernel interprets it (net.core.bpf_jit_enable), or hides its addresses.",
                )
            rows = list(self._box.arch.code.instructions(function.code, 0, len(function.code)))
            jumps |= {jump.address: jump for jump in _jumps(rows, function.address)}
            self._blocks |= {start: (name, block) for start, block in _blocks(rows, function)}
        self._entries[code.functions[0].address] = name
        own = own_branches(list(instructions(original)), code.instructions)
        places = [(line.index, line.address) for line in code.lines if line.address]
        ours = [one for one in code.instructions if one.index in own]
        return _Observed(code, jumps, matched(ours, list(jumps.values()), places))

    def _reached(self, stop: Stop) -> None:
        while self._frames and stop.pc == self._frames[-1].leaves and self._box.machine.sp >= self._frames[-1].sp:
            self._left(self._frames.pop(), stop)
        found = self._blocks.get(stop.pc)
        if found is None:
            return
        name, block = found
        if self._entries.get(stop.pc) == name:
            self._entered(name, stop)
        if not self._frames:
            return
        frame = self._frames[-1]
        before, frame.block = frame.block, block
        if before is not None and before.branch:
            self._seen[name].edges[before.end, stop.pc] += 1
        self._seen[name].reached[stop.pc] += 1
        frame.own += block.length

    def _entered(self, name: str, stop: Stop) -> None:
        machine = self._box.machine
        leaves = self._box.arch.calls.return_address(machine.registers(), machine.read)
        if leaves not in self._blocks:
            self._stepper.set_breakpoint(leaves)
        self._frames.append(_Frame(name, machine.sp, leaves, stop.count, machine.time))

    def _left(self, frame: _Frame, stop: Stop) -> None:
        runs = self._seen[frame.program].runs
        if len(runs) < _MOST_RUNS:
            runs.append(ProgramRun(frame.own, stop.count - frame.count, self._box.machine.time - frame.time))
        if frame.leaves not in self._blocks and all(other.leaves != frame.leaves for other in self._frames):
            self._stepper.set_breakpoint(frame.leaves, False)


def _jumps(rows: Iterable[Instruction], start: int) -> Iterable[MachineJump]:
    for row in rows:
        if row.flow is Flow.BRANCH and row.target is not None:
            yield MachineJump(start + row.offset, start + row.target, start + row.end)


def _blocks(rows: list[Instruction], function: CodeFunction) -> Iterable[tuple[int, _Block]]:
    """(address, block): split behind all that leads elsewhere, and where something leads to."""
    if not rows:
        return
    inside = range(len(function.code))
    # A tail call jumps behind the beginning: past what makes room on the stack (X86_TAIL_CALL_OFFSET).
    leaders = {0} | {row.offset for row in rows if row.offset < _PROLOGUE}
    leaders |= {row.target for row in rows if row.target is not None and row.target in inside}
    leaders |= {row.end for row in rows if row.flow is not Flow.ON}
    begin, length = 0, 0
    for row in rows:
        length += 1
        if row.end in leaders or row is rows[-1]:
            yield function.address + begin, _Block(length, function.address + row.end, row.flow is Flow.BRANCH)
            begin, length = row.end, 0
