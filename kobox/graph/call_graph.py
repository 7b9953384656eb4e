"""A module's calls: its functions, who calls which, and into which functions of the kernel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kobox.errors import KoboxError
from kobox.printable import one_line

MOST_DRAWN = 400
"""Functions that one picture may have."""


@dataclass(frozen=True, slots=True)
class CalledFunction:
    """A function; `module` is "" for the kernel's own. `entry`: the kernel calls it. `instructions`: with
    all it calls."""

    name: str
    module: str
    calls: int
    instructions: int
    entry: bool = False


@dataclass(frozen=True, slots=True)
class CallEdge:
    """`caller` has called `callee` so often: numbers of functions in the graph."""

    caller: int
    callee: int
    calls: int
    instructions: int


@dataclass(frozen=True, slots=True)
class CallGraph:
    """Functions, and who calls whom."""

    title: str
    functions: tuple[CalledFunction, ...]
    edges: tuple[CallEdge, ...]


def call_graph_rows(graph: CallGraph) -> list[tuple[str, ...]]:
    """As a table: caller, callee, calls, instructions."""
    names = [_named(one) for one in graph.functions]
    rows: list[tuple[str, ...]] = [
        ("the kernel", names[n], f"{one.calls:,}", f"{one.instructions:,}")
        for n, one in enumerate(graph.functions)
        if one.entry
    ]
    rows += [(names[one.caller], names[one.callee], f"{one.calls:,}", f"{one.instructions:,}") for one in graph.edges]
    return rows


def call_graph_text(graph: CallGraph) -> str:
    """The same as text."""
    lines = [
        f"{calls:>9} {instructions:>14}  {caller} -> {callee}"
        for caller, callee, calls, instructions in call_graph_rows(graph)
    ]
    return "\n".join([f"{'calls':>9} {'instructions':>14}", *lines])


def call_graph_dot(graph: CallGraph) -> str:
    """Graphviz's language: the module's functions blue, those that the kernel calls with a thick frame, the kernel's
    own sand. Raises `KoboxError` for too many."""
    if len(graph.functions) > MOST_DRAWN:
        raise KoboxError(
            f"{len(graph.functions)} functions are too many for one picture; {MOST_DRAWN} can be drawn",
            hint="Set --depth 1, or write a table: FILE.json.",
        )
    return "\n".join(["digraph calls {", *_dot_lines(graph), "}", ""])


def _dot_lines(graph: CallGraph) -> Iterator[str]:
    yield "  rankdir=LR; nodesep=0.12; ranksep=0.7;"
    yield '  node [shape=box, style="rounded,filled", color="#5a6472", fontname="DejaVu Sans", fontsize=10];'
    yield '  edge [color="#5a6472", fontname="DejaVu Sans", fontsize=8, arrowsize=0.7];'
    for n, one in enumerate(graph.functions):
        fill = "#dbe9f6" if one.module else "#f3e7cf"
        frame = ", penwidth=2.5" if one.entry else ""
        label = f"{_quoted(one.name)}\\n{one.instructions:,}"
        yield f'  f{n} [label="{label}", fillcolor="{fill}"{frame}];'
    for edge in graph.edges:
        label = f' [label="{edge.calls:,}"]' if edge.calls > 1 else ""
        yield f"  f{edge.caller} -> f{edge.callee}{label};"


def call_graph_mermaid(graph: CallGraph) -> str:
    """Mermaid's flowchart."""
    lines = ["flowchart LR"]
    for n, one in enumerate(graph.functions):
        name = "".join(c if c.isalnum() or c in "_.-" else "_" for c in one.name)
        lines.append(f'  f{n}["{name}"]')
        lines += [f"  style f{n} fill:#dbe9f6"] if one.module else []
    lines += [f"  f{edge.caller} -->|{edge.calls}| f{edge.callee}" for edge in graph.edges]
    return "\n".join([*lines, ""])


def _named(one: CalledFunction) -> str:
    return f"{one.name} [{one.module}]" if one.module else one.name


def _quoted(text: str) -> str:
    return one_line(text).replace("\\", "\\\\").replace('"', '\\"')
