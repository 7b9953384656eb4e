"""A64 instructions, as the native decoder sees them (`native/arm64/decode.c`): what each does to memory."""

from __future__ import annotations

from kobox.arch import memory_access as access
from kobox.arch.memory_access import MemoryAccess
from kobox.arch.native import decoders_of

_NAMES = (*(f"x{n}" for n in range(31)), "sp")
_LENGTH = 4


def memory_access(code: bytes) -> MemoryAccess:
    """What one instruction, of just these bytes, does to memory. Raises `ValueError` for other than four bytes."""
    if len(code) != _LENGTH:
        raise ValueError(f"{len(code)} bytes are no instruction")
    return access.memory_access(decoders_of("aarch64"), _NAMES, code, _LENGTH)
