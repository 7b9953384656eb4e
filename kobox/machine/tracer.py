"""Where the CPU comes into marked functions, comes back, and leaves traced code (`native/tracer.c`).

with CallTracer(machine, listener) as tracer:
    tracer.trace_code(start, end)          # listener(Passage.OUT, address): the first block outside, after one inside
    tracer.mark(function)                  # listener(Passage.MARK, address): a block begins there
    machine.run()
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from kobox.machine.native_core import TraceCallback, core_of
from kobox.machine.pc import Machine, MachineError

_ALWAYS, _DEEP = 1, 2


class Passage(IntEnum):
    """Why the listener is called (enum trace_reason in native/tracer.c)."""

    MARK = 1
    OUT = 2


class CallTracer:
    """Tells `listener(passage, address)` of marks and of the ways out of traced code until it is closed; a machine has
    one at a time. The listener is called from inside `Machine.run`, before the block at `address`: it may read memory
    and registers, and must not run the machine. What it raises ends that run and is raised there.

    Raises `MachineError` when the machine has a tracer already.
    """

    def __init__(self, machine: Machine, listener: Callable[[Passage, int], None]) -> None:
        self._machine = machine
        self._core = core_of(machine.arch.name)
        self._listener = listener
        self._callback = TraceCallback(self._reached)  # kept: the core holds a bare pointer to it
        if self._core.kobox_trace_open(machine.handle, self._callback):
            raise MachineError("calls in this machine are traced already, or there is no memory")
        self._is_open = True

    def close(self) -> None:
        """Tell no more."""
        if self._is_open:
            self._is_open = False
            self._core.kobox_trace_close(self._machine.handle)

    def __enter__(self) -> CallTracer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def mark(self, address: int, *, deep: bool = False) -> None:
        """Tell of each block that begins here; with `deep` only while `set_deep` is on. Raises `MachineError` after a
        million marks."""
        if self._core.kobox_trace_mark(self._machine.handle, address, _DEEP if deep else _ALWAYS):
            raise MachineError("there are a million marks already, or no memory")

    def unmark(self, address: int) -> None:
        """Undo `mark`."""
        self._core.kobox_trace_mark(self._machine.handle, address, 0)

    def trace_code(self, start: int, end: int, on: bool = True) -> None:
        """[start, end) is traced code, or no longer. Raises `MachineError` after 256 ranges."""
        if self._core.kobox_trace_code(self._machine.handle, start, end, on):
            raise MachineError("there are 256 ranges of traced code already")

    def set_deep(self, on: bool) -> None:
        """Whether marks that were set with `deep` count now."""
        self._core.kobox_trace_deep(self._machine.handle, on)

    def restored(self) -> None:
        """The machine has gone back in time."""
        self._core.kobox_trace_restored(self._machine.handle)

    def _reached(self, reason: int, address: int) -> None:
        try:
            self._listener(Passage(reason), address)
        except BaseException as error:
            self._machine.raise_from_callback(error)
