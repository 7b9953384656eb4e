"""The kernel's log, line by line as it comes.

/dev/kmsg gives a record a read: `level,sequence,microseconds,flags;text` (Documentation/ABI/testing/dev-kmsg).
"""

from __future__ import annotations

import errno
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

_RECORD = 8192
_MOST_AT_ONCE = 2000


class KernelLine(NamedTuple):
    """A line of the log: `level` 0 (emergency) to 7 (debug), `time` in seconds since boot."""

    level: int
    time: float
    text: str


def lines_of(lines: Iterable[KernelLine], module: str) -> list[str]:
    """Lines that name a module, with their times; `-` and `_` are the same in its name."""
    word = re.compile(rf"(?<![\w-]){re.escape(module).replace('_', '[_-]')}(?![\w-])")
    return [f"[{line.time:.3f}] {line.text}" for line in lines if word.search(line.text)]


class LogSource(Protocol):
    """Where lines come from."""

    def new_lines(self) -> list[KernelLine]:
        """The lines that have come since the last call, 2,000 at most."""

    @property
    def problem(self) -> str:
        """Why it cannot be read, "" when it can."""

    @property
    def lost(self) -> int:
        """How many times lines were dropped before they were read."""

    def fileno(self) -> int:
        """What becomes readable when a line has come, -1 for nothing."""

    def close(self) -> None:
        """Read no more."""


class DeviceLog:
    """This machine's log, from now on. `lost` counts records that the kernel had dropped before they were read."""

    def __init__(self, path: str = "/dev/kmsg") -> None:
        self.problem = ""
        self.lost = 0
        self._fd = -1
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._fd, 0, os.SEEK_END)
        except OSError as error:
            self.problem = f"{path}: {error.strerror}; lines of the log are not seen"
            self.close()

    def new_lines(self) -> list[KernelLine]:
        """See `LogSource`."""
        found: list[KernelLine] = []
        while self._fd >= 0 and len(found) < _MOST_AT_ONCE:
            try:
                record = os.read(self._fd, _RECORD)
            except OSError as error:
                if error.errno == errno.EPIPE:  # it was overwritten meanwhile
                    self.lost += 1
                    continue
                if error.errno not in (errno.EAGAIN, errno.EINTR):
                    self.problem = f"the kernel's log: {error.strerror}"
                break
            if not record:
                break
            if (line := _line(record)) is not None:
                found.append(line)
        return found

    def fileno(self) -> int:
        """See `LogSource`."""
        return self._fd

    def close(self) -> None:
        """Read no more."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class CommandLog:
    """The log that a program prints as /dev/kmsg has it, such as `ssh HOST cat /dev/kmsg`; from `since` on, in seconds
    since boot."""

    lost = 0

    def __init__(self, command: Sequence[str], since: float) -> None:
        self.problem = ""
        self._since = since
        self._rest = b""
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
            )
        except OSError as error:
            self.problem = f"{command[0]}: {error.strerror}; lines of the log are not seen"
        else:
            os.set_blocking(self.fileno(), False)

    def new_lines(self) -> list[KernelLine]:
        """See `LogSource`."""
        while self._process is not None and self._rest.count(b"\n") < _MOST_AT_ONCE:
            try:
                data = os.read(self.fileno(), 1 << 16)
            except BlockingIOError:
                break
            if not data:
                self.problem = "/dev/kmsg there cannot be read (any more): that takes root; no lines of it are seen"
                self.close()
                break
            self._rest += data
        *records, self._rest = self._rest.split(b"\n", _MOST_AT_ONCE)
        self._rest = self._rest if len(self._rest) < _MOST_AT_ONCE * _RECORD else b""
        lines = [line for record in records if (line := _line(record)) is not None]
        return [line for line in lines if line.time >= self._since]

    def fileno(self) -> int:
        """See `LogSource`."""
        if self._process is None or self._process.stdout is None:
            return -1
        return self._process.stdout.fileno()

    def close(self) -> None:
        """Read no more."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None


class BoxLog:
    """A box's log, from now on: `records()` are all that there are, in order (`box.log.records`)."""

    problem = ""
    lost = 0

    def __init__(self, records: Callable[[], Sequence[BoxRecord]]) -> None:
        self._records = records
        self._seen = len(records())

    def new_lines(self) -> list[KernelLine]:
        """See `LogSource`."""
        new = self._records()[self._seen : self._seen + _MOST_AT_ONCE]
        self._seen += len(new)
        return [KernelLine(one.level, one.time, line) for one in new for line in one.text.splitlines()]

    def fileno(self) -> int:
        """See `LogSource`."""
        return -1

    def close(self) -> None:
        """See `LogSource`."""


class BoxRecord(Protocol):
    """A record of a box's log."""

    @property
    def level(self) -> int:
        """0 to 7."""

    @property
    def time(self) -> float:
        """Seconds since boot."""

    @property
    def text(self) -> str:
        """What was printed."""


def _line(record: bytes) -> KernelLine | None:
    head, _, text = record.partition(b";")
    fields = head.split(b",")
    if len(fields) < 3 or not all(field.isdigit() for field in fields[:3]):
        return None
    if int(fields[0]) >> 3:  # no line of the kernel's: a program has written it
        return None
    return KernelLine(int(fields[0]) & 7, int(fields[2]) / 1e6, text.partition(b"\n")[0].decode(errors="replace"))
