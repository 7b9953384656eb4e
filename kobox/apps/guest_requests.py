"""What a program of a box asks of kobox: packages, and to be switched off.

    /usr/lib/kobox/ask VERB WORD…  --line-->  /run/kobox/ask (FIFO)  --worker-->  GuestRequests  -->  a handler
                                   <-------  /run/kobox/answer.PID: an exit status, then text  <--

Whoever loads modules in the box can forge a request: a line is bounded and split into plain words, requests are
counted, and a handler can do no more than its verb says.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

from kobox.box.guest.host_copy import make_directories
from kobox.box.guest.streams import Output
from kobox.errors import KoboxError

if TYPE_CHECKING:
    from kobox.box.box import Box

Handler: TypeAlias = Callable[[list[str]], str]
"""Does what was asked, given the words after the verb; the text to show. It may raise `KoboxError`."""

_DIRECTORY = "/run/kobox"
_ASK = f"{_DIRECTORY}/ask"
_MOST_BYTES = 4096  # PIPE_BUF: a line up to that is one write
_MOST_REQUESTS = 100
_LINE = re.compile(r"[a-z]+ \d{1,10}( [a-z0-9][a-z0-9+.:=~_/-]*)* ?", re.IGNORECASE)
_FAILED = 100  # apt's exit status for an error


class BoxSwitchedOffError(Exception):
    """A program of the box has run poweroff(8), or reboot(8)."""

    def __init__(self, *, again: bool) -> None:
        super().__init__("rebooted" if again else "switched off")
        self.again = again


class GuestRequests:
    """The requests of one box, served by `handlers`: a verb's name, and what does it."""

    def __init__(self, box: Box, handlers: Mapping[str, Handler]) -> None:
        self._box = box
        self._handlers = handlers
        self._text = bytearray()
        self._left = _MOST_REQUESTS
        make_directories(box, _DIRECTORY)
        with suppress(FileExistsError):
            box.syscall("mknod", _ASK, stat.S_IFIFO | 0o600, 0)
        # Read and write: a FIFO that always has a writer has no end.
        fd = box.syscall("open", _ASK, os.O_RDWR | os.O_CLOEXEC, 0)
        self._output = Output(box, fd, self._take)

    def _take(self, data: bytes) -> None:
        self._text += data[: max(0, _MOST_BYTES - len(self._text))]

    @property
    def waiting(self) -> bool:
        """Whether something was asked."""
        return b"\n" in self._text

    def serve(self) -> None:
        """Answer what was asked. Raises `BoxSwitchedOffError`."""
        lines = bytes(self._text).decode(errors="replace").split("\n")
        self._text.clear()
        for line in lines:
            if self._left > 0 and _LINE.fullmatch(line):
                self._left -= 1
                verb, ticket, *words = line.split()
                self._answer(ticket, *self._done(verb, words))

    def _done(self, verb: str, words: list[str]) -> tuple[int, str]:
        if verb in ("poweroff", "reboot"):
            raise BoxSwitchedOffError(again=verb == "reboot")
        handler = self._handlers.get(verb)
        if handler is None:
            return _FAILED, f"E: kobox cannot {verb}\n"
        try:
            return 0, handler(words)
        except KoboxError as error:
            return _FAILED, "".join(f"E: {line}\n" for line in str(error).splitlines())

    def _answer(self, ticket: str, status: int, text: str) -> None:
        place = f"{_DIRECTORY}/answer.{ticket}"
        with suppress(OSError):  # the box is full, or somebody made a directory of that name
            self._box.write_bytes(f"{place}.new", f"{status}\n{text}".encode())
            self._box.syscall("rename", f"{place}.new", place)

    def close(self) -> None:
        """Serve no more: whoever asks is told that nobody listens."""
        if self._box.alive:
            self._output.close()
            with suppress(OSError):
                self._box.syscall("unlink", _ASK)
