"""A directory that is there as a whole or not at all: written aside, renamed into place.

    with atomic_directory(Path("dev")) as aside:
        (aside / "Makefile").write_text(…)

    .dev-XXXXXXXX.tmp    locked while its writer lives
    dev                  must not be there, or be empty

A writer that is killed leaves its directory aside, which nobody holds a lock of: the next one for the same name removes
it (rename(2), flock(2)).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def atomic_directory(target: Path) -> Iterator[Path]:
    """A directory to write into, which is called `target` at the end of the block. Its parents are made.

    When the block raises, nothing is left of it. Raises `OSError`.
    """
    place = target.resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(place)
    aside = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}-", suffix=".tmp"))
    try:
        handle = _locked(aside)
        try:
            yield aside
            aside.chmod(0o755)
            if place.exists():
                place.rmdir()
            aside.rename(place)
        finally:
            os.close(handle)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _remove_abandoned(place: Path) -> None:
    head = f".{place.name}-"
    for left in place.parent.iterdir():
        if left.name.startswith(head) and left.name.endswith(".tmp") and left.lstat().st_uid == os.getuid():
            with suppress(OSError):  # its writer lives, or it is no directory
                handle = _locked(left)
                try:
                    shutil.rmtree(left)
                finally:
                    os.close(handle)


def _locked(directory: Path) -> int:
    """A descriptor that holds the lock of a directory. Raises `OSError` where somebody else holds it."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise
    return handle
