"""Drawings of rectangles and text: as SVG that follows a light or dark setting; for Graphviz, which makes PNG and PDF.

A drawing's colours are names of `PALETTE`; the origin is the upper left corner, units are pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from kobox.errors import KoboxError
from kobox.printable import one_line

if TYPE_CHECKING:
    from kobox.images.store import Progress, Store

PALETTE = {
    "load": ("#7aa6d9", "#3c6ea5"),
    "init": ("#5fb08a", "#2f7d59"),
    "call": ("#8fb7e3", "#45709c"),
    "timer": ("#e0b04f", "#94701f"),
    "interrupt": ("#dd8b6b", "#9c4f32"),
    "unload": ("#b79bd6", "#765a98"),
    "log": ("#c4473a", "#f2938c"),
    "code": ("#8fc7a3", "#33704b"),
    "read": ("#9dbbe0", "#3b6492"),
    "write": ("#ecc47c", "#8f6a22"),
    "both": ("#e08a80", "#9c3a30"),
    "none": ("#c9ced6", "#49525f"),
    "gap": ("#eceef1", "#20262f"),
    "line": ("#c9ced6", "#39424f"),
}
"""(light, dark) of each colour's name."""

_TEXT, _SOFT, _BACK = ("#1d232b", "#e3e7ec"), ("#5a6472", "#9aa5b4"), ("#fbfbfa", "#14171c")
_LETTER = 6.2  # the width of a letter of 11 pixels
_DRAWN = ("pdf", "png")


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A rectangle; `title` is shown while the mouse rests on it, and read out."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Words:
    """Text whose left end is at x, and its base line at y."""

    x: float
    y: float
    text: str
    soft: bool = False
    size: int = 11


@dataclass(frozen=True, slots=True)
class Drawing:
    """Shapes, the lowest first."""

    title: str
    width: float
    height: float
    shapes: tuple[Rectangle | Words, ...]


def fitting(text: str, width: float) -> str:
    """As much of a text as fits into so many pixels."""
    room = int(width / _LETTER)
    return text if len(text) <= room else f"{text[: room - 1]}…" if room > 3 else ""


def drawn(drawing: Drawing, format: str, *, store: Store | None = None, progress: Progress | None = None) -> bytes:
    """The drawing as "svg", "png" or "pdf". Raises `KoboxError`, `FetchError`."""
    if format == "svg":
        return svg(drawing).encode()
    if format not in _DRAWN:
        raise KoboxError(f"{format!r} is no format of this picture", hint="These are: svg, png, pdf, html, json.")
    from kobox.graph.graphviz import draw

    return draw(_dot(drawing), format, store, progress, placed=True)


def svg(drawing: Drawing) -> str:
    """SVG; colours change with the reader's light or dark setting."""
    rules = [f".{name}{{fill:{light}}}" for name, (light, _) in PALETTE.items()]
    rules += [f"text{{fill:{_TEXT[0]};font:11px 'DejaVu Sans',sans-serif}}", f".soft{{fill:{_SOFT[0]}}}"]
    dark = [f".{name}{{fill:{shade}}}" for name, (_, shade) in PALETTE.items()]
    dark += [f"text{{fill:{_TEXT[1]}}}", f".soft{{fill:{_SOFT[1]}}}", f".back{{fill:{_BACK[1]}}}"]
    style = "".join(rules) + f".back{{fill:{_BACK[0]}}}@media (prefers-color-scheme:dark){{{''.join(dark)}}}"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{_quoted(drawing.title)}" '
        f'viewBox="0 0 {drawing.width:.0f} {drawing.height:.0f}">',
        f"<style>{style}</style>",
        f"<title>{_quoted(drawing.title)}</title>",
        '<rect class="back" width="100%" height="100%"/>',
        *map(_svg_shape, drawing.shapes),
    ]
    return "\n".join([*lines, "</svg>", ""])


