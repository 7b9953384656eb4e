"""Locks: which are held by whom, in which order they were taken, and what that leads to.

An edge A -> B says that B was taken while A was held. A circle of edges is a deadlock that waits for its moment, unless
all of them were made under one and the same other lock.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from kobox.box.inspect.cpu_state import CpuState
from kobox.checks.runner.session import Trace

SPINNING = ("spinlock", "rwlock", "rwlock for reading")


@dataclass(frozen=True, slots=True)
class Held:
    """A lock that somebody holds, or a section that is open: `kind` as context.toml has it, "preemption" or
    "interrupts"; `trace` where it was taken, `state` what held right before, `time` virtual nanoseconds then."""

    kind: str
    address: int
    trace: Trace
    state: CpuState
    time: int

    @property
    def is_lock(self) -> bool:
        return self.address != 0


@dataclass(frozen=True, slots=True)
class Edge:
    """`second` was taken while `first` was held, and `others` too."""

    first: Held
    second: Held
    others: frozenset[int]


@dataclass(slots=True)
class LockBook:
    """The order in which locks were taken in one life of a module."""

    edges: dict[int, dict[int, Edge]] = field(default_factory=dict)

    def take(self, held: list[Held], lock: Held) -> tuple[tuple[Edge, ...], bool]:
        """Note that a lock is taken, by waiting for it, while others are held: the circle of edges that this closes, ()
        if none, and whether any of the edges is new."""
        locks = [one for one in held if one.is_lock]
        circle: tuple[Edge, ...] = ()
        new = False
        for one in locks:
            if one.address == lock.address:
                continue
            edge = Edge(one, lock, frozenset(other.address for other in locks) - {one.address})
            circle = circle or self._circle(edge)
            known = self.edges.setdefault(one.address, {})
            new |= lock.address not in known
            known.setdefault(lock.address, edge)
        return circle, new

    def forget(self, address: int) -> None:
        """The memory of a lock is freed: it is no more."""
        self.edges.pop(address, None)
        for others in self.edges.values():
            others.pop(address, None)

    def _circle(self, edge: Edge) -> tuple[Edge, ...]:
        """A way back from the lock that is taken to the one that is held, by edges that no common lock guards."""
        for path in self._paths(edge.second.address, edge.first.address, ()):
            common = edge.others
            for one in path:
                common &= one.others
            if not common:
                return (edge, *path)
        return ()

    def _paths(self, at: int, goal: int, so_far: tuple[Edge, ...]) -> Iterator[tuple[Edge, ...]]:
        for address, edge in self.edges.get(at, {}).items():
            if address == goal:
                yield (*so_far, edge)
            elif len(so_far) < 4 and all(address != one.first.address for one in so_far):
                yield from self._paths(address, goal, (*so_far, edge))
