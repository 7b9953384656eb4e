"""What the CPU may do when watched code calls the kernel, and the locks that this code holds
(`native/watch/context.c`), as Python sees it.

    context = ContextWatch(watch)
    context.open(CpuPlaces(count_at, 0, current_at, rcu_at), off_limit)
    context.rule(address_of_mutex_lock, Role.TAKES, kind=3, word=Word.OWNER, sleeps=Sleeps.ALWAYS)
    undo = context.asked.subscribe(answer)

The core notes what is taken and released, and asks only when there may be something to report, or to keep.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple

from kobox.machine.pc import MachineError
from kobox.machine.watch import Watch


class Role(IntEnum):
    """What a function, or an instruction of a module's, does (enum role in native/watch/watch.h)."""

    NONE = 0
    TAKES = 1
    TAKES_OR_FAILS = 2
    TRIES = 3
    OPENS = 4
    RELEASES = 5
    DOWNGRADES = 6
    CLOSES = 7
    TURNS_OFF = 8
    TURNS_ON = 9
    ENTERS_CALL = 10
    LEAVES_CALL = 11
    ENDS_TASK = 12
    FREES = 13


class Word(IntEnum):
    """How a lock itself says that it is held: not at all, by a number, by its owner."""

    NONE = 0
    NUMBER = 1
    OWNER = 2


class Sleeps(IntEnum):
    """Whether a function may sleep: never, always, when its flags have __GFP_DIRECT_RECLAIM."""

    NEVER = 0
    ALWAYS = 1
    BY_FLAGS = 2


class Question(IntEnum):
    """Why Python is asked (enum question in native/watch/watch.h)."""

    TRACE = 0  # a call chain is met for the first time: keep it
    SLEEP = 1  # a function that may sleep is called where nothing may
    DEADLOCK = 2  # a lock is taken whose word says that it is held
    NEW_ORDER = 3  # a lock is taken while others are held, in an order that was not seen before: 1 if it is new
    NEW_CONTEXT = 4  # a spinning lock is taken in a context where it was not taken before
    NOT_HELD = 5  # a lock is released that was not seen to be taken
    OFF = 6  # interrupts are turned on that were off for long
    OPEN = 7  # a system call begins or ends while something is held
    FREED = 8  # the memory that a lock lies in is freed


SPINS, IRQ, BH, INTERRUPTS, RESTORES = 1, 2, 4, 8, 16


class CpuPlaces(NamedTuple):
    """Where the state of the CPU stands. `preempt_count` and `current` (the task that runs) are offsets in each CPU's
    part: None where the task itself counts (`count_in_task` bytes behind its start), and where a register tells which
    task it is. `rcu` is the offset of task_struct's depth of RCU sections, 0 where it has none. `uncounted` has a bit
    for each number of a kind that forbids sleeping and that this kernel does not count."""

    preempt_count: int | None
    count_in_task: int
    current: int | None
    rcu: int
    uncounted: int = 0


class _Places(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("count", "count_in_task", "current", "rcu", "uncounted"))


class HeldLock(NamedTuple):
    """A lock that is held or a section that is open: the number of its kind, where it was taken (the caller, and the
    stack pointer then), virtual nanoseconds, and the state of the CPU right before."""

    address: int
    caller: int
    sp: int
    time: int
    preempt_count: int
    rcu: int
    kind: int
    interrupts: bool


class _Held(ctypes.Structure):
    _fields_ = (
        ("address", ctypes.c_uint64),
        ("caller", ctypes.c_uint64),
        ("sp", ctypes.c_uint64),
        ("time", ctypes.c_uint64),
        ("count", ctypes.c_uint32),
        ("rcu", ctypes.c_uint32),
        ("kind", ctypes.c_uint8),
        ("interrupts", ctypes.c_uint8),
    )

    def row(self) -> HeldLock:
        return HeldLock(
            self.address,
            self.caller,
            self.sp,
            self.time,
            self.count,
            self.rcu,
            self.kind,
            bool(self.interrupts),
        )


class _Rule(ctypes.Structure):
    _fields_ = (
        ("address", ctypes.c_uint64),
        ("offset", ctypes.c_uint32),
        ("role", ctypes.c_uint8),
        ("kind", ctypes.c_uint8),
        ("other", ctypes.c_uint8),
        ("flags", ctypes.c_uint8),
        ("word", ctypes.c_uint8),
        ("sleeps", ctypes.c_uint8),
        ("argument", ctypes.c_uint8),
        ("place", ctypes.c_uint8),
    )


