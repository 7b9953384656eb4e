"""x86-64 instructions, as the native decoder sees them (`kobox/machine/native/x86_64/`): how long each is and where it
leads, and what it does to memory.

It is made for what compilers write into kernel modules: bytes that are no instruction end the decoding of a function.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator

from kobox.arch import memory_access as access
from kobox.arch.code import Flow, Instruction
from kobox.arch.memory_access import MemoryAccess
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


REGISTER_NAMES = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{n}" for n in range(8, 16)))


def memory_access(code: bytes) -> MemoryAccess:
    """What one instruction, of just these bytes, does to memory. Raises `ValueError` for more bytes than one has."""
    return access.memory_access(decoders(), REGISTER_NAMES, code, _LONGEST)
