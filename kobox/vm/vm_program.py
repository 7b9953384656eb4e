"""A program of a virtual machine, and the terminal or the pipes that it talks through.

    keyboard, files  -->  VmProgram.write  -->  pty or pipe  -->  the program
    screen, files    <--  VmProgram.read   <--  pty or pipes <--

Everything is a system call of the machine's first process, which holds the other ends. Source: pty(7), poll(2).
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Mapping

from kobox.vm.virtual_machine import VirtualMachine

_CHUNK = 1 << 15
_TIOCSPTLCK, _TIOCGPTN, _TIOCSWINSZ = 0x40045431, 0x80045430, 0x5414  # ioctl_tty(2)
_POLLIN, _POLLHUP, _POLLERR = 1, 16, 8
_F_SETFL, _WNOHANG = 4, 1
OUT, ERR = 1, 2
"""Where a program's output comes from; a terminal has the first alone."""


class VmProgram:
    """`sh -c script` in the machine: on a terminal of `window` (rows, columns), else with three pipes.

    Raises `OSError` as the machine's kernel does.
    """

    def __init__(
        self,
        machine: VirtualMachine,
        script: str,
        environment: Mapping[str, str],
        *,
        window: tuple[int, int] | None = None,
        directory: str = "/root",
    ) -> None:
        self._machine = machine
        self._status: int | None = None
        self._ends: dict[int, int] = {}  # of its output: where they come from, by our descriptors
        words = self._terminal(window) if window is not None else self._pipes()
        machine.call("chdir", directory)
        try:
            self.pid = machine.spawn("/bin/sh", ["sh", "-c", f"{words}{script}"], environment)
        finally:
            machine.call("chdir", "/")
            self._let_theirs_go()

    def _terminal(self, window: tuple[int, int]) -> str:
        call, number = self._machine.call, bytearray(4)
        self._input = call("open", "/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC, 0)
        self._ends, self._theirs = {self._input: OUT}, list[int]()
        call("ioctl", self._input, _TIOCSPTLCK, bytes(4))
        call("ioctl", self._input, _TIOCGPTN, number)
        self.resize(*window)
        return f"exec <>/dev/pts/{int.from_bytes(number, 'little')} >&0 2>&1; "

    def _pipes(self) -> str:
        (their_in, self._input), (out, their_out), (err, their_err) = (self._pipe() for _ in range(3))
        self._ends, self._theirs = {out: OUT, err: ERR}, [their_in, their_out, their_err]
        for number, descriptor in enumerate(self._theirs):  # the child inherits them; the first process needs none
            self._machine.call("dup3", descriptor, number, 0)
        for descriptor in (out, err, self._input):
            self._machine.call("fcntl", descriptor, _F_SETFL, os.O_NONBLOCK)
        return ""

    def _let_theirs_go(self) -> None:
        """The program has its ends: the first process keeps none, else no pipe of theirs would ever end."""
        if self._theirs:
            nothing = self._machine.call("open", "/dev/null", os.O_RDWR | os.O_CLOEXEC, 0)
            for number in range(3):
                self._machine.call("dup3", nothing, number, 0)
            for descriptor in (nothing, *self._theirs):
                self._machine.call("close", descriptor)

    def _pipe(self) -> tuple[int, int]:
        ends = bytearray(8)
        self._machine.call("pipe2", ends, os.O_CLOEXEC)
        first, second = struct.unpack("<2i", ends)
        return first, second

    def resize(self, rows: int, columns: int) -> None:
        """The terminal has another size."""
        self._machine.call("ioctl", self._input, _TIOCSWINSZ, struct.pack("<4H", rows, columns, 0, 0))

    def write(self, data: bytes) -> int:
        """Give it input; how many bytes it takes now. What nobody will read any more counts as taken."""
        try:
            return self._machine.call("write", self._input, data[:4096], min(len(data), 4096))
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno in (errno.EPIPE, errno.EIO, errno.EBADF):
                return len(data)
            raise

    def end_input(self) -> None:
        """There is no more input: the end of a pipe, Ctrl-D on a terminal."""
        if self._input in self._ends:
            self.write(b"\x04")
        elif self._input >= 0:
            self._machine.call("close", self._input)
            self._input = -1

    def read(self, milliseconds: int) -> list[tuple[int, bytes]]:
        """What it has written, with where it comes from (`OUT`, `ERR`); waits so long where there is nothing."""
        if not self._ends:
            return []
        table = bytearray(b"".join(struct.pack("<ihh", end, _POLLIN, 0) for end in self._ends))
        self._machine.call("poll", table, len(self._ends), milliseconds)
        found = list[tuple[int, bytes]]()
        for end, _, events in list(struct.iter_unpack("<ihh", table)):
            if events & (_POLLIN | _POLLHUP | _POLLERR) and (data := self._read(end)):
                found.append((self._ends[end], data))
            elif events & (_POLLHUP | _POLLERR):
                self._forget(end)
        return found

    def _read(self, end: int) -> bytes:
        chunk = bytearray(_CHUNK)
        try:
            count = self._machine.call("read", end, chunk, len(chunk))
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EIO):
                return b""
            raise
        return bytes(chunk[:count])

    def _forget(self, end: int) -> None:
        del self._ends[end]
        self._machine.call("close", end)
        if end == self._input:
            self._input = -1

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        if self._status is None:
            status = bytearray(4)
            if self._machine.call("wait4", self.pid, status, _WNOHANG, None) == self.pid:
                self._status = os.waitstatus_to_exitcode(int.from_bytes(status, "little"))
        return self._status

    def close(self) -> None:
        """Hang up."""
        for end in list(self._ends):
            self._forget(end)
        if self._input >= 0:
            self._machine.call("close", self._input)
            self._input = -1
