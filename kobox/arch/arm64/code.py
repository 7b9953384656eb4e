"""Machine code of AArch64 (Arm ARM, "A64 Instruction Set Encoding"): each instruction is a word of four bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from kobox.arch.arm64.registers import Arm64Registers
from kobox.arch.code import (
    CallInstruction,
    Compared,
    Flow,
    Instruction,
    InterruptSwitch,
    LoadStore,
    LockAccess,
    UserAccess,
)
from kobox.arch.registers import Registers

_LENGTH = 4
_ZERO = 31  # the number of XZR
_WORD = (1 << 64) - 1
_JUMP26, _CALL26 = 282, 283
_STOPS = {0xD4200000: 0xFFE0001F, 0xD4400000: 0xFFE0001F}  # BRK, HLT: word -> mask


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> bits - 1 else value


class A64Code(LoadStore):
    """Reads machine code of AArch64."""

    indirect_jumps: Mapping[str, int] = MappingProxyType({})

    def decode(self, code: bytes, at: int) -> Instruction | None:
        """The instruction at offset `at`. None where the bytes end too early, or are no instruction (UDF)."""
        if at < 0 or at + _LENGTH > len(code):
            return None
        (word,) = struct.unpack_from("<I", code, at)
        if word >> 16 == 0:
            return None
        flow, offset = _flow(word)
        target = None if offset is None else at + offset
        immediate = _immediate(word)
        compares = immediate is not None and word & 0x7F80001F == 0x7100001F
        return Instruction(at, _LENGTH, flow, target, immediate, compares, word & 0x0A000000 == 0x08000000)

    def instructions(self, code: bytes, start: int, end: int) -> Iterator[Instruction]:
        """The instructions from offset `start` to `end`, one behind the other, as long as there are any. Numbers that
        do not fit into an instruction are put together in a register before: a comparison with that has them."""
        made: dict[int, int] = {}
        for at in range(start, end - _LENGTH + 1, _LENGTH):
            found = self.decode(code, at)
            if found is None:
                return
            (word,) = struct.unpack_from("<I", code, at)
            number = made.get(word >> 16 & 31) if word & 0x5FE0FC00 == 0x4B000000 else None  # SUB, SUBS, CMP
            if number is not None and found.immediate is None:
                found = found._replace(immediate=number, compares=True)
            yield found
            _make_number(word, made)

    def call_at(self, code: bytes, offset: int, relocation: int, addend: int, symbol: str) -> CallInstruction | None:
        """The BL or B whose target a relocation fills in."""
        if relocation not in (_CALL26, _JUMP26) or addend or offset + _LENGTH > len(code):
            return None
        return CallInstruction(offset, _LENGTH, symbol, relocation == _JUMP26)

    def pointer_operand(self, code: bytes) -> tuple[str, int] | None:
        """(register, displacement) of a load or store with an unsigned or unscaled offset, or of LDTR and STTR."""
        if len(code) < _LENGTH:
            return None
        (word,) = struct.unpack_from("<I", code)
        base = word >> 5 & 31
        name = "sp" if base == 31 else f"x{base}"
        if word & 0x3B000000 == 0x39000000:
            return name, (word >> 10 & 0xFFF) << (word >> 30)
        if word & 0x3B200400 == 0x38000000:
            return name, _signed(word >> 12 & 0x1FF, 9)
        return None

    def references(self, code: bytes, address: int) -> set[int]:
        """What ADRP and additions, loads and stores behind it make: a page, and an offset in it; also by way of an
        address that was made before, as compilers reach several variables from one (-fsection-anchors)."""
        known: dict[int, int] = {}
        found = set()
        for at in range(0, len(code) - _LENGTH + 1, _LENGTH):
            (word,) = struct.unpack_from("<I", code, at)
            source, dest = word >> 5 & 31, word & 31
            if word & 0x9F000000 == 0x90000000:  # ADRP
                known[dest] = (
                    (address + at & -4096) + (_signed(word >> 5 & 0x7FFFF, 19) << 14) + ((word >> 29 & 3) << 12)
                )
            elif word & 0xFFE0FFE0 == 0xAA0003E0 and word >> 16 & 31 in known:  # MOV
                known[dest] = known[word >> 16 & 31]
            elif source not in known:
                continue
            elif word & 0xFFC00000 == 0x91000000:  # ADD, 64 bits, not shifted
                known[dest] = known[source] + (word >> 10 & 0xFFF) & _WORD
                found.add(known[dest])
            elif word & 0x3F000000 == 0x39000000:  # a load or store of a general register
                found.add(known[source] + ((word >> 10 & 0xFFF) << (word >> 30)) & _WORD)
            elif word & 0x7E000000 == 0x28000000:  # of two
                found.add(known[source] + (_signed(word >> 15 & 0x7F, 7) << 2 + (word >> 31)) & _WORD)
        return found

    def variable_shifts(self, code: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Each LSLV, LSRV and ASRV."""
        for at, word in _words(code, start, end):
            if word & 0x7FE0F000 == 0x1AC02000 and word & 0xC00 != 0xC00:  # RORV has no bits to lose
                yield at, 64 if word >> 31 else 32

    def shift_count(self, registers: Registers, code: bytes) -> int:
        """What the register Wm holds."""
        (word,) = struct.unpack_from("<I", code)
        assert isinstance(registers, Arm64Registers)
        register = word >> 16 & 31
        count = 0 if register == _ZERO else registers[register] & 0xFFFFFFFF
        return count & 0xFF if count >> 8 in (0, 0xFFFFFF) else 0x7F

    def silent_divisions(self, code: bytes, start: int, end: int) -> Iterator[tuple[int, str]]:
        """Each SDIV and UDIV."""
        for at, word in _words(code, start, end):
            if word & 0x7FE0F800 == 0x1AC00800 and word >> 16 & 31 != _ZERO:
                yield at, f"{'x' if word >> 31 else 'w'}{word >> 16 & 31}"

    def counter_changes(self, code: bytes, start: int, end: int) -> Iterator[int]:
        """Each STXR of 4 or 8 bytes, the end of an attempt to change what LDXR has read; each LDADD of LSE."""
        for at, word in _words(code, start, end):
            if word >> 31 and (word & 0x3FE00000 == 0x08000000 or word & 0x3F20FC00 == 0x38200000):
                yield at

    def counter_change(
        self, code: bytes, pc: int, register: Callable[[str], int], read: Callable[[int, int], bytes]
    ) -> tuple[int, int] | None:
        """As `Code`; of STXR the difference to what is there. The address of a per-CPU counter is this CPU's."""
        (word,) = struct.unpack_from("<I", code)
        address = register("sp" if word >> 5 & 31 == 31 else f"x{word >> 5 & 31}")
        size = 8 if word >> 30 & 1 else 4
        exclusive = word & 0x3FE00000 == 0x08000000
        number = word & 31 if exclusive else word >> 16 & 31
        value = 0 if number == _ZERO else register(f"x{number}")
        if exclusive:
            value -= int.from_bytes(read(address, size), "little")
        return address, _signed(value & (1 << 8 * size) - 1, 8 * size)

    def lock_accesses(self, code: bytes, start: int, end: int) -> Iterator[LockAccess]:
        """Each LDAXR and STLXR, STLR, and what of LSE acquires or releases (CAS, SWP, LDADD and kin)."""
        for at, word in _words(code, start, end):
            base = word >> 5 & 31
            if word & 0x3F000000 == 0x08000000:
                ordered, pair, loads, release = word >> 23 & 1, word >> 21 & 1, word >> 22 & 1, word >> 15 & 1
                if ordered and pair:  # CAS: bit 22 acquires, bit 15 releases
                    if loads or release:
                        yield LockAccess(at, base, bool(loads))
                elif release and not ordered:  # LDAXR, STLXR
                    yield LockAccess(at, base, bool(loads))
                elif release and not loads:  # STLR
                    yield LockAccess(at, base, False)
            elif word & 0x3B200C00 == 0x38200000 and word >> 22 & 3:  # bit 23 acquires, bit 22 releases
                yield LockAccess(at, base, bool(word >> 23 & 1))

    def interrupt_switches(self, code: bytes, start: int, end: int) -> Iterator[InterruptSwitch]:
        """MSR DAIFSet and DAIFClr that name I, MSR DAIF (arch/arm64/include/asm/irqflags.h)."""
        for at, word in _words(code, start, end):
            if word & 0xFFFFF0DF == 0xD50340DF and word >> 8 & 2:
                yield InterruptSwitch(at, bool(word >> 5 & 1))
            elif word & ~31 == 0xD51B4220:
                yield InterruptSwitch(at, None if word & 31 != _ZERO else True, word & 31)

    def user_accesses(self, code: bytes, start: int, end: int) -> Iterator[UserAccess]:
        """Each LDTR and STTR (arch/arm64/include/asm/uaccess.h)."""
        for at, word in _words(code, start, end):
            if word & 0x3F200C00 == 0x38000800:
                yield UserAccess(at, 1 << (word >> 30), not word >> 22 & 3)

    def compared(
        self, code: bytes, pc: int, register: Callable[[str], int], read: Callable[[int, int], bytes]
    ) -> Compared | None:
        """CMP (SUBS to the zero register) of a register with a constant."""
        (word,) = struct.unpack_from("<I", code)
        if word & 0x7F80001F != 0x7100001F:
            return None
        size = 8 if word >> 31 else 4
        constant = (word >> 10 & 0xFFF) << (12 if word >> 22 & 1 else 0)
        number = word >> 5 & 31
        left = register("sp" if number == 31 else f"x{number}")
        return Compared(left & (1 << 8 * size) - 1, constant, size)

    def system_instructions(self, code: bytes, start: int, end: int) -> Iterator[tuple[int, str, str]]:
        """As `Code`: MSR to SCTLR_EL1 and VBAR_EL1, MRS of MIDR_EL1 and CNTVCT_EL0 (Arm ARM, C5.3)."""
        for at in range(start, min(end, len(code)) - 3, 4):
            word = int.from_bytes(code[at : at + 4], "little") & ~0x1F
            if word in _SYSTEM:
                yield at, *_SYSTEM[word]

    def system_effect(self, code: bytes, registers: Registers) -> tuple[str, str]:
        """Nothing more is known than that it is executed."""
        return "", ""


