"""Numbers and strings out of bytes, as the kernel's structures have them: little-endian, NUL-terminated."""

from __future__ import annotations

import struct

_U16, _U32, _U64 = struct.Struct("<H"), struct.Struct("<I"), struct.Struct("<Q")
_Bytes = bytes | bytearray | memoryview


def u16(data: _Bytes, at: int = 0) -> int:
    """The u16 at an offset. Raises `struct.error` when it is not all there."""
    value: int = _U16.unpack_from(data, at)[0]
    return value


def u32(data: _Bytes, at: int = 0) -> int:
    """The u32 at an offset. Raises `struct.error` when it is not all there."""
    value: int = _U32.unpack_from(data, at)[0]
    return value


def u64(data: _Bytes, at: int = 0) -> int:
    """The u64 at an offset. Raises `struct.error` when it is not all there."""
    value: int = _U64.unpack_from(data, at)[0]
    return value


def u64s(data: _Bytes, count: int, at: int = 0) -> tuple[int, ...]:
    """`count` u64 from an offset on. Raises `struct.error` when they are not all there."""
    return struct.unpack_from(f"<{count}Q", data, at)


def c_string(data: bytes | bytearray, at: int = 0) -> bytes:
    """The bytes from an offset up to the first NUL, or to the end when there is none."""
    end = data.find(b"\0", at)
    return bytes(data[at:end] if end >= 0 else data[at:])
