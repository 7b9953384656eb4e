"""Which module needs which, and the order to load them in.

A module needs those that export the symbols it imports. The numbers that sort dependencies in modules.dep come
from taking modules away that nobody (any more) needs, the last found first (Kahn's algorithm with a stack, as
depmod does it); so every module has a smaller number than what it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

# Sorts behind all others: the number of a module that is part of a cycle.
UNSORTED = 1 << 31


def direct(needs: Sequence[bytes], owners: Mapping[bytes, int]) -> list[tuple[int, ...]]:
    """For each module the modules it uses symbols of, in the order of its imports.

    `needs` are the names that each imports, joined by NUL; `owners` tells which module exports a name.
    """
    get: Callable[[bytes], int | None] = owners.get
    found = []
    for names in needs:
        listed = names.split(b"\0")
        if b"." in names:
            # On 64-bit PowerPC `.foo` is the code of the function that `foo` describes.
            listed = [name.removeprefix(b".") for name in listed]
        used = dict.fromkeys(map(get, listed))
        used.pop(None, None)
        found.append(tuple(used))
    return found  # type: ignore[return-value]  # None was popped


def sort_numbers(uses: Sequence[Sequence[int]]) -> list[int]:
    """The place of each module in an order where users come before what they use; UNSORTED in and below cycles."""
    users = [0] * len(uses)
    for used in uses:
        for module in used:
            users[module] += 1
    numbers = [UNSORTED] * len(uses)
    free = [module for module, count in enumerate(users) if not count]
    place = 0
    while free:
        module = free.pop()
        numbers[module] = place
        place += 1
        for below in uses[module]:
            users[below] -= 1
            if not users[below]:
                free.append(below)
    return numbers


def closure(uses: Sequence[Sequence[int]], numbers: Sequence[int]) -> list[list[int]]:
    """For each module all modules it needs, directly or not, users first. There must be no cycles."""
    everything: list[frozenset[int]] = [frozenset()] * len(uses)
    # What is used has larger numbers, so it is complete before its users are looked at.
    for module in sorted(range(len(uses)), key=numbers.__getitem__, reverse=True):
        if uses[module]:
            everything[module] = frozenset(uses[module]).union(*[everything[used] for used in uses[module]])
    return [sorted(found, key=numbers.__getitem__) for found in everything]


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
