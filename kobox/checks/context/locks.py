"""Locks: which are held by whom, in which order they were taken, and what that leads to.

An edge A -> B says that B was taken while A was held. A circle of edges is a deadlock that waits for its moment, unless
all of them were made under one and the same other lock.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from kobox.checks.context.cpu_state import CpuState
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
    """All that is held in one life of a module, by the stack of who holds it, and the order in which it was taken."""

    held: dict[int, list[Held]] = field(default_factory=dict)
    edges: dict[int, dict[int, Edge]] = field(default_factory=dict)

    def by(self, stack: int) -> list[Held]:
        """What one task or interrupt holds, in the order of taking."""
        return self.held.setdefault(stack, [])

    def find(self, address: int) -> Held | None:
        """Who holds a lock."""
        return next((one for held in self.held.values() for one in held if one.address == address), None)

    def release(self, stack: int, kind: str, address: int) -> Held | None:
        """Strike out what was taken last of that kind and address, by this holder or else by any; what it was."""
        for holder in (stack, *(other for other in self.held if other != stack)):
            held = self.held.get(holder, [])
            for n in range(len(held) - 1, -1, -1):
                if held[n].kind == kind and held[n].address == address:
                    return held.pop(n)
        return None

    def take(self, stack: int, lock: Held, *, waits: bool) -> tuple[Edge, ...]:
        """Note that a lock is taken; the circle of edges that it closes, () if none. What does not wait (a trylock)
        closes none."""
        held = self.by(stack)
        locks = [one for one in held if one.is_lock]
        circle: tuple[Edge, ...] = ()
        if lock.is_lock and waits:
            for one in locks:
                if one.address == lock.address:
                    continue
                edge = Edge(one, lock, frozenset(other.address for other in locks) - {one.address})
                circle = circle or self._circle(edge)
                self.edges.setdefault(one.address, {}).setdefault(lock.address, edge)
        held.append(lock)
        return circle

    def forget(self, start: int, end: int) -> None:
        """Memory is freed: locks that lay there are no more."""
        gone = [address for address in self._all() if start <= address < end]
        for address in gone:
            self.edges.pop(address, None)
            for others in self.edges.values():
                others.pop(address, None)

    def _all(self) -> set[int]:
        return {*self.edges, *(second for others in self.edges.values() for second in others)}

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
