"""What differs between two graphs: the same modules of two kernels."""

from __future__ import annotations

from dataclasses import dataclass

from kobox.graph.module_graph import ModuleGraph


@dataclass(frozen=True, slots=True)
class GraphChange:
    """Modules and edges (user, provider) that only one of two graphs has, and modules whose size differs (in bytes:
    the name, before, after)."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    added_needs: tuple[tuple[str, str], ...]
    removed_needs: tuple[tuple[str, str], ...]
    resized: tuple[tuple[str, int, int], ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.added_needs or self.removed_needs or self.resized)


def compare(before: ModuleGraph, after: ModuleGraph) -> GraphChange:
    """What was added, removed and resized; edges count where both graphs have the user."""
    both = before.nodes.keys() & after.nodes.keys()
    old = {(edge.user, edge.provider) for edge in before.edges if edge.user in both}
    new = {(edge.user, edge.provider) for edge in after.edges if edge.user in both}
    sizes = ((name, before.nodes[name].size or 0, after.nodes[name].size or 0) for name in sorted(both))
    return GraphChange(
        added=tuple(sorted(after.nodes.keys() - both)),
        removed=tuple(sorted(before.nodes.keys() - both)),
        added_needs=tuple(sorted(new - old)),
        removed_needs=tuple(sorted(old - new)),
        resized=tuple(one for one in sizes if one[1] != one[2]),
    )
