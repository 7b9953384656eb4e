"""The watcher of memory (`native/watch/`) as Python sees it.

watch = Watch(machine)
undo = watch.reports.subscribe(lambda report: print(report))
watch.code(text_start, text_end)                   # look at every instruction there
watch.mark(address, 64, Mark.UNWRITTEN)            # an object ...
watch.mark(address + 64, 16, Mark.REDZONE)         # ... and the room behind it
watch.rule(memcpy, Part(WRITE, 0, 2), Part(READ, 1, 2))
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from enum import IntEnum, IntFlag
from itertools import groupby
from typing import NamedTuple

from kobox.errors import KoboxError
from kobox.machine.native_core import WatchCallback, core_of
from kobox.machine.pc import Machine, MachineError
from kobox.machine.subscribers import Subscribers


class Mark(IntEnum):
    """What is known of a byte of memory (enum shadow in native/watch/watch.h); from 0x80 on it must not be touched."""

    UNKNOWN = 0
    WRITTEN = 1
    UNWRITTEN = 2
    REDZONE = 0x80
    FREED = 0x81
    GAP = 0x82
    BEHIND_PACKET = 0x83
    BEHIND_LENT = 0x84


_TRACED, _TRACED_WORDS = 16384, 7  # ACCESSES / 2 and TRACED_WORDS in native/watch/races.c
_UNMAPPED = 0xFF  # what stands for a byte where no memory is


class What(IntEnum):
    """What a report says (enum report in native/watch/watch.h)."""

    SHADOW = 0
    UNMAPPED = 1
    USER = 2
    UNINITIALISED = 3
    BOUND = 4
    STACK = 5
    LOCAL = 6
    ASK_LOCAL = 7  # no report: see `Watch.local_rooms`
    ASK_CONTEXT = 8  # no report: see `Watch.questions`
    ASK_ALLOCATION_TRACE = 9  # no report: see `Watch.allocation_traces`
    HELD = 10  # a CPU is held before an access: see `Watch.hold_before`
    RACE = 11  # another CPU touches the same bytes meanwhile


class WatchReport(NamedTuple):
    """Something that the watcher has seen: code at `pc` is about to read or write `size` bytes from `address` on.

    `detail` is the memory's mark, the number of the bound that is left, or where on the stack the access began.
    """

    what: What
    pc: int
    address: int
    size: int
    writes: bool
    detail: int


class Access(IntFlag):
    """What code does to memory (INSN_READ ... in native/insn.h, ACCESS_ATOMIC ... in native/watch/watch.h)."""

    READ = 1
    WRITE = 2
    ATOMIC = 4
    CALLED = 8  # by a function of the kernel that the code has called


class TracedAccess(NamedTuple):
    """Code at `pc` has touched `size` bytes from `address` on, so many `times`, on one `stack` (its lowest address: the
    stack of a task, or of a CPU's interrupts), the first time on `cpu`; `order` is when first among all, `last` when
    last."""

    pc: int
    address: int
    size: int
    access: Access
    times: int = 1
    order: int = 0
    last: int = 0
    stack: int = 0
    cpu: int = 0


class CodeAccess(NamedTuple):
    """Code at `pc` touches `size` bytes from `address` on."""

    pc: int
    address: int
    size: int


READ, WRITE, TO_USER, OBJECT, VALUE, MAY_BE_USER = 1, 2, 3, 4, 5, 0x80
CONSTANT, STRING, FOUND_IN_STRING, COMPARED_STRINGS = 8, 9, 10, 11
BOUNDED_STRING, FOUND, COMPARED = 16, 24, 32


class Part(NamedTuple):
    """One stretch of memory that a function touches.

    `access` is READ, WRITE, TO_USER (read, and shown to user space), OBJECT (what is there must not be gone) or VALUE
    (no memory: so many bytes of the result are shown to user), with MAY_BE_USER where it may be an address of user
    space too; `pointer` the argument (0 to 5) that points to it; `length` the number of an argument, CONSTANT, STRING
    (up to its NUL), or BOUNDED_STRING + the argument that bounds it; FOUND + it and FOUND_IN_STRING end where the byte
    is that the second argument names, COMPARED + it and COMPARED_STRINGS where the first two arguments differ; `factor`
    multiplies an argument or is the constant; `like` is the part whose length it has.
    """

    access: int
    pointer: int
    length: int = CONSTANT
    factor: int = 0
    like: int = 255


FREED_BYTE = 0x6B
"""What kept objects are filled with (POISON_FREE of the kernel's own, include/linux/poison.h)."""


class _Part(ctypes.Structure):
    _fields_ = (
        ("access", ctypes.c_uint8),
        ("pointer", ctypes.c_uint8),
        ("length", ctypes.c_uint8),
        ("limit", ctypes.c_uint8),
        ("constant", ctypes.c_uint64),
    )


class _WatchRule(ctypes.Structure):
    _fields_ = (("address", ctypes.c_uint64), ("parts", _Part * 3), ("copies", ctypes.c_uint8))


class _PrintRule(ctypes.Structure):
    _fields_ = (
        ("address", ctypes.c_uint64),
        ("looks", ctypes.c_uint8),
        ("buffer", ctypes.c_uint8),
        ("size", ctypes.c_uint8),
        ("format", ctypes.c_uint8),
    )


class _FormatString(ctypes.Structure):
    _fields_ = (("argument", ctypes.c_uint16), ("limit", ctypes.c_uint16))


MOST_STRINGS = 8
"""Strings that a format may print for `Watch.know_format`."""


class _Format(ctypes.Structure):
    _fields_ = (("address", ctypes.c_uint64), ("count", ctypes.c_uint32), ("strings", _FormatString * MOST_STRINGS))


_LOOK_AT_ROOM, _LOOK_AT_STRINGS = 1, 2


class Watch:
    """The watcher of one machine. Raises `MachineError` when there is no room for it."""

    def __init__(self, machine: Machine) -> None:
        if not machine.arch.watched:
            raise KoboxError(
                f"code for {machine.arch.title} cannot be watched: checks do not know it yet",
                hint="`kobox run`, probes and the log work on every machine.",
            )
        self.machine = self._machine = machine
        self.core = self._core = core_of(machine.arch.name)
        self.questions: Subscribers[[int, int], int] = Subscribers()
        """What `kobox.machine.watch_context` is asked: the question's number and the address of the rule."""
        self.allocation_traces: Subscribers[[], int] = Subscribers()
        """Asked for the number of the call chain at this moment, in an allocator or where memory is freed: above 0."""
        self.reports: Subscribers[[WatchReport], bool] = Subscribers()
        """Each `WatchReport` before the instruction is executed. A listener that answers True wants no more reports of
        that instruction; when all do, there are none."""
        self.local_rooms: Subscribers[[int, int, bool], int] = Subscribers()
        """Asked with (pc, address, whole): how many bytes there are from an address on the stack to the end of the
        variable that it points into (`whole`: to whose start it points); 0 where it is not known. The first
        answer that is not 0 counts."""
        self.deep_stacks: Subscribers[[WatchReport], None] = Subscribers(self._stack_watched)
        """Each frame of watched code that ends more than `stack_limit` bytes below the top of a task's stack, and
        again each half KiB deeper: the report's address is the stack pointer then, its size the depth."""
        self._stack_limit = 0
        self.races: Subscribers[[WatchReport], None] = Subscribers()
        """What `hold_before` leads to: HELD when the CPU is held, RACE when another touches the same bytes. `detail` is
        an `Access`."""
        self._callback = WatchCallback(self._report)  # kept: the core holds a bare pointer to it
        self._ruled: list[int] = []
        if self._core.kobox_watch_open(machine.handle, self._callback):
            raise MachineError("no memory for the watcher's shadow of RAM")

    def code(self, start: int, end: int) -> None:
        """Look at every instruction from `start` to `end`. Calls made from there are what probes' FROM_MODULE means."""
        if self._core.kobox_watch_code(self._machine.handle, start, end):
            raise MachineError(f"cannot watch code at {start:#x}..{end:#x}")

    def thunk(self, address: int, register: int) -> None:
        """A function of the kernel that only jumps to where a register (by its number) points, as retpolines do: code
        that ends in a jump to it calls what is there."""
        self._core.kobox_watch_thunk(self._machine.handle, address, register)

    def retire(self, start: int) -> None:
        """The code given to `code` from `start` on will not run any more, and its memory may become another module's.
        What was executed of it stays known."""
        self._core.kobox_watch_retire(self._machine.handle, start)

    def executed(self, start: int, size: int) -> bytes:
        """One byte for each of a stretch given to `code`: 1 where an instruction starts that was executed."""
        out = ctypes.create_string_buffer(size)
        if self._core.kobox_watch_executed(self._machine.handle, start, out):
            raise MachineError(f"no code is watched from {start:#x} on")
        return out.raw

    def mark(self, address: int, size: int, mark: Mark, *, pattern: bool = False) -> None:
        """Say what is known of memory; with `pattern`, fill it with what unwritten memory is known by."""
        self._core.kobox_watch_mark(self._machine.handle, address, size, int(mark), pattern)

    def exchange(self, address: int, size: int, mark: Mark, other: Mark) -> None:
        """Give the bytes of a stretch that have one mark another."""
        at = address
        for found, run in groupby(self.marks(address, size)):
            length = len(tuple(run))
            if found == mark:
                self.mark(at, length, other)
            at += length

    def armed(self, address: int) -> None:
        """A timer or work item there was armed: an object that it lies in is not filled when it is freed."""
        self._core.kobox_heap_armed(self._machine.handle, address)

    def none_armed(self) -> None:
        """None counts any more."""
        self._core.kobox_heap_armed(self._machine.handle, 0)

    def unquarantine(self, address: int) -> None:
        """An object leaves the quarantine."""
        self._core.kobox_watch_unquarantine(self._machine.handle, address)

    def find_corrupted(self, budget: int) -> tuple[int, int, int] | None:
        """The youngest object in quarantine that was changed: its address, and from which byte of it to which. At most
        `budget` bytes are looked at."""
        out = (ctypes.c_uint64 * 3)()
        if not self._core.kobox_watch_find_corrupted(self._machine.handle, budget, out):
            return None
        return out[0], out[1], out[2]

    def marks(self, address: int, size: int) -> bytes:
        """What is known of memory, a byte each; 0xFF (`_UNMAPPED`) where none is mapped."""
        out = ctypes.create_string_buffer(size)
        self._core.kobox_watch_marks(self._machine.handle, address, size, out)
        return out.raw

    def first_bad(self, address: int, size: int) -> tuple[int, int] | None:
        """The first of these bytes that must not be touched, counted from 0, and its mark; None when there is none."""
        marks = self.marks(address, size)
        if marks.isascii():  # the usual case: none has the bit that says so
            return None
        return next(((n, mark) for n, mark in enumerate(marks) if mark & 0x80 and mark != _UNMAPPED), None)

    def look(self, pc: int, address: int, size: int, *, writes: bool = False, to_user: bool = False) -> None:
        """Look at memory as if code at `pc` were about to touch it; what is wrong is reported."""
        self._core.kobox_watch_look(self._machine.handle, pc, address, size, 2 if writes else 1, to_user)

    def bounds(self, bounds: Sequence[tuple[int, int, int]]) -> None:
        """Objects that relocated operands must stay in: (start, end, address of the relocated field in the code)."""
        ordered = sorted(bounds, key=lambda bound: bound[2])
        flat = (ctypes.c_uint64 * (3 * len(ordered)))(*(number for bound in ordered for number in bound))
        if self._core.kobox_watch_bounds(self._machine.handle, flat, len(ordered)):
            raise MachineError("no memory for bounds")

    def rule(self, address: int, *parts: Part, copies: bool = False) -> None:
        """What the function at `address` does with memory when watched code calls it. With `copies`, what is known of
        the bytes goes from its second argument to its first."""
        rule = _WatchRule(address=address, copies=copies)
        for n, part in enumerate(parts):
            rule.parts[n] = _Part(part.access, part.pointer, part.length, part.like, part.factor)
        if self._core.kobox_watch_rule(self._machine.handle, ctypes.byref(rule)):
            raise MachineError(f"no room for a rule at {address:#x}")
        self._ruled.append(address)

    def note_rule(self, address: int) -> None:
        """There is a rule of another kind at an address: `forget` takes it away."""
        self._ruled.append(address)

    def unrule(self, address: int) -> None:
        """Take all rules of an address away."""
        self._core.kobox_watch_unrule(self._machine.handle, address)

    def prints_into(self, address: int, buffer: int, size: int | None) -> None:
        """The function there prints into argument `buffer`, as many bytes as argument `size` says (None: any number).
        A probe with UNFIT is told only where not all of them may be written. Raises `MachineError`."""
        self._prints(_PrintRule(address, _LOOK_AT_ROOM, buffer, 255 if size is None else size, 0))

    def prints_by(self, address: int, format: int) -> None:
        """The function there prints by the format that argument `format` points to. A probe with UNFIT is told only
        of formats that `know_format` was not told of, and where a string may not be read. Raises `MachineError`."""
        self._prints(_PrintRule(address, _LOOK_AT_STRINGS, 0, 0, format))

    def _prints(self, rule: _PrintRule) -> None:
        if self._core.kobox_watch_prints(self._machine.handle, ctypes.byref(rule)):
            raise MachineError(f"no room for a rule at {rule.address:#x}")
        self._ruled.append(rule.address)

    def know_format(self, address: int, strings: Sequence[tuple[int, int]]) -> None:
        """The text of a format stays what it is; `strings` are those that it prints: the number of the argument behind
        the format, and how many bytes of it at most. At most MOST_STRINGS."""
        rows = (_FormatString * MOST_STRINGS)(*(_FormatString(*one) for one in strings))
        self._core.kobox_watch_format(self._machine.handle, ctypes.byref(_Format(address, len(strings), rows)))

    def forget_formats(self) -> None:
        """Other memory may lie where formats were."""
        self._core.kobox_watch_forget_formats(self._machine.handle)

    def restored(self) -> None:
        """The machine has gone back in time: functions that were entered will not return."""
        self._core.kobox_watch_restored(self._machine.handle)

    def leave(self) -> None:
        """Watch no code any more, and no bounds; marks and rules stay."""
        self._core.kobox_watch_leave(self._machine.handle)

    def forget(self) -> None:
        """Take everything away: code, marks, bounds, rules. Subscriptions stay."""
        for address in self._ruled:
            self._core.kobox_watch_unrule(self._machine.handle, address)
        self._ruled.clear()
        self._core.kobox_watch_forget(self._machine.handle)

    @property
    def from_module(self) -> bool:
        """In a probe at a function's entry that is told of all calls: whether watched code has called; then `caller` is
        where."""
        return bool(self._core.kobox_watch_from_module(self._machine.handle))

    @property
    def declined(self) -> bool:
        """In a probe at an allocator, or where memory is freed: whether the core leaves this call to the probe. Another
        probe at the same function may have wanted to be told."""
        return bool(self._core.kobox_watch_declined(self._machine.handle))

    @property
    def caller(self) -> int:
        """In a probe told by FROM_MODULE: where the watched code called, also if it did so by a jump at its end."""
        return int(self._core.kobox_watch_caller(self._machine.handle))

    @property
    def count(self) -> int:
        """Watched instructions executed since `forget`."""
        return int(self._core.kobox_watch_count(self._machine.handle))

    def stop_at(self, count: int) -> None:
        """Make `Machine.run` come back with Event.STOPPED when `count` is reached; 0: never."""
        self._core.kobox_watch_stop_at(self._machine.handle, count)

    @property
    def stack_limit(self) -> int:
        """How many bytes of a task's stack watched code may use before `deep_stacks` is told; 0: any number."""
        return self._stack_limit

    @stack_limit.setter
    def stack_limit(self, limit: int) -> None:
        self._stack_limit = limit
        self._stack_watched(bool(len(self.deep_stacks)))

    def _stack_watched(self, listened: bool) -> None:
        self._core.kobox_watch_stack(self._machine.handle, self._stack_limit if listened else 0)

    def referenced(
        self,
        objects: Sequence[tuple[int, int]],
        pages: tuple[int, int, int, int, int, int],
        skipped: Sequence[int] = (),
    ) -> list[int]:
        """How many words of RAM (255: or more) point into each of these (start, end), in order and apart. Of words in
        these objects only those count that lie in one that is pointed to from elsewhere.

        `pages` is where `struct page` is: start of them all, size of one, offsets of its count, type and head, and
        where the kernel's mapping of all RAM begins; what lies in free pages does not count, nor what lies in those
        `skipped` (physical page numbers).
        """
        numbers = ctypes.c_uint64 * len(objects)
        out = ctypes.create_string_buffer(len(objects))
        starts, ends = numbers(*(start for start, _ in objects)), numbers(*(end for _, end in objects))
        at, skips = (ctypes.c_uint64 * 6)(*pages), (ctypes.c_uint64 * len(skipped))(*skipped)
        self._core.kobox_watch_referenced(
            self._machine.handle, starts, ends, len(objects), out, at, skips, len(skipped)
        )
        return list(out.raw)

    def trace_accesses(self) -> None:
        """From now on, note which memory watched code touches, its stack left out, and functions with rules that it
        calls."""
        if self._core.kobox_race_trace(self._machine.handle):
            raise MachineError("no memory to trace accesses")

    def traced(self) -> list[TracedAccess]:
        """What was noted since `trace_accesses`, which ends."""
        out = (ctypes.c_uint64 * (_TRACED_WORDS * _TRACED))()
        count = self._core.kobox_race_traced(self._machine.handle, out, _TRACED)
        rows = (out[_TRACED_WORDS * n : _TRACED_WORDS * (n + 1)] for n in range(count))
        low = 0xFFFFFFFF
        return [
            TracedAccess(pc, address, size, Access(access & low), times, order & low, order >> 32, stack, access >> 32)
            for pc, address, size, access, times, order, stack in rows
        ]

    def hold_before(
        self,
        cpu: int | None,
        pc: int,
        start: int,
        end: int,
        *,
        blocks: int,
        wait: int = 0,
        skip: int = 0,
        stack: int = 0,
        split: bool = True,
        stops: bool = False,
        then: CodeAccess | None = None,
        store: CodeAccess | None = None,
    ) -> None:
        """Hold a CPU (None: whichever comes), once, before code at `pc`, on one `stack` (0: any), touches memory from
        `start` to `end`, after it has done so `skip` times. It is held until the others have executed `blocks` blocks,
        or the time of `wait` blocks is over (0: as many). With `split`, it then goes on as if it had read before the
        others wrote; with `stops`, `Machine.run` comes back with Event.STOPPED when it is held. `races` is told.

        Another CPU that comes to the access `then` meanwhile is held there in its turn, and the first one goes on. The
        `store`, of 8 bytes at most, that the CPU has executed before is not seen by the others until it goes on; it is
        held only if it has executed no fence since. Then `start` and `end` may be 0: `pc` is any instruction."""
        words = [-1 if cpu is None else cpu, stack, pc, start, end, skip, blocks, wait or blocks, split, stops]
        words += (then.pc, then.address, then.address + then.size) if then is not None else (0, 0, 0)
        words += store if store is not None else (0, 0, 0)
        hold = (ctypes.c_uint64 * len(words))(*words)
        if self._core.kobox_race_hold(self._machine.handle, hold):
            raise MachineError("no memory to hold a CPU")

    def hold_no_more(self) -> None:
        """Undo `hold_before` and `trace_accesses`."""
        self._core.kobox_race_off(self._machine.handle)

    def _report(self, what: int, pc: int, address: int, size: int, access: int, detail: int) -> int:
        try:
            if what == What.ASK_LOCAL:
                return next(filter(None, self.local_rooms.notify(pc, address, bool(size))), 0)
            if what == What.ASK_ALLOCATION_TRACE:
                return max(self.allocation_traces.notify(), default=0)
            if what == What.ASK_CONTEXT:
                return max(self.questions.notify(detail, size), default=0)
            report = WatchReport(What(what), pc, address, size, bool(access & 2), detail)
            if what in (What.HELD, What.RACE):
                self.races.notify(report)
                return 0
            if what == What.STACK:
                self.deep_stacks.notify(report)
                return 0
            answers = self.reports.notify(report)
            return int(bool(answers) and all(answers))
        except BaseException as error:
            self._machine.raise_from_callback(error)
            return 0
