"""Graphs as files: SVG, PNG, PDF, DOT, Mermaid, JSON and a page that one walks through."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from kobox.atomic_file import write_file
from kobox.errors import KoboxError
from kobox.graph.module_graph import SOFT, SYMBOLS, WEAK, ModuleGraph, ModuleNode, Need
from kobox.graph.text import size_text
from kobox.ko.demangle import demangle
from kobox.printable import one_line

if TYPE_CHECKING:
    from kobox.images.store import Progress, Store

FORMATS = {
    "dot": "Graphviz's language",
    "html": "a page to walk through: search, and a module with its neighbours",
    "json": "nodes and edges",
    "mmd": "Mermaid, which README files on code hosts show as a picture",
    "pdf": "a picture on paper",
    "png": "a picture",
    "svg": "a picture",
}
_DRAWN = ("pdf", "png", "svg")
# Beyond this many, a picture of boxes and arrows is a knot, and Graphviz works on it for minutes.
_MOST_DRAWN = 600
_TAIL = {SOFT: "dashed", WEAK: "dotted"}


def write_picture(
    graph: ModuleGraph,
    path: str | os.PathLike[str],
    format: str = "",
    *,
    symbols: bool = False,
    store: Store | None = None,
    progress: Progress | None = None,
) -> None:
    """Write a picture; the file's suffix says which kind, or `format`. Raises `KoboxError`, `OSError`, `FetchError`."""
    wanted = format or Path(path).suffix.lstrip(".").lower()
    write_file(path, picture(graph, wanted, symbols=symbols, store=store, progress=progress))


def picture(
    graph: ModuleGraph,
    format: str,
    *,
    symbols: bool = False,
    store: Store | None = None,
    progress: Progress | None = None,
) -> bytes:
    """The bytes of a picture in one of `FORMATS`; with `symbols`, edges carry their names.

    SVG, PNG and PDF are drawn by Graphviz's `dot`: this machine's, or Debian's from kobox's cache. Raises `KoboxError`
    for a format that is not known and for a graph too large to be drawn, `FetchError`.
    """
    writers: dict[str, Callable[[], str]] = {
        "dot": lambda: dot_text(graph, symbols=symbols),
        "mmd": lambda: mermaid_text(graph, symbols=symbols),
        "json": lambda: json.dumps(as_data(graph), indent=1) + "\n",
        "html": lambda: page(graph),
    }
    if format in writers:
        return writers[format]().encode()
    if format not in _DRAWN:
        raise KoboxError(f"{format!r} is no format of pictures", hint=f"These are: {', '.join(FORMATS)}.")
    if len(graph.nodes) > _MOST_DRAWN:
        raise KoboxError(
            f"{len(graph.nodes)} modules are too many for one picture; {_MOST_DRAWN} can be drawn",
            hint="Name modules, set --depth, or write a page: FILE.html holds any number.",
        )
    from kobox.graph.graphviz import draw

    return draw(dot_text(graph, symbols=symbols), format, store, progress)


def as_data(graph: ModuleGraph, *, whole_paths: bool = True) -> dict[str, object]:
    """The graph as JSON has it; sizes in bytes. Without `whole_paths`, paths begin at the tree's release."""
    return {
        "format": 1,
        "origin": graph.origin,
        "roots": list(graph.roots),
        "modules": [_node_data(graph.nodes[name], whole_paths) for name in sorted(graph.nodes)],
        "needs": [
            {"user": edge.user, "provider": edge.provider, "kind": edge.kind, "symbols": list(edge.symbols)}
            for edge in graph.edges
        ],
        "cycles": [list(cycle) for cycle in graph.cycles()],
    }


