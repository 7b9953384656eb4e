"""Writing a file so that it is there as a whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def write_aside(path: Path, content: bytes, *, mode: int | None = None) -> None:
    """Write a file aside, flush it to the disk, and rename it into place.

    It gets `mode`, from its first byte on; None keeps that of the file it replaces, or follows the umask.
    Raises OSError; then the old file is as it was.
    """
    path = path.resolve() if path.is_symlink() else path
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    if mode is None and path.exists():
        mode = stat.S_IMODE(path.stat().st_mode)
    try:
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else 0o600)
        with os.fdopen(handle, "wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.rename(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
