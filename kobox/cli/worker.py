"""The wall round a command that runs a stranger's module: what it may read, and how much it may use."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path


def raise_wall(read: Sequence[Path], *, cpu_limit: float, processes: bool = False) -> None:
    """Raise the wall round this process, if it is a worker of the command's; a box's `cpu_limit` counts a few times.

    With `processes` it may start workers of its own, which have the same wall. What the machine lacks for a wall is
    said on standard error, once: a file in the cache remembers that.
    """
    from kobox.images.store import default_root
    from kobox.isolation.wall import Wall, in_worker, lacking

    if not in_worker():
        return
    if missing := lacking():
        _say_once(missing)
    Wall((default_root(), *read), cpu=int(30 + 5 * cpu_limit), processes=processes).raise_here()


def _say_once(missing: Sequence[str]) -> None:
    from kobox.images.store import default_root

    said = default_root() / "isolation-said"
    if not said.exists():
        print(*missing, "`kobox doctor` says more.", sep="\n", file=sys.stderr)
        try:
            said.write_text("")
        except OSError:
            return
