"""The guest's side of a box: kobox's own processes in it, the calls that they make, and which of them is the main one.

main process      makes the calls of `box.syscall`; when it is killed in one, another takes its place
a served program  while the kernel's request for /sbin/modprobe is answered, that program makes them instead
workers           make the calls of streams and shares, whatever else goes on
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from kobox.box.guest.heap import Arena
from kobox.box.guest.process import Limits, Process
from kobox.box.guest.scheduler import Processes
from kobox.box.guest.stream_worker import StreamWorkers
from kobox.box.guest.syscall import Argument, Calls
from kobox.errors import KoboxError
from kobox.machine.pc import Machine

# A shell that waits for a command: its PID, the descriptor of its input, and of each output [descriptor, number of the
# worker, its buffer].
SavedShell: TypeAlias = tuple[int, int, list[list[int]]]


class GuestSide:
    """What makes system calls in one box. `explain` is that of `Processes`; `begin` is called before each call of the
    main process."""

    def __init__(
        self, machine: Machine, explain: Callable[[], tuple[list[str], str]], begin: Callable[[], None]
    ) -> None:
        self._machine = machine
        self._begin = begin
        self.closed = False
        self.processes = Processes(machine, explain)
        self.calls = Calls(self.processes, Arena(machine, 0))
        self.workers = StreamWorkers(self.processes, self.calls, machine, ())
        self._main = self.processes.by_number[0]
        self.warm_shell: SavedShell | None = None
        self.started: list[object] = []  # programs that are not to end when nobody knows them
        self.is_serving = False  # a program that the kernel has run makes the calls
        self.requests: list[list[str]] = []  # the programs that the kernel has run, with their arguments

    @property
    def alive(self) -> bool:
        """Whether calls can still be made: the box is open, and its kernel has not died."""
        return not self.closed and not self.processes.dead

    def load(self, saved: dict[str, object], main: int, workers: Sequence[Sequence[int]]) -> None:
        """Be what the bookkeeping of a snapshot or checkpoint says: `Processes.save()`, the number of the main process,
        `StreamWorkers.save()`."""
        self.processes.load(saved)
        self._main = self.processes.by_number[main]
        self.calls = Calls(self.processes, Arena(self._machine, self.processes.space))
        self.workers = StreamWorkers(self.processes, self.calls, self._machine, workers)

    @property
    def main_number(self) -> int:
        """The number of the main process, for `load`."""
        return self._main.number

    def main(self) -> Process:
        """The process that makes calls now. Raises `KoboxError` when the box is closed."""
        self.must_be_open()
        if not self.processes.usable(self._main):
            self._main = self.processes.spawn()
        self._begin()
        return self._main

    def must_be_open(self) -> None:
        """Raise `KoboxError` when the box is closed."""
        if self.closed:
            raise KoboxError("the box is closed")

    def syscall(self, name: str, *arguments: Argument, limits: Limits | None = None) -> int:
        """As `Box.syscall`."""
        return self.calls.call(self.main(), name, arguments, limits)

    def read(self, address: int, size: int) -> bytes:
        """Memory of kobox's own processes; pages that are not there yet are brought in by the kernel, as for a
        program."""
        try:
            return self._machine.read(address, size, self.processes.space)
        except ValueError:
            self.syscall("madvise", address & -4096, size + (address & 4095) + 4095 & -4096, 22)  # MADV_POPULATE_READ
            return self._machine.read(address, size, self.processes.space)

    def write(self, address: int, data: bytes) -> None:
        """Write memory of kobox's own processes, as `read` reads it."""
        try:
            self._machine.write(address, data, self.processes.space)
        except ValueError:
            size = len(data) + (address & 4095) + 4095 & -4096
            self.syscall("madvise", address & -4096, size, 23)  # MADV_POPULATE_WRITE
            self._machine.write(address, data, self.processes.space)

    @contextmanager
    def serving(self, program: Process) -> Iterator[None]:
        """Have a program that the kernel has run make the calls: its memory is its own, and so is its heap."""
        before = self._main, self.calls, self.is_serving
        self._main, self.calls = program, Calls(self.processes, Arena(self._machine, program.space))
        try:
            self.is_serving = True
            yield
        finally:
            self._main, self.calls, self.is_serving = before
