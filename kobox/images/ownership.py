"""Who can write to the cache: a snapshot or a kernel that somebody else could have changed is not used.

What is in the cache runs with the rights of whoever boots it, as a program would. So every directory and file of it
has to belong to the user or to root, and nobody else may write to it. A group may where it is the user's own, of the
same number (user private groups).
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from kobox.errors import KoboxError


def check_ownership(*paths: Path) -> None:
    """Raise `KoboxError` for the first path that others own or can write to. One that is not there is no error."""
    for path in paths:
        try:
            facts = os.stat(path)
        except OSError:
            continue
        if facts.st_uid not in (os.geteuid(), 0):
            raise _refusal(path, f"it belongs to user {facts.st_uid}")
        if facts.st_mode & stat.S_IWOTH:
            raise _refusal(path, "everybody can write to it")
        if facts.st_mode & stat.S_IWGRP and facts.st_gid not in (facts.st_uid, 0):
            raise _refusal(path, f"group {facts.st_gid} can write to it")


def _refusal(path: Path, why: str) -> KoboxError:
    return KoboxError(
        f"{path}: not used: {why}, and what is in the cache runs with your rights",
        hint="If it is yours, chown it and `chmod -R go-w` it; or set XDG_CACHE_HOME to a directory of your own.",
    )