_SYSTEM = {
    0xD5181000: ("protection", "writes SCTLR_EL1"),
    0xD518C000: ("entry", "writes VBAR_EL1"),
    0xD5380000: ("identity", "asks the processor what it is (MIDR_EL1)"),
    0xD53BE040: ("clock", "reads the counter of time (CNTVCT_EL0)"),
}


def _words(code: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """(offset, instruction) of a stretch."""
    for at in range(start, min(end, len(code)) - _LENGTH + 1, _LENGTH):
        yield at, struct.unpack_from("<I", code, at)[0]


def _flow(word: int) -> tuple[Flow, int | None]:
    """Where an instruction leads, and how far from itself."""
    if word & 0x7C000000 == 0x14000000:
        return (Flow.CALL if word >> 31 else Flow.JUMP), _signed(word & 0x3FFFFFF, 26) * 4
    if word & 0xFF000010 == 0x54000000 or word & 0x7E000000 == 0x34000000:  # B.cond; CBZ, CBNZ
        return Flow.BRANCH, _signed(word >> 5 & 0x7FFFF, 19) * 4
    if word & 0x7E000000 == 0x36000000:  # TBZ, TBNZ
        return Flow.BRANCH, _signed(word >> 5 & 0x3FFF, 14) * 4
    if word & 0xFE000000 == 0xD6000000:
        kind = word >> 21 & 7  # BR, BLR, RET, -, ERET
        return {0: Flow.JUMP, 1: Flow.CALL, 2: Flow.RETURN, 4: Flow.RETURN}.get(kind, Flow.ON), None
    if any(word & mask == stop for stop, mask in _STOPS.items()):
        return Flow.STOP, None
    return Flow.ON, None


def _make_number(word: int, made: dict[int, int]) -> None:
    """What MOVZ, MOVN and MOVK put into a register; other instructions put something else there."""
    register, number, shift = word & 31, word >> 5 & 0xFFFF, 16 * (word >> 21 & 3)
    mask = _WORD if word >> 31 else 0xFFFFFFFF
    kind = word >> 23 & 0xFF
    if kind == 0xA5:
        made[register] = number << shift & mask
    elif kind == 0x25:
        made[register] = ~(number << shift) & mask
    elif kind == 0xE5 and register in made:
        made[register] = (made[register] & ~(0xFFFF << shift) | number << shift) & mask
    elif word & 0x0A000000 != 0x08000000 and word & 0x1C000000 != 0x14000000:  # no load or store, no branch
        made.pop(register, None)


def _immediate(word: int) -> int | None:
    """The number that ADD, SUB and their kin hold, or that MOVZ and MOVN put into a register."""
    if word & 0x1F800000 == 0x12800000 and not word >> 29 & 1:
        made: dict[int, int] = {}
        _make_number(word, made)
        return next(iter(made.values()), None)
    if word & 0x1F800000 != 0x11000000:
        return None
    return (word >> 10 & 0xFFF) << (12 if word >> 22 & 1 else 0)
