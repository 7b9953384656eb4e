"""Where the frames of an RV64 kernel are, as rules of DWARF's call frame information, read from its code.

    addi  sp, sp, -n       the caller's stack pointer is sp + n
    sd    ra, n-8(sp)
    sd    s0, n-16(sp)
    addi  s0, sp, n        from here on it is s0, whatever sp does

A function that calls no other keeps s0 alone, 8 bytes below.
Sources: DWARF 4, section 6.4; RISC-V ELF psABI (numbers of registers); The RISC-V Instruction Set Manual, chapter "C".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise

from kobox.arch.unwind import KernelView
from kobox.leb128 import uleb

_RA, _SP, _S0 = 1, 2, 8
_UNDEFINED, _SAME, _DEF_CFA, _OFFSET = 0x07, 0x08, 0x0C, 0x80  # DW_CFA_*
_SAME_BOTH = bytes((_SAME, _RA, _SAME, _S0))
_CALLER = bytes((_DEF_CFA, _SP, 0)) + _SAME_BOTH
_OUTERMOST = bytes((_DEF_CFA, _SP, 0, _UNDEFINED, _RA))
# With s0 at the end of the frame; offsets are factored by the data alignment, -8.
_WITH_BOTH = bytes((_DEF_CFA, _S0, 0, _OFFSET | _RA, 1, _OFFSET | _S0, 2))
_WITH_S0 = bytes((_DEF_CFA, _S0, 0, _SAME, _RA, _OFFSET | _S0, 1))
_PROLOGUE = 64  # bytes in which s0 is set, if at all
_FROM_USER = (
    "handle_exception",
    "ret_from_fork",
    "ret_from_fork_kernel_asm",
    "ret_from_fork_user_asm",
    "_start_kernel",
)


def frame_rules(view: KernelView, functions: Sequence[int], end: int) -> Iterator[tuple[int, bytes]]:
    """(address, instructions): from this address of the kernel's code on, what tells a debugger the caller's frame.

    The instructions say all that there is to say, whatever held before.
    """
    outermost = {view.symbols.address(name) for name in _FROM_USER if name in view.symbols}
    for start, after in pairwise([*functions, end]):
        if start in outermost:
            yield start, _OUTERMOST
            continue
        yield start, _CALLER
        try:
            code = view.read(start, min(_PROLOGUE, after - start) & ~1)
        except ValueError:
            continue
        for offset, rule in _prologue(code):
            yield start + offset, rule


def _prologue(code: bytes) -> Iterator[tuple[int, bytes]]:
    """(offset of what follows, rule) of each instruction that moves sp or sets s0."""
    at, keeps_ra = 0, False
    while at + 2 <= len(code):
        (half,) = struct.unpack_from("<H", code, at)
        is_short = half & 3 != 3
        if not is_short and at + 4 > len(code):
            return
        (word,) = (half,) if is_short else struct.unpack_from("<I", code, at)
        at += 2 if is_short else 4
        if size := _room(word, is_short):
            yield at, bytes((_DEF_CFA, _SP)) + uleb(size) + _SAME_BOTH
        keeps_ra |= word & 0xE07F == 0xE006 if is_short else word & 0x01FFF07F == 0x00113023  # sd ra, n(sp)
        if word & 0xE01F == 0 if is_short else word & 0xFFFFF == 0x00010413:  # addi s0, sp, n
            yield at, _WITH_BOTH if keeps_ra else _WITH_S0
            return


def _room(word: int, is_short: bool) -> int:
    """What `addi sp, sp, -n` takes; 0 for any other instruction."""
    if not is_short:
        return max(-_signed(word >> 20, 12), 0) if word & 0xFFFFF == 0x10113 else 0
    if word & 0xEF83 == 0x6101:  # c.addi16sp
        bits = (word >> 12 & 1) << 9 | (word >> 3 & 3) << 7 | (word >> 5 & 1) << 6 | (word >> 2 & 1) << 5
        return max(-_signed(bits | (word >> 6 & 1) << 4, 10), 0)
    if word & 0xEF83 == 0x0101:  # c.addi sp
        return max(-_signed((word >> 12 & 1) << 5 | word >> 2 & 31, 6), 0)
    return 0


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> bits - 1 & 1 else value
