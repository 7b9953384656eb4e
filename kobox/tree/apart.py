"""Work done in another process: fork, and its answer by a pipe.

The standard library's pools take longer to start than a whole run of depmod takes. A fork is only safe while this
process has one thread; with more, the work is done in place.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable


class Apart:
    """A function running in a child process that answers with bytes; or right here if that is wanted or safer."""

    def __init__(self, function: Callable[[], bytes], *, here: bool = False) -> None:
        self._pid = 0
        self._answer = b""
        if here or not can_fork():
            self._answer = function()
            return
        self._read, write = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            _answer_and_exit(function, write)
        os.close(write)

    def result(self) -> bytes:
        """Wait for the answer. Raises `ChildProcessError` when the child died of an error (its text is told)."""
        if not self._pid:
            return self._answer
        parts = []
        while part := os.read(self._read, 1 << 20):
            parts.append(part)
        os.close(self._read)
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        self._answer = b"".join(parts)
        if status:
            raise ChildProcessError(self._answer.decode("utf-8", "replace") or f"a worker ended with status {status}")
        return self._answer


def can_fork() -> bool:
    """Whether this process may fork: it has one thread."""
    return hasattr(os, "fork") and threading.active_count() == 1


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0))


def _answer_and_exit(function: Callable[[], bytes], write: int) -> None:
    """The child's whole life: no exit handlers, no flushing of what the parent has buffered."""
    status = 1
    try:
        try:
            answer = function()
            status = 0
        except BaseException as error:
            answer = repr(error).encode()
        view = memoryview(answer)
        while view:
            view = view[os.write(write, view) :]
    finally:
        os._exit(status)