def page(drawing: Drawing, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """One HTML file: the drawing, and what it shows as a table. It needs no network, and no script."""
    return page_round(svg(drawing), drawing.title, heads, rows)


def page_round(picture: str, title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The same for an SVG picture that somebody else has drawn."""
    head = "".join(f'<th scope="col">{_quoted(one)}</th>' for one in heads)
    body = "\n".join("<tr>" + "".join(f"<td>{_quoted(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{_quoted(title)}</title>
<style>
:root {{ color-scheme: light dark; --back: {_BACK[0]}; --text: {_TEXT[0]}; --line: {PALETTE["line"][0]}; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --back: {_BACK[1]}; --text: {_TEXT[1]}; --line: {PALETTE["line"][1]}; }}
}}
body {{ margin: 1rem; background: var(--back); color: var(--text); font: 14px/1.45 system-ui, sans-serif; }}
h1 {{ font-size: 1.1rem; overflow-wrap: anywhere; }}
.picture, .table {{ overflow-x: auto; }}
svg {{ min-width: 60rem; width: 100%; height: auto; }}
.graph > polygon {{ fill: none; stroke: none; }} .edge text {{ fill: var(--text); }}
.edge path, .edge polygon {{ stroke: var(--text); }} .edge polygon {{ fill: var(--text); }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: left; padding: .15rem .8rem .15rem 0; border-bottom: 1px solid var(--line); }}
</style></head><body><main>
<h1>{_quoted(title)}</h1>
<div class="picture" tabindex="0" role="region" aria-label="picture">{picture}</div>
<div class="table" tabindex="0" role="region" aria-label="the same as a table"><table>
<thead><tr>{head}</tr></thead><tbody>
{body}
</tbody></table></div>
</main></body></html>
"""


def _svg_shape(shape: Rectangle | Words) -> str:
    if isinstance(shape, Words):
        kind = ' class="soft"' if shape.soft else ""
        size = f' style="font-size:{shape.size}px"' if shape.size != 11 else ""
        return f'<text x="{shape.x:.1f}" y="{shape.y:.1f}"{kind}{size}>{_quoted(shape.text)}</text>'
    title = f"<title>{_quoted(shape.title)}</title>" if shape.title else ""
    return (
        f'<rect class="{shape.colour}" x="{shape.x:.1f}" y="{shape.y:.1f}" width="{shape.width:.1f}" '
        f'height="{shape.height:.1f}" rx="1.5">{title}</rect>'
    )


def _dot(drawing: Drawing) -> str:
    """For `neato -n2`, which leaves nodes where they are: points are pixels, the origin is the lower left corner."""
    lines = [
        "graph drawing {",
        f'  graph [bgcolor="{_BACK[0]}", pad=0];',
        '  node [fontname="DejaVu Sans", fixedsize=true, margin=0];',
        f'  corner [shape=point, style=invis, width=0.01, pos="0,{drawing.height:.1f}"];',
        f'  end [shape=point, style=invis, width=0.01, pos="{drawing.width:.1f},0"];',
    ]
    for number, shape in enumerate(drawing.shapes):
        lines.append(f"  n{number} [{_dot_shape(shape, drawing.height)}];")
    return "\n".join([*lines, "}", ""])


def _dot_shape(shape: Rectangle | Words, height: float) -> str:
    if isinstance(shape, Words):
        width = _LETTER * len(shape.text) * shape.size / 11 + 4
        x, y, colour = shape.x + width / 2, height - shape.y + shape.size * 0.35, _SOFT[0] if shape.soft else _TEXT[0]
        text = one_line(shape.text).replace("\\", "\\\\").replace('"', '\\"')
        return (
            f'shape=plaintext, label="{text}\\l", fontsize={shape.size * 0.92:.1f}, fontcolor="{colour}", '
            f'width={width / 72:.4f}, height={shape.size / 72:.4f}, pos="{x:.2f},{y:.2f}"'
        )
    x, y = shape.x + shape.width / 2, height - shape.y - shape.height / 2
    return (
        f'shape=box, style=filled, penwidth=0, label="", fillcolor="{PALETTE[shape.colour][0]}", '
        f'width={shape.width / 72:.4f}, height={shape.height / 72:.4f}, pos="{x:.2f},{y:.2f}"'
    )


def _quoted(text: str) -> str:
    return escape(one_line(text))