_NOWHERE = (1 << 64) - 1
_AT_FUNCTION, _BARE = 0, 0xFF  # native/watch/watch.h
_MOST = 24  # locks on one stack (MAX_HELD in native/watch/context.c)
_MOST_IN_ALL = 256


class ContextWatch:
    """The record of what is held, of one machine's watcher. `Watch.forget` ends it."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._core, self._handle = watch.core, watch.machine.handle

    def open(self, places: CpuPlaces, off_limit: int | None) -> None:
        """Begin: interrupts may be off for `off_limit` nanoseconds. None: no question is asked, and what is held can be
        read at any time. Raises `MachineError` when there is no memory."""
        numbers = (_NOWHERE if place is None else place for place in places)
        limit = _NOWHERE if off_limit is None else off_limit
        if self._core.kobox_watch_context(self._handle, ctypes.byref(_Places(*numbers)), limit):
            raise MachineError("no memory for the record of locks")

    def subscribe(self, answer: Callable[[Question, int], int]) -> Callable[[], None]:
        """Have each question answered, by its kind and the address of the rule that it comes from. What this returns
        ends it."""
        return self._watch.questions.subscribe(lambda question, rule: answer(Question(question), rule))

    def rule(
        self,
        address: int,
        role: Role = Role.NONE,
        *,
        kind: int = 0,
        other: int = 0,
        flags: int = 0,
        word: Word = Word.NONE,
        offset: int = 0,
        sleeps: Sleeps = Sleeps.NEVER,
        argument: int = 0,
        entry: bool = True,
        own: bool = False,
        register: int | None = None,
    ) -> None:
        """What the function at an address does, or (`own`) the instruction of the module's: it takes or releases the
        lock whose address that `register` holds by its number, or restores the interrupt flags from it.

        `kind` is the number of the lock's kind, `other` that of what `Role.DOWNGRADES` makes of it, and with RESTORES
        that of interrupts turned off by the flags that the second argument has; `flags` of SPINS,
        IRQ and BH (the function turns interrupts or softirqs off itself), INTERRUPTS; `word`, `offset` bytes behind
        the lock's address, says who holds it; `argument` is the number of the argument with GFP flags or with what
        is freed. `entry` says that only jumps, calls and returns lead there. Raises `MachineError`.
        """
        place = _AT_FUNCTION if not own else _BARE if register is None else register + 1
        row = _Rule(address, offset, role, kind, other, flags, word, sleeps, argument, place)
        if self._core.kobox_watch_context_rule(self._handle, ctypes.byref(row), entry):
            raise MachineError(f"no room for a rule at {address:#x}")
        self._watch.note_rule(address)

    def reset(self) -> None:
        """Nobody holds anything: another life of the module begins."""
        self._core.kobox_watch_context_reset(self._handle)

    def base(self, count: int) -> None:
        """preempt_count is this outside of all sections from now on."""
        self._core.kobox_watch_context_base(self._handle, count)

    def event(self, *, since: bool = False) -> HeldLock:
        """In an answer: what it is asked about; with `since`, what had turned interrupts off."""
        row = _Held()
        self._core.kobox_watch_context_event(self._handle, ctypes.byref(row), since)
        return row.row()

    def held(self, stack: int) -> list[HeldLock]:
        """What is held by whoever runs on a stack, in the order of taking."""
        rows = (_Held * _MOST)()
        return [row.row() for row in rows[: self._core.kobox_watch_held(self._handle, stack, rows, _MOST)]]

    def all_held(self) -> list[HeldLock]:
        """What anybody holds, stack by stack, in the order of taking."""
        rows = (_Held * _MOST_IN_ALL)()
        return [row.row() for row in rows[: self._core.kobox_watch_held(self._handle, 0, rows, _MOST_IN_ALL)]]

    def holder(self, address: int) -> HeldLock | None:
        """Who holds a lock."""
        row = _Held()
        return row.row() if self._core.kobox_watch_holder(self._handle, address, ctypes.byref(row)) else None

    def drop(self, stack: int, kind: int | None = None) -> None:
        """On a stack nothing is held any more, or nothing of a kind."""
        self._core.kobox_watch_drop_held(self._handle, stack, -1 if kind is None else kind)
