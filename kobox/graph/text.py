"""Graphs as text: a tree of lines for a terminal, and what there is to say about a whole tree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kobox.graph.change import GraphChange
from kobox.graph.module_graph import SOFT, SYMBOLS, WEAK, ModuleGraph, ModuleNode, Need, RemovalEffect
from kobox.ko.demangle import demangle

_MARKS = {SOFT: "soft", WEAK: "weak"}
_MOST = 10


def tree_text(graph: ModuleGraph, *, users: bool = False, symbols: bool = False, most: int = 2000) -> str:
    """Each root with what it needs below it, or with `users` what needs it. What was shown before is named once more,
    with `(above)` instead of what is below it. `most` lines at most."""
    lines: list[str] = []
    shown: set[str] = set()
    table, end = (graph.users, "user") if users else (graph.providers, "provider")
    for root in graph.roots or tuple(name for name in sorted(graph.nodes) if not graph.users.get(name)):
        lines.append(_node(graph.nodes[root]))
        shown.add(root)
        lines += _below(graph, root, table, end, shown, symbols, most - len(lines))
        if len(lines) >= most:
            lines.append("…")
            break
    counted = {*graph.roots, *(name for root in graph.roots for name in _all_below(graph, root, users))}
    if len(counted) > len(graph.roots):
        lines.append(f"{len(counted)} modules, {size_text(graph.size(counted))} of memory")
    return "\n".join(lines)


def summary_text(graph: ModuleGraph) -> str:
    """A whole tree in a screen: how many, how large, who is used most, who needs most, circles."""
    provided = sorted(graph.users, key=lambda name: (-len(graph.needed_by(name)), name))[:_MOST]
    needing = sorted(graph.nodes, key=lambda name: (-len(graph.needs(name)), name))[:_MOST]
    alone = sum(1 for name in graph.nodes if name not in graph.providers and name not in graph.users)
    lines = [
        f"{graph.origin}: {len(graph.nodes)} modules, {size_text(graph.size(graph.nodes))} if all were loaded",
        f"{len(graph.edges)} needs between them; {alone} modules need none and are needed by none",
        "",
        "needed by most                     directly  in all",
        *(f"  {name:<32} {len(graph.users[name]):>8} {len(graph.needed_by(name)):>7}" for name in provided),
        "",
        "needing most                          needs     memory of all of it",
        *(
            f"  {name:<32} {len(needs):>8}     {size_text(graph.size([name, *needs]))}"
            for name in needing
            for needs in [graph.needs(name)]
        ),
    ]
    for cycle in graph.cycles():
        lines += ["", f"these need each other in a circle, so that none can be loaded: {', '.join(cycle)}"]
    return "\n".join(lines)


def removal_text(removal: RemovalEffect) -> str:
    """What goes along when a module is removed."""
    lines = [f"removing {removal.module} frees {size_text(removal.size)}"]
    if removal.users:
        lines.append(f"first, as they use it: {' '.join(removal.users)}")
    if removal.unused:
        lines.append(f"then, as nothing else uses them: {' '.join(removal.unused)}")
    if not removal.users and not removal.unused:
        lines.append("nothing else goes with it")
    return "\n".join(lines)


def change_text(change: GraphChange) -> str:
    """What differs between two graphs, a line each."""
    if not change:
        return "no difference"
    lines = [f"- {name}" for name in change.removed] + [f"+ {name}" for name in change.added]
    lines += [f"- {user} needs {provider}" for user, provider in change.removed_needs]
    lines += [f"+ {user} needs {provider}" for user, provider in change.added_needs]
    lines += [
        f"  {name}: {size_text(before)} -> {size_text(after)}"
        for name, before, after in sorted(change.resized, key=lambda one: -abs(one[2] - one[1]))
    ]
    return "\n".join(lines)


def size_text(size: int) -> str:
    """Bytes as people read them."""
    if size < 1 << 10:
        return f"{size} B"
    return f"{size / (1 << 10):.0f} KiB" if size < 1 << 20 else f"{size / (1 << 20):.1f} MiB"


def _below(
    graph: ModuleGraph,
    root: str,
    table: Mapping[str, tuple[Need, ...]],
    end: str,
    shown: set[str],
    symbols: bool,
    room: int,
) -> Iterator[str]:
    """The lines below a root; a stack, since a hostile tree may be deeper than Python's own."""
    stack = [("", iter(_last_marked(table.get(root, ()))))]
    while stack and room > 0:
        indent, edges = stack[-1]
        edge, last = next(edges, (None, True))
        if edge is None:
            stack.pop()
            continue
        name = getattr(edge, end)
        again = name in shown and bool(table.get(name))
        yield f"{indent}{'└─ ' if last else '├─ '}{_node(graph.nodes[name])}{_why(edge, symbols)}{' (above)' * again}"
        room -= 1
        if name not in shown:
            shown.add(name)
            stack.append((indent + ("   " if last else "│  "), iter(_last_marked(table.get(name, ())))))


def _all_below(graph: ModuleGraph, root: str, users: bool) -> list[str]:
    return graph.needed_by(root) if users else graph.needs(root)


def _last_marked(edges: tuple[Need, ...]) -> list[tuple[Need, bool]]:
    return [(edge, number == len(edges)) for number, edge in enumerate(edges, 1)]


def _node(node: ModuleNode) -> str:
    facts = [size_text(node.size)] if node.size is not None else []
    if node.builtin:
        facts.append("built in")
    if node.missing:
        facts.append("not there")
    if node.refcount is not None:
        facts.append(f"used {node.refcount} times" if node.refcount != 1 else "used once")
    if node.taint:
        facts.append(f"taints {node.taint}")
    return f"{node.name} ({', '.join(facts)})" if facts else node.name


def _why(edge: Need, symbols: bool) -> str:
    if edge.kind in _MARKS:
        return f", {_MARKS[edge.kind]}"
    if edge.kind != SYMBOLS or not edge.symbols:
        return ""
    if symbols:
        return f": {' '.join(map(demangle, edge.symbols))}"
    return f", {len(edge.symbols)} symbol{'s' * (len(edge.symbols) != 1)}"
