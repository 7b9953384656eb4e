"""Instructions that checks look at one by one: copies of blocks, and shifts by a number that a register holds.

    f3 48 a5     rep movsq          %rcx times 8 bytes from (%rsi) to (%rdi)
    d3 /4 /5 /7  shl, shr, sar      by %cl, of which the processor uses five bits, or six of a 64-bit operand

Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from kobox.arch.x86_64.decode import instructions

_COPY = re.compile(rb"\xf3(?:\x48[\xa4\xa5]|[\xa4\xa5])")
_SHIFTS = (4, 5, 7)  # in the register field of ModRM: shl, shr, sar


def block_copies(code: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """(offset, bytes that it moves at a time) of each `rep movs` from `start` to `end` of a function."""
    if _COPY.search(code, start, end) is None:
        return
    for row in instructions(code, start, end):
        text = code[row.offset : row.end]
        if _COPY.fullmatch(text):
            yield row.offset, 1 if text[-1] == 0xA4 else 8 if len(text) == 3 else 4


def variable_shifts(code: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """(offset, bits of the operand) of each shift by %cl from `start` to `end` of a function."""
    if code.find(b"\xd3", start, end) < 0:
        return
    for row in instructions(code, start, end):
        text = code[row.offset : row.end]
        at, wide, small = 0, False, False
        if text[:1] == b"\x66":
            small, at = True, 1
        if text[at] & 0xF0 == 0x40:
            wide, at = bool(text[at] & 8), at + 1
        if text[at] == 0xD3 and len(text) > at + 1 and text[at + 1] >> 3 & 7 in _SHIFTS:
            yield row.offset, 64 if wide else 16 if small else 32
