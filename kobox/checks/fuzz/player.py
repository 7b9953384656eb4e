"""Plays programs in a box."""

from __future__ import annotations

import errno
import os
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from kobox.box.guest.process import Limits
from kobox.checks.fuzz.ethtool import ANSWER, SIOCETHTOOL
from kobox.checks.fuzz.program import ExerciseStep, Program, system_call
from kobox.checks.fuzz.structures import ARENA, ARENA_SIZE, FILES
from kobox.errors import BoxTimeoutError, ProcessDiedError

if TYPE_CHECKING:
    from kobox.box.box import Box
    from kobox.box.guest.box_process import BoxProcess
    from kobox.box.guest.syscall import Argument

_ABSENT = 8  # times that a path had no device
_AIO = 0.1  # virtual seconds in which a request can be completed
_UNDONE: dict[str, tuple[Any, ...]] = {"mount": ("umount2", 1, 2), "mkdir": ("rmdir", 0)}
"""By a call, what undoes it: its name, which argument of the call it takes, and others (MNT_DETACH)."""
_MOUNTED = 8  # times that one place is unmounted at most
_TIOCGPTPEER = 0x5441  # include/uapi/asm-generic/ioctls.h
_LIMITS = Limits(timeout=0.5, cpu=3.0)  # of one call, in virtual seconds


class Steps:
    """An exercise that plays programs: `Steps([ExerciseStep("open", 0, ("/dev/hello", 2)), …])`."""

    def __init__(self, *programs: Iterable[ExerciseStep | tuple[Any, ...]]) -> None:
        self.programs = [tuple(ExerciseStep(*step) for step in program) for program in programs]

    def __call__(self, box: Box) -> None:
        with Player(box) as player:
            for program in self.programs:
                player.play(program)


