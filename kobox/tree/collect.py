"""The facts of every module of a tree: read by as many processes as there are processors, or known from last time.

A file's facts are taken from what is remembered only when its path, size, inode and both of its times (to the
nanosecond) are as they were; the change time can't be set back. What is remembered is

    u32 count of modules, u32 size of paths, u64 stamps[count][5], paths joined by NUL, the facts as `pack` packs them
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, NamedTuple

from kobox.tree.apart import Apart, can_fork, processors
from kobox.tree.facts import Facts, read_facts
from kobox.tree.remember import KEY_SIZE, Memory

if TYPE_CHECKING:
    from kobox.tree.depmod import Request
    from kobox.tree.search import Candidate

# Modules taken at once from the queue: few enough that processes end together, many enough to cost nothing.
_BATCH = 16
# Below this it takes longer to start a process than to read them all.
_WORTH_A_PROCESS = 64
_FIELDS = len(Facts._fields)


class Gathered(NamedTuple):
    """The facts of the modules asked for, in their order, and how many files were opened for them.

    `storing` is the process that writes them down for the next run; wait for its result.
    """

    facts: list[Facts]
    read: int
    storing: Apart | None = None


def collect(modules: Sequence[Candidate], request: Request) -> Gathered:
    """Read every module or, in a quick run, what must be read of them, and remember it for the next one."""
    if not (request.quick and request.use_cache):
        return Gathered(read_all([module.file for module in modules]), len(modules))
    memory = Memory(request.directory)
    stamps = [stamp(module.file) for module in modules]
    known = _load(memory)
    missing = [number for number, module in enumerate(modules) if known.get(module.file, _NOTHING)[0] != stamps[number]]
    found = dict(zip(missing, read_all([modules[number].file for number in missing]), strict=True))
    facts = [found[number] if number in found else known[module.file][1] for number, module in enumerate(modules)]
    storing = None
    if missing or len(known) != len(modules):
        files = [module.file for module in modules]
        storing = Apart(lambda: _store(memory, files, stamps, facts))
    return Gathered(facts, len(missing), storing)


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
        # Only the very last batch may be short, and it comes last here: a process takes batches in their order.
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


def _load(memory: Memory) -> dict[str, tuple[tuple[int, ...], Facts]]:
    data = memory.load("facts", bytes(KEY_SIZE))
    if data is None:
        return {}
    count, size = struct.unpack_from("<II", data)
    numbers = struct.unpack_from(f"<{5 * count}Q", data, 8)
    paths_at = 8 + 40 * count
    paths = data[paths_at : paths_at + size].decode("utf-8", "surrogateescape").split("\0")
    stamps = zip(*[iter(numbers)] * 5, strict=True)
    return dict(zip(paths, zip(stamps, unpack(data[paths_at + size :]), strict=True), strict=True))


def _store(memory: Memory, paths: Sequence[str], stamps: Sequence[tuple[int, ...]], facts: Sequence[Facts]) -> bytes:
    kept = [number for number in range(len(paths)) if stamps[number] and not facts[number].error]
    names = "\0".join(paths[number] for number in kept).encode("utf-8", "surrogateescape")
    numbers = [value for number in kept for value in stamps[number]]
    head = struct.pack(f"<II{len(numbers)}Q", len(kept), len(names), *numbers)
    memory.store("facts", bytes(KEY_SIZE), head + names + pack([facts[number] for number in kept]))
    return b""
