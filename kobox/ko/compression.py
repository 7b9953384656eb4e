"""Compressed module files: recognised by their first bytes, never by their name.

    1f 8b              gzip   RFC 1952
    fd '7zXZ' 00       xz     The .xz File Format 1.0.4
    28 b5 2f fd        zstd   RFC 8878
    04 22 4d 18        lz4    frame format 1.6
    02 21 4c 18        lz4    legacy frame, what the kernel's own build makes

Memory grows with the data that comes out, up to a limit, and not with the size that a file claims.
"""

from __future__ import annotations

import io
import os
import struct
import sys

from kobox.errors import ModuleFormatError
from kobox.startup import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 1 << 30
"""Bytes that no module has: the largest, with debugging information, have some 500 MB."""
HEAD = 8
"""Bytes that `recognise` needs."""
# Data unpacks to so many times its size at most, as long as that is more than `_FREE`. Modules of distributions with
# their debugging information reach 10; the formats' own bounds are above 1,000.
_RATIO = 64
_FREE = 64 << 20
# Bytes in, bytes out: between two steps a Ctrl-C is heard.
_IN, _OUT = 1 << 20, 4 << 20
# A dictionary larger than any that the kernel's build or a distribution uses; a header that asks for more is damaged.
_WINDOW = 128 << 20
# lzma_mt carries liblzma 5.8, which unpacks 1.5 times as fast as the 5.4 of Debian 12, but takes 7 ms to import.
_WORTH_IMPORTING = 256 << 10
_FORMAT_XZ = 1  # lzma.FORMAT_XZ

