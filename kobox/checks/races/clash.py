"""What is seen while a CPU is held before an access: who touches the same bytes, and who frees the memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from kobox.arch.code import Flow
from kobox.box.box import Box
from kobox.box.inspect.cpu_state import CpuReader
from kobox.checks.memory.interceptors import INTERCEPTORS
from kobox.checks.races.held_locks import LockRecord, NamedLock
from kobox.checks.races.race_marks import RaceMarks
from kobox.checks.report.finding import own_frame
from kobox.checks.runner.session import Examination, Trace
from kobox.errors import KoboxError
from kobox.ko.dwarf.places import Function
from kobox.machine.watch import READ, WRITE, Access, Part, WatchReport, What

FREED = 1023
"""Bytes that a function which frees is taken to write: how many it really frees, the pattern says."""
_FREES = (("kfree kfree_sensitive kvfree krealloc", 0), ("kmem_cache_free", 1))
_COMPLETION = (  # include/linux/completion.h: `done` stands first
    ("complete complete_all", (Part(WRITE, 0, factor=4),)),
    ("wait_for_completion wait_for_completion_timeout wait_for_completion_interruptible", (Part(READ, 0, factor=4),)),
    ("wait_for_completion_interruptible_timeout wait_for_completion_killable", (Part(READ, 0, factor=4),)),
)
_EXCLUSIVE = {  # functions of which only one may change an object at a time, by the argument that points to it
    "kfifo_in()": ("__kfifo_in __kfifo_from_user __kfifo_in_r __kfifo_from_user_r", 0),
    "kfifo_out()": ("__kfifo_out __kfifo_to_user __kfifo_out_r __kfifo_to_user_r", 0),
    "the IDR": ("idr_alloc idr_alloc_cyclic idr_alloc_u32 idr_remove idr_replace", 0),
    "the radix tree": ("radix_tree_insert radix_tree_delete radix_tree_delete_item", 0),
    "the red-black tree": ("rb_insert_color rb_erase __rb_insert_augmented", 1),
}
_POISON, _POISON_END = 0x6B, 0xA5  # POISON_FREE, POISON_END: the last byte of an object
_ARGUMENTS = (5, 4, 1, 2, 8, 9)  # the registers of arguments, by their numbers in DWARF (System V ABI, figure 3.36)
_NEAR = 256  # bytes
_MOST = 8
_CALL = 5  # bytes of a call on x86-64


class OtherAccess(NamedTuple):
    """An access of another CPU, made while one was held: from where, on which CPU, with which locks (None: it is not
    known)."""

    report: WatchReport
    trace: Trace
    cpu: int
    locks: tuple[NamedLock, ...] | None


@dataclass(slots=True)
class Clash:
    """The access that a CPU was held before, those of the other CPUs meanwhile, and what has freed the memory."""

    held: WatchReport | None = None
    held_by: Trace | None = None
    cpu: int = 1  # that is held
    locks: tuple[NamedLock, ...] | None = None  # that it holds
    registers: dict[int, int] = field(default_factory=dict)  # of the CPU that is held, by their numbers in DWARF
    others: list[OtherAccess] = field(default_factory=list)
    frees: Trace | None = None
    freed: bool = False
    before: tuple[Trace, int] | None = None  # where another CPU was held first, and which one, until this one was
    passed: str = ""  # the function that the held CPU is about to call with a pointer into memory that was freed
    preemptible: bool = False  # where the CPU is held, its task may be preempted, and moved to another CPU
    shut: bool = False  # interrupts are off where the CPU is held, and no lock was taken for it: local_irq_save()


class ClashWatch:
    """Notes the watcher's reports on races in `clash`, from `begin` to `end`."""

    def __init__(self, examination: Examination, marks: RaceMarks) -> None:
        self._examination = examination
        self._marks = marks
        self._words = RaceWords(examination, marks)
        self._undo: Callable[[], None] = lambda: None
        self._cpu: CpuReader | None = None
        self.locks = LockRecord(examination, marks)
        self.clash = Clash()

    def begin(self) -> None:
        """Listen, and say what the kernel's functions do with memory."""
        watch, symbols = self._examination.box.inspect.watch, self._examination.box.inspect.symbols
        self._undo = watch.races.subscribe(self._note)
        with suppress(KoboxError):
            self._cpu = CpuReader(self._examination.box)
        self.locks.begin(self._cpu)
        rows = [(names, parts) for names, parts, _ in INTERCEPTORS]
        rows += [(names, (Part(WRITE, pointer, factor=FREED),)) for names, pointer in _FREES]
        rows += [(names, (Part(WRITE, pointer, factor=8),)) for names, pointer in _EXCLUSIVE.values()]
        rows += _COMPLETION
        rows.append(("simple_read_from_buffer", (Part(READ, 3, length=4),)))
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
            if clash.held_by is not None:
                self.clash = clash = Clash(before=(clash.held_by, clash.cpu))
            clash.held, clash.held_by, clash.registers = report, trace(), self._registers()
            clash.cpu, clash.locks = self._examination.box.machine.cpu, self._held_now(report.pc, clash.registers)
            clash.shut, clash.preemptible = self._is_shut(), self._is_preemptible()
        elif report.detail & Access.CALLED and report.size == FREED:
            if clash.held is None or clash.held.detail != Access.CALLED:
                clash.frees = trace()
            elif not clash.passed and (name := self._passes(clash, report.address)):
                clash.frees, clash.passed = trace(), name
        elif len(clash.others) < _MOST:
            # Only of the held bytes themselves: memory that was just allocated and not yet written looks the same.
            at_held = clash.held is not None and report.address == clash.held.address
            if report.detail & Access.CALLED and at_held and self._looks_freed(report):
                clash.freed = True
            else:
                locks = self._held_now(report.pc, self._registers())
                clash.others.append(OtherAccess(report, trace(), self._examination.box.machine.cpu, locks))

    def _held_now(self, pc: int, registers: Mapping[int, int]) -> tuple[NamedLock, ...] | None:
        stack = self._examination.box.machine.arch.addresses.stack_of(self._examination.box.machine.registers().sp)
        return self.locks.held_on(stack, pc, registers)

    def _passes(self, clash: Clash, freed: int) -> str:
        """The function that the held CPU is about to call, if an argument points into the object at `freed`."""
        box, values = self._examination.box, clash.registers
        assert clash.held is not None
        name = self._words.called(clash.held.pc)
        types = [one.type for one in (box.inspect.symbols.btf.parameters(name) or ())] if name else []
        for number, kind in zip(_ARGUMENTS, types, strict=False):
            behind = values.get(number, 0) - freed
            if "*" in kind and 0 <= behind < _NEAR and (not behind or freed in values.values()):
                return name
        return ""

    def _is_preemptible(self) -> bool:
        if self._cpu is None or not self._cpu.counts_preemption:
            return False
        state = self._cpu.state(self._examination.box.machine.registers())
        return state.interrupts and not state.count and not self._cpu.stays()

    def _is_shut(self) -> bool:
        if self._cpu is None or not self._cpu.counts_preemption:
            return False
        state = self._cpu.state(self._examination.box.machine.registers())
        return not state.interrupts and not state.count

    def _registers(self) -> dict[int, int]:
        box = self._examination.box
        names = box.arch.oops.numbers.items()
        # Reports write some names with a zero; the CPU's own name for those registers has a row of its own.
        return {number: box.machine.register(name) for name, number in names if not name.startswith("r0")}

    def _looks_freed(self, report: WatchReport) -> bool:
        with suppress(ValueError):
            found = self._examination.box.machine.read(report.address, min(report.size, 8))
            return set(found[:-1]) <= {_POISON} and found[-1] in (_POISON, _POISON_END)
        return False


