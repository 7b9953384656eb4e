"""eBPF instructions: decoded, and written as the verifier's log writes them.

    struct bpf_insn { u8 code; u8 dst:4, src:4; s16 off; s32 imm; }       include/uapi/linux/bpf.h

A load of 64 bits of its own (BPF_LD | BPF_IMM | BPF_DW) takes two of them.
Source: Documentation/bpf/standardization/instruction-set.rst, print_bpf_insn() in kernel/bpf/disasm.c.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_INSTRUCTION = struct.Struct("<BBhi")
_LD, _LDX, _ST, _STX, _ALU, _JMP, _JMP32, _ALU64 = range(8)
_SIZES = {0x00: ("u32", 4), 0x08: ("u16", 2), 0x10: ("u8", 1), 0x18: ("u64", 8)}
_ALU_SIGNS = ("+=", "-=", "*=", "/=", "|=", "&=", "<<=", ">>=", "neg", "%=", "^=", "=", "s>>=", "endian")
_JUMP_SIGNS = {1: "==", 2: ">", 3: ">=", 4: "&", 5: "!=", 6: "s>", 7: "s>=", 10: "<", 11: "<=", 12: "s<", 13: "s<="}
_CALL, _EXIT = 8, 9
_ATOMICS = {0x00: "+=", 0x40: "|=", 0x50: "&=", 0xA0: "^="}
_FETCHES = {0x01: "add", 0x41: "or", 0x51: "and", 0xA1: "xor"}


@dataclass(frozen=True, slots=True)
class BpfInstruction:
    """One instruction. `index` is its number in the program, counted in units of 8 bytes; `constant` its number, of 64
    bits where it loads one."""

    index: int
    code: int
    destination: int
    source: int
    offset: int
    constant: int
    size: int = 1

    @property
    def branches(self) -> bool:
        """Whether it goes one of two ways."""
        return self.code & 7 in (_JMP, _JMP32) and self.code >> 4 in _JUMP_SIGNS

    @property
    def load_size(self) -> int:
        """How many bytes it loads from memory, 0 for all else."""
        return _SIZES[self.code & 0x18][1] if self.code & 0xE7 in (0x61, 0x81) else 0

    @property
    def target(self) -> int:
        """The instruction that a branch or jump leads to."""
        far = self.code == _JMP32 | 0  # gotol, since 6.6
        return self.index + 1 + (self.constant if far else self.offset)

    @property
    def key(self) -> tuple[int, int, int, int]:
        """What the verifier leaves as it is when it moves the instruction."""
        return self.code, self.destination, self.source, self.constant

    def text(self, calls: Mapping[int, str] | None = None) -> str:
        """As the verifier's log has it. `calls` names functions by the number that the instruction holds."""
        kind = self.code & 7
        if kind in (_ALU, _ALU64):
            return self._arithmetic(kind)
        if kind in (_JMP, _JMP32):
            return self._jump(kind, calls or {})
        return self._memory(kind)

    def _arithmetic(self, kind: int) -> str:
        register = "r" if kind == _ALU64 else "w"
        name, operation = f"{register}{self.destination}", self.code >> 4
        if operation == 8:
            return f"{name} = -{name}"
        if operation == 13:
            order = "bswap" if kind == _ALU64 else "be" if self.code & 8 else "le"
            return f"r{self.destination} = {order}{self.constant} r{self.destination}"
        sign = _ALU_SIGNS[operation] if operation < len(_ALU_SIGNS) else "?"
        if not self.code & 8:
            return f"{name} {_signed(sign, self.offset)} {self.constant}"
        if operation == 11 and self.offset in (8, 16, 32):
            return f"{name} = (s{self.offset}){register}{self.source}"
        return f"{name} {_signed(sign, self.offset)} {register}{self.source}"

    def _jump(self, kind: int, calls: Mapping[int, str]) -> str:
        operation = self.code >> 4
        if self.code == _JMP | _CALL << 4:
            if self.source == 1:
                return f"call pc{self.constant:+d}"
            return (
                f"call {calls.get(self.constant, 'kernel-function' if self.source == 2 else 'helper')}#{self.constant}"
            )
        if operation == _EXIT:
            return "exit"
        if operation == 0:
            return f"goto pc{self.target - self.index - 1:+d}"
        if operation not in _JUMP_SIGNS:
            return f"may_goto pc{self.offset:+d}" if operation == 14 else f"code {self.code:#04x}"
        register = "r" if kind == _JMP else "w"
        other = f"{register}{self.source}" if self.code & 8 else f"{self.constant & 0xFFFFFFFF:#x}"
        return f"if {register}{self.destination} {_JUMP_SIGNS[operation]} {other} goto pc{self.offset:+d}"

    def _memory(self, kind: int) -> str:
        name, _ = _SIZES[self.code & 0x18]
        mode = self.code & 0xE0
        if kind == _LD and mode == 0:
            return f"r{self.destination} = {self.constant:#x}"
        if kind == _LD:
            place = f"r{self.source} + {self.constant}" if mode == 0x40 else f"{self.constant}"
            return f"r0 = *({name} *)skb[{place}]"
        if kind == _LDX:
            signed = "s" if mode == 0x80 else "u"
            return f"r{self.destination} = *({signed}{name[1:]} *)(r{self.source} {self.offset:+d})"
        place = f"*({name} *)(r{self.destination} {self.offset:+d})"
        if kind == _ST:
            return f"{place} = {self.constant}"
        if mode != 0xC0:
            return f"{place} = r{self.source}"
        if self.constant in _ATOMICS:
            return f"lock {place} {_ATOMICS[self.constant]} r{self.source}"
        pointer, atomic = f"({name} *)(r{self.destination} {self.offset:+d})", "atomic64" if name == "u64" else "atomic"
        if self.constant in _FETCHES:
            return f"r{self.source} = {atomic}_fetch_{_FETCHES[self.constant]}({pointer}, r{self.source})"
        if self.constant == 0xF1:
            return f"r0 = {atomic}_cmpxchg({pointer}, r0, r{self.source})"
        return f"r{self.source} = {atomic}_xchg({pointer}, r{self.source})"


def _signed(sign: str, offset: int) -> str:
    """Division and remainder of signed numbers are marked by the offset."""
    return f"s{sign}" if offset == 1 and sign in ("/=", "%=") else sign


def instructions(code: bytes) -> Iterator[BpfInstruction]:
    """The instructions of a program. What does not fill eight bytes is left out."""
    at, count = 0, len(code) // 8
    while at < count:
        kind, registers, offset, constant = _INSTRUCTION.unpack_from(code, at * 8)
        size = 1
        if kind == 0x18 and at + 1 < count:
            (high,) = struct.unpack_from("<I", code, at * 8 + 12)
            constant, size = high << 32 | constant & 0xFFFFFFFF, 2
        yield BpfInstruction(at, kind, registers & 15, registers >> 4, offset, constant, size)
        at += size
