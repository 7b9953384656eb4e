"""x86-64 instructions, as the native decoder sees them (`kobox/machine/native/x86_64/`): how long each is and where it
leads, and what it does to memory.

It is made for what compilers write into kernel modules: bytes that are no instruction end the decoding of a function.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from kobox.arch.code import Flow, Instruction
from kobox.arch.native import decoders
from kobox.errors import KoboxError

_FLOWS = tuple(Flow)  # enum in flow.c, in the same order
_ROW = struct.Struct("<IBBBxqq")  # struct flow
_HAS_TARGET, _HAS_IMMEDIATE, _COMPARES, _MEMORY = 1, 2, 4, 8
_AT_ONCE = 512
_LONGEST = 15


def decode(code: bytes, at: int) -> Instruction | None:
    """The instruction at offset `at`. None for bytes that are none, or that end too early."""
    return next(_rows(code, at, at + _LONGEST, 1), None)


def instructions(code: bytes, start: int, end: int) -> Iterator[Instruction]:
    """The instructions from offset `start` to `end`, one behind the other, as long as there are any."""
    while start < end:
        last = None
        for last in _rows(code, start, end, _AT_ONCE):
            yield last
        if last is None:
            return
        start = last.end


def _rows(code: bytes, start: int, end: int, most: int) -> Iterator[Instruction]:
    piece, out = bytes(code[start:end]), ctypes.create_string_buffer(most * _ROW.size)
    found = decoders().kobox_flow(piece, len(piece), out, _ROW.size, most)
    if found < 0:
        raise KoboxError("the native core's idea of an instruction is another one", hint="Install kobox again.")
    for offset, length, flow, flags, target, immediate in _ROW.iter_unpack(out.raw[: found * _ROW.size]):
        yield Instruction(
            start + offset,
            length,
            _FLOWS[flow],
            start + target if flags & _HAS_TARGET else None,
            immediate if flags & _HAS_IMMEDIATE else None,
            bool(flags & _COMPARES),
            bool(flags & _MEMORY),
        )


# -- what an instruction does to memory ------------------------------------------------------------------------------

_NO_REGISTER = 64
_NAMES = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{n}" for n in range(8, 16)))


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
    """What one instruction does to memory; registers are names, "" for none. `size` is in bytes."""

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


def memory_access(code: bytes) -> MemoryAccess:
    """What one instruction, of just these bytes, does to memory. Raises `ValueError` for more bytes than one has."""
    if not 0 < len(code) <= _LONGEST:
        raise ValueError(f"{len(code)} bytes are no instruction")
    insn = _Insn()
    if decoders().kobox_decode(code, len(code), ctypes.byref(insn), ctypes.sizeof(insn)):
        raise KoboxError("the native core's idea of an instruction is another one", hint="Install kobox again.")
    base, index = (_NAMES[n] if n < _NO_REGISTER else "" for n in (insn.base, insn.index))
    flags = (bool(insn.flags & bit) for bit in (4, 8, 16))
    reads, writes = bool(insn.flags & 1), bool(insn.flags & 2)
    return MemoryAccess(Operation(insn.op), reads, writes, base, index, insn.scale, insn.disp, insn.size, *flags)
