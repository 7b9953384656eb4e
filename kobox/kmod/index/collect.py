"""The facts of every module of a tree: read from its files, or from the cache.

A file's facts are taken from what is remembered only when its path, size, inode and both of its times (to the
nanosecond) are as they were; the change time can't be set back. What is remembered is

    u32 count of modules, u32 size of paths, stamps of 40 bytes, paths, each ending with NUL, the facts
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from kobox.kmod.index import native_core as native
from kobox.kmod.index.facts_cache import FactsCache
from kobox.kmod.index.module_facts import ERROR, NOTHING, Facts, read_facts
from kobox.kmod.index.module_files import Candidate

# Fewer than this are read faster than a thread starts.
_WORTH_A_THREAD = 8


class Gathered(NamedTuple):
    """The facts of the modules asked for, in their order, and how many files were opened for them."""

    facts: Facts
    read: int


class _Known(NamedTuple):
    paths: bytes
    stamps: bytes
    facts: Facts


def collect(modules: Sequence[Candidate], directory: str, *, use_cache: bool) -> Gathered:
    """Read every module; with `use_cache` only those that changed since the last such run on this directory."""
    files = [module.file for module in modules]
    if not use_cache:
        return Gathered(read_all(files), len(files))
    cache = FactsCache(directory)
    known = _load(cache)
    paths = native.joined(files)
    stamps = b"".join([module.stamp for module in modules])
    if known and known.paths == paths and known.stamps == stamps:
        return Gathered(known.facts, 0)
    places = _places(known)
    taken = [places.get((module.file, module.stamp)) for module in modules]
    missing = [number for number, place in enumerate(taken) if place is None]
    fresh = iter(range(len(missing)))
    found = read_all([files[number] for number in missing])
    chosen = [(found, next(fresh)) if place is None or not known else (known.facts, place) for place in taken]
    facts = Facts.join(chosen)
    _store(cache, files, stamps, facts)
    return Gathered(facts, len(missing))


def read_all(files: Sequence[str]) -> Facts:
    """The facts of these files, in their order."""
    packed, left = native.gather(native.joined(files), len(files))
    facts = Facts(packed)
    if not left:
        return facts
    others = dict(zip(left, _read_here([files[number] for number in left]), strict=True))
    return Facts.join([(others[n], 0) if n in others else (facts, n) for n in range(facts.count)])


def _read_here(files: Sequence[str]) -> list[Facts]:
    """What is left to Python. Unpacking is done by libraries that let other threads run."""
    workers = min(native.processors(), len(files) // _WORTH_A_THREAD)
    if workers < 2:
        return [read_facts(file) for file in files]
    from concurrent.futures import ThreadPoolExecutor

    found: list[Facts] = [NOTHING] * len(files)
    numbers = iter(range(len(files)))

    def work() -> None:
        for number in numbers:
            found[number] = read_facts(files[number])

    with ThreadPoolExecutor(workers) as pool:
        try:
            for done in [pool.submit(work) for _ in range(workers)]:
                done.result()
        finally:
            for _ in numbers:  # after an interrupt the rest is not read
                pass
    return found


def _places(known: _Known | None) -> dict[tuple[str, bytes], int]:
    """The place of each remembered module, by its path and stamp."""
    if not known:
        return {}
    paths = known.paths.decode("utf-8", "surrogateescape").split("\0")[:-1]
    stamps = [known.stamps[at : at + native.STAMP] for at in range(0, len(known.stamps), native.STAMP)]
    return {key: place for place, key in enumerate(zip(paths, stamps, strict=True))}


def _load(cache: FactsCache) -> _Known | None:
    data = cache.load()
    if data is None:
        return None
    count, size = struct.unpack_from("=II", data)
    paths_at = 8 + native.STAMP * count
    facts_at = paths_at + size
    facts = Facts(data[facts_at:])
    return _Known(data[paths_at:facts_at], data[8:paths_at], facts) if facts.count == count else None


def _store(cache: FactsCache, files: Sequence[str], stamps: bytes, facts: Facts) -> None:
    """Remember what could be read."""
    nothing = bytes(native.STAMP)
    unreadable = dict(facts.having(ERROR))
    kept = [
        n
        for n in range(len(files))
        if n not in unreadable and stamps[native.STAMP * n : native.STAMP * (n + 1)] != nothing
    ]
    if len(kept) < len(files):
        stamps = b"".join([stamps[native.STAMP * n : native.STAMP * (n + 1)] for n in kept])
        facts = Facts.join([(facts, n) for n in kept])
    paths = native.joined([files[n] for n in kept])
    cache.store(b"".join([struct.pack("=II", len(kept), len(paths)), stamps, paths, facts.packed]))
