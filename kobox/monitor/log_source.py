"""The kernel's log, line by line as it comes.

/dev/kmsg gives a record a read: `level,sequence,microseconds,flags;text` (Documentation/ABI/testing/dev-kmsg).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

_RECORD = 8192
_MOST_AT_ONCE = 2000


class KernelLine(NamedTuple):
    """A line of the log: `level` 0 (emergency) to 7 (debug), `time` in seconds since boot."""

    level: int
    time: float
    text: str


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