_MAGICS = (
    (b"\x1f\x8b", "gzip"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x02\x21\x4c\x18", "lz4"),
)


def recognise(head: bytes) -> str:
    """The name of the compression that these first bytes announce, or "" for none known."""
    for magic, name in _MAGICS:
        if head.startswith(magic):
            return name
    return ""


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a module's file, packed or not. Raises `OSError`; `ModuleFormatError` for more than `LIMIT`."""
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if size > LIMIT:
            raise ModuleFormatError(f"{size} bytes are more than any module has", path=os.fspath(path))
        return file.readall()


def limit_for(size: int) -> int:
    """How many bytes a file or section of `size` bytes may unpack to."""
    return min(LIMIT, max(_FREE, _RATIO * size))


def decompress(data: bytes, *, path: str = "", limit: int = LIMIT) -> bytes:
    """The content of a compressed file, or `data` itself when it is not compressed.

    Raises `ModuleFormatError` when the stream is damaged, ends early, or grows beyond `limit` bytes, or beyond what
    `limit_for` allows.
    """
    kind = recognise(data)
    if not kind:
        return data
    limit = min(limit, limit_for(len(data)))
    try:
        return decompress_as(kind, data, limit)
    except _TooLargeError:
        raise ModuleFormatError(
            f"{kind} data unpacks to more than {limit} bytes",
            path=path,
            hint=f"{len(data)} bytes that unpack to so much are no module.",
        ) from None
    except Exception as error:
        # Each library has errors of its own (lzma.LZMAError, zlib.error, ZstdError, RuntimeError, EOFError).
        raise ModuleFormatError(
            f"damaged {kind} data: {error}", path=path, hint="The file is cut short or damaged; install it again."
        ) from error


def decompress_as(kind: str, data: bytes, limit: int) -> bytes:
    """The content of data of one kind: those of `recognise`, or `zlib` (RFC 1950).

    Raises what the kind's library raises, or another `Exception` when more than `limit` bytes come out.
    """
    return _DECOMPRESSORS[kind](data, limit)


class _TooLargeError(Exception):
    """A stream unpacks to more than the limit."""

    def __str__(self) -> str:
        return "it unpacks to more than it should"


class Decompressor(Protocol):
    """A decompressor of `lzma`, `lzma_mt` or `lz4`: it takes data and returns at most so many bytes."""

    @property
    def eof(self) -> bool:
        """Whether the end of the stream was reached."""

    @property
    def needs_input(self) -> bool:
        """Whether nothing comes out before more went in."""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """The next bytes."""


def _xz(data: bytes, limit: int) -> bytes:
    return _pull(xz_stream(len(data), memlimit=2 * _WINDOW), data, limit)


def xz_stream(size: int, memlimit: int | None = None) -> Decompressor:
    """An `LZMADecompressor` for .xz data of so many bytes: of the newer liblzma where there is one and it pays."""
    if size >= _WORTH_IMPORTING or "lzma_mt" in sys.modules:
        try:
            from lzma_mt import LZMADecompressor

            newer: Decompressor = LZMADecompressor(_FORMAT_XZ, memlimit=memlimit)
            return newer
        except ImportError:
            pass
    import lzma

    return lzma.LZMADecompressor(_FORMAT_XZ, memlimit=memlimit)


def _gzip(data: bytes, limit: int) -> bytes:
    return _inflate(data, limit, 31)


def _zlib(data: bytes, limit: int) -> bytes:
    return _inflate(data, limit, 15)


def _inflate(data: bytes, limit: int, wbits: int) -> bytes:
    import zlib

    stream = zlib.decompressobj(wbits=wbits)
    room = _Room(limit)
    for start in range(0, len(data), _IN):
        piece = data[start : start + _IN]
        while piece and not stream.eof:
            room.add(stream.decompress(piece, _OUT))
            piece = stream.unconsumed_tail
    while not stream.eof and (rest := stream.decompress(b"", _OUT)):
        room.add(rest)
    return room.whole(stream.eof)


def _zstd(data: bytes, limit: int) -> bytes:
    import zstandard

    engine = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    promised = zstandard.frame_content_size(data)
    # One allocation of the promised size is fast; believe it only as far as zstd commonly compresses.
    if 0 < promised <= min(limit, _FREE, max(_OUT, _RATIO * len(data))):
        return engine.decompress(data)
    room = _Room(limit)
    with engine.stream_reader(data) as reader:
        while part := reader.read(_OUT):
            room.add(part)
    return room.whole(True)


def _lz4(data: bytes, limit: int) -> bytes:
    if data.startswith(b"\x02\x21\x4c\x18"):
        return _lz4_legacy(data, limit)
    import lz4.frame

    return _pull(lz4.frame.LZ4FrameDecompressor(), data, limit)


def _lz4_legacy(data: bytes, limit: int) -> bytes:
    """Blocks of a little-endian u32 size and that many bytes, each at most 8 MiB of content."""
    import lz4.block

    room, position = _Room(limit), 4
    while position < len(data):
        (size,) = struct.unpack_from("<I", data, position)
        position += 4
        if size > len(data) - position:
            raise ValueError(f"block of {size} bytes at offset {position:#x} reaches beyond the end")
        room.add(lz4.block.decompress(data[position : position + size], uncompressed_size=8 << 20))
        position += size
    return room.whole(True)


class _Room:
    """The content as it comes, up to a limit."""

    def __init__(self, limit: int) -> None:
        self._content = io.BytesIO()  # gives its bytes away without another copy
        self._limit = limit

    def add(self, part: bytes) -> None:
        """Take the next bytes. Raises `_TooLargeError`."""
        if self._content.tell() + len(part) > self._limit:
            raise _TooLargeError
        self._content.write(part)

    def whole(self, finished: bool) -> bytes:
        """All of it. Raises `EOFError` when the stream has not ended."""
        if not finished:
            raise EOFError("it ends before its end marker")
        return self._content.getvalue()


def _pull(stream: Decompressor, data: bytes, limit: int) -> bytes:
    """Everything that comes out of a stream, step by step."""
    room = _Room(limit)
    for start in range(0, len(data), _IN):
        room.add(stream.decompress(data[start : start + _IN], _OUT))
        while not stream.eof and not stream.needs_input:
            room.add(stream.decompress(b"", _OUT))
        if stream.eof:
            break
    return room.whole(stream.eof)


_DECOMPRESSORS: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": _gzip,
    "xz": _xz,
    "zlib": _zlib,
    "zstd": _zstd,
    "lz4": _lz4,
}
