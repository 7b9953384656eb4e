"""A debugger's view of the CPU: every instruction counted, breakpoints, watched bytes (`native/stepper.c`).

with Stepper(machine) as stepper:
    stepper.listener = lambda stop: print(stop)        # called before the instruction, from inside `Machine.run`
    stepper.set_breakpoint(address)
    stepper.stop_after(1)                              # and before the next instruction
    machine.run()
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, IntFlag

from kobox.machine.native_core import FOREVER, StepCallback, core_of
from kobox.machine.pc import Machine, MachineError


class StopReason(IntEnum):
    """Why the listener is called (enum stop_reason in native/stepper.c)."""

    NONE = 0
    COUNT = 1
    BREAKPOINT = 2
    WATCHED = 3
    RANGE = 4


class Touch(IntFlag):
    """What a watched byte is watched for."""

    WRITES = 1
    READS = 2


@dataclass(frozen=True, slots=True)
class Stop:
    """The CPU is before the instruction at `pc`, the one with number `count`; `watched` is the start of the watched
    range that the instruction before it has touched, else 0."""

    reason: StopReason
    pc: int
    count: int
    watched: int


class Stepper:
    """Looks at every instruction of a machine until it is closed; a machine has one at a time.

    The same run has the same counts, whoever looks at it: the listener is called from inside `Machine.run`, and may
    read and write memory and registers, but not run the machine. What it raises ends that run and is raised there.
    Raises `MachineError` when the machine has a stepper already.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._core = core_of(machine.arch.name)
        self.listener: Callable[[Stop], None] = lambda stop: None
        self._callback = StepCallback(self._reached)  # kept: the core holds a bare pointer to it
        if self._core.kobox_step_open(machine.handle, self._callback):
            raise MachineError("the machine is under a debugger already, or there is no memory")
        self._is_open = True

    def close(self) -> None:
        """Look no more: the machine runs at full speed again."""
        if self._is_open:
            self._is_open = False
            self._core.kobox_step_close(self._machine.handle)

    def __enter__(self) -> Stepper:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def count(self) -> int:
        """How many instructions have begun."""
        return int(self._core.kobox_step_count(self._machine.handle))

    def rewound(self, count: int) -> None:
        """The machine was restored to a state in which so many instructions had begun."""
        self._core.kobox_step_rewound(self._machine.handle, count)

    def run_free(self) -> None:
        """Stop for breakpoints and watched bytes only."""
        self._until(0)

    def stop_at(self, count: int) -> None:
        """Stop before the instruction with this number too."""
        self._until(count)

    def stop_after(self, steps: int) -> None:
        """Stop after so many instructions too."""
        self._until(self.count + steps)

    def stop_outside(self, start: int, end: int) -> None:
        """Stop before the first instruction outside [start, end) too; interrupts that come between do not count."""
        self._until(0, start, end)

    def search(self, before: int) -> None:
        """Call the listener at the instruction with number `before` only, and remember what came on the way there:
        see `last`."""
        self._until(before, quiet=True)

    def _until(self, count: int, start: int = 0, end: int = 0, *, quiet: bool = False) -> None:
        self._core.kobox_step_until(self._machine.handle, count & FOREVER, start, end, quiet)

    @property
    def last(self) -> Stop | None:
        """The last breakpoint or watched byte of a `search`, or None."""
        out = (ctypes.c_uint64 * 4)()
        self._core.kobox_step_last(self._machine.handle, out)
        count, reason, pc, watched = out
        return Stop(StopReason(reason), pc, count, watched) if reason else None

    def set_breakpoint(self, address: int, on: bool = True) -> None:
        """Stop before the instruction at `address`, or no longer. Raises `MachineError` after 4096 of them."""
        if self._core.kobox_step_break(self._machine.handle, address & FOREVER, on):
            raise MachineError("there are 4096 breakpoints already")

    def watch(self, address: int, size: int, access: Touch, on: bool = True) -> None:
        """Stop after an instruction that touches one of these bytes of virtual memory, or no longer. Raises
        `MachineError` when there are too many."""
        if self._core.kobox_step_watch(self._machine.handle, address & FOREVER, size, int(access), on):
            raise MachineError("there are 256 watched ranges already")

    def _reached(self, reason: int, pc: int, watched: int) -> None:
        try:
            self.listener(Stop(StopReason(reason), pc, self.count, watched))
        except BaseException as error:
            self._machine.raise_from_callback(error)
