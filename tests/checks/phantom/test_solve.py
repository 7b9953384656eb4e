"""What a device must have said: answers for comparisons of values that code has made of it."""

from __future__ import annotations

import struct

import pytest

from kobox.checks.phantom.solve import Solver
from kobox.machine.taint import Decision, MadeBy, Nodes

_NODE = struct.Struct("<BBHII4xQQQ")
EQUAL, NOT_EQUAL, BELOW = 4, 5, 2


class Made:
    """Values as they are made: each method adds a node and returns its number."""

    def __init__(self) -> None:
        self.raw, self.count, self.values = bytes(_NODE.size), 0, [0]

    def _add(self, operation: int, left: int, right: int, left_value: int, right_value: int, value: int) -> int:
        value &= 0xFFFFFFFF
        self.raw += _NODE.pack(operation, 4, 0, left, right, left_value, right_value, value)
        self.values.append(value)
        self.count += 1
        return self.count

    def read(self, value: int) -> int:
        """The next read gives that; its number is that of its node."""
        return self._add(MadeBy.READ, 0, 0, self.count + 1, 0, value)

    def both(self, operation: int, left: int, right: int) -> int:
        """An operation of two values."""
        a, b = self.values[left], self.values[right]
        return self._add(operation, left, right, a, b, _of(operation, a, b))

    def number(self, operation: int, left: int, right: int) -> int:
        """An operation of a value and a number."""
        a = self.values[left]
        return self._add(operation, left, 0, a, right, _of(operation, a, right))

    def equals(self, left: int, right: int) -> Decision:
        """A comparison with a number, which did not hold."""
        return Decision(0, MadeBy.COMPARE, 4, EQUAL, False, left, 0, self.values[left], right)


def _of(operation: int, a: int, b: int) -> int:
    table = {
        MadeBy.ADD: a + b,
        MadeBy.SUB: a - b,
        MadeBy.AND: a & b,
        MadeBy.OR: a | b,
        MadeBy.XOR: a ^ b,
        MadeBy.SHL: a << b,
        MadeBy.SHR: a >> b,
    }
    return table[MadeBy(operation)]


def given(made: Made, decision: Decision) -> list[dict[int, tuple[int, int]]]:
    """The answers: number of a read -> mask and value."""
    found = Solver(Nodes(made.raw)).flip(decision)
    return [{read: (bits.mask, bits.value) for read, bits in answer.items()} for answer in found]


def test_twice_as_much() -> None:
    """lea (%rax,%rax) is a shift by one."""
    made = Made()
    read = made.read(0)
    twice = made.both(MadeBy.ADD, read, read)
    assert given(made, made.equals(twice, 0x26))[0] == {read: (0x7FFFFFFF, 0x13)}
    assert given(made, made.equals(twice, 0x27)) == []  # no number is half of that


@pytest.mark.parametrize("wanted", [0, 1, 2, 5, 10, 15])
def test_bits_that_are_read_one_by_one(wanted: int) -> None:
    """An EEPROM behind two wires: word = word * 2 + (read >> 3 & 1), four times."""
    made, reads = Made(), list[int]()
    word = 0
    for _ in range(4):
        reads.append(made.read(0xF7 if wanted else 0xFF))
        bit = made.number(MadeBy.AND, made.number(MadeBy.SHR, reads[-1], 3), 1)
        word = made.both(MadeBy.OR, made.both(MadeBy.ADD, word, word), bit) if word else bit
    answer = given(made, made.equals(word, wanted))[0]
    bits = [answer[read][1] >> 3 & 1 if read in answer else 0 for read in reads]
    assert sum(bit << 3 - n for n, bit in enumerate(bits)) == wanted


def test_a_sum_without_carries() -> None:
    """lea (%rax,%rdx) of a high half and a low half."""
    made = Made()
    low, high = made.read(0), made.read(0)
    whole = made.both(
        MadeBy.ADD,
        made.number(MadeBy.SHL, made.number(MadeBy.AND, high, 0xFFFF), 16),
        made.number(MadeBy.AND, low, 0xFFFF),
    )
    assert given(made, made.equals(whole, 0x12345678))[0] == {low: (0xFFFF, 0x5678), high: (0xFFFF, 0x1234)}


def test_a_checksum() -> None:
    """The last word makes the sum of all what it must be."""
    made = Made()
    first, second, last = (made.read(value) for value in (0x1111, 0x2222, 0))
    total = made.both(MadeBy.ADD, made.both(MadeBy.ADD, first, second), last)
    answers = given(made, made.equals(total, 0xBABA))
    assert {last: (0xFFFFFFFF, 0xBABA - 0x3333)} in answers
