"""A finding: one thing that is wrong in a module, with where, by which calls, and what it concerns.

error: use-after-free: read of 4 bytes at offset 8 of a 64-byte kmalloc object that is freed
    at           hello_read (hello.c:42)
                 vfs_read+0x9f
    allocated at hello_open (hello.c:17)
    freed at     hello_release (hello.c:30)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from kobox.arch.registry import TRACE_STARTS, link_place, oops_place, shows_registers
from kobox.box.inspect.printk import LogRecord
from kobox.ko.source_place import is_crate


class Severity(StrEnum):
    """How bad a finding is; `error` makes `kobox check` exit 1."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Frame:
    """A place in code. `offset` is from the function's start; `module` is "" for the kernel itself; `file` and `line`
    are there when debugging information tells them; `inlined` when the function is part of the next frame's code."""

    function: str
    offset: int = 0
    module: str = ""
    file: str = ""
    line: int = 0
    inlined: bool = False
    address: int = 0

    @property
    def from_headers(self) -> bool:
        """Whether it is a function of the kernel's headers, or of its Rust crates; not each copy is inlined."""
        return self.file.startswith(("include/", "arch/")) or is_crate(self.file)

    def __str__(self) -> str:
        tail = f" [{self.module}]" if self.module else ""
        if self.line:
            return f"{self.function}{tail} ({self.file}:{self.line})"
        return f"{self.function}+{self.offset:#x}{tail}"


FindingKey = tuple[object, ...]
"""Equal for two reports of the same mistake."""

Chain = tuple[Frame, ...]
"""Calls, the innermost first."""


@dataclass(frozen=True, slots=True)
class Resource:
    """The object that a finding concerns: memory, a timer, a device … `what` says it in words ("a 64-byte kmalloc
    object", "timer hello_timer"); `made_at` and `freed_at` are the calls that made and freed it."""

    what: str
    address: int = 0
    size: int = 0
    made_at: Chain = ()
    freed_at: Chain = ()


@dataclass(frozen=True, slots=True)
class ScheduleSide:
    """One CPU in a schedule of two: its number, what runs there ("write()"), and the locks that it holds at its access,
    in words, or None where they are not known."""

    cpu: int
    runs: str
    locks: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class ScheduleStep:
    """What a CPU does, in words. `side` is 0 for the first of the two."""

    side: int
    text: str


@dataclass(frozen=True, slots=True)
class TwoCpuSchedule:
    """The schedule that a race needs: what two CPUs do, in order. The first is held while the second executes `blocks`
    basic blocks of code at most (0: as many as it likes). `common` are the locks that both hold at their accesses,
    None where that is not known."""

    sides: tuple[ScheduleSide, ScheduleSide]
    steps: tuple[ScheduleStep, ...]
    common: tuple[str, ...] | None = None
    blocks: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    `kind` is a short name of the table in docs/check.md; `stage` is what went on (`examination.Stage`); `fault` is the
    ID of the injected fault that led to it; `advice` says what to do; `records` are the kernel's own lines; `other` is
    the calls on another CPU that it takes two for, and `schedule` what both CPUs do.
    """

    kind: str
    severity: Severity
    message: str
    chain: Chain = ()
    object: Resource | None = None
    stage: str = ""
    fault: str = ""
    advice: str = ""
    records: tuple[LogRecord, ...] = field(default=(), repr=False)
    other: Chain = ()
    schedule: TwoCpuSchedule | None = None

    @property
    def where(self) -> Frame | None:
        """The module's own innermost frame, if possible not one of the kernel's headers; or else the innermost."""
        return own_frame(self.chain) or (self.chain[0] if self.chain else None)

    @property
    def key(self) -> FindingKey:
        """Equal for two reports of the same mistake."""
        made = own_frame(self.object.made_at) if self.object else None
        return self.kind, _spot(self.where), _spot(made), "" if self.where else self.message

    def __str__(self) -> str:
        where = f" in {self.where}" if self.where else ""
        return f"{self.severity}: {self.kind}: {self.message}{where}"


def own_frame(chain: Chain) -> Frame | None:
    """The innermost frame of a module: of its own source, before functions of the kernel's headers that are inlined."""
    own = [frame for frame in chain if frame.module]
    return next((frame for frame in own if not frame.from_headers), own[0] if own else None)


def _spot(frame: Frame | None) -> tuple[object, ...]:
    return () if frame is None else (frame.module, frame.function, frame.file, frame.line or frame.offset)


def worst_first(findings: list[Finding]) -> list[Finding]:
    """The same findings, errors before warnings before notes, else in their order."""
    return sorted(findings, key=lambda finding: finding.severity.rank)


_PLACE = re.compile(r"(?P<function>[\w.]+)\+0x(?P<offset>[0-9a-f]+)/0x[0-9a-f]+(?: \[(?P<module>\w+)[^\]]*\])?")


def frame_of(text: str) -> Frame | None:
    """The place in a line of the kernel's, as %pS prints it: "function+0x12/0x40 [module]"; None when there is none."""
    found = _PLACE.search(text)
    return Frame(found["function"], int(found["offset"], 16), found["module"] or "") if found else None


def chain_of(lines: Sequence[str]) -> Chain:
    """The calls in one of the kernel's reports: where the CPU was, then its call trace, without what it guesses
    ("? "). Where the CPU has jumped to no code at all, the kernel can but guess, and its first guess is right: a call
    has put it on top of the stack. Where a call leaves its address in a register, the line of that says who called."""
    frames = [frame for line in lines if oops_place(line) and (frame := frame_of(line))][:1]
    nowhere = next((place for line in lines if (place := oops_place(line).strip()).startswith("0x")), "")
    nowhere = "" if frames else nowhere
    guesses: list[Frame] = []
    in_trace = False
    for line in lines:
        if line.startswith(TRACE_STARTS):
            in_trace = True
        elif in_trace and not line.startswith((" ", "<")):
            break
        elif in_trace and not shows_registers(line) and (frame := frame_of(line)):
            (guesses if "? " in line else frames).append(frame)
    if nowhere:
        linked = [frame for line in lines if (place := link_place(line)) and (frame := frame_of(place))]
        caller = [*linked, *guesses][:1]
        frames = [Frame(nowhere), *caller, *(frame for frame in frames if frame not in caller)] if caller else frames
    return tuple(frames)
