"""Which shifts of the source are judged: those whose number the line does not reduce itself."""

from __future__ import annotations

import pytest

from kobox.arch.x86_64.registers import X86Registers
from kobox.arch.x86_64.special import shift_count, variable_shifts
from kobox.checks.arithmetic.shifts import _is_meant

# What compilers make of a shift by a number in RCX or R10, and of what size.
SHIFTS = {
    "shl %cl, %eax": (b"\xd3\xe0", 32, -1),
    "shl %cl, %rax": (b"\x48\xd3\xe0", 64, -1),
    "bt %ecx, %eax": (b"\x0f\xa3\xc8", 32, 127),
    "bt %r10, %rax": (b"\x4c\x0f\xa3\xd0", 64, -2),
}

MEANT = (
    "mask |= 1 << bit;",
    "if ((1 << it->options[1]) & board->irq_bits) {",
    "if ((1U << irq) & 0xdcfc)",
    "return value >> count | flags & 3;",
    "x = a << n == b & c;",
)
REDUCED = (
    "mask |= 1u << (n & 31);",
    "x = 1 << n % 32;",
    "word |= 1UL << (nr % BITS_PER_LONG);",
    "x = 1 << min(n, 31) | 1;",
    "y = x + 1;",
)


@pytest.mark.parametrize("line", MEANT)
def test_a_number_that_the_line_does_not_reduce_is_judged(line: str) -> None:
    assert _is_meant(line)


@pytest.mark.parametrize("line", REDUCED)
def test_a_number_that_the_line_reduces_is_not(line: str) -> None:
    assert not _is_meant(line)


@pytest.mark.parametrize("what", SHIFTS)
def test_a_shift_by_a_register_is_found_and_its_number_read(what: str) -> None:
    code, bits, count = SHIFTS[what]
    registers = X86Registers(*[0] * len(X86Registers._fields))._replace(rcx=0x1FF, r10=(1 << 64) - 2)
    assert list(variable_shifts(code, 0, len(code))) == [(0, bits)]
    assert shift_count(registers, code) == count
