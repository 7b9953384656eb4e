"""Machine code of RV64 (RISC-V Unprivileged ISA): instructions of two bytes and of four."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from kobox.arch.code import CallInstruction, Compared, Flow, Instruction, LoadStore, OutOfLine
from kobox.arch.registers import Registers
from kobox.arch.riscv64.registers import NAMES, RiscvRegisters

_CALLS = (18, 19)  # R_RISCV_CALL, R_RISCV_CALL_PLT: AUIPC and JALR
_LOAD, _FLOAT_LOAD, _IMMEDIATE, _AUIPC, _STORE, _FLOAT_STORE = 0x03, 0x07, 0x13, 0x17, 0x23, 0x27
_AMOADD = 0x202F  # with the width's other bit, and the bits that order it, left out
_ATOMIC, _REGISTERS, _WORDS, _BRANCH, _JALR, _JAL, _SYSTEM = 0x2F, 0x33, 0x3B, 0x63, 0x67, 0x6F, 0x73
_MEMORY = frozenset((_LOAD, _FLOAT_LOAD, _STORE, _FLOAT_STORE, _ATOMIC))
_LINKS = (1, 5)  # RA, and T0 of calls between functions of the compiler's own
_EBREAK, _EBREAK_SHORT = 0x00100073, 0x9002
_MASK = (1 << 64) - 1
_CSRS = {
    0x105: ("entry", "writes stvec"),
    0x180: ("protection", "writes satp"),
    0xC01: ("clock", "reads the counter of time"),
}


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> bits - 1 & 1 else value


class RiscvCode(LoadStore, OutOfLine):
    """Reads machine code of RV64."""

    indirect_jumps: Mapping[str, int] = MappingProxyType({})

    def decode(self, code: bytes, at: int) -> Instruction | None:
        """The instruction at offset `at`. None where the bytes end too early, or are no instruction."""
        if at < 0 or at + 2 > len(code):
            return None
        word = int.from_bytes(code[at : at + 2], "little")
        if word & 3 != 3:
            return _short(word, at) if word else None
        if at + 4 > len(code) or word & 0x1F == 0x1F:
            return None
        return _long(int.from_bytes(code[at : at + 4], "little"), at)

    def instructions(self, code: bytes, start: int, end: int) -> Iterator[Instruction]:
        """The instructions from offset `start` to `end`, one behind the other, as long as there are any."""
        at = start
        while at < end and (found := self.decode(code, at)) is not None and found.end <= end:
            yield found
            at = found.end

    def call_at(self, code: bytes, offset: int, relocation: int, addend: int, symbol: str) -> CallInstruction | None:
        """AUIPC and JALR, whose target a relocation fills in."""
        if relocation not in _CALLS or addend or offset + 8 > len(code):
            return None
        tail = not code[offset + 4] >> 7 | (code[offset + 5] & 0xF) << 1
        return CallInstruction(offset, 8, symbol, tail)

    def pointer_operand(self, code: bytes) -> tuple[str, int] | None:
        """(register, displacement) of a load or store."""
        if len(code) < 2:
            return None
        word = int.from_bytes(code[:4], "little")
        opcode = word & 0x7F
        if word & 3 == 3 and opcode in (_LOAD, _FLOAT_LOAD):
            return NAMES[word >> 15 & 31], _signed(word >> 20, 12)
        if word & 3 == 3 and opcode in (_STORE, _FLOAT_STORE):
            return NAMES[word >> 15 & 31], _signed(word >> 25 << 5 | word >> 7 & 31, 12)
        if word & 3 == 0 and word >> 13 & 3 in (2, 3):  # C.LW, C.SW; C.LD, C.SD
            at = (word >> 10 & 7) << 3
            at |= (word >> 5 & 3) << 6 if word >> 13 & 1 else (word >> 6 & 1) << 2 | (word >> 5 & 1) << 6
            return NAMES[8 + (word >> 7 & 7)], at
        return None

    def references(self, code: bytes, address: int) -> set[int]:
        """What AUIPC and additions, loads and stores behind it make."""
        known: dict[int, int] = {}
        found = set()
        for instruction in self.instructions(code, 0, len(code)):
            word = int.from_bytes(code[instruction.offset : instruction.end], "little")
            opcode, source = word & 0x7F, word >> 15 & 31
            if instruction.length == 4 and opcode == _AUIPC:
                known[word >> 7 & 31] = address + instruction.offset + _signed(word & 0xFFFFF000, 32) & _MASK
            elif instruction.length == 4 and source in known and opcode in (_LOAD, _STORE, _IMMEDIATE):
                operand = self.pointer_operand(code[instruction.offset : instruction.end])
                found.add(known[source] + (operand[1] if operand else _signed(word >> 20, 12)) & _MASK)
        return found

    def variable_shifts(self, code: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Each SLL, SRL and SRA."""
        for at, word in self._long_words(code, start, end):
            if word & 0x7F in (_REGISTERS, _WORDS) and word >> 25 in (0, 0x20) and word >> 12 & 7 in (1, 5):
                yield at, 64 if word & 0x7F == _REGISTERS else 32

    def shift_count(self, registers: Registers, code: bytes) -> int:
        """What rs2 holds."""
        assert isinstance(registers, RiscvRegisters)
        count = registers[int.from_bytes(code[:4], "little") >> 20 & 31] & 0xFFFFFFFF
        return count & 0xFF if count >> 8 in (0, 0xFFFFFF) else 0x7F

    def silent_divisions(self, code: bytes, start: int, end: int) -> Iterator[tuple[int, str]]:
        """Each DIV, DIVU, REM and REMU."""
        for at, word in self._long_words(code, start, end):
            if word & 0x7F in (_REGISTERS, _WORDS) and word >> 25 == 1 and word >> 14 & 1:
                yield at, NAMES[word >> 20 & 31]

    def counter_changes(self, code: bytes, start: int, end: int) -> Iterator[int]:
        """Each AMOADD.W and AMOADD.D."""
        for at, word in self._long_words(code, start, end):
            if word & 0xF800607F == _AMOADD:
                yield at

    def counter_change(
        self, code: bytes, pc: int, register: Callable[[str], int], read: Callable[[int, int], bytes]
    ) -> tuple[int, int] | None:
        """The register of the address, and the one that is added."""
        word = int.from_bytes(code[:4], "little")
        if word & 0xF800607F != _AMOADD:
            return None
        bits = 64 if word >> 12 & 1 else 32
        step = register(NAMES[word >> 20 & 31]) & (1 << bits) - 1
        return register(NAMES[word >> 15 & 31]), step - (step >> bits - 1 << bits)

    def compared(
        self, code: bytes, pc: int, register: Callable[[str], int], read: Callable[[int, int], bytes]
    ) -> Compared | None:
        """The two registers that a branch compares, and those of SLTI and SLTIU."""
        word = int.from_bytes(code[:4], "little")
        if word & 3 != 3:
            return None
        left = NAMES[word >> 15 & 31]
        if word & 0x7F == _BRANCH:
            return Compared(register(left), register(NAMES[word >> 20 & 31]), 8)
        if word & 0x7F == _IMMEDIATE and word >> 12 & 7 in (2, 3):
            return Compared(register(left), _signed(word >> 20, 12) & _MASK, 8)
        return None

    def system_instructions(self, code: bytes, start: int, end: int) -> Iterator[tuple[int, str, str]]:
        """As `Code`: writing stvec and satp, reading the time."""
        for at, word in self._long_words(code, start, end):
            if word & 0x7F == _SYSTEM and word >> 12 & 3 and word >> 20 in _CSRS:
                yield at, *_CSRS[word >> 20]

    def system_effect(self, code: bytes, registers: Registers) -> tuple[str, str]:
        """Nothing more is known than that it is executed."""
        return "", ""

    def _long_words(self, code: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
        """(offset, instruction) of those of four bytes."""
        for instruction in self.instructions(code, start, end):
            if instruction.length == 4:
                yield instruction.offset, int.from_bytes(code[instruction.offset : instruction.end], "little")


def _short(word: int, at: int) -> Instruction:
    """An instruction of two bytes (chapter "C" Extension)."""
    quadrant, kind = word & 3, word >> 13
    memory = (quadrant == 0 and kind != 0) or (quadrant == 2 and kind not in (0, 4))
    flow, offset = Flow.ON, None
    if quadrant == 1 and kind == 5:
        flow, offset = Flow.JUMP, _jump_offset(word)
    elif quadrant == 1 and kind in (6, 7):
        flow, offset = Flow.BRANCH, _branch_offset(word)
    elif word == _EBREAK_SHORT:
        flow = Flow.STOP
    elif quadrant == 2 and kind == 4 and not word >> 2 & 31:
        source = word >> 7 & 31
        flow = Flow.CALL if word >> 12 & 1 else Flow.RETURN if source in _LINKS else Flow.JUMP
    return Instruction(at, 2, flow, None if offset is None else at + offset, memory=memory)


def _jump_offset(word: int) -> int:
    """C.J: offset[11|4|9:8|10|6|7|3:1|5]."""
    value = (word >> 12 & 1) << 11 | (word >> 11 & 1) << 4 | (word >> 9 & 3) << 8 | (word >> 8 & 1) << 10
    value |= (word >> 7 & 1) << 6 | (word >> 6 & 1) << 7 | (word >> 3 & 7) << 1 | (word >> 2 & 1) << 5
    return _signed(value, 12)


def _branch_offset(word: int) -> int:
    """C.BEQZ, C.BNEZ: offset[8|4:3], offset[7:6|2:1|5]."""
    value = (word >> 12 & 1) << 8 | (word >> 10 & 3) << 3
    value |= (word >> 5 & 3) << 6 | (word >> 3 & 3) << 1 | (word >> 2 & 1) << 5
    return _signed(value, 9)


def _long(word: int, at: int) -> Instruction:
    """An instruction of four bytes."""
    opcode, target, source = word & 0x7F, word >> 7 & 31, word >> 15 & 31
    flow, offset, immediate, compares = Flow.ON, None, None, False
    if opcode == _JAL:
        flow = Flow.CALL if target in _LINKS else Flow.JUMP
        value = (word >> 31) << 20 | (word >> 21 & 0x3FF) << 1 | (word >> 20 & 1) << 11 | (word >> 12 & 0xFF) << 12
        offset = _signed(value, 21)
    elif opcode == _JALR:
        flow = Flow.CALL if target in _LINKS else Flow.RETURN if source in _LINKS else Flow.JUMP
    elif opcode == _BRANCH:
        flow = Flow.BRANCH
        value = (word >> 31) << 12 | (word >> 25 & 0x3F) << 5 | (word >> 8 & 0xF) << 1 | (word >> 7 & 1) << 11
        offset = _signed(value, 13)
    elif word == _EBREAK:
        flow = Flow.STOP
    elif opcode == _IMMEDIATE and word >> 12 & 7 in (0, 2, 3):  # ADDI, SLTI, SLTIU
        immediate = _signed(word >> 20, 12)
        compares = bool(word >> 12 & 7)
    return Instruction(
        at, 4, flow, None if offset is None else at + offset, immediate, compares, memory=opcode in _MEMORY
    )
