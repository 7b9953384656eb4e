"""What a device must have said, for a decision of its driver's to go the other way.

    if ((readl(STATUS) >> 8 & 0xff) == 0x13)     COMPARE(AND(SHR(READ 17, 8), 0xff), 0x13), not equal

The comparison says what the value on its left is to be; each node says what its own operands are to be for that; at the
end stand bits of what was read. Several answers are possible, so the likeliest come first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import NamedTuple, TypeAlias

from kobox.machine.taint import Decision, MadeBy, Node, Nodes

_DEEPEST = 200
_MOST_BITS = 10
_BIT = 16  # in Node.how of a condition


class Bits(NamedTuple):
    """Some bits of a number: those in `mask`, which are to be as in `value`."""

    mask: int
    value: int


Answer: TypeAlias = Mapping[int, Bits]
"""What reads, by their numbers, are to give."""


def mask_of(size: int) -> int:
    """All bits of `size` bytes."""
    return (1 << 8 * size) - 1


class Solver:
    """Finds answers in the nodes of one run, with at most so many `steps` for a decision."""

    def __init__(self, nodes: Nodes, steps: int = 20_000) -> None:
        self._nodes = nodes
        self._most_steps, self._steps = steps, 0
        self._possible: dict[int, int] = {}

    def flip(self, decision: Decision, most: int = 6) -> list[Answer]:
        """At most so many answers, each of which makes the decision go the other way."""
        found: list[Answer] = []
        self._steps = 0
        operation = MadeBy.BIT if decision.operation == MadeBy.BIT else MadeBy.COMPARE
        wanted = self._condition(
            operation, decision.condition, not decision.taken, decision.size, decision[5:9], _DEEPEST
        )
        for answer in islice(wanted, 4 * most):
            changed = {read: bits for read, bits in answer.items() if bits.mask}
            if changed and changed not in found:
                found.append(changed)
            if len(found) == most:
                break
        return found

    def reads(self, decision: Decision) -> set[int]:
        """The numbers of the reads that a decision depends on."""
        found, open_, seen = set(), [decision.left, decision.right], {0}
        while open_ and len(seen) < self._most_steps:
            number = open_.pop()
            if number in seen:
                continue
            seen.add(number)
            node = self._nodes[number]
            if node.operation == MadeBy.READ:
                found.add(node.left_value)
            else:
                open_ += [node.left, node.right]
        return found

    # -- conditions --------------------------------------------------------------------------------------------

    def _condition(
        self, operation: int, condition: int, holds: bool, size: int, sides: tuple[int, int, int, int], depth: int
    ) -> Iterator[Answer]:
        left, right, left_value, right_value = sides
        yes, full = holds != bool(condition & 1), mask_of(size)
        if operation == MadeBy.BIT:
            bit = 1 << right_value % (8 * size)
            if left:
                yield from self._want(left, Bits(bit, bit if yes else 0), depth)
            return
        if left:
            for bits in _left_side(condition >> 1, yes, right_value & full, size, self._may_be(left)):
                yield from self._want(left, bits, depth)
        if right:
            for bits in _right_side(condition >> 1, yes, left_value & full, size):
                yield from self._want(right, bits, depth)

    # -- values ------------------------------------------------------------------------------------------------

    def _want(self, number: int, bits: Bits, depth: int) -> Iterator[Answer]:
        """What reads must give for some bits of a node."""
        node = self._nodes[number] if number else None
        if not bits.mask:
            yield {}
            return
        self._steps += 1
        if node is None or depth <= 0 or self._steps > self._most_steps:
            return
        if node.operation == MadeBy.READ:
            full = mask_of(node.size)
            if not bits.mask & bits.value & ~full:
                yield {node.left_value: Bits(bits.mask & full, bits.value & bits.mask & full)}
            return
        if node.operation == MadeBy.CONDITION:
            if bits.mask & 1:
                kind = MadeBy.BIT if node.how & _BIT else MadeBy.COMPARE
                sides = (node.left, node.right, node.left_value, node.right_value)
                yield from self._condition(kind, node.how & 15, bool(bits.value & 1), node.how >> 8, sides, depth - 1)
            return
        if node.operation == MadeBy.ADD and node.left == node.right:  # twice as much: a shift by one
            if not bits.mask & bits.value & 1:
                full = mask_of(node.size)
                yield from self._want(node.left, Bits((bits.mask & full) >> 1, (bits.value & full) >> 1), depth - 1)
            return
        if node.left and node.right and (node.operation in (MadeBy.OR, MadeBy.INSERT) or self._is_union(node)):
            yield from self._want_both(node, bits, depth)
            return
        yield from self._want_choice(node, bits, depth)
        if node.left and (wanted := _of_left(node, bits)) is not None:
            yield from self._want(node.left, wanted, depth - 1)
        if node.right and (wanted := _of_right(node, bits)) is not None:
            yield from self._want(node.right, wanted, depth - 1)

    def _want_both(self, node: Node, bits: Bits, depth: int) -> Iterator[Answer]:
        """Each bit comes from the side that can have it."""
        if node.operation == MadeBy.INSERT:
            lower = mask_of(node.how)
        else:
            lower = self._may_be(node.right)
            if bits.mask & ~bits.value & self._may_be(node.left) & lower:
                return
        upper = Bits(bits.mask & ~lower, bits.value)
        for first in self._want(node.right, Bits(bits.mask & lower, bits.value), depth - 1):
            for second in self._want(node.left, upper, depth - 1):
                if not any(first[read].mask & second[read].mask for read in first.keys() & second.keys()):
                    yield {**first, **second, **_merged(first, second)}

    def _want_choice(self, node: Node, bits: Bits, depth: int) -> Iterator[Answer]:
        """A difference or sum of which one side is 0 or 1: what compilers make of a comparison."""
        if node.operation not in (MadeBy.ADD, MadeBy.SUB):
            return
        sign = 1 if node.operation == MadeBy.ADD else -1
        if node.right and self._may_be(node.right) == 1:
            other = 1 - (node.right_value & 1)
            if not (node.left_value + sign * other ^ bits.value) & bits.mask & mask_of(node.size):
                yield from self._want(node.right, Bits(1, other), depth - 1)

    def _is_union(self, node: Node) -> bool:
        """Whether a sum has no carries: each bit is of one side only."""
        return node.operation == MadeBy.ADD and not self._may_be(node.left) & self._may_be(node.right)

    def _may_be(self, number: int) -> int:
        """The bits of a node that can be other than 0. Nodes are made of older ones only."""
        open_ = [number]
        while open_:
            node = self._nodes[open_[-1]]
            missing = [side for side in (node.left, node.right) if side and side not in self._possible]
            if missing and node.operation != MadeBy.READ:
                open_ += missing
            else:
                self._possible[open_.pop()] = self._possible_bits(node)
        return self._possible[number]

    def _possible_bits(self, node: Node) -> int:
        full = mask_of(node.size)
        if node.operation == MadeBy.READ:
            return full
        if node.operation == MadeBy.CONDITION:
            return 1
        # Both sides are known by now: see above.
        left = self._side(node.left, node.left_value)
        right = self._side(node.right, node.right_value)
        match node.operation:
            case MadeBy.AND:
                return left & right
            case MadeBy.OR | MadeBy.XOR:
                return (left | right) & full
            case MadeBy.ADD if node.left == node.right:
                return left << 1 & full
            case MadeBy.ADD if not left & right:
                return (left | right) & full
            case MadeBy.SHL if not node.right:
                return left << _count(node) & full
            case MadeBy.SHR if not node.right:
                return (left & full) >> _count(node)
            case MadeBy.ZERO_EXTEND:
                return left & mask_of(node.how)
            case MadeBy.INSERT:
                return left & ~mask_of(node.how) | right & mask_of(node.how)
            case _:
                return full

    def _side(self, number: int, value: int) -> int:
        return self._possible[number] if number else value


def _merged(first: Answer, second: Answer) -> dict[int, Bits]:
    both = first.keys() & second.keys()
    return {
        read: Bits(
            first[read].mask | second[read].mask,
            first[read].value & first[read].mask | second[read].value & second[read].mask,
        )
        for read in both
    }


def _count(node: Node) -> int:
    return node.right_value & (63 if node.size == 8 else 31)


def _upto(mask: int) -> int:
    """All bits up to the highest of a mask: what a sum depends on."""
    return (1 << mask.bit_length()) - 1


def _of_left(node: Node, bits: Bits) -> Bits | None:
    """What the left operand is to be, with the right one as it is; None when that cannot be."""
    full, other = mask_of(node.size), node.right_value
    mask, value = bits.mask & full, bits.value & bits.mask & full
    if bits.mask & bits.value & ~full and node.operation != MadeBy.SIGN_EXTEND:
        return None
    wide = node.value & ~mask | value  # all of the result, for what depends on carries
    match node.operation:
        case MadeBy.AND:
            return None if value & ~other else Bits(mask & other, value)
        case MadeBy.OR:
            return None if mask & other & ~value else Bits(mask & ~other, value)
        case MadeBy.XOR:
            return Bits(mask, (value ^ other) & mask)
        case MadeBy.ADD:
            return Bits(_upto(mask), (wide - other) & _upto(mask))
        case MadeBy.SUB:
            return Bits(_upto(mask), (wide + other) & _upto(mask))
        case MadeBy.SHL:
            lost = (1 << _count(node)) - 1
            return None if value & lost else Bits(mask >> _count(node), value >> _count(node))
        case MadeBy.SHR | MadeBy.SAR:
            moved = value << _count(node)
            return Bits(mask << _count(node) & full, moved & full) if not moved & ~full else None
        case MadeBy.ROL | MadeBy.ROR:
            return _rotated(node, mask, value)
        case MadeBy.MUL:
            return Bits(full, value // other) if other and not node.right and not wide % other else None
        case _:
            return _of_only(node, mask, value, wide)


def _of_only(node: Node, mask: int, value: int, wide: int) -> Bits | None:
    """The same for operations with one operand, and for INSERT."""
    full = mask_of(node.size)
    match node.operation:
        case MadeBy.NOT:
            return Bits(mask, ~value & mask)
        case MadeBy.NEG:
            return Bits(_upto(mask), -wide & _upto(mask))
        case MadeBy.SWAP:
            return Bits(*(int.from_bytes(n.to_bytes(node.size, "little"), "big") for n in (mask, value)))
        case MadeBy.ZERO_EXTEND:
            narrow = mask_of(node.how)
            return None if value & ~narrow else Bits(mask & narrow, value)
        case MadeBy.SIGN_EXTEND:
            narrow = mask_of(node.how)
            sign = value & full & ~(narrow >> 1)
            return Bits(mask & narrow, value & narrow) if sign in (0, mask & full & ~(narrow >> 1)) else None
        case MadeBy.INSERT:
            upper = ~mask_of(node.how)
            return Bits(mask & upper, value & upper) if mask & upper else None
        case _:
            return None


def _rotated(node: Node, mask: int, value: int) -> Bits:
    width = 8 * node.size
    count = node.right_value % width
    back = width - count if node.operation == MadeBy.ROL else count
    full = mask_of(node.size)

    def turn(n: int) -> int:
        return (n << back | n >> width - back) & full if back else n

    return Bits(turn(mask), turn(value))


def _of_right(node: Node, bits: Bits) -> Bits | None:
    """What the right operand is to be, with the left one as it is."""
    full, other = mask_of(node.size), node.left_value
    mask, value = bits.mask & full, bits.value & bits.mask & full
    wide = node.value & ~mask | value
    match node.operation:
        case MadeBy.AND | MadeBy.OR | MadeBy.XOR | MadeBy.ADD | MadeBy.MUL:
            mirrored = node._replace(left=node.right, right=node.left, right_value=other)
            return _of_left(mirrored, bits)
        case MadeBy.SUB:
            return Bits(_upto(mask), (other - wide) & _upto(mask))
        case MadeBy.INSERT:
            lower = mask_of(node.how)
            return Bits(mask & lower, value & lower) if mask & lower else None
        case _:
            return None


def _left_side(kind: int, yes: bool, other: int, size: int, possible: int) -> Iterator[Bits]:
    """What the left side of a comparison is to be (Intel SDM volume 1, appendix B: condition codes)."""
    full, sign = mask_of(size), 1 << 8 * size - 1

    def numbers(*wanted: int) -> Iterator[Bits]:
        for number in dict.fromkeys(wanted):
            if 0 <= number <= full:
                yield Bits(full, number)

    match kind, yes:
        case 1, True:
            yield from numbers(other - 1, 0) if other else ()
        case 1, False:
            yield from numbers(other, full, other + 1)
        case 2, True:
            yield from numbers(other)
        case 2, False:
            yield from _different(other, possible & full)
        case 3, True:
            yield from numbers(other, 0, other - 1)
        case 3, False:
            yield from numbers(other + 1, full) if other < full else ()
        case 4, _ if not other:
            yield Bits(sign, sign if yes else 0)
        case 4 | 6, True:
            yield from (Bits(full, n & full) for n in (other - 1, sign)) if other != sign else ()
        case 4 | 6, False:
            yield from (Bits(full, n & full) for n in (other, other + 1, full >> 1))
        case 7, True:
            yield from (Bits(full, n & full) for n in (other, other - 1, sign))
        case 7, False:
            yield from (Bits(full, n & full) for n in (other + 1, full >> 1)) if other != full >> 1 else ()
        case _:
            return


def _different(other: int, possible: int) -> Iterator[Bits]:
    """Other than `other`: of nothing, one bit after the other, then all; else nothing, then what is near."""
    if other:
        yield Bits(possible, 0)
    bits = [1 << n for n in range(possible.bit_length()) if possible >> n & 1]
    for bit in bits[:_MOST_BITS]:
        yield Bits(bit, ~other & bit)
    if bits:
        yield Bits(bits[-1], ~other & bits[-1])
        yield Bits(possible, possible & ~other or possible)


def _right_side(kind: int, yes: bool, other: int, size: int) -> Iterator[Bits]:
    full = mask_of(size)
    ways: Mapping[tuple[int, bool], tuple[int, ...]] = {
        (1, True): (other + 1, full),
        (1, False): (other, 0),
        (2, True): (other,),
        (2, False): (0, other ^ 1, full),
        (3, True): (other, full),
        (3, False): (other - 1, 0),
        (6, True): (other + 1, full >> 1),
        (6, False): (other, 0),
        (7, True): (other, full >> 1),
        (7, False): (other - 1, 0),
    }
    for number in dict.fromkeys(ways.get((kind, yes), ())):
        if 0 <= number <= full and not (number == other and (kind, yes) == (2, False)):
            yield Bits(full, number)
