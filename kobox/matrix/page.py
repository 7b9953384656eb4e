"""The matrix as one page: a table whose cells lead to log, finding, interface change and remedy below it.

Everything in it comes from modules and kernels: all text is escaped, and the page runs no script and loads nothing.
Cells with the same story share one section.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from kobox.matrix.cell import Matrix, MatrixCell, MatrixRow
from kobox.matrix.table import counted, titles
from kobox.printable import html_text, one_line

_MOST_PAGE = 64 << 20  # characters of logs on a page; the rest is said to be left out


class _Section(NamedTuple):
    """A story, and the headings of the cells that have it."""

    story: str
    headings: list[str]


def page(matrix: Matrix) -> str:
    """The whole page."""
    style = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    names = titles(matrix)
    sections: dict[str, _Section] = {}
    body = "".join(_row(matrix, row, names, sections) for row in matrix.rows)
    heads = "".join(f"<th scope=col>{_quoted(kernel)}</th>" for kernel in matrix.kernels)
    unfinished = "" if matrix.complete else "<p class=note>The run was interrupted: not all cells are there.</p>"
    return (
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>kobox matrix</title><style>{style}</style></head><body><main>"
        f"<h1>kobox matrix</h1><p>{_quoted(counted(matrix))}</p>{unfinished}"
        f"<div class=wide><table><thead><tr><th scope=col>module</th>{heads}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
        f"{''.join(_limited(sections))}</main></body></html>\n"
    )


def _row(matrix: Matrix, row: MatrixRow, names: Mapping[MatrixRow, str], sections: dict[str, _Section]) -> str:
    cells = []
    for kernel in matrix.kernels:
        cell = matrix.cell(row, kernel)
        kind = cell.state.name.lower()
        told = _story(cell)
        anchor = "c" + hashlib.sha256(told.encode(errors="backslashreplace")).hexdigest()[:16]
        heading = _quoted(f"{names[row]} on {kernel}")
        section = sections.setdefault(anchor, _Section(told, []))
        section.headings.append(f"<h2>{heading}: {_quoted(cell.state.value)}</h2>")
        step = cell.deciding
        hint = _quoted(step.finding or cell.why)
        cells.append(f"<td class={kind}><a href=#{anchor} title='{hint}'>{_quoted(cell.state.value)}</a></td>")
    return f"<tr><th scope=row title='{_quoted(row.source)}'>{_quoted(names[row])}</th>{''.join(cells)}</tr>"


def _story(cell: MatrixCell) -> str:
    """What stands below the table for a cell: for each step: finding, change, remedy, log."""
    parts = [f"<p>{_quoted(cell.why)}</p>"] if cell.why else []
    for name, step in cell.steps.items():
        if not (step.log or step.finding):
            continue
        parts.append(f"<h3>{name}: {_quoted(step.outcome.value)}</h3>")
        if step.finding:
            place = f" <code>{_quoted(step.place)}</code>" if step.place else ""
            parts.append(f"<p class=finding>{_quoted(step.finding)}{place}</p>")
        if step.changes:
            changed = ", ".join(f"<code>{_quoted(one)}</code>" for one in step.changes)
            parts.append(f"<p>this kernel's interface differs: {changed}</p>")
        parts += [f"<p class=remedy>{_quoted(line)}</p>" for line in step.remedy.splitlines() if line]
        if step.log and not (name == "clean" and step.log == cell.loads.log):
            parts.append(f"<details><summary>log</summary><pre>{html_text(step.log)}</pre></details>")
    return "".join(parts)


def _limited(sections: Mapping[str, _Section]) -> list[str]:
    """The sections with their anchors; stories beyond what a browser shows are left out, which is said."""
    found, size = [], 0
    for anchor, section in sections.items():
        story, headings = section.story, "".join(section.headings)
        size += len(story)
        if size > _MOST_PAGE:
            story = "<p class=note>left out: the page would be too long; --json has it</p>"
        found.append(f"<section id={anchor}>{headings}{story}<p><a href=#>up</a></p></section>")
    return found


def _quoted(text: str) -> str:
    return html_text(one_line(text)).replace("'", "&#39;")
