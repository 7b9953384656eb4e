"""LEB128, the variable-length numbers of DWARF: seven bits a byte, the lowest first; the eighth says that more follow.

Source: DWARF 5, section 7.6 and appendix C.
"""

from __future__ import annotations

from collections.abc import Sequence


def uleb(value: int) -> bytes:
    """An unsigned number."""
    out = bytearray()
    while True:
        byte, value = value & 0x7F, value >> 7
        out.append(byte | 0x80 if value else byte)
        if not value:
            return bytes(out)


def sleb(value: int) -> bytes:
    """A signed number."""
    out = bytearray()
    while True:
        byte, value = value & 0x7F, value >> 7
        if (value == 0 and not byte & 0x40) or (value == -1 and byte & 0x40):
            out.append(byte)
            return bytes(out)
        out.append(byte | 0x80)


def read_uleb(data: Sequence[int], at: int) -> tuple[int, int]:
    """The unsigned number at `at`, and where it ends: behind the data when it is cut off."""
    value = shift = 0
    while at < len(data):
        byte = data[at]
        value |= (byte & 0x7F) << shift
        shift += 7
        at += 1
        if not byte & 0x80:
            return value, at
    return value, len(data) + 1


def read_sleb(data: Sequence[int], at: int) -> tuple[int, int]:
    """The signed number at `at`, and where it ends: behind the data when it is cut off."""
    value = shift = 0
    while at < len(data):
        byte = data[at]
        value |= (byte & 0x7F) << shift
        shift += 7
        at += 1
        if not byte & 0x80:
            return value - (1 << shift) if byte & 0x40 else value, at
    return value, len(data) + 1
