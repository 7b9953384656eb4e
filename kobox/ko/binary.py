"""Numbers and strings out of bytes, as the kernel's structures have them: little-endian, NUL-terminated."""

from __future__ import annotations

import struct

_U64 = struct.Struct("<Q")


def u64(data: bytes | bytearray | memoryview, at: int = 0) -> int:
    """The u64 at an offset. Raises `struct.error` when it is not all there."""
    value: int = _U64.unpack_from(data, at)[0]
    return value


def c_string(data: bytes | bytearray, at: int = 0) -> bytes:
    """The bytes from an offset up to the first NUL, or to the end when there is none."""
    end = data.find(b"\0", at)
    return bytes(data[at:end] if end >= 0 else data[at:])
