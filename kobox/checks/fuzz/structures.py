"""What a structure that an ioctl request points to may hold: small and large numbers, counts that wrap when they are
multiplied, and good pointers into memory that the calling process has.

The size comes with the request's number; nothing else is known of the structure, so each of its words is tried in turn.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

ARENA = 0x600000000000
"""Where the process of the exercise has ARENA_SIZE bytes of memory: good pointers lead there."""
ARENA_SIZE = 1 << 20
BORDERS = tuple(ARENA + ARENA_SIZE - left for left in (60, 8, 1))
"""Pointers to the last bytes of it: what is longer can be copied in part only."""
FILES = (40, 41, 42, 43)
"""File descriptors that this process has open, for modules that take one: an eventfd, a device, a socket, a
directory."""
TAKES_FILES = frozenset(
    (
        *("fget", "fget_raw", "fdget", "__fdget", "sockfd_lookup", "eventfd_ctx_fdget", "eventfd_ctx_fileget"),
        *("dma_buf_get", "pidfd_get_pid", "anon_inode_getfd", "eventfd_fget", "fdget_raw", "__fdget_raw"),
    )
)
"""Functions by which a module comes from a number to a file."""

_WORDS = 16  # of a structure that are tried one by one
_TEXT = b"%s%n"  # a name, perhaps, and perhaps one that is printed as a format
_TEXTS_AT = (0, 4, 8, 16)
_SMALL = (1, 2, 8, 64)
_WRAPS = tuple((1 << 32) // size + 1 for size in (2, 4, 8, 12, 16, 24, 32, 64, 128))
_LARGE = (0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 4096, 65536)


def contents_of(size: int, bounds: Sequence[int], magics: Sequence[int], files: Sequence[int] = ()) -> Iterator[bytes]:
    """Structures of `size` bytes, the likely ones first. `bounds` are numbers that the module compares with, `magics`
    the larger ones of these."""
    if not size:
        return
    if size >= 8:
        yield from _with_pointers(size)
    for at in range(0, min(size, 4 * _WORDS) - 3, 4) if files else ():
        for number in files:
            yield _put(_filled(size, 1), at, struct.pack("<I", number))
    for at in _TEXTS_AT:
        if size > at + len(_TEXT):
            yield _put(_filled(size, 1), at, (_TEXT * size)[: size - at - 1] + b"\0")
    values = [*_SMALL, *_WRAPS, *_LARGE]
    values += [bound + more & 0xFFFFFFFF for bound in bounds for more in (-1, 0, 1)]
    values += [magic & 0xFFFFFFFF for magic in magics]
    values = list(dict.fromkeys(values))
    yield _filled(size, 1)
    for at in range(0, min(size, 4 * _WORDS) - 3, 4):
        for value in values:
            yield _put(_filled(size, 1), at, struct.pack("<I", value))
    for value in (*_SMALL, *_LARGE):
        yield _filled(size, value)


def _with_pointers(size: int) -> Iterator[bytes]:
    """Structures whose 64-bit words are pointers and whose other words are lengths, in the usual orders."""
    pointer = struct.pack("<Q", ARENA)
    for length in (4, 64, 512, 5000, 65536, 0xFFFFFFFF):
        number = struct.pack("<I", length)
        for at in range(0, min(size, 8 * _WORDS) - 7, 8):
            content = _put(bytes(size), at, pointer)
            for other in range(0, size - 3, 4):
                if not at <= other < at + 8:
                    content = _put(content, other, number)
            yield content
    yield (pointer * (size // 8 + 1))[:size]


def _filled(size: int, value: int) -> bytes:
    return (struct.pack("<I", value & 0xFFFFFFFF) * (size // 4 + 1))[:size]


def _put(content: bytes, at: int, part: bytes) -> bytes:
    return (content[:at] + part + content[at + len(part) :])[: len(content)]
