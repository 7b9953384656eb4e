"""What is seen while a CPU is held before an access: who touches the same bytes, and who frees the memory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from kobox.checks.memory.interceptors import INTERCEPTORS
from kobox.checks.races.race_marks import RaceMarks
from kobox.checks.report.finding import own_frame
from kobox.checks.runner.session import Examination, Trace
from kobox.machine.watch import WRITE, Access, Part, WatchReport, What

FREED = 1023
"""Bytes that a function which frees is taken to write: how many it really frees, the pattern says."""
_FREES = (("kfree kfree_sensitive kvfree", 0), ("kmem_cache_free", 1))
_POISON = 0x6B  # POISON_FREE
_MOST = 8


@dataclass(slots=True)
class Clash:
    """The access that a CPU was held before, those of the other CPUs meanwhile, and what has freed the memory."""

    held: WatchReport | None = None
    held_by: Trace | None = None
    held_cpu: int = 0
    others: list[tuple[WatchReport, Trace]] = field(default_factory=list)
    frees: Trace | None = None
    freed: bool = False


class ClashWatch:
    """Notes in `clash` what the watcher tells of races, from `begin` to `end`."""

    def __init__(self, examination: Examination, marks: RaceMarks) -> None:
        self._examination = examination
        self._marks = marks
        self._undo: Callable[[], None] = lambda: None
        self.clash = Clash()

    def begin(self) -> None:
        """Listen, and say what the kernel's functions do with memory."""
        watch, symbols = self._examination.box.inspect.watch, self._examination.box.inspect.symbols
        self._undo = watch.races.subscribe(self._note)
        rows = [(names, parts) for names, parts, _ in INTERCEPTORS]
        rows += [(names, (Part(WRITE, pointer, factor=FREED),)) for names, pointer in _FREES]
        for names, parts in rows:
            for name in names.split():
                if (address := symbols.of_kernel(name)) is not None:
                    watch.rule(address, *parts)

    def end(self) -> None:
        """Listen no more."""
        self._undo()

    def take(self) -> Clash:
        """What was noted; another one begins."""
        clash, self.clash = self.clash, Clash()
        return clash

    def _note(self, report: WatchReport) -> None:
        clash, trace = self.clash, self._examination.trace
        if report.what is What.HELD:
            clash.held, clash.held_by, clash.held_cpu = report, trace(), self._examination.box.machine.cpu
        elif report.detail & Access.CALLED and report.size == FREED:
            clash.frees = trace()
        elif len(clash.others) < _MOST:
            if report.detail & Access.CALLED and self._looks_freed(report):
                clash.freed = True
            else:
                clash.others.append((report, trace()))

    def _looks_freed(self, report: WatchReport) -> bool:
        with suppress(ValueError):
            found = self._examination.box.machine.read(report.address, min(report.size, 8))
            return set(found) == {_POISON}
        return False


class RaceWords:
    """Says what an access is, and of what."""

    def __init__(self, examination: Examination, marks: RaceMarks) -> None:
        self._examination = examination
        self._marks = marks

    def place(self, address: int) -> tuple[int, int]:
        """Section and offset of an address in the module; -1 where it is elsewhere."""
        placement = self._examination.placement
        return (placement.find(address) if placement is not None else None) or (-1, 0)

    def named(self, report: WatchReport) -> str:
        """The variable that is touched, if it is one of the module's."""
        section, offset = self.place(report.address)
        for variable in self._examination.file.debug.variables:
            behind = offset - variable.offset
            if variable.section == section and 0 <= behind < variable.size:
                return f"at offset {behind} of {variable.name}" if behind else f"of {variable.name}"
        return f"at {report.address:#x}"

    def where(self, report: WatchReport, trace: Trace) -> str:
        """The place of the module's code from which an access was made."""
        frames = own_frame(self._examination.chain(trace))
        frame = frames or own_frame(self._marks.frames(report.pc)) if report.pc else None
        return str(frame) if frame is not None else "a function of the kernel"


def is_update(report: WatchReport) -> bool:
    """Whether one instruction reads and writes."""
    return bool(report.detail & Access.READ and report.detail & Access.WRITE)


def words_of(report: WatchReport) -> str:
    """What an access does, and how many bytes it touches."""
    does = "update" if is_update(report) else "write" if report.writes else "read"
    return f"{does} of {report.size} byte{'s' * (report.size != 1)}"
