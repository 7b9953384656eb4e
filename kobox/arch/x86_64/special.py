"""Instructions that checks look at one by one: copies of blocks, shifts by a number that a register holds,
comparisons, counters.

    f3 48 a5     rep movsq          %rcx times 8 bytes from (%rsi) to (%rdi)
    d3 /4 /5 /7  shl, shr, sar      by %cl, of which the processor uses five bits, or six of a 64-bit operand
    0f a3 /r     bt                 by a register, likewise
    f0 or 65, then ff /0 /1, 83 /0 /5, 81 /0 /5, 01, 29, 0f c1    lock or %gs: inc, dec, add, sub, xadd
    0f 22, 0f 30, 0f 01 /3, 0f a2, 0f 31    mov to a control register, wrmsr, lidt, cpuid, rdtsc

Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import cast

from kobox.arch.code import Compared
from kobox.arch.registers import Registers
from kobox.arch.x86_64.decode import REGISTER_NAMES as _NAMES
from kobox.arch.x86_64.decode import instructions, memory_access
from kobox.arch.x86_64.registers import X86Registers

_COPY = re.compile(rb"\xf3(?:\x48[\xa4\xa5]|[\xa4\xa5])")
_ONE_STEP = b"\xf0\x65"  # lock, %gs
_COUNTER = re.compile(
    rb"[\xf0\x65](?P<rex>[\x40-\x4f]?)(?:(?P<opcode>\xff)[\x00-\x0f\x40-\x4f\x80-\x8f]|"
    rb"(?P<opcode2>[\x81\x83])[\x00-\x07\x28-\x2f\x40-\x47\x68-\x6f\x80-\x87\xa8-\xaf]|"
    rb"(?P<opcode3>[\x01\x29]|\x0f\xc1)[\x00-\xbf])",
    re.DOTALL,
)
"""Up to ModRM, of a memory operand."""
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
    """(offset, bits of the operand) of each shift by %cl from `start` to `end` of a function, and of each bt of a
    register by another one: what compilers make of `(1 << n) & mask`."""
    if code.find(b"\xd3", start, end) < 0 and code.find(b"\x0f\xa3", start, end) < 0:
        return
    for row in instructions(code, start, end):
        text = code[row.offset : row.end]
        at, wide, small = 0, False, False
        if text[:1] == b"\x66":
            small, at = True, 1
        if text[at] & 0xF0 == 0x40:
            wide, at = bool(text[at] & 8), at + 1
        shift = text[at] == 0xD3 and len(text) > at + 1 and text[at + 1] >> 3 & 7 in _SHIFTS
        if shift or (text[at : at + 2] == b"\x0f\xa3" and len(text) > at + 2 and text[at + 2] >> 6 == 3):
            yield row.offset, 64 if wide else 16 if small else 32


def shift_count(registers: X86Registers, code: bytes) -> int:
    """By how many bits such an instruction is about to shift, as the signed number that a program meant."""
    code = code.removeprefix(b"\x66")
    rex = code[0] if code[0] & 0xF0 == 0x40 else 0
    at = int(bool(rex))
    if code[at : at + 2] != b"\x0f\xa3":
        return (registers.rcx + 0x80 & 0xFF) - 0x80
    number = registers[(code[at + 2] >> 3 & 7) | (8 if rex & 4 else 0)]
    return max(-128, min((number + (1 << 31) & 0xFFFFFFFF) - (1 << 31), 127))


def counter_changes(code: bytes, start: int, end: int) -> Iterator[int]:
    """The offset of each inc, dec, add, sub and xadd of memory from `start` to `end` of a function that has a lock
    prefix, or works on this CPU's own memory."""
    if code.find(b"\xf0", start, end) < 0 and code.find(b"\x65", start, end) < 0:
        return
    for row in instructions(code, start, end):
        if code[row.offset] in _ONE_STEP and _COUNTER.match(code, row.offset, row.end):
            yield row.offset


def counter_change(code: bytes, pc: int, register: Callable[[str], int]) -> tuple[int, int] | None:
    """(address, what is added) of one of them, which is `code` at `pc`; None for any other instruction. Without %gs's
    base where that is used."""
    found = _COUNTER.match(code)
    if found is None:
        return None
    rex = found["rex"][0] if found["rex"] else 0
    opcode, digit = found["opcode"] or found["opcode2"] or found["opcode3"], code[found.end() - 1] >> 3 & 7
    size = 8 if rex & 8 else 4
    if opcode == b"\xff":
        step = 1 - 2 * digit
    elif opcode in (b"\x83", b"\x81"):
        step = _constant(code, 1 if opcode == b"\x83" else 4) * (1 if digit == 0 else -1)
    else:
        value = register(_NAMES[digit | (rex & 4) << 1]) & (1 << 8 * size) - 1
        value -= (value >> 8 * size - 1) << 8 * size
        step = -value if opcode == b"\x29" else value
    access = memory_access(code)
    address = access.displacement + (pc + len(code) if access.by_rip else 0)
    address += register(access.base) if access.base else 0
    address += register(access.index_by) * access.scale if access.index_by else 0
    return address & (1 << 64) - 1, step


