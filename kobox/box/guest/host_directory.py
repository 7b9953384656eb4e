"""A directory of this machine, as those see it who serve it to a box: no symbolic link in it is ever followed."""

from __future__ import annotations

import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

_OPEN_FILES = 16


class HostDirectory:
    """One directory, and the files in it that were read last, which stay open."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._files: OrderedDict[str, int] = OrderedDict()

    @contextmanager
    def beneath(self, path: str) -> Iterator[tuple[str, int]]:
        """(last component, descriptor of its directory) of a relative path. Raises `OSError`."""
        *parents, last = path.split("/") if path else ["."]
        fd = os.open(self.directory, os.O_PATH | os.O_DIRECTORY)
        try:
            for part in parents:
                below = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
                os.close(fd)
                fd = below
            yield last, fd
        finally:
            os.close(fd)

    def stat(self, path: str) -> os.stat_result:
        """lstat(2) of a relative path. Raises `OSError`."""
        with self.beneath(path) as (name, parent):
            return os.stat(name, dir_fd=parent, follow_symlinks=False)

    def file(self, path: str) -> int:
        """A descriptor of a regular file. Raises `OSError`."""
        if path in self._files:
            self._files.move_to_end(path)
            return self._files[path]
        with self.beneath(path) as (name, parent):
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            fd = os.open(name, flags, dir_fd=parent)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.EACCES, "")
        self._files[path] = fd
        if len(self._files) > _OPEN_FILES:
            os.close(self._files.popitem(last=False)[1])
        return fd

    def close(self) -> None:
        """Close the files."""
        while self._files:
            os.close(self._files.popitem()[1])
