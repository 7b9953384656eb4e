"""Which of the kernel's functions a profile keeps single calls of: allocators, what frees, locks, the log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from kobox.box.inspect.alloc_table import ALLOCATORS, MemoryKind
from kobox.box.inspect.inspector import Inspector
from kobox.box.inspect.lock_table import lock_kinds
from kobox.errors import KoboxError
from kobox.machine.profiler import Noted

_SUFFIXES = ("", "_noprof")
_NO_ARGUMENT = 99

# What takes memory back, by the number of the argument (mm/slub.c, vmalloc.c, page_alloc.c, swap.c, percpu.c).
# Pages can go with their last reference.
_FREES = {
    "kfree": 0,
    "kfree_sensitive": 0,
    "kvfree": 0,
    "kvfree_sensitive": 0,
    "kmem_cache_free": 1,
    "vfree": 0,
    "vfree_atomic": 0,
    "free_pages": 0,
    "__free_pages": 0,
    "free_pages_exact": 0,
    "free_unref_page": 0,
    "free_frozen_pages": 0,
    "__folio_put": 0,
    "free_percpu": 0,
}
_FREES_MANY = {"kmem_cache_free_bulk": 2}  # kfree_rcu() comes to it, too
_LOG = "vprintk_emit"  # each of printk()'s relatives ends in it


class NoteRole(StrEnum):
    """What a noted call does."""

    ALLOCATE = "allocate"
    FREE = "free"
    TAKE = "take"
    TRY = "try"
    RELEASE = "release"
    LOG = "log"


@dataclass(frozen=True, slots=True)
class NotedFunction:
    """A function whose calls are noted. `kind`: of memory or lock. `size_at`, `count_at`, `order_at`, `flags_at`: which
    argument is that; `argument`: the memory or the cache. `ok`: the result of a function that may fail to take a lock
    when it took it; None: it always does."""

    role: NoteRole
    noted: int
    kind: str = ""
    argument: int = 0
    size_at: int = _NO_ARGUMENT
    count_at: int = _NO_ARGUMENT
    order_at: int = _NO_ARGUMENT
    flags_at: int = _NO_ARGUMENT
    ok: int | None = None
    again: bool = False


def noted_functions(inspect: Inspector) -> dict[str, NotedFunction]:
    """By name, those that this kernel has."""
    return {name: function for name, function in _all(inspect) if inspect.symbols.of_kernel(name) is not None}


def _all(inspect: Inspector) -> Iterator[tuple[str, NotedFunction]]:
    for row in ALLOCATORS:
        for suffix in _SUFFIXES:
            name = row.name + suffix
            if inspect.symbols.of_kernel(name) is not None:
                yield name, _allocator(inspect, name, row.kind, row.how)
    for name, argument in _FREES.items():
        yield name, NotedFunction(NoteRole.FREE, Noted.TAKES_BACK, argument=argument)
    for name, argument in _FREES_MANY.items():
        yield name, NotedFunction(NoteRole.FREE, Noted.TAKES_MANY, argument=argument)
    for lock in lock_kinds():
        if lock.kind.startswith("RCU"):
            continue
        for names, role, ok in (
            (lock.takes, NoteRole.TAKE, None),
            (lock.takes_or_fails, NoteRole.TAKE, 0),
            (lock.tries, NoteRole.TRY, 1),
            (lock.releases, NoteRole.RELEASE, None),
        ):
            for name in names:
                yield name, NotedFunction(role, Noted.DIRECT, lock.kind, ok=ok)
    yield _LOG, NotedFunction(NoteRole.LOG, Noted.INSIDE)


def _allocator(inspect: Inspector, name: str, kind: MemoryKind, how: str) -> NotedFunction:
    names: list[str] = []
    with suppress(KoboxError):
        names = [one.name for one in inspect.symbols.btf.parameters(name) or ()]

    def at(*wanted: str, default: int = _NO_ARGUMENT) -> int:
        return next((n for n, one in enumerate(names) if one in wanted), default if not names else _NO_ARGUMENT)

    noted = Noted.GIVES | (Noted.FROM_CACHE if how == "cache" else 0)
    return NotedFunction(
        NoteRole.ALLOCATE,
        noted,
        kind.value,
        size_at=at("size", "new_size", default=1 if how in ("cache and size", "again") else 0),
        count_at=at("n") if "array" in name else _NO_ARGUMENT,
        order_at=at("order"),
        flags_at=at("flags", "gfp", "gfpflags", "gfp_mask", "gfp_flags"),
        again=how == "again",
    )
