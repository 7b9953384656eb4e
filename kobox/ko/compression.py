"""Compressed module files: recognised by their first bytes, never by their name.

    1f 8b              gzip   RFC 1952
    fd '7zXZ' 00       xz     The .xz File Format 1.0.4
    28 b5 2f fd        zstd   RFC 8878
    04 22 4d 18        lz4    frame format 1.6
    02 21 4c 18        lz4    legacy frame, what the kernel's own build makes

Whatever a file claims of its size, memory grows only with what really comes out of it, up to a limit.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable
from typing import Any

from kobox.errors import ModuleFormatError

# The largest modules there are, with debug information, reach some 500 MB.
LIMIT = 1 << 30
HEAD = 8  # bytes that `recognise` needs
_STEP = 1 << 20
# A dictionary larger than any that the kernel's build or a distribution uses; beyond it a header is lying.
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


def decompress(data: bytes, *, path: str = "", limit: int = LIMIT) -> bytes:
    """The content of a compressed file, or `data` itself when it is not compressed.

    Raises `ModuleFormatError` when the stream is damaged, ends early, or grows beyond `limit` bytes.
    """
    kind = recognise(data)
    if not kind:
        return data
    try:
        return _DECOMPRESSORS[kind](data, limit)
    except _TooLargeError:
        raise ModuleFormatError(f"{kind} data unpacks to more than {limit} bytes", path=path) from None
    except Exception as error:
        # Each library has errors of its own (lzma.LZMAError, zlib.error, ZstdError, RuntimeError, EOFError).
        raise ModuleFormatError(
            f"damaged {kind} data: {error}", path=path, hint="The file is cut short or damaged; install it again."
        ) from error


class _TooLargeError(Exception):
    """More came out of a stream than its reader was willing to take."""


def _xz(data: bytes, limit: int) -> bytes:
    stream = xz_stream(len(data), memlimit=2 * _WINDOW)
    content = stream.decompress(data, limit + 1)
    return _whole(content, stream.eof, limit)


def xz_stream(size: int, memlimit: int | None = None) -> Any:
    """An `LZMADecompressor` for .xz data of so many bytes: of the newer liblzma where there is one and it pays."""
    if size >= _WORTH_IMPORTING or "lzma_mt" in sys.modules:
        try:
            from lzma_mt import LZMADecompressor

            return LZMADecompressor(_FORMAT_XZ, memlimit=memlimit)
        except ImportError:
            pass
    import lzma

    return lzma.LZMADecompressor(_FORMAT_XZ, memlimit=memlimit)


def _gzip(data: bytes, limit: int) -> bytes:
    import zlib

    stream = zlib.decompressobj(wbits=31)
    content = stream.decompress(data, limit + 1)
    return _whole(content, stream.eof, limit)


def _zstd(data: bytes, limit: int) -> bytes:
    import zstandard

    engine = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    promised = zstandard.frame_content_size(data)
    # One allocation of the promised size is fast; believe it only as far as zstd commonly compresses.
    if 0 < promised <= min(limit, max(_STEP, 64 * len(data))):
        return engine.decompress(data)
    with engine.stream_reader(data) as reader:
        return _drain(reader.read, limit)


def _lz4(data: bytes, limit: int) -> bytes:
    if data.startswith(b"\x02\x21\x4c\x18"):
        return _lz4_legacy(data, limit)
    import lz4.frame

    stream = lz4.frame.LZ4FrameDecompressor()
    content = stream.decompress(data, limit + 1)
    return _whole(content, stream.eof, limit)


def _lz4_legacy(data: bytes, limit: int) -> bytes:
    """Blocks of a little-endian u32 size and that many bytes, each at most 8 MiB of content."""
    import lz4.block

    parts, position, total = [], 4, 0
    while position < len(data):
        (size,) = struct.unpack_from("<I", data, position)
        position += 4
        if size > len(data) - position:
            raise ValueError(f"block of {size} bytes at offset {position:#x} reaches beyond the end")
        block = lz4.block.decompress(data[position : position + size], uncompressed_size=8 << 20)
        total += len(block)
        if total > limit:
            raise _TooLargeError
        parts.append(block)
        position += size
    return b"".join(parts)


def _whole(content: bytes, finished: bool, limit: int) -> bytes:
    if len(content) > limit:
        raise _TooLargeError
    if not finished:
        raise EOFError("it ends before its end marker")
    return content


def _drain(read: Callable[[int], bytes], limit: int) -> bytes:
    parts, total = [], 0
    while part := read(_STEP):
        total += len(part)
        if total > limit:
            raise _TooLargeError
        parts.append(part)
    return b"".join(parts)


_DECOMPRESSORS: dict[str, Callable[[bytes, int], bytes]] = {"gzip": _gzip, "xz": _xz, "zstd": _zstd, "lz4": _lz4}
