"""Machine code of ARMv7 as kernels have it, A32 (Arm ARM for ARMv7-A, chapter A5): each instruction is a word of four
bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from kobox.arch.armv7.registers import Armv7Registers
from kobox.arch.code import CallInstruction, Compared, Flow, Instruction, LoadStore, OutOfLine
from kobox.arch.registers import Registers

_LENGTH = 4
_WORD = (1 << 32) - 1
_CALLS, _JUMPS = (28, 1), 29  # R_ARM_CALL, R_ARM_PC24; R_ARM_JUMP24
_ALWAYS = 14
_MOVW, _MOVT = 0x03000000, 0x03400000
_NAMES = (*(f"r{n}" for n in range(11)), "fp", "ip", "sp", "lr", "pc")
_SYSTEM = {
    0x0E010F10: ("protection", "writes SCTLR"),
    0x0E0C0F10: ("entry", "writes VBAR"),
    0x0E100F10: ("identity", "asks the processor what it is (MIDR)"),
}


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> bits - 1 & 1 else value


class A32Code(LoadStore, OutOfLine):
    """Reads machine code of ARMv7."""

    indirect_jumps: Mapping[str, int] = MappingProxyType({})

    def decode(self, code: bytes, at: int) -> Instruction | None:
        """The instruction at offset `at`. None where the bytes end too early."""
        if at < 0 or at + _LENGTH > len(code):
            return None
        (word,) = struct.unpack_from("<I", code, at)
        flow, offset = _flow(word)
        immediate = _immediate(word)
        compares = immediate is not None and word & 0x0FF00000 == 0x03500000
        target = None if offset is None else at + offset
        return Instruction(at, _LENGTH, flow, target, immediate, compares, word & 0x0C000000 == 0x04000000)

    def instructions(self, code: bytes, start: int, end: int) -> Iterator[Instruction]:
        """The instructions from offset `start` to `end`, one behind the other, as long as there are any."""
        for at in range(start, end - _LENGTH + 1, _LENGTH):
            found = self.decode(code, at)
            if found is None:
                return
            yield found

    def call_at(self, code: bytes, offset: int, relocation: int, addend: int, symbol: str) -> CallInstruction | None:
        """The BL or B whose target a relocation fills in."""
        if relocation not in (*_CALLS, _JUMPS) or offset + _LENGTH > len(code):
            return None
        (word,) = struct.unpack_from("<I", code, offset)
        return CallInstruction(offset, _LENGTH, symbol, word & 0x0F000000 == 0x0A000000)

    def pointer_operand(self, code: bytes) -> tuple[str, int] | None:
        """(register, displacement) of a load or store with a constant offset."""
        if len(code) < _LENGTH:
            return None
        (word,) = struct.unpack_from("<I", code)
        sign = 1 if word >> 23 & 1 else -1
        if word & 0x0F000000 == 0x05000000:
            return _NAMES[word >> 16 & 15], sign * (word & 0xFFF)
        if word & 0x0F400090 == 0x01400090:  # halves and pairs
            return _NAMES[word >> 16 & 15], sign * (word >> 4 & 0xF0 | word & 15)
        return None

    def references(self, code: bytes, address: int) -> set[int]:
        """What MOVW and MOVT make, words that loads take from behind the code, and what loads and stores reach from
        there."""
        known: dict[int, int] = {}
        found = set()
        for at in range(0, len(code) - _LENGTH + 1, _LENGTH):
            (word,) = struct.unpack_from("<I", code, at)
            dest, source = word >> 12 & 15, word >> 16 & 15
            if word & 0x0FF00000 == _MOVW:
                known[dest] = word >> 4 & 0xF000 | word & 0xFFF
                continue
            if word & 0x0FF00000 == _MOVT and dest in known:
                known[dest] = known[dest] & 0xFFFF | (word >> 4 & 0xF000 | word & 0xFFF) << 16
                found.add(known[dest])
                continue
            if word & 0x0F7F0000 == 0x051F0000:  # LDR Rt, [PC, #n]
                place = at + 8 + (word & 0xFFF if word >> 23 & 1 else -(word & 0xFFF))
                if 0 <= place <= len(code) - 4:
                    (known[dest],) = struct.unpack_from("<I", code, place)
                    found.add(known[dest])
                continue
            operand = self.pointer_operand(code[at : at + 4])
            if operand is not None and source in known:
                found.add(known[source] + operand[1] & _WORD)
            elif word & 0x0FF00000 in (0x02800000, 0x02400000) and source in known:  # ADD, SUB of a constant
                step = _rotated(word) if word >> 23 & 1 else -_rotated(word)
                known[dest] = known[source] + step & _WORD
                found.add(known[dest])
        return found

    def variable_shifts(self, code: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Each LSL, LSR and ASR by a register."""
        for at, word in _words(code, start, end):
            if word & 0x0FE00090 == 0x01A00010 and word >> 5 & 3 != 3:
                yield at, 32

    def shift_count(self, registers: Registers, code: bytes) -> int:
        """What the lowest byte of Rs holds."""
        assert isinstance(registers, Armv7Registers)
        count = registers[struct.unpack_from("<I", code)[0] >> 8 & 15]
        return count & 0xFF if count >> 8 in (0, 0xFFFFFF) else 0x7F

    def silent_divisions(self, code: bytes, start: int, end: int) -> Iterator[tuple[int, str]]:
        """Each SDIV and UDIV."""
        for at, word in _words(code, start, end):
            if word & 0x0FD0F0F0 == 0x0710F010:
                yield at, _NAMES[word >> 8 & 15]

    def counter_changes(self, code: bytes, start: int, end: int) -> Iterator[int]:
        """Each STREX, the end of an attempt to change what LDREX has read."""
        for at, word in _words(code, start, end):
            if word & 0x0FF00FF0 == 0x01800F90:
                yield at

    def counter_change(
        self, code: bytes, pc: int, register: Callable[[str], int], read: Callable[[int, int], bytes]
    ) -> tuple[int, int] | None:
        """The difference between what STREX writes and what is there."""
        (word,) = struct.unpack_from("<I", code)
        address = register(_NAMES[word >> 16 & 15])
        before = int.from_bytes(read(address, 4), "little")
        return address, _signed(register(_NAMES[word & 15]) - before & _WORD, 32)

    def compared(
        self, code: bytes, pc: int, register: Callable[[str], int], read: Callable[[int, int], bytes]
    ) -> Compared | None:
        """CMP of a register with a constant, or another."""
        (word,) = struct.unpack_from("<I", code)
        left = _NAMES[word >> 16 & 15]
        if word & 0x0FF00000 == 0x03500000:
            return Compared(register(left), _rotated(word), 4)
        if word & 0x0FF00FF0 == 0x01500000:
            return Compared(register(left), register(_NAMES[word & 15]), 4)
        return None

    def system_instructions(self, code: bytes, start: int, end: int) -> Iterator[tuple[int, str, str]]:
        """As `Code`: MCR to SCTLR and VBAR, MRC of MIDR."""
        for at, word in _words(code, start, end):
            kind = _SYSTEM.get(word & 0x0FFF0FFF)
            if kind is not None:
                yield at, *kind

    def system_effect(self, code: bytes, registers: Registers) -> tuple[str, str]:
        """Nothing more is known than that it is executed."""
        return "", ""


