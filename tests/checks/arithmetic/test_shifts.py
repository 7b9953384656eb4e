"""Which shifts of the source are judged: those whose number the line does not reduce itself."""

from __future__ import annotations

import pytest

from kobox.checks.arithmetic.shifts import _is_meant

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
