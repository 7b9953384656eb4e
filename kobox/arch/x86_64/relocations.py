"""Relocations of x86-64 (System V ABI, AMD64 supplement, section 4.4; arch/x86/kernel/module.c)."""

from __future__ import annotations

from kobox.arch.relocations import Relocations, RelocationType

_PC32, _32, _32S = 2, 10, 11


def _fits(kind: int, value: int) -> bool:
    if kind == _32:
        return value < 1 << 32
    return not 1 << 31 <= value < (1 << 64) - (1 << 31)


def _selects_bit(code: bytes, offset: int, kind: int) -> bool:
    """bt, bts, btr or btc of a register with disp32(%rip): 0f a3, ab, b3 or bb, and a ModRM of mod 0 and rm 5."""
    if kind != _PC32 or offset < 3:
        return False
    escape, opcode, modrm = code[offset - 3 : offset]
    return escape == 0x0F and opcode in (0xA3, 0xAB, 0xB3, 0xBB) and modrm & 0xC7 == 5


RELOCATIONS = Relocations(
    loadable={
        0: RelocationType("R_X86_64_NONE", 0),
        1: RelocationType("R_X86_64_64", 8),
        _PC32: RelocationType("R_X86_64_PC32", 4),
        4: RelocationType("R_X86_64_PLT32", 4),
        _32: RelocationType("R_X86_64_32", 4),
        _32S: RelocationType("R_X86_64_32S", 4),
        24: RelocationType("R_X86_64_PC64", 8),
    },
    others={
        3: "R_X86_64_GOT32",
        9: "R_X86_64_GOTPCREL",
        12: "R_X86_64_16",
        14: "R_X86_64_8",
        25: "R_X86_64_GOTOFF64",
        26: "R_X86_64_GOTPC32",
        41: "R_X86_64_GOTPCRELX",
        42: "R_X86_64_REX_GOTPCRELX",
    },
    wants_zeros=True,
    absolute=frozenset((_32, _32S)),
    fits=_fits,
    overflow_log="module: `{name}' likely not compiled with -mcmodel=kernel",
    indexed_operand=frozenset((_32S,)),
    selects_bit=_selects_bit,
)
