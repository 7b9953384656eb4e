"""Bounds for what a box's kernel answers. A module in the box can forge every answer.

A count of bytes is never more than was asked for, a write of something never writes nothing, and no answer makes this
process allocate more than a fixed amount. What breaks a rule is the error that a bad medium gives: EIO.
"""

from __future__ import annotations

import errno

MOST_READ = 256 << 20
"""Bytes that are read of one file into memory at once."""
MOST_NAMES = 1 << 20
"""Names that are taken from one directory."""


def answered(count: int, asked: int, path: str | None = None) -> int:
    """A count of bytes that a read(2) returned. Raises `OSError` (EIO) when it is more than was asked for."""
    if count > asked:
        raise OSError(errno.EIO, f"the box answers {count} bytes where {asked} were asked for", path)
    return count


def written(count: int | None, asked: int, path: str | None = None) -> int:
    """A count of bytes that a write(2) of `asked` bytes returned. Raises `OSError` (EIO) when that is impossible."""
    if count is None or not 0 < count <= asked:
        raise OSError(errno.EIO, f"the box answers that it wrote {count} of {asked} bytes", path)
    return count


def is_file_name(name: str) -> bool:
    """Whether a name that a box gave can be that of a file in a directory."""
    return bool(name) and name not in (".", "..") and "/" not in name and "\0" not in name
