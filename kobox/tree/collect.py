"""The facts of every module of a tree: read by as many processes as there are processors, or known from last time.

The cache of a tree stands under $XDG_CACHE_HOME/kobox/depmod, never in the tree, which may be read-only or about to
be packed into an archive. A file's facts are taken from it only when its path, size, inode and both of its times
(to the nanosecond) are as they were; the change time can't be set back. A damaged cache is no cache.

    "kobox depmod 1\\n", CRC-32 of the rest (u32), then packed by `pack`: the stamps and paths, then the facts
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, NamedTuple

from kobox.tree.apart import Apart, can_fork, processors
from kobox.tree.facts import Facts, read_facts

if TYPE_CHECKING:
    from kobox.tree.depmod import Request
    from kobox.tree.search import Candidate

_MAGIC = b"kobox depmod 1\n"
# Modules taken at once from the queue: few enough that processes end together, many enough to cost nothing.
_BATCH = 16
# Below this it takes longer to start a process than to read them all.
_WORTH_A_PROCESS = 64
_FIELDS = len(Facts._fields)


class Gathered(NamedTuple):
    """The facts of the modules asked for, in their order, and how many files were opened for them."""

    facts: list[Facts]
    read: int


def collect(modules: Sequence[Candidate], request: Request) -> Gathered:
    """Read what must be read of the modules and remember it for the next quick run."""
    if not request.use_cache:
        return Gathered(read_all([module.file for module in modules]), len(modules))
    cache = _cache_path(request.directory)
    stamps = [stamp(module.file) for module in modules]
    known = _load(cache) if request.quick else {}
    missing = [number for number, module in enumerate(modules) if known.get(module.file, _NOTHING)[0] != stamps[number]]
    found = dict(zip(missing, read_all([modules[number].file for number in missing]), strict=True))
    facts = [found[number] if number in found else known[module.file][1] for number, module in enumerate(modules)]
    if missing or len(known) != len(modules):
        _store(cache, [module.file for module in modules], stamps, facts)
    return Gathered(facts, len(missing))


def read_all(paths: Sequence[str]) -> list[Facts]:
    """The facts of the files at these paths, in their order."""
    workers = min(processors(), 1 + len(paths) // _WORTH_A_PROCESS)
    if workers < 2 or not can_fork():
        return [read_facts(path) for path in paths]
    # The queue is a pipe with the numbers of batches in it: whoever reads a number does that batch.
    read, write = os.pipe()
    batches = (len(paths) + _BATCH - 1) // _BATCH
    os.write(write, struct.pack(f"<{batches}H", *range(batches)))
    os.close(write)
    others = [Apart(lambda: _pack_batches(paths, read)) for _ in range(workers - 1)]
    done = dict(_do_batches(paths, read))
    os.close(read)
    for other in others:
        done.update(_unpack_batches(other.result()))
    return [facts for _, batch in sorted(done.items()) for facts in batch]


def _do_batches(paths: Sequence[str], queue: int) -> list[tuple[int, list[Facts]]]:
    done = []
    while number := os.read(queue, 2):
        (batch,) = struct.unpack("<H", number)
        done.append((batch, [read_facts(path) for path in paths[batch * _BATCH : (batch + 1) * _BATCH]]))
    return done


def _pack_batches(paths: Sequence[str], queue: int) -> bytes:
    done = _do_batches(paths, queue)
    numbers = struct.pack(f"<I{len(done)}H", len(done), *(number for number, _ in done))
    return numbers + pack([facts for _, batch in done for facts in batch])


def _unpack_batches(data: bytes) -> list[tuple[int, list[Facts]]]:
    (count,) = struct.unpack_from("<I", data)
    numbers = struct.unpack_from(f"<{count}H", data, 4)
    facts = unpack(data[4 + 2 * count :])
    batches, at = [], 0
    for number in numbers:
        # Only the very last batch may be short, and then the slice is too when it comes last; see below.
        batches.append((number, facts[at : at + _BATCH]))
        at += _BATCH
    return batches


def pack(facts: Sequence[Facts]) -> bytes:
    """Facts as bytes: their count, the size of each field, then all fields."""
    fields = [field for one in facts for field in (*one[:5], one[5].encode("utf-8", "surrogateescape"))]
    return struct.pack(f"<I{len(fields)}I", len(facts), *map(len, fields)) + b"".join(fields)


def unpack(data: bytes) -> list[Facts]:
    """The facts that `pack` packed. Raises `struct.error` or `ValueError` for anything else."""
    (count,) = struct.unpack_from("<I", data)
    sizes = struct.unpack_from(f"<{count * _FIELDS}I", data, 4)
    start = 4 + 4 * len(sizes)
    ends = accumulate(sizes, initial=start)
    fields = [data[begin:end] for begin, end in pairwise(ends)]
    errors = [field.decode("utf-8", "surrogateescape") for field in fields[5::6]]
    return list(map(Facts, fields[0::6], fields[1::6], fields[2::6], fields[3::6], fields[4::6], errors))


def stamp(path: str) -> tuple[int, ...]:
    """What tells whether a file is still the same; () when there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)


_NOTHING: tuple[tuple[int, ...], Facts] = ((-1,), Facts(b"", b"", b"", b"", b""))


def _cache_path(directory: str) -> str:
    import hashlib

    name = hashlib.sha256(os.path.realpath(directory).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return os.path.join(cache_root(), name)


def cache_root() -> str:
    """The folder of all caches."""
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "kobox", "depmod")


def _load(path: str) -> dict[str, tuple[tuple[int, ...], Facts]]:
    try:
        with open(path, "rb", buffering=0) as file:
            if os.fstat(file.fileno()).st_uid != os.geteuid():
                return {}
            data = file.readall()
    except OSError:
        return {}
    start = len(_MAGIC) + 4
    if data[: len(_MAGIC)] != _MAGIC or zlib.crc32(data[start:]) != int.from_bytes(data[len(_MAGIC) : start], "little"):
        return {}
    count, size = struct.unpack_from("<II", data, start)
    numbers = struct.unpack_from(f"<{5 * count}Q", data, start + 8)
    paths_at = start + 8 + 40 * count
    paths = data[paths_at : paths_at + size].decode("utf-8", "surrogateescape").split("\0")
    stamps = zip(*[iter(numbers)] * 5, strict=True)
    return dict(zip(paths, zip(stamps, unpack(data[paths_at + size :]), strict=True), strict=True))


def _store(path: str, paths: Sequence[str], stamps: Sequence[tuple[int, ...]], facts: Sequence[Facts]) -> None:
    """Write the cache; that it can't be written is no error. It is not fsynced: its checksum tells."""
    kept = [number for number in range(len(paths)) if stamps[number] and not facts[number].error]
    names = "\0".join(paths[number] for number in kept).encode("utf-8", "surrogateescape")
    numbers = [value for number in kept for value in stamps[number]]
    body = struct.pack(f"<II{len(numbers)}Q", len(kept), len(names), *numbers) + names
    body += pack([facts[number] for number in kept])
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True, mode=0o700)
        aside = f"{path}.{os.getpid()}.tmp"
        with open(aside, "wb", buffering=0) as file:
            file.write(_MAGIC + zlib.crc32(body).to_bytes(4, "little") + body)
        os.rename(aside, path)
    except OSError:
        return