def warm_workers(box: Box) -> None:
    """Have one work item done on each CPU: a pool of workers that had only one then makes another, for which it needs a
    thread of the kernel's that may be on the CPU that will be held (kernel/workqueue.c, manage_workers())."""
    with suppress(OSError):
        box.path("/proc/sys/vm/stat_refresh").read_bytes()


class RaceWords:
    """Says what an access is, and of what."""

    def __init__(self, examination: Examination, marks: RaceMarks) -> None:
        self._examination = examination
        self._marks = marks
        self._called: dict[int, str] = {}

    def place(self, address: int) -> tuple[int, int]:
        """Section and offset of an address in the module; -1 where it is elsewhere."""
        placement = self._examination.placement
        return (placement.find(address) if placement is not None else None) or (-1, 0)

    def function(self, pc: int) -> Function | None:
        """The module's function that an address lies in."""
        section, offset = self.place(pc)
        return self._examination.file.debug.function_at(section, offset) if section >= 0 else None

    def named(self, report: WatchReport, registers: Mapping[int, int] = MappingProxyType({})) -> str:
        """The variable that is touched, if it is one of the module's, or the member of what a pointer in `registers`
        points to."""
        section, offset = self.place(report.address)
        for variable in self._examination.file.debug.variables:
            behind = offset - variable.offset
            if variable.section == section and 0 <= behind < variable.size:
                return f"of {self._examination.file.debug.path_in(variable, behind)}"
        if member := self._marks.member_at(report.address, report.pc, registers):
            return f"of {member}"
        return f"at {report.address:#x}"

    def exclusive(self, pc: int) -> str:
        """What only one may change at a time, if the code there calls a function that does."""
        name = self.called(pc)
        return next((what for what, (names, _) in _EXCLUSIVE.items() if name in names.split()), "") if name else ""

    def called(self, pc: int) -> str:
        """The function of the kernel that the code there calls, or has called right before; "" for none."""
        if pc not in self._called:
            self._called[pc] = self._called_at(pc)
        return self._called[pc]

    def _called_at(self, pc: int) -> str:
        box = self._examination.box
        for start in (pc, pc - _CALL):  # the call itself, or where it returns to
            with suppress(ValueError):
                call = box.arch.code.decode(box.machine.read(start, 16), 0)
                if call is not None and call.flow in (Flow.CALL, Flow.JUMP) and call.target is not None:
                    found = box.inspect.symbols.lookup(start + call.target)
                    return found.name if found is not None else ""
        return ""

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
