"""A process outside the wall that writes files for one behind it: those that were named before, and no others.

the command ──fork──▶ writer        knows its files from the command line; parses nothing of a module
    │ raises the wall   ▲
    └─ path, content ───┘           answer: 0, or the errno

request   u16 length of the path, u64 length of the content, path, content       answer   u32 errno
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from kobox.atomic_file import write_file
from kobox.isolation.wall import die_with

MOST = 256 << 20
"""Bytes that one file may have."""

_HEAD, _ANSWER = struct.Struct("<HQ"), struct.Struct("<I")


class FileWriter:
    """Writes `files`, and in `directory` those whose names match `names`.

    Make it before the wall is raised. It ends with the process that made it.
    """

    def __init__(self, files: Iterable[Path], directory: Path | None = None, names: str = "") -> None:
        requests, self._requests = os.pipe()
        self._answers, answers = os.pipe()
        parent = os.getpid()
        if not os.fork():
            status = 1
            with suppress(BaseException):
                die_with(parent)
                os.close(self._requests)
                os.close(self._answers)
                _serve(requests, answers, frozenset(map(str, files)), directory, re.compile(names))
                status = 0
            os._exit(status)
        os.close(requests)
        os.close(answers)

    def write(self, path: Path, content: bytes) -> None:
        """Write a file as a whole or not at all. Raises `OSError`, which names the path."""
        name = os.fsencode(path)
        if len(content) > MOST:
            raise OSError(27, os.strerror(27), str(path))  # EFBIG
        data = memoryview(_HEAD.pack(len(name), len(content)) + name + content)
        while data:
            data = data[os.write(self._requests, data) :]
        (errno,) = _ANSWER.unpack(_exactly(self._answers, _ANSWER.size))
        if errno:
            raise OSError(errno, os.strerror(errno), str(path))


def _serve(requests: int, answers: int, files: frozenset[str], directory: Path | None, names: re.Pattern[str]) -> None:
    while True:
        try:
            length, size = _HEAD.unpack(_exactly(requests, _HEAD.size))
        except EOFError:
            return
        if size > MOST:
            return
        path = Path(os.fsdecode(_exactly(requests, length)))
        content = _exactly(requests, size)
        below = directory is not None and path.parent == directory and names.fullmatch(path.name) is not None
        answer = 0 if below or str(path) in files else 1  # EPERM
        try:
            if not answer and below:
                path.parent.mkdir(parents=True, exist_ok=True)
            if not answer:
                write_file(path, content, follow=not below)
        except OSError as error:
            answer = error.errno or 5
        os.write(answers, _ANSWER.pack(answer))


def _exactly(descriptor: int, size: int) -> bytes:
    """So many bytes. Raises `EOFError` at the end."""
    data = bytearray()
    while len(data) < size:
        piece = os.read(descriptor, min(size - len(data), 1 << 20))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)