def _words(code: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """(offset, instruction) of a stretch."""
    for at in range(start, min(end, len(code)) - _LENGTH + 1, _LENGTH):
        yield at, struct.unpack_from("<I", code, at)[0]


def _rotated(word: int) -> int:
    """The constant of a data-processing instruction: eight bits, rotated to the right by twice a number."""
    value, by = word & 0xFF, 2 * (word >> 8 & 15)
    return (value >> by | value << 32 - by) & _WORD


def _immediate(word: int) -> int | None:
    """The number that ADD, SUB, CMP, MOV and MOVW hold."""
    if word & 0x0FF00000 == _MOVW:
        return word >> 4 & 0xF000 | word & 0xFFF
    if word & 0x0E000000 != 0x02000000 or word >> 21 & 15 not in (2, 4, 10, 13):
        return None
    return _signed(_rotated(word), 32)


def _flow(word: int) -> tuple[Flow, int | None]:
    """Where an instruction leads, and how far from itself."""
    always = word >> 28 == _ALWAYS
    if word >> 28 == 15:
        return Flow.ON, None
    if word & 0x0E000000 == 0x0A000000:
        offset = 8 + 4 * _signed(word & 0xFFFFFF, 24)
        if word >> 24 & 1:
            return Flow.CALL, offset
        return (Flow.JUMP if always else Flow.BRANCH), offset
    if word & 0x0FFFFFF0 == 0x012FFF30:
        return Flow.CALL, None  # BLX
    if word & 0x0FF000F0 == 0x07F000F0 and always:
        return Flow.STOP, None  # UDF
    if not always:
        return Flow.ON, None  # it may return, or go on
    if word & 0x0FFFFFFF == 0x012FFF1E or word & 0x0FFF8000 == 0x08BD8000:
        return Flow.RETURN, None  # BX LR; LDM SP!, {… PC}
    if word & 0x0FFFFFF0 == 0x012FFF10 or (word & 0x0C50F000 == 0x0410F000):
        return Flow.JUMP, None  # BX; LDR PC
    if word & 0x0E10F000 == 0x0000F000 and word & 0x01800000 != 0x01000000:
        return Flow.JUMP, None  # arithmetic into PC
    return Flow.RETURN if word & 0x0E108000 == 0x08108000 else Flow.ON, None
