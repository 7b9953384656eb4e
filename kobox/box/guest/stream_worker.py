"""Processes of kobox that each serve one stream of a box: a pipe, a terminal, /dev/fuse.

A worker sleeps in the kernel, in read(2) or write(2), until there is something to do; nothing polls.
"""

from __future__ import annotations

import signal
import struct
from collections.abc import Callable, Iterable, Sequence

from kobox.box.guest.process import Process, Script
from kobox.box.guest.scheduler import Processes
from kobox.box.guest.syscall import Calls
from kobox.machine.native_core import FOREVER
from kobox.machine.pc import Machine

CHUNK = 1 << 16  # bytes of a worker's buffer, and how much is read or written at once


class StreamWorker:
    """A process that serves one stream: it has a buffer of its own in the box."""

    def __init__(self, processes: Processes, machine: Machine, process: Process, buffer: int) -> None:
        self._processes = processes
        self._machine = machine
        self.process = process
        self.buffer = buffer

    def put(self, data: bytes, offset: int = 0) -> None:
        """Write to its buffer."""
        self._machine.write(self.buffer + offset, data, self._processes.space)

    def get(self, size: int, offset: int = 0) -> bytes:
        """What a call has left in its buffer."""
        return self._machine.read(self.buffer + offset, size, self._processes.space)


class StreamWorkers:
    """The workers of a box: those that are free are used again."""

    def __init__(self, processes: Processes, calls: Calls, machine: Machine, saved: Iterable[Sequence[int]]) -> None:
        self._processes = processes
        self._calls = calls
        self._machine = machine
        numbers = processes.by_number
        self._free = [self.at(number, buffer) for number, buffer in saved if number in numbers]

    def save(self) -> list[list[int]]:
        """The free ones as plain data: [number, buffer] each."""
        return [[worker.process.number, worker.buffer] for worker in self._free]

    def at(self, number: int, buffer: int) -> StreamWorker:
        """A worker that a snapshot has: the number of its process, the address of its buffer."""
        return StreamWorker(self._processes, self._machine, self._processes.by_number[number], buffer)

    def make(self, size: int = CHUNK) -> StreamWorker:
        """A new one, with a buffer of `size` bytes."""
        process = self._processes.spawn()
        flags = 0x22 | 0x2000 | 0x8000  # MAP_PRIVATE MAP_ANONYMOUS MAP_LOCKED MAP_POPULATE
        buffer = self._calls.call(process, "mmap", (0, size, 3, flags, FOREVER, 0))
        # A reader that has gone is an error of write(2), and no reason to die.
        self._calls.call(process, "rt_sigprocmask", (0, struct.pack("<Q", 1 << signal.SIGPIPE - 1), None, 8))
        return StreamWorker(self._processes, self._machine, process, buffer)

    def begin(self, script: Callable[[StreamWorker], Script]) -> StreamWorker | None:
        """Have a worker follow a script; it is free again when that ends. None where that has ended already, since it
        makes no call."""
        worker = self._free.pop() if self._free else self.make()
        self._processes.follow(worker.process, self._whole(worker, script))
        return None if worker in self._free else worker

    def resume(self, worker: StreamWorker, script: Callable[[StreamWorker], Script]) -> None:
        """Have a worker follow a script whose first call is under way, in a box that was resumed."""
        begun = self._whole(worker, script)
        next(begun)
        self._processes.resume_script(worker.process, begun)

    def stop(self, worker: StreamWorker) -> None:
        """End a worker that is in the middle of a call."""
        worker.process.script = None
        self._processes.kill(worker.process)

    def _whole(self, worker: StreamWorker, script: Callable[[StreamWorker], Script]) -> Script:
        yield from script(worker)
        self._free.append(worker)