class Player:
    """Plays programs in a box, in a process of its own: a call that does not come back costs that process."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self._process: BoxProcess | None = None
        self._slots: dict[int, int] = {}
        self._absent: Counter[str] = Counter()  # how often a path had no device
        self.calls = 0
        self.abandoned = 0

    def __enter__(self) -> Player:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._box.alive:
            self._process.kill()

    def play(self, program: Program) -> None:
        """Make the calls of one program, whatever they answer, and close its files. Raises what kills the box or a
        process."""
        try:
            for step in program:
                with suppress(OSError):
                    self._step(step)
            for fd in self._slots.values():
                with suppress(OSError):
                    self._call("close", fd)
            self._undo(program)
        finally:
            self._slots.clear()

    def _undo(self, program: Program) -> None:
        """Unmount what a program has mounted, and remove the directories that it has made: a program that was changed
        may have lost the steps that do so, and what is mounted keeps the module."""
        for step in reversed(program):
            if step.call == "call" and step.arguments[0] in _UNDONE:
                name, *arguments = step.arguments
                undo, at, *more = _UNDONE[name]
                with suppress(OSError):
                    for _ in range(_MOUNTED if name == "mount" else 1):
                        self._call(undo, arguments[at], *more)

    def _step(self, step: ExerciseStep) -> None:
        if step.call == "open":
            if step.slot in self._slots:
                self._call("close", self._slots.pop(step.slot))
            self._slots[step.slot] = self._open(*step.arguments)
        elif step.call == "socket":
            self._slots[step.slot] = self._call("socket", *step.arguments)
        elif step.call == "mknod":
            self._call("mknod", *step.arguments)
        elif step.call == "call":
            self._call(*step.arguments)
        elif step.call == "make":
            self._slots[step.slot] = self._call(*step.arguments)
        elif step.call == "accept":
            (listens,) = step.arguments
            if listens in self._slots:
                self._slots[step.slot] = self._call("accept4", self._slots[listens], 0, 0, 0)
        elif step.call == "peer":
            (master,) = step.arguments
            if master in self._slots:
                flags = os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK
                self._slots[step.slot] = self._call("ioctl", self._slots[master], _TIOCGPTPEER, flags)
        elif step.call == "sleep":
            self._box.sleep(*step.arguments)
        elif step.slot in self._slots:
            fd = self._slots.pop(step.slot) if step.call == "close" else self._slots[step.slot]
            if step.call in ("mmap", "splice", "unsplice", "aio", "ethtool"):
                getattr(self, f"_{step.call}")(fd, *step.arguments)
            elif step.call == "use":
                name, *arguments = step.arguments
                self._call(name, fd, *arguments)
            elif step.call == "keyctl":
                operation, *arguments = step.arguments
                self._call("keyctl", operation, fd, *arguments)
            else:
                name, given = system_call(step, fd)
                self._call(name, *given)

    def _open(self, path: str, flags: int) -> int:
        """Open a file; one that is not there in the end (ENXIO: a number without a device) is not asked for again and
        again, as the kernel asks for a module each time."""
        if self._absent[path] >= _ABSENT:
            self.calls += 1
            raise OSError(errno.ENXIO, "absent", path)
        try:
            return self._call("open", path, flags | os.O_CLOEXEC, 0)
        except OSError as error:
            self._absent[path] += error.errno == errno.ENXIO
            raise

    def _mmap(self, fd: int, length: int, protection: int, flags: int, offset: int) -> None:
        """Map it, have the kernel bring each page in (its fault handler runs), and take it away: the last page first,
        which makes two areas of one (open() of its vm_operations_struct)."""
        address = self._call("mmap", 0, length, protection, flags, fd, offset)
        process = self._process
        try:  # MADV_POPULATE_WRITE, MADV_POPULATE_READ
            self._call("madvise", address, min(length + 4095 & -4096, 1 << 16), 23 if protection & 2 else 22)
        finally:
            for start in (address + length - 1 & -4096, address):
                if process is not None and process is self._process and process.alive and self._box.alive:
                    self._call("munmap", start, address + length - start)

    def _splice(self, fd: int, size: int) -> None:
        """splice(2) of so many bytes from a pipe to the file."""
        with self._pipe() as (out, into):
            self._call("write", into, b"k" * size, size)
            self._call("splice", out, 0, fd, 0, size, 2)  # SPLICE_F_NONBLOCK

    def _unsplice(self, fd: int, size: int) -> None:
        """splice(2) of so many bytes from the file to a pipe."""
        with self._pipe() as (_, into):
            self._call("splice", fd, 0, into, 0, size, 2)

    @contextmanager
    def _pipe(self) -> Iterator[tuple[int, int]]:
        ends = bytearray(8)
        self._call("pipe2", ends, os.O_NONBLOCK | os.O_CLOEXEC)
        out, into = struct.unpack("<ii", ends)
        try:
            yield out, into
        finally:
            for end in (out, into):
                with suppress(OSError):
                    self._call("close", end)

    def _aio(self, fd: int, opcode: int, size: int) -> None:
        """One request of io_submit(2): `opcode` is IOCB_CMD_PREAD (0) or IOCB_CMD_PWRITE (1); then time passes."""
        context = bytearray(8)
        self._call("io_setup", 4, context)
        number = int.from_bytes(context, "little")
        request, data = ARENA + ARENA_SIZE // 2, ARENA + ARENA_SIZE // 4
        iocb = struct.pack("<QIIHhIQQqQII", 1, 0, 0, opcode, 0, fd, data, size, 0, 0, 0, 0)
        self._place(request, iocb + struct.pack("<Q", request))
        try:
            self._call("io_submit", number, 1, request + len(iocb))
            self._box.sleep(_AIO)
            self._call("io_getevents", number, 0, 4, bytearray(128), bytes(16))
        finally:
            self._call("io_destroy", number)

    def _ethtool(self, fd: int, name: str, command: bytes) -> None:
        """One command of ethtool(8) on a network interface, in struct ifreq by its pointer."""
        place = ARENA + ARENA_SIZE // 2
        self._place(place, command.ljust(ANSWER, b"\0"))
        asked = name.encode().ljust(16, b"\0") + struct.pack("<Q", place)
        self._call("ioctl", fd, SIOCETHTOOL, bytearray(asked.ljust(40, b"\0")))

    def _place(self, address: int, data: bytes) -> None:
        """Put bytes into the process's memory: by way of a file, as there is no system call for it."""
        file = self._call("open", "/tmp/kobox-placed", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        self._call("write", file, data, len(data))
        self._call("pread64", file, address, len(data), 0)
        self._call("close", file)

    @staticmethod
    def _open_files(process: BoxProcess) -> None:
        """Files of the usual kinds under the numbers of FILES, for requests that are given one."""
        made: list[int] = []
        with suppress(OSError):
            made.append(process.syscall("eventfd2", 0, 0))
            made.append(process.syscall("open", "/dev/null", os.O_RDWR, 0))
            made.append(process.syscall("socket", 1, 1, 0))
            made.append(process.syscall("open", "/tmp", os.O_RDONLY, 0))
        for number, fd in zip(FILES, made, strict=False):
            with suppress(OSError):
                process.syscall("dup2", fd, number)

    def _call(self, name: str, *arguments: Argument) -> int:
        """A call of this player's process; one that blocks is abandoned with its process. Raises `OSError`."""
        if self._process is None or not self._process.alive:
            self._process = self._box.process()
            with suppress(OSError):  # PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS
                self._process.syscall("mmap", ARENA, ARENA_SIZE, 3, 0x32, -1 & (1 << 64) - 1, 0)
            self._open_files(self._process)
        self.calls += 1
        try:
            return self._process.syscall(name, *arguments, limits=_LIMITS)
        except BoxTimeoutError:
            self.abandoned += 1
            process, self._process = self._process, None
            process.kill()
            raise OSError(110, "abandoned: it did not come back") from None
        except ProcessDiedError:
            self._process = None
            raise
