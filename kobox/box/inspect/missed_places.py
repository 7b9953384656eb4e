"""Places that a process behind a wall had to look up, and could not keep: the next process keeps them.

    places               what is kept (`kobox.box.inspect.layout_cache`)
    places-missed        16 KiB: one line a name, "variable NAME" or "member STRUCTURE.MEMBER", then zeros

The file is mapped before the wall is raised, and has its size for good: whoever is behind the wall can write 16 KiB of
names there, and nothing else. A name is only ever looked up in the kernel's own tables.
"""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_SIZE = 16 << 10
_LINE = re.compile(r"(variable|member) ([A-Za-z_][A-Za-z0-9_]{0,63}(?:\.[A-Za-z_][A-Za-z0-9_]{0,63}){0,4})")


class MissedPlaces:
    """The names in the file `path`, which is made where there is none. Raises `OSError`."""

    def __init__(self, path: Path) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(fd).st_size != _SIZE:
                os.ftruncate(fd, _SIZE)  # it never shrinks while another has it mapped
            self._memory = mmap.mmap(fd, _SIZE)
        finally:
            os.close(fd)

    def take(self) -> Iterator[tuple[str, str]]:
        """Each name with its kind, "variable" or "member"; the file is empty afterwards."""
        if not self._memory[0]:
            return
        lines = self._memory[:].decode("ascii", "replace").split("\n")
        self._memory[:] = bytes(_SIZE)
        for line in lines[:-1]:
            if found := _LINE.fullmatch(line):
                yield found[1], found[2]

    def add(self, kind: str, name: str) -> None:
        """Put a name down, as far as there is room. Two that write at once may spoil a line, which is then left out."""
        line = f"{kind} {name}\n".encode("ascii", "replace")
        end = self._memory.find(b"\0")
        if 0 <= end <= _SIZE - len(line) - 1:
            with suppress(ValueError):
                self._memory[end : end + len(line)] = line
