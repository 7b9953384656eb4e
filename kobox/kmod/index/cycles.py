"""Modules that need each other in a circle. (Which module needs which, and their order: `indexes.c`.)"""

from __future__ import annotations

from collections.abc import Sequence

# Sorts behind all others: the number of a module that is part of a cycle.
UNSORTED = 1 << 31


def cycles(uses: Sequence[Sequence[int]], numbers: Sequence[int]) -> list[list[int]]:
    """Every cycle once: strongly connected modules, by Tarjan's algorithm, each after its user; or one by itself."""
    left = [module for module, number in enumerate(numbers) if number == UNSORTED]
    order: dict[int, int] = {}
    low: dict[int, int] = {}
    path: list[int] = []
    on_path: set[int] = set()
    found: list[list[int]] = []
    for root in left:
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
                    component, path[place:] = path[place:], []
                    on_path.difference_update(component)
                    if len(component) > 1 or module in uses[module]:
                        found.append(component)
    return found