def compared(
    code: bytes, pc: int, register: Callable[[str], int], read: Callable[[int, int], bytes]
) -> Compared | None:
    """The two numbers that the instruction `code` at `pc` is about to compare, or subtract. None for any other, and for
    one whose operand cannot be read.

    3c ib, 3d id                       al, eax with a constant
    80 /7 ib, 81 /7 id, 83 /7 ib       r/m with a constant (/5: sub)
    38 /r, 39 /r, 3a /r, 3b /r         r/m with a register
    """
    at, rex, small = 0, 0, code[:1] == b"\x66"
    at += small + (code[small : small + 1] == b"\x65")
    if code[at : at + 1] and code[at] & 0xF0 == 0x40:
        rex, at = code[at], at + 1
    opcode, rest = code[at : at + 1], code[at + 1 :]
    if not opcode or not rest:
        return None
    number = opcode[0]
    size = 1 if number in (0x38, 0x3A, 0x3C, 0x80) else 8 if rex & 8 else 2 if small else 4
    mask = (1 << 8 * size) - 1
    if number in (0x3C, 0x3D):
        return Compared(register(_NAMES[0]) & mask, _constant(code, 1 if number == 0x3C else min(size, 4)) & mask, size)
    if number not in (0x38, 0x39, 0x3A, 0x3B, 0x80, 0x81, 0x83):
        return None
    digit, direct = rest[0] >> 3 & 7, rest[0] >> 6 == 3
    if number >= 0x80 and digit not in (5, 7):
        return None
    if direct:
        left = register(_NAMES[rest[0] & 7 | (rex & 1) << 3])
    else:
        access = memory_access(code)
        address = access.displacement + (pc + len(code) if access.by_rip else 0)
        address += register(access.base) if access.base else 0
        address += register(access.index_by) * access.scale if access.index_by else 0
        if access.by_gs:
            return None
        left = int.from_bytes(read(address & (1 << 64) - 1, size), "little")
    if number >= 0x80:
        return Compared(left & mask, _constant(code, min(size, 4) if number == 0x81 else 1) & mask, size)
    return Compared(left & mask, register(_NAMES[digit | (rex & 4) << 1]) & mask, size)


def _constant(code: bytes, size: int) -> int:
    return int.from_bytes(code[-size:], "little", signed=True)


def system_instructions(code: bytes, start: int, end: int) -> Iterator[tuple[int, str, str]]:
    """(offset, kind, words) of instructions that modules leave to the kernel; see `kobox.arch.code.Code`."""
    if _SYSTEM.search(code, start, end) is None:
        return
    for row in instructions(code, start, end):
        text = code[row.offset : row.end]
        if text[:1] == b"\xf3" or text[:1] == b"\x66" or (text[:1] and text[0] & 0xF0 == 0x40):
            text = text[1:]
        if text[:2] == b"\x0f\x22" and len(text) == 3:
            number = text[2] >> 3 & 7
            if number in (0, 4):
                yield row.offset, "protection", f"writes CR{number}"
        elif text[:2] == b"\x0f\x01" and len(text) > 2 and text[2] < 0xC0 and text[2] >> 3 & 7 == 3:
            yield row.offset, "entry", "loads the interrupt table's register (LIDT)"
        elif text[:2] in _WORDS:
            yield row.offset, *_WORDS[text[:2]]


def system_effect(code: bytes, registers: Registers) -> tuple[str, str]:
    """What one of them is about to do; see `kobox.arch.code.Code`."""
    prefix = code[0] if code[:1] and code[0] & 0xF0 == 0x40 else 0
    text = code[1:] if prefix else code
    values = cast(X86Registers, registers)
    if text[:2] == b"\x0f\xa2":
        leaf = values.rax & 0xFFFFFFFF
        if 0x40000000 <= leaf < 0x40010000:
            return "hypervisor", f"asks the processor which hypervisor it runs under (CPUID leaf {leaf:#x})"
        return "identity", f"asks the processor what it is (CPUID leaf {leaf:#x})"
    if text[:2] == b"\x0f\x30":
        number = values.rcx & 0xFFFFFFFF
        value = (values.rdx & 0xFFFFFFFF) << 32 | values.rax & 0xFFFFFFFF
        kind = "entry" if number in _MSRS else "register"
        return kind, f"writes {value:#x} to the model-specific register {_MSRS.get(number, hex(number))}"
    if text[:2] == b"\x0f\x22" and len(text) > 2:
        control, source = text[2] >> 3 & 7, text[2] & 7 | (prefix & 1) << 3
        value = int(getattr(values, _NAMES[source]))
        if control == 0 and not value >> 16 & 1:
            return "protection off", "switches write protection off (CR0.WP)"
        if control == 4 and (value ^ values.cr4) >> 20 & 3:
            return "protection off", "changes the protection against user space's memory (CR4.SMEP, CR4.SMAP)"
        return "protection", f"writes {value:#x} to CR{control}"
    return "", ""


_MSRS = {0xC0000080: "EFER", 0xC0000081: "STAR", 0xC0000082: "LSTAR", 0xC0000083: "CSTAR", 0x176: "SYSENTER_EIP"}
_SYSTEM = re.compile(rb"\x0f[\x01\x22\x30\x31\xa2]")
_WORDS = {
    b"\x0f\x30": ("entry", "writes a model-specific register (WRMSR)"),
    b"\x0f\x31": ("clock", "reads the time stamp counter (RDTSC)"),
    b"\x0f\xa2": ("identity", "asks the processor what it is (CPUID)"),
}
