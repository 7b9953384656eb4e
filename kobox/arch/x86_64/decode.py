"""x86-64 instructions: how long each is, and where it leads. Enough to find basic blocks and the numbers that code
compares with.

    [prefixes] [REX] opcode [ModRM [SIB] [displacement]] [immediate]

Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, appendix A (opcode maps). It is made for
what compilers write into kernel modules: bytes that are no instruction end the decoding of a function.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from kobox.arch.code import Flow, Instruction

_PREFIXES = frozenset(b"\x66\x67\xf2\xf3\xf0\x2e\x36\x3e\x26\x64\x65")


def _modrm_of_one_byte(op: int) -> bool:
    if op < 0x40:
        return op & 7 < 4
    return op in _MODRM_1


_MODRM_1 = frozenset(
    (
        0x63,
        0x69,
        0x6B,
        *range(0x80, 0x90),
        0xC0,
        0xC1,
        0xC6,
        0xC7,
        *range(0xD0, 0xD4),
        *range(0xD8, 0xE0),
        0xF6,
        0xF7,
        0xFE,
        0xFF,
    )
)
_NO_MODRM_2 = frozenset(
    (
        *range(0x04, 0x0D),
        0x0E,
        *range(0x30, 0x38),
        0x77,
        *range(0x80, 0x90),
        0xA0,
        0xA1,
        0xA2,
        0xA8,
        0xA9,
        0xAA,
        *range(0xC8, 0xD0),
    )
)
_IMMEDIATE_1_2 = frozenset((0x0F, 0x70, 0x71, 0x72, 0x73, 0xA4, 0xAC, 0xBA, 0xC2, 0xC4, 0xC5, 0xC6))
_BYTE, _WORD, _FULL = "b", "h", "z"
_IMMEDIATES_1 = {
    **dict.fromkeys(
        (0x6A, 0x6B, 0x80, 0x83, 0xA8, *range(0xB0, 0xB8), 0xC0, 0xC1, 0xC6, 0xCD, 0xE4, 0xE5, 0xE6, 0xE7), _BYTE
    ),
    **dict.fromkeys((0x68, 0x69, 0x81, 0xA9, 0xC7), _FULL),
    **dict.fromkeys((0xC2, 0xCA), _WORD),
    **{base + 4: _BYTE for base in range(0, 0x40, 8)},
    **{base + 5: _FULL for base in range(0, 0x40, 8)},
}


def decode(code: bytes, at: int, base: int = 0) -> Instruction | None:
    """The instruction at `at`; offsets are told less `base`. None for bytes that are none, or that end too early."""
    try:
        return _decode(code, at, base)
    except (IndexError, struct.error):
        return None


def instructions(code: bytes, start: int, end: int) -> Iterator[Instruction]:
    """The instructions from `start` to `end`, one behind the other, as long as there are any."""
    while start < end:
        found = decode(code, start)
        if found is None or found.end > end:
            return
        yield found
        start = found.end


def _decode(code: bytes, start: int, base: int) -> Instruction | None:
    at, wide16, rex = start, False, 0
    while code[at] in _PREFIXES:
        wide16 |= code[at] == 0x66
        at += 1
    if code[at] & 0xF0 == 0x40:
        rex = code[at]
        at += 1
    op = code[at]
    at += 1
    if op in (0xC4, 0xC5, 0x62):
        return _vector(code, start, at, op, base)
    if op == 0x0F:
        return _two_byte(code, start, at, base)
    if op in (
        0x06,
        0x07,
        0x0E,
        0x16,
        0x17,
        0x1E,
        0x1F,
        0x27,
        0x2F,
        0x37,
        0x3F,
        0x60,
        0x61,
        0x82,
        0x9A,
        0xD4,
        0xD5,
        0xD6,
        0xEA,
    ):
        return None
    reg, memory = 0, False
    if _modrm_of_one_byte(op):
        reg, memory, at = _modrm(code, at)
    kind = _IMMEDIATES_1.get(op)
    if op in (0xF6, 0xF7) and reg < 2:
        kind = _BYTE if op == 0xF6 else _FULL
    if 0x70 <= op < 0x80 or 0xE0 <= op <= 0xE3 or op == 0xEB:
        target = at + 1 + struct.unpack_from("<b", code, at)[0]
        return Instruction(start - base, at + 1 - start, Flow.JUMP if op == 0xEB else Flow.BRANCH, target - base)
    if op in (0xE8, 0xE9):
        target = at + 4 + struct.unpack_from("<i", code, at)[0]
        return Instruction(start - base, at + 4 - start, Flow.CALL if op == 0xE8 else Flow.JUMP, target - base)
    immediate, at = _immediate(code, at, kind, op, rex, wide16)
    flow = _flow(op, reg)
    compares = op in (0x3C, 0x3D, 0x2C, 0x2D) or (op in (0x80, 0x81, 0x83) and reg in (5, 7))
    if at > len(code):
        return None
    return Instruction(
        start - base,
        at - start,
        flow,
        None,
        immediate,
        compares,
        (memory and op not in (0x8D, 0xFF)) or (op == 0xFF and memory and reg < 2),
    )


def _flow(op: int, reg: int) -> Flow:
    if op in (0xC2, 0xC3, 0xCA, 0xCB, 0xCF):
        return Flow.RETURN
    if op == 0xFF and reg in (2, 3):
        return Flow.CALL
    if op == 0xFF and reg in (4, 5):
        return Flow.JUMP
    return Flow.STOP if op == 0xF4 else Flow.ON


def _immediate(code: bytes, at: int, kind: str | None, op: int, rex: int, wide16: bool) -> tuple[int | None, int]:
    if 0xB8 <= op < 0xC0:
        size = 8 if rex & 8 else 2 if wide16 else 4
    elif 0xA0 <= op < 0xA4:
        return None, at + 8
    elif op == 0xC8:
        return None, at + 3
    elif kind is None:
        return None, at
    else:
        size = {_BYTE: 1, _WORD: 2, _FULL: 2 if wide16 else 4}[kind]
    if at + size > len(code):
        raise IndexError
    return int.from_bytes(code[at : at + size], "little", signed=True), at + size


def _modrm(code: bytes, at: int) -> tuple[int, bool, int]:
    """(the register field, whether memory is named, what follows)."""
    byte = code[at]
    mod, rm = byte >> 6, byte & 7
    at += 1
    if mod == 3:
        return byte >> 3 & 7, False, at
    if rm == 4:
        sib = code[at]
        at += 1
        if sib & 7 == 5 and mod == 0:
            return byte >> 3 & 7, True, at + 4
    elif rm == 5 and mod == 0:
        return byte >> 3 & 7, True, at + 4
    return byte >> 3 & 7, True, at + (1 if mod == 1 else 4 if mod == 2 else 0)


def _two_byte(code: bytes, start: int, at: int, base: int) -> Instruction | None:
    op = code[at]
    at += 1
    if 0x80 <= op < 0x90:
        target = at + 4 + struct.unpack_from("<i", code, at)[0]
        return Instruction(start - base, at + 4 - start, Flow.BRANCH, target - base)
    if op in (0x38, 0x3A):
        _, memory, end = _modrm(code, at + 1)
        return Instruction(start - base, end + (op == 0x3A) - start, memory=memory)
    if op in (0x04, 0x0A, 0x0C, 0x24, 0x25, 0x26, 0x27, 0x36, 0x39, 0x3B, 0x3C, 0x3D, 0x3E, 0x3F):
        return None
    memory = False
    if op not in _NO_MODRM_2:
        _, memory, at = _modrm(code, at)
    if op in _IMMEDIATE_1_2:
        at += 1
    flow = {0x0B: Flow.STOP, 0xB9: Flow.STOP, 0x07: Flow.RETURN}.get(op, Flow.ON)  # ud2, ud1, sysret
    hint = 0x18 <= op <= 0x1F or op == 0x0D
    return Instruction(start - base, at - start, flow, memory=memory and not hint)


def _vector(code: bytes, start: int, at: int, op: int, base: int) -> Instruction:
    table = {0xC5: 1, 0xC4: code[at] & 31, 0x62: code[at] & 7}[op]
    at += {0xC5: 1, 0xC4: 2, 0x62: 3}[op]
    number = code[at]
    at += 1
    memory = False
    if not (table == 1 and number == 0x77):
        _, memory, end = _modrm(code, at)
        at = end
    if table == 3 or (table == 1 and number in _IMMEDIATE_1_2):
        at += 1
    return Instruction(start - base, at - start, memory=memory)
