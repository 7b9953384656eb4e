"""Modules that need each other in a circle. (Which module needs which, and their order: `indexes.c`.)

depmod reports a cycle by its modules, `a -> b -> c -> a`. It starts from each module that is in a cycle, or that one
needs, and reports every way that leads back to it. It does not start again from modules that were reported, or that
need nothing. Here a way passes a module once at most, so the search ends.
"""

from __future__ import annotations

from collections.abc import Sequence

# Sorts behind all others: the number of a module that is part of a cycle, or that one needs.
UNSORTED = 1 << 31
_STEPS = 10_000  # from one start: among many modules that all need each other there are more ways than can be reported
_MOST = 16  # cycles that are reported from one start


def cycles(uses: Sequence[Sequence[int]], numbers: Sequence[int]) -> list[list[int]]:
    """The cycles, each as its modules in the order in which one needs the next.

    `uses` are the modules that each module needs, `numbers` those of `indexes.c`. Every module of a cycle is in one of
    those reported.
    """
    unsorted = [module for module, number in enumerate(numbers) if number == UNSORTED]
    search = _Search(uses, _components(uses, unsorted))
    starts = _Starts(unsorted)
    found: list[list[int]] = []
    while starts.left:
        found += search.cycles_through(starts.take(), starts)
    return found


class _Starts:
    """The modules to start from, as a ring: the next one stands behind the one that was removed last, as in depmod."""

    def __init__(self, modules: list[int]) -> None:
        self.left = modules

    def take(self) -> int:
        """The next one."""
        return self.left.pop(0)

    def remove(self, module: int) -> None:
        """Leave one out."""
        if module in self.left:
            place = self.left.index(module)
            self.left = self.left[place + 1 :] + self.left[:place]


class _Search:
    """Looks for ways from a module back to itself; only modules of its component can be on one."""

    def __init__(self, uses: Sequence[Sequence[int]], component: dict[int, int]) -> None:
        self._uses = uses
        self._component = component

    def cycles_through(self, root: int, starts: _Starts) -> list[list[int]]:
        """The cycles through a module, what it needs last first; the shortest one where there are too many ways."""
        own = self._component.get(root)
        found: list[list[int]] = []
        path, seen, work = [root], {root}, [reversed(self._uses[root])]
        for _ in range(_STEPS):
            if not work or len(found) == _MOST:
                break
            below = next(work[-1], None)
            if below is None:
                work.pop()
                path.pop()
            elif below == root:
                found.append(list(path))
                for module in path:
                    starts.remove(module)
            elif not self._uses[below]:
                starts.remove(below)
            elif below not in path and (below not in seen or self._is_in(below, own)):
                seen.add(below)
                path.append(below)
                work.append(reversed(self._uses[below]))
        if own is not None and not found:
            found = [_shortest(root, self._uses, self._component)]
            for module in found[0]:
                starts.remove(module)
        return found

    def _is_in(self, module: int, component: int | None) -> bool:
        return component is not None and self._component.get(module) == component


def _shortest(root: int, uses: Sequence[Sequence[int]], component: dict[int, int]) -> list[int]:
    """The shortest way from a module back to itself."""
    came_from = {below: root for below in uses[root] if component.get(below) == component[root]}
    queue = list(came_from)
    for module in queue:
        if module == root:
            break
        for below in uses[module]:
            if component.get(below) == component[root] and below not in came_from:
                came_from[below] = module
                queue.append(below)
    way = [came_from[root]]
    while way[-1] != root:
        way.append(came_from[way[-1]])
    return way[::-1]


def _components(uses: Sequence[Sequence[int]], modules: Sequence[int]) -> dict[int, int]:
    """The number of its strongly connected component, for each of the modules that is part of a cycle (Tarjan)."""
    order: dict[int, int] = {}
    low: dict[int, int] = {}
    path: list[int] = []
    on_path: set[int] = set()
    found: dict[int, int] = {}
    for root in modules:
        if root in order:
            continue
        work = [(root, iter(uses[root]))]
        order[root] = low[root] = len(order)
        path.append(root)
        on_path.add(root)
        while work:
            module, rest = work[-1]
            for below in rest:
                if below not in order:
                    order[below] = low[below] = len(order)
                    path.append(below)
                    on_path.add(below)
                    work.append((below, iter(uses[below])))
                    break
                if below in on_path:
                    low[module] = min(low[module], order[below])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[module])
                if low[module] == order[module]:
                    place = path.index(module)
                    members, path[place:] = path[place:], []
                    on_path.difference_update(members)
                    if len(members) > 1 or module in uses[module]:
                        found.update(dict.fromkeys(members, module))
    return found
