"""Which accesses of two calls could race: of the same bytes, one of them a write, not both atomic.

Each call was traced alone, from the same state of the box, so that the same object has the same address in both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from kobox.machine.watch import Access, TracedAccess

_LINE = 64  # bytes: accesses are looked up by it
_MOST_LINES = 64


class Conflict(NamedTuple):
    """`held` is an access of the first call, `other` one of the second to some of the same bytes."""

    held: TracedAccess
    other: TracedAccess

    @property
    def rank(self) -> int:
        """0 for what loses an update most surely: both write, and the held one has read before."""
        writes = [bool(one.access & Access.WRITE) for one in self]
        reads = bool(self.held.access & Access.READ)
        return 0 if all(writes) and reads else 1 if all(writes) else 2 if writes[0] else 3


def conflicts(first: Sequence[TracedAccess], second: Sequence[TracedAccess]) -> list[Conflict]:
    """The conflicts between two traces, the worst first; one for each pair of places in the code."""
    by_line: dict[int, list[TracedAccess]] = defaultdict(list)
    for access in second:
        for line in _lines(access):
            by_line[line].append(access)
    found: dict[tuple[int, int], Conflict] = {}
    for access in first:
        for line in _lines(access):
            for other in by_line.get(line, ()):
                if (access.pc, other.pc) not in found and _clash(access, other):
                    found[(access.pc, other.pc)] = Conflict(access, other)
    return sorted(found.values(), key=lambda one: (one.rank, one.held.order))


def _lines(access: TracedAccess) -> Iterable[int]:
    first, last = access.address // _LINE, (access.address + access.size - 1) // _LINE
    return range(first, min(last, first + _MOST_LINES) + 1)


def _clash(one: TracedAccess, other: TracedAccess) -> bool:
    both = one.access | other.access
    if not both & Access.WRITE or one.access & other.access & Access.ATOMIC:
        return False
    return one.address < other.address + other.size and other.address < one.address + one.size
