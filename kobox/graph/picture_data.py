"""Pictures of a module's life as plain data, text and files: timelines, memory maps and graphs of calls."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from kobox.errors import KoboxError
from kobox.graph.call_graph import (
    CalledFunction,
    CallEdge,
    CallGraph,
    call_graph_dot,
    call_graph_mermaid,
    call_graph_rows,
    call_graph_text,
)
from kobox.graph.drawing import drawn, page, page_round
from kobox.graph.memory_map import (
    RIGHTS,
    MappedSection,
    MemoryMap,
    PageRun,
    memory_map_drawing,
    memory_map_rows,
    memory_map_text,
)
from kobox.graph.timeline import (
    LIFE_KINDS,
    LifeLine,
    LifeSpan,
    LifeTimeline,
    timeline_drawing,
    timeline_rows,
    timeline_text,
)

if TYPE_CHECKING:
    from kobox.images.store import Progress, Store

PictureData: TypeAlias = LifeTimeline | MemoryMap | CallGraph
Row = TypeVar("Row")

_FORMATS = ("svg", "png", "pdf", "html", "json")
_HEADS = {
    LifeTimeline: ("at", "lasts", "what", "on behalf of"),
    MemoryMap: ("address", "bytes", "rights", "what"),
    CallGraph: ("caller", "callee", "calls", "instructions"),
}


def must_be_format(kind: str, format: str) -> None:
    """Raises `KoboxError` for a format that pictures of a kind ("life", "map", "calls") do not have."""
    formats = (*_FORMATS, "dot", "mmd") if kind == "calls" else _FORMATS
    if format not in formats:
        raise KoboxError(f"{format!r} is no format of this picture", hint=f"These are: {', '.join(formats)}.")


def picture_text(picture: PictureData) -> str:
    """A table of text."""
    if isinstance(picture, LifeTimeline):
        return timeline_text(picture)
    return memory_map_text(picture) if isinstance(picture, MemoryMap) else call_graph_text(picture)


def picture_bytes(
    picture: PictureData, format: str, *, store: Store | None = None, progress: Progress | None = None
) -> bytes:
    """A file: svg, png, pdf, html, json; dot and mmd (Mermaid) of calls. Raises `KoboxError`, `FetchError`."""
    if format == "json":
        return (json.dumps(as_json(picture), indent=1) + "\n").encode()
    if isinstance(picture, CallGraph):
        return _calls(picture, format, store, progress)
    drawing = timeline_drawing(picture) if isinstance(picture, LifeTimeline) else memory_map_drawing(picture)
    if format == "html":
        return page(drawing, _HEADS[type(picture)], _rows_of(picture)).encode()
    return drawn(drawing, format, store=store, progress=progress)


def as_json(picture: PictureData) -> dict[str, object]:
    """As JSON has it: addresses are strings."""
    data: dict[str, object] = {"format": 1, **asdict(picture)}
    if isinstance(picture, MemoryMap):
        runs = [{"start": hex(run.start), "end": hex(run.end), "rights": run.rights} for run in picture.runs]
        sections = [{"name": one.name, "address": hex(one.address), "size": one.size} for one in picture.sections]
        data |= {"runs": runs, "sections": sections}
    return data


def read_back(kind: str, data: object) -> PictureData:
    """A picture's data as JSON has brought it, from a process that is not trusted. Raises `KoboxError`."""
    try:
        if not isinstance(data, dict):
            raise TypeError("no object")
        title = _checked(data["title"], "str")
        if kind == "life":
            rows = _rows(LifeSpan, data["spans"]), _rows(LifeLine, data["lines"])
            if not {span.kind for span in rows[0]} <= set(LIFE_KINDS):
                raise ValueError("a span of no kind")
            return LifeTimeline(title, *rows, bool(data["whole"]))
        if kind == "map":
            runs = _rows(PageRun, data["runs"])
            if not {run.rights for run in runs} <= set(RIGHTS):
                raise ValueError("pages of no rights")
            return MemoryMap(title, runs, _rows(MappedSection, data["sections"]))
        functions, edges = _rows(CalledFunction, data["functions"]), _rows(CallEdge, data["edges"])
        if any(not 0 <= n < len(functions) for edge in edges for n in (edge.caller, edge.callee)):
            raise ValueError("a call of no function")
        return CallGraph(title, functions, edges)
    except (KeyError, TypeError, ValueError) as error:
        raise KoboxError(f"the worker's answer makes no sense: {error}") from error


def _calls(graph: CallGraph, format: str, store: Store | None, progress: Progress | None) -> bytes:
    if format == "mmd":
        return call_graph_mermaid(graph).encode()
    dot = call_graph_dot(graph)
    if format == "dot":
        return dot.encode()
    from kobox.graph.graphviz import draw

    if format != "html":
        return draw(dot, format, store, progress)
    picture = draw(dot, "svg", store, progress).decode()
    return page_round(picture[picture.index("<svg") :], graph.title, _HEADS[CallGraph], call_graph_rows(graph)).encode()


def _rows_of(picture: LifeTimeline | MemoryMap) -> list[tuple[str, ...]]:
    return timeline_rows(picture) if isinstance(picture, LifeTimeline) else memory_map_rows(picture)


def _rows(row: Callable[..., Row], data: object) -> tuple[Row, ...]:
    if not isinstance(data, list | tuple):
        raise TypeError("no table")
    kinds = {one.name: str(one.type) for one in fields(row)}  # type: ignore[arg-type]
    return tuple(row(**{name: _checked(dict(one)[name], kind) for name, kind in kinds.items()}) for one in data)


def _checked(value: object, kind: str) -> str:
    if type(value).__name__ != kind:
        raise TypeError(f"{value!r} is no {kind}")
    return value  # type: ignore[return-value]
