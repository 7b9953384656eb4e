"""The kernel's locks, as data: which functions take and release them (`lock_table.toml`; kernel/locking/)."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class LockKind:
    """One kind of lock: the functions that take it, that take it or fail, that only try, and that release it."""

    kind: str
    takes: tuple[str, ...]
    releases: tuple[str, ...]
    takes_or_fails: tuple[str, ...] = ()
    tries: tuple[str, ...] = ()


@cache
def lock_kinds() -> tuple[LockKind, ...]:
    """The table, read once."""
    data = tomllib.loads(Path(__file__).with_name("lock_table.toml").read_text())
    parts = ("takes", "releases", "takes_or_fails", "tries")
    return tuple(LockKind(row["kind"], *(tuple(row.get(part, ())) for part in parts)) for row in data["lock"])
