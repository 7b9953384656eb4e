"""Modules and what they need of each other, as a graph: nodes, edges, and the questions that are asked of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

SYMBOLS, SOFT, WEAK, UNKNOWN = "symbols", "soft", "weak", "unknown"
"""Why a module needs another: it uses symbols of it; a soft dependency (modprobe.d(5)); a weak one, which only says
what may be loaded later; or a running kernel that says only that it is used."""


@dataclass(frozen=True, slots=True)
class ModuleNode:
    """A module. `size` is what it takes in memory, in bytes: a running kernel's word, else the sum of the sections of
    its file that stay after its init; None where neither is known. `state`, `refcount` and `taint` are a running
    kernel's (/proc/modules), else "", None and ""."""

    name: str
    size: int | None = None
    path: str = ""
    builtin: bool = False
    missing: bool = False
    state: str = ""
    refcount: int | None = None
    taint: str = ""


@dataclass(frozen=True, slots=True)
class Need:
    """`user` needs `provider`; `symbols` are those that it takes from it, sorted."""

    user: str
    provider: str
    kind: str = SYMBOLS
    symbols: tuple[str, ...] = ()

    @property
    def is_hard(self) -> bool:
        """Whether the user cannot be loaded without the provider."""
        return self.kind in (SYMBOLS, UNKNOWN)


@dataclass(frozen=True, slots=True)
class RemovalEffect:
    """What a removal would take: `users` have to go first, in this order; `unused` are needed by nobody after it."""

    module: str
    users: tuple[str, ...]
    unused: tuple[str, ...]
    size: int
    """Memory that becomes free, in bytes, with all of them."""


@dataclass(frozen=True)
class ModuleGraph:
    """Nodes by name, and edges. `origin` says in words where it was read."""

    nodes: Mapping[str, ModuleNode]
    edges: tuple[Need, ...]
    origin: str = ""
    roots: tuple[str, ...] = field(default=())
    """The modules that were asked for; () when it is the whole of something."""

    @cached_property
    def providers(self) -> Mapping[str, tuple[Need, ...]]:
        """The edges from each module to what it needs."""
        return self._by("user")

    @cached_property
    def users(self) -> Mapping[str, tuple[Need, ...]]:
        """The edges to each module from what needs it."""
        return self._by("provider")

    def needs(self, name: str, *, hard: bool = False) -> list[str]:
        """All that a module needs, what is needed first coming first, without itself. Raises `KeyError`.

        With `hard`, symbols count and soft dependencies do not. Weak ones never do: they are no condition of loading.
        """
        return self._reach(self.nodes[name].name, self.providers, "provider", hard)[:-1]

    def needed_by(self, name: str, *, hard: bool = True) -> list[str]:
        """All that needs a module, in the order in which it would have to be unloaded. Raises `KeyError`."""
        return self._reach(self.nodes[name].name, self.users, "user", hard)[:-1]

    def size(self, names: Iterable[str]) -> int:
        """The memory of modules, in bytes; what is not known counts as 0."""
        return sum(self.nodes[name].size or 0 for name in names)

    def removal(self, name: str) -> RemovalEffect:
        """What goes along when a module is removed: its users, and what only they needed. Raises `KeyError`.

        A module that a running kernel counts more references of than it has users is held by something else (an open
        file, a mount): it is not `unused`.
        """
        users = self.needed_by(name)
        gone = {name, *users}
        unused: list[str] = []
        for one in reversed([each for gone_one in (name, *users) for each in self.needs(gone_one, hard=True)]):
            if one in gone or self.nodes[one].builtin or self._is_held(one):
                continue
            if all(edge.user in gone for edge in self.users.get(one, ()) if edge.is_hard):
                gone.add(one)
                unused.append(one)
        return RemovalEffect(name, tuple(users), tuple(unused), self.size(gone))

    def cycles(self) -> list[tuple[str, ...]]:
        """Modules that need each other in a circle by symbols: none of them can be loaded. Each circle once."""
        return sorted(tuple(sorted(part)) for part in _strong_components(self._hard()) if len(part) > 1)

    def part(self, names: Iterable[str], *, depth: int | None = None, users: bool = False) -> ModuleGraph:
        """The graph of some modules and what they need, or with `users` what needs them; `depth` edges far at most.

        Raises `KeyError` for a module that is not in it.
        """
        wanted = tuple(dict.fromkeys(self.nodes[name].name for name in names))
        table, end = (self.users, "user") if users else (self.providers, "provider")
        kept, front, edges = dict.fromkeys(wanted), list(wanted), dict[Need, None]()
        while front and (depth is None or depth > 0):
            found = [edge for name in front for edge in table.get(name, ())]
            edges.update(dict.fromkeys(found))
            front = list(dict.fromkeys(str(getattr(edge, end)) for edge in found if getattr(edge, end) not in kept))
            kept.update(dict.fromkeys(front))
            depth = None if depth is None else depth - 1
        return ModuleGraph({name: self.nodes[name] for name in kept}, _sorted(edges), origin=self.origin, roots=wanted)

    def _by(self, end: str) -> Mapping[str, tuple[Need, ...]]:
        found: dict[str, list[Need]] = {}
        for edge in self.edges:
            found.setdefault(getattr(edge, end), []).append(edge)
        return {name: tuple(edges) for name, edges in found.items()}

    def _hard(self) -> Mapping[str, tuple[str, ...]]:
        return {
            name: tuple(edge.provider for edge in self.providers.get(name, ()) if edge.is_hard) for name in self.nodes
        }

    def _is_held(self, name: str) -> bool:
        count = self.nodes[name].refcount
        return count is not None and count > len(self.users.get(name, ()))

    @staticmethod
    def _reach(start: str, table: Mapping[str, tuple[Need, ...]], end: str, hard: bool) -> list[str]:
        """What can be reached, the last first: `start` is the last of the list."""
        order, seen = list[str](), {start}
        stack: list[tuple[str, Iterator[Need]]] = [(start, iter(table.get(start, ())))]
        while stack:
            name, edges = stack[-1]
            for edge in edges:
                other = getattr(edge, end)
                if other in seen or edge.kind == WEAK or (hard and not edge.is_hard):
                    continue
                seen.add(other)
                stack.append((other, iter(table.get(other, ()))))
                break
            else:
                stack.pop()
                order.append(name)
        return order


def _sorted(edges: Iterable[Need]) -> tuple[Need, ...]:
    return tuple(sorted(edges, key=lambda edge: (edge.user, edge.provider, edge.kind)))


def _strong_components(table: Mapping[str, tuple[str, ...]]) -> list[list[str]]:
    """Tarjan's algorithm, without recursion: a hostile tree may be as deep as it likes."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    found: list[list[str]] = []
    for root in table:
        if root in index:
            continue
        work: list[tuple[str, Iterator[str]]] = [(root, iter(table[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            name, others = work[-1]
            for other in others:
                if other not in index:
                    index[other] = low[other] = len(index)
                    stack.append(other)
                    on_stack.add(other)
                    work.append((other, iter(table.get(other, ()))))
                    break
                if other in on_stack:
                    low[name] = min(low[name], index[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[name])
                if low[name] == index[name]:
                    part = list[str]()
                    while True:
                        part.append(stack.pop())
                        on_stack.discard(part[-1])
                        if part[-1] == name:
                            break
                    found.append(part)
    return found
