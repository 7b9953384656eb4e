"""What one instruction does to memory, as the native decoders see it (`struct insn` of kobox/machine/native/insn.h)."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from kobox.errors import KoboxError

_NO_REGISTER = 64


class _Insn(ctypes.Structure):
    """struct insn of native/insn.h."""

    _fields_ = (
        ("op", ctypes.c_uint8),
        ("flags", ctypes.c_uint8),
        ("base", ctypes.c_uint8),
        ("index", ctypes.c_uint8),
        ("scale", ctypes.c_uint8),
        ("size", ctypes.c_uint8),
        ("length", ctypes.c_uint8),
        ("extra", ctypes.c_uint8),
        ("disp", ctypes.c_int32),
        ("bound", ctypes.c_uint32),
        ("kills", ctypes.c_uint32),
        ("pointer", ctypes.c_uint8),
        ("dest", ctypes.c_uint8),
        ("source", ctypes.c_uint8),
        ("value", ctypes.c_uint8),
        ("target", ctypes.c_uint32),
        ("of_flags", ctypes.c_uint8),
        ("second", ctypes.c_uint8),
        ("step", ctypes.c_int16),
        ("compared", ctypes.c_uint32),
    )


class Operation(IntEnum):
    """What an instruction has to do with memory (enum insn_op in native/insn.h)."""

    PLAIN = 0
    MEMORY = 1
    BIT = 2
    STRING = 3
    ENTER = 4
    LEAVE = 5
    CALL = 6
    JUMP = 7
    USER = 8


class MemoryAccess(NamedTuple):
    """What one instruction does to memory; registers are names, "" for none. `size` is in bytes. `step` is what is
    added to `base` as well, before or after the access; `second` the register of a pair."""

    operation: Operation
    reads: bool
    writes: bool
    base: str
    index_by: str
    scale: int
    displacement: int
    size: int
    by_rip: bool
    by_gs: bool
    repeated: bool
    step: int = 0
    second: str = ""


def memory_access(decoders: ctypes.CDLL, names: Sequence[str], code: bytes, longest: int) -> MemoryAccess:
    """What one instruction, of just these bytes, does to memory: by an architecture's decoders, names of registers and
    longest instruction. Raises `ValueError` for bytes that are none."""
    if not 0 < len(code) <= longest:
        raise ValueError(f"{len(code)} bytes are no instruction")
    insn = _Insn()
    if decoders.kobox_decode(code, len(code), ctypes.byref(insn), ctypes.sizeof(insn)):
        raise KoboxError("the native core's idea of an instruction is another one", hint="Install kobox again.")
    base, index, second = (names[n] if n < _NO_REGISTER else "" for n in (insn.base, insn.index, insn.second))
    reads, writes, by_rip, by_gs, repeated = (bool(insn.flags & 1 << bit) for bit in range(5))
    return MemoryAccess(
        operation=Operation(insn.op),
        reads=reads,
        writes=writes,
        base=base,
        index_by=index,
        scale=insn.scale,
        displacement=insn.disp,
        size=insn.size,
        by_rip=by_rip,
        by_gs=by_gs,
        repeated=repeated,
        step=insn.step,
        second=second,
    )
