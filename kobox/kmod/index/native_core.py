"""depmod's inner loops in C (`kobox/kmod/native/`), as ctypes sees them.

    walk.c      the module files below a directory
    facts.c     what depmod must know of one module     gather.c    the same of thousands, by several threads
    indexes.c   modules.dep, .alias and .symbols        trie.c      the trie of a modules.*.bin

Each result is bytes that the library allocated, copied here and given back.
"""

from __future__ import annotations

import ctypes
import os
import sys
from array import array
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

from kobox.native_library import load_library

_ABI = 2
_SIZE, _U32 = ctypes.c_size_t, ctypes.c_uint32
# enum status and enum result of indexes.c.
_DONE, _NO_MEMORY, CYCLE = range(3)
_RESULTS = 10
STAMP = 40


class _Buffer(ctypes.Structure):
    """`struct buffer` of native.h: bytes that the library allocated."""

    _fields_ = (("data", ctypes.c_void_p), ("size", _SIZE), ("room", _SIZE), ("failed", ctypes.c_int))


_BUFFER = ctypes.POINTER(_Buffer)
_PROTOTYPES: dict[str, tuple[object, Sequence[object]]] = {
    "kobox_gather": (ctypes.c_int, (ctypes.c_char_p, _U32, _U32, _BUFFER, _BUFFER)),
    "kobox_facts": (ctypes.c_int, (ctypes.c_char_p, _SIZE, _BUFFER)),
    "kobox_walk": (
        ctypes.c_int,
        (ctypes.c_char_p, ctypes.c_char_p, _U32, ctypes.c_int, _U32, _BUFFER),
    ),
    "kobox_indexes": (
        ctypes.c_int,
        (ctypes.c_char_p, _SIZE, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int, _BUFFER),
    ),
    "kobox_trie": (
        ctypes.c_int,
        (ctypes.c_char_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p, _U32, _BUFFER, _BUFFER),
    ),
    "kobox_superfasthash": (_U32, (ctypes.c_char_p, _SIZE)),
    "kobox_free": (None, (_BUFFER,)),
}


@cache
def _library() -> ctypes.CDLL:
    path = os.path.join(os.path.dirname(os.path.dirname(__file__)), "native", "core.so")
    return load_library(path, _ABI, _PROTOTYPES)


class _Buffers:
    """Some buffers of the library, given back at the end of a `with`."""

    def __init__(self, count: int) -> None:
        self._free = _library().kobox_free
        self.all = (_Buffer * count)()

    def __enter__(self) -> _Buffers:
        return self

    def __exit__(self, *_: object) -> None:
        for buffer in self.all:
            self._free(ctypes.byref(buffer))

    def __getitem__(self, number: int) -> bytes:
        buffer = self.all[number]
        return ctypes.string_at(buffer.data, buffer.size) if buffer.size else b""

    def at(self, number: int) -> object:
        """For a call that takes a pointer to one of them."""
        return ctypes.byref(self.all[number])


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0))


class Walk(NamedTuple):
    """What a walk of a directory found: the module files, sorted by path, and what could not be listed.

    `paths` are relative to the directory, `names` those of the modules. `stamps` tell whether a file is the same:
    `STAMP` bytes each, size, both times in ns, inode, device; 0 for a file that is not there. `unread` are the
    directories that could not be listed, with the errno.
    """

    paths: list[str]
    names: list[str]
    stamps: bytes
    unread: list[tuple[str, int]]


def walk(directory: str, excluded: Sequence[str], want_stamps: bool) -> Walk:
    """The module files below a directory; directories of the names `excluded` are not entered.

    Raises `OSError` when the directory itself can't be listed.
    """
    with _Buffers(4) as results:
        names = joined(excluded)
        status = _library().kobox_walk(
            os.fsencode(directory), names, len(excluded), want_stamps, processors(), ctypes.byref(results.all[0])
        )
        if status < 0:
            raise MemoryError
        if status:
            raise OSError(status, os.strerror(status), directory)
        paths, stems = (results[number].decode("utf-8", "surrogateescape").split("\0")[:-1] for number in (0, 1))
        return Walk(paths, stems, results[2], sorted(_unread(results[3])))


def _unread(data: bytes) -> Iterator[tuple[str, int]]:
    at = 0
    while at < len(data):
        end = data.index(b"\0", at + 4)
        yield data[at + 4 : end].decode("utf-8", "surrogateescape"), int.from_bytes(data[at : at + 4], sys.byteorder)
        at = end + 1


def joined(texts: Sequence[str]) -> bytes:
    """Paths or names as the library takes them: each ends with NUL."""
    return "".join([text + "\0" for text in texts]).encode("utf-8", "surrogateescape")


def gather(paths: bytes, count: int) -> tuple[bytes, list[int]]:
    """Read the modules at `count` paths, each ending with NUL: (their facts in one piece, the numbers of those left).

    What is left has no facts; Python reads it, or finds out what is wrong with it.
    """
    with _Buffers(2) as results:
        threads = min(processors(), 1 + count // 16)
        if _library().kobox_gather(paths, count, threads, results.at(0), results.at(1)):
            raise MemoryError
        return results[0], array("I", results[1]).tolist()


def facts_of(content: bytes) -> bytes | None:
    """The facts of one module that is in memory, unpacked; None for what only Python reads."""
    with _Buffers(1) as results:
        return None if _library().kobox_facts(content, len(content), results.at(0)) else results[0]


class Indexes(NamedTuple):
    """The large indexes: `contents` are modules.dep, its trie, modules.alias, its trie, modules.symbols, its trie.

    `left_out` are the keys that each of the three tries cannot hold, since they are not plain ASCII. In `cycle` is what
    `kobox.kmod.index.cycles` needs to know when modules need each other; then the contents are incomplete.
    """

    contents: list[bytes]
    left_out: tuple[list[str], list[str], list[str]]
    cycle: bytes


def indexes(facts: bytes, names: bytes, paths: bytes, prefix: str) -> Indexes:
    """Make the six large files. `names` and `paths` are those of the modules, each ending with NUL."""
    with _Buffers(_RESULTS) as results:
        status = _library().kobox_indexes(
            facts, len(facts), names, paths, ord(prefix or "\0"), processors(), ctypes.byref(results.all[0])
        )
        if status == _NO_MEMORY:
            raise MemoryError
        left_out = _split(results[6]), _split(results[7]), _split(results[8])
        return Indexes([results[number] for number in range(6)], left_out, results[9] if status == CYCLE else b"")


def trie(keys: Sequence[bytes], values: Sequence[bytes]) -> tuple[bytes, list[str]]:
    """(the trie with these keys and their values, as they stand in the file; the keys that it cannot hold)."""
    key_sizes, value_sizes = array("I", map(len, keys)), array("I", map(len, values))
    with _Buffers(2) as results:
        status = _library().kobox_trie(
            b"".join(keys),
            key_sizes.buffer_info()[0],
            b"".join(values),
            value_sizes.buffer_info()[0],
            len(key_sizes),
            results.at(0),
            results.at(1),
        )
        if status == _NO_MEMORY:
            raise MemoryError
        return results[0], _split(results[1])


def _split(joined: bytes) -> list[str]:
    """Keys that end with NUL each."""
    return joined.decode("utf-8", "surrogateescape").split("\0")[:-1]


def superfasthash(name: bytes) -> int:
    """The hash function of kmod's tables: the order in them is part of the format."""
    return int(_library().kobox_superfasthash(name, len(name)))
