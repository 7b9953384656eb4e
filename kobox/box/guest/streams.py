"""The streams of a program in a box: what it writes is read, and what it reads is written, by workers.

Output   read(2) by a worker  -> kept until somebody takes it, or handed to a sink
Input    what was put         -> write(2) by a worker, as fast as the program takes it
PseudoTerminal                   the master side of a pseudo-terminal: one of each
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from kobox.box.booted import BootedKernel
from kobox.box.guest.process import Script
from kobox.box.guest.stream_worker import CHUNK as _CHUNK
from kobox.box.guest.stream_worker import StreamWorker

# A stream that holds so much unread is not read further: the program then waits, as for any slow reader.
HIGH_WATER = 1 << 20


class Output:
    """What a program writes to one descriptor: read by a worker, kept until somebody takes it, or handed to `sink`."""

    def __init__(
        self,
        box: BootedKernel,
        fd: int,
        sink: Callable[[bytes], object] | None = None,
        under_way: StreamWorker | None = None,
    ) -> None:
        self._box = box
        self._fd = fd
        self._sink = sink
        self.data = bytearray()
        self.ended = False
        self.limit = HIGH_WATER
        self._worker: StreamWorker | None = None
        if under_way is None:
            self._start()
        else:
            self._worker = under_way
            self._box.guest.workers.resume(under_way, self._read)

    def _start(self) -> None:
        if self._worker is None and not self.ended:
            self._worker = self._box.guest.workers.begin(self._read)

    def save(self) -> list[int]:
        """[descriptor, number and buffer of the worker that reads it]; it must be waiting for its program."""
        assert self._worker is not None
        return [self._fd, self._worker.process.number, self._worker.buffer]

    def _read(self, worker: StreamWorker) -> Script:
        while len(self.data) < self.limit:
            count = yield "read", (self._fd, worker.buffer, _CHUNK)
            if count <= 0:  # the end; EIO when the last one has closed a terminal
                self.ended = True
                yield "close", (self._fd,)
                break
            data = worker.get(min(count, _CHUNK))
            if self._sink is not None:
                self._sink(data)
            else:
                self.data += data
        self._worker = None

    def take(self, size: int = -1) -> bytes:
        """Up to `size` bytes of what is there now."""
        size = len(self.data) if size < 0 else min(size, len(self.data))
        data = bytes(self.data[:size])
        del self.data[:size]
        if len(self.data) < self.limit:
            self._start()
        return data

    def close(self) -> None:
        """Read no more. A program that goes on writing gets SIGPIPE."""
        if self._worker is not None:
            self._box.guest.workers.stop(self._worker)
            self._worker = None
        if not self.ended:
            self.ended = True
            self._box.syscall("close", self._fd)


class Input:
    """What a program reads from one descriptor: written by a worker as fast as the program takes it."""

    def __init__(self, box: BootedKernel, fd: int) -> None:
        self._box = box
        self.fd = fd
        self.data = bytearray()
        self.closing = False
        self.closed = False
        self.broken = False  # nobody reads it any more
        self._worker: StreamWorker | None = None

    def put(self, data: bytes) -> None:
        """Have it written; the call does not wait."""
        if not self.broken:
            self.data += data
            self._start()

    def finish(self) -> None:
        """Close it once everything is written."""
        self.closing = True
        if not self.closed:
            self._start()

    def _start(self) -> None:
        if self._worker is None and not self.closed:
            self._worker = self._box.guest.workers.begin(self._write)

    def _write(self, worker: StreamWorker) -> Script:
        while self.data and not self.broken:
            chunk = bytes(self.data[:_CHUNK])
            worker.put(chunk)
            count = yield "write", (self.fd, worker.buffer, len(chunk))
            if count < 0:
                self.broken = True
                self.data.clear()
            del self.data[: max(count, 0)]
        if self.closing:
            self.closed = True
            yield "close", (self.fd,)
        self._worker = None

    def close(self) -> None:
        """Give up what is not written."""
        if self._worker is not None:
            self._box.guest.workers.stop(self._worker)
            self._worker = None
        if not self.closed:
            self.closed = self.closing = True
            self._box.syscall("close", self.fd)


class PseudoTerminal:
    """The master side of a pseudo-terminal of the box: what a terminal emulator holds."""

    def __init__(self, box: BootedKernel, fd: int, sink: Callable[[bytes], object] | None) -> None:
        self._box = box
        self.fd = fd
        self.input = Input(box, fd)
        self.output = Output(box, box.syscall("fcntl", fd, 1030, 0), sink)  # F_DUPFD_CLOEXEC: each closes its own

    def resize(self, rows: int, columns: int) -> None:
        """Tell the program how large the window is: it gets SIGWINCH."""
        self._box.syscall(
            "ioctl", self.fd, self._box.arch.abi.terminal.tiocswinsz, struct.pack("<4H", rows, columns, 0, 0)
        )

    def foreground(self) -> int:
        """The process group that has the terminal."""
        group = bytearray(4)
        self._box.syscall("ioctl", self.fd, self._box.arch.abi.terminal.tiocgpgrp, group)
        return int(struct.unpack("<i", group)[0])

    def close(self) -> None:
        """Hang up: the session gets SIGHUP."""
        self.output.close()
        self.input.close()
