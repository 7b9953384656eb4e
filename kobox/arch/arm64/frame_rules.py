"""Where the frames of an arm64 kernel are, as rules of DWARF's call frame information, read from its code.

    stp  x29, x30, [sp, #-n]!      the caller's stack pointer is sp + n, the record { x29, x30 } is at sp
    mov  x29, sp                   from here on it is x29 + n, whatever sp does
    ...
    ldp  x29, x30, [sp], #n        everything is the caller's again
    ret

Functions that make room first (`sub sp, sp, #n`) put the record elsewhere: the caller's stack pointer is farther above.
Sources: DWARF 4, section 6.4; DWARF for the Arm 64-bit Architecture (numbers of registers); arch/arm64/kernel/entry.S.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from kobox.arch.unwind import KernelView
from kobox.leb128 import uleb

_FP, _LINK, _SP = 29, 30, 31
_UNDEFINED, _SAME, _DEF_CFA, _OFFSET = 0x07, 0x08, 0x0C, 0x80  # DW_CFA_*
_CALLER = bytes((_DEF_CFA, _SP, 0, _SAME, _FP, _SAME, _LINK))
_OUTERMOST = bytes((_DEF_CFA, _SP, 0, _UNDEFINED, _LINK))
# stp, ldp x29, x30 with sp, little-endian: pre-indexed, post-indexed and with an offset
_PAIR = re.compile(rb"\xfd[\x7b\xfb].[\xa8\xa9]", re.S)
_STP_PRE, _LDP_POST, _STP, _LDP, _PAIR_MASK = 0xA9807BFD, 0xA8C07BFD, 0xA9007BFD, 0xA9407BFD, 0xFFC07FFF
_SUB_SP, _SUB_MASK = 0xD10003FF, 0xFFC003FF  # sub sp, sp, #n
_ROOM = 4  # instructions before stp in which sp moves
_FROM_USER = (
    *(f"el0t_{bits}_{kind}" for bits in (64, 32) for kind in ("sync", "irq", "fiq", "error")),
    *("ret_to_user", "ret_from_fork", "__primary_switched"),
)
_PIECE = 1 << 20


def frame_rules(view: KernelView, functions: Sequence[int], end: int) -> Iterator[tuple[int, bytes]]:
    """(address, instructions): from this address of the kernel's code on, what tells a debugger the caller's frame.

    The instructions say all that there is to say, whatever held before.
    """
    if not functions:
        return
    code, start = _code(view, functions[0], end), functions[0]
    rows = dict.fromkeys(functions, _CALLER)
    made: dict[int, bytes] = {}  # the rule of each function's body
    for found in _PAIR.finditer(code):
        at = found.start()
        if at % 4:
            continue
        (word,) = struct.unpack_from("<I", code, at)
        kind, offset = word & _PAIR_MASK, _signed(word >> 15 & 0x7F) * 8
        function = functions[bisect_right(functions, start + at) - 1]
        if kind in (_STP_PRE, _STP):
            size = -offset if kind == _STP_PRE else _room(code, at) - offset
            rows[start + at + 4] = _with_record(_SP, size + (0 if kind == _STP_PRE else offset), size)
            made[function] = rows[start + at + 8] = _with_record(_FP, size, size)
        elif kind in (_LDP_POST, _LDP) and function in made:
            rows[start + at + 4] = _CALLER
            after = _after_return(code, at + 4)
            if after is not None and start + after not in rows:
                rows[start + after] = made[function]
    rows.update({view.symbols.address(name): _OUTERMOST for name in _FROM_USER if name in view.symbols})
    yield from sorted(rows.items())


def _with_record(base: int, distance: int, size: int) -> bytes:
    """The caller's stack pointer is `base` + `distance`; the record lies `size` bytes below it."""
    record = (max(size, 0) // 8, max(size - 8, 0) // 8)  # factored by the data alignment, -8
    saved = b"".join(bytes((_OFFSET | register,)) + uleb(n) for register, n in zip((_FP, _LINK), record, strict=True))
    return bytes((_DEF_CFA, base)) + uleb(max(distance, 0)) + saved


def _room(code: bytes, at: int) -> int:
    """What `sub sp, sp, #n` has taken in front of an instruction."""
    for place in range(at - 4, max(at - 4 * _ROOM, 0) - 1, -4):
        (word,) = struct.unpack_from("<I", code, place)
        if word & _SUB_MASK == _SUB_SP:
            return int(word >> 10 & 0xFFF)
    return 0


def _after_return(code: bytes, at: int) -> int | None:
    """Where what follows a `ret` or a jump begins, if that comes soon."""
    for place in range(at, min(at + 24, len(code) - 3), 4):
        (word,) = struct.unpack_from("<I", code, place)
        if word == 0xD65F03C0 or word >> 26 == 0x05:  # ret, b
            return place + 4
    return None


def _signed(value: int) -> int:
    return value - 128 if value & 64 else value


def _code(view: KernelView, start: int, end: int) -> bytes:
    """The kernel's code; zeros where it has given memory back."""
    code = bytearray()
    while start < end:
        size = min(_PIECE - start % _PIECE, end - start)
        try:
            code += view.read(start, size)
        except ValueError:
            code += bytes(size)
        start += size
    return bytes(code)