def dot_text(graph: ModuleGraph, *, symbols: bool = False) -> str:
    """Graphviz's language: users above what they need, soft dependencies dashed."""
    circles = {name for cycle in graph.cycles() for name in cycle}
    lines = [
        "digraph modules {",
        "  rankdir=TB;",
        '  node [shape=box, style="rounded,filled", fillcolor="#f4f4f2", color="#5a6472", fontname="DejaVu Sans",'
        " fontsize=11];",
        '  edge [color="#5a6472", fontname="DejaVu Sans", fontsize=9];',
    ]
    for name in sorted(graph.nodes):
        node = graph.nodes[name]
        facts = ["built in"] if node.builtin else ["not there"] if node.missing else []
        facts += [size_text(node.size)] if node.size is not None else []
        colour = "#ffd9d2" if node.missing or name in circles else "#dbe9f6" if name in graph.roots else ""
        label = "\\n".join(map(_dot_quoted, [name, *facts]))
        fill = f', fillcolor="{colour}"' if colour else ""
        lines.append(f'  "{_dot_quoted(name)}" [label="{label}"{fill}];')
    for edge in graph.edges:
        attributes = [f"style={_TAIL[edge.kind]}"] if edge.kind in _TAIL else []
        if text := _edge_label(edge, symbols):
            attributes.append('label="' + "\\n".join(map(_dot_quoted, text)) + '"')
        written = f" [{', '.join(attributes)}]" if attributes else ""
        lines.append(f'  "{_dot_quoted(edge.user)}" -> "{_dot_quoted(edge.provider)}"{written};')
    return "\n".join([*lines, "}", ""])


def mermaid_text(graph: ModuleGraph, *, symbols: bool = False) -> str:
    """Mermaid's flowchart."""
    numbers = {name: f"m{number}" for number, name in enumerate(sorted(graph.nodes))}
    lines = ["flowchart TD"]
    for name, number in numbers.items():
        size = graph.nodes[name].size
        below = f"<br>{size_text(size)}" if size is not None else ""
        lines.append(f'  {number}["{_mermaid_quoted(name)}{below}"]')
    for edge in graph.edges:
        arrow = "-.->" if edge.kind in _TAIL else "-->"
        text = "<br>".join(map(_mermaid_quoted, _edge_label(edge, symbols)))
        named = f"|{text}|" if text else ""
        lines.append(f"  {numbers[edge.user]} {arrow}{named} {numbers[edge.provider]}")
    lines += [f"  style {numbers[name]} fill:#dbe9f6" for name in graph.roots]
    return "\n".join([*lines, ""])


def page(graph: ModuleGraph) -> str:
    """One HTML file that needs nothing else: a list to search, and a module in the middle of what it needs and what
    needs it. It works for any number of modules, since it draws neighbours only."""
    template = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
    data = json.dumps(as_data(graph, whole_paths=False), separators=(",", ":"))
    return template.replace("{{TITLE}}", _html_quoted(graph.origin)).replace("{{DATA}}", data.replace("<", "\\u003c"))


def _node_data(node: ModuleNode, whole_paths: bool) -> dict[str, object]:
    path = node.path if whole_paths else node.path.rpartition("/lib/modules/")[2]
    data: dict[str, object] = {"name": node.name, "size": node.size, "path": path}
    if node.builtin or node.missing:
        data["place"] = "built in" if node.builtin else "missing"
    if node.state:
        data |= {"state": node.state, "refcount": node.refcount, "taint": node.taint}
    return data


def _edge_label(edge: Need, symbols: bool) -> list[str]:
    if edge.kind != SYMBOLS or not edge.symbols or not symbols:
        return []
    more = len(edge.symbols) - 8
    return [*map(demangle, edge.symbols[:8]), *([f"and {more} more"] if more > 0 else [])]


def _dot_quoted(text: str) -> str:
    return one_line(text).replace("\\", "\\\\").replace('"', '\\"')


def _mermaid_quoted(text: str) -> str:
    return "".join(one if one.isalnum() or one in "_-. " else f"#{ord(one)};" for one in text)


def _html_quoted(text: str) -> str:
    import html

    return html.escape(one_line(text))
