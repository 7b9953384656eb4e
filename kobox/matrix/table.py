"""The table as text, as Markdown for a pull request, as data for JSON, and as rows for a data frame.

                 6.1.0-56-cloud-amd64  6.12.118+deb13-cloud-amd64  7.2.13+deb14-cloud-amd64
hello            clean                 warns                       no build
hello debug=1    clean                 not clean                   no build
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import kobox
from kobox.matrix.cell import CellState, Matrix, MatrixCell, MatrixRow, step_facts
from kobox.printable import html_text, one_line

FORMAT = 1
"""Of the JSON."""

_LONGEST_NOTE = 200
_MOST_NAMED = 3  # cells that a line names
_MARKS = {
    CellState.CLEAN: "✅",
    CellState.WARNS: "⚠️",
    CellState.SLOWER: "🐢",
    CellState.NOT_CLEAN: "❌",
    CellState.NO_LOAD: "❌",
    CellState.NO_BUILD: "❌",
    CellState.SKIPPED: "·",
}


def titles(matrix: Matrix) -> dict[MatrixRow, str]:
    """What each row is called: its module and parameters, with the source where two have the same."""
    plain = [row.title for row in matrix.rows]
    return {row: row.title if plain.count(row.title) == 1 else f"{row.source}: {row.title}" for row in matrix.rows}


def table(
    matrix: Matrix, *, width: int = 0, paint: Callable[[CellState, str], str] = lambda state, text: text
) -> list[str]:
    """The lines of the table. Where it is wider than `width` columns (0: no limit), kernels get numbers and a legend.

    `paint` colours a cell, which is padded already.
    """
    names = {row: one_line(title) for row, title in titles(matrix).items()}
    first = max(map(len, names.values()), default=0)
    heads = [one_line(kernel) for kernel in matrix.kernels]
    words = max(len(state.value) for state in CellState)
    legend: list[str] = []
    if width and first + sum(2 + max(len(head), words) for head in heads) > width:
        legend = [f"[{number}] {head}" for number, head in enumerate(heads, 1)]
        heads = [f"[{number}]" for number, _ in enumerate(heads, 1)]
    columns = [max(len(head), words) for head in heads]
    lines = [*legend, "  ".join([" " * first, *(h.ljust(w) for h, w in zip(heads, columns, strict=True))]).rstrip()]
    for row, name in names.items():
        states = [matrix.cell(row, kernel).state for kernel in matrix.kernels]
        cells = [paint(state, state.value.ljust(w)) for state, w in zip(states, columns, strict=True)]
        lines.append("  ".join([name.ljust(first), *cells]).rstrip())
    return lines


def notes(matrix: Matrix, most: int = 20) -> list[str]:
    """Lines for what failed: where, what, and the first line of its remedy. Cells with the same failure share them."""
    names = titles(matrix)
    groups: dict[tuple[str, str, str], list[MatrixCell]] = {}
    for cell in (*matrix.red(), *matrix.slower()):
        step = cell.deciding
        place = f" ({step.place})" if step.place and step.place not in step.finding else ""
        remedy = step.remedy.partition("\n")[0]
        groups.setdefault((cell.state.value, f"{step.finding}{place}", remedy), []).append(cell)
    lines = []
    for (state, finding, remedy), cells in list(groups.items())[:most]:
        where = ", ".join(dict.fromkeys(f"{names[cell.row]} on {cell.kernel}" for cell in cells[:_MOST_NAMED]))
        more = f" and {len(cells) - _MOST_NAMED} more" if len(cells) > _MOST_NAMED else ""
        lines += [_note(f"{state}: {finding}"), _note(f"    {where}{more}")]
        lines += [_note(f"    {remedy}")] if remedy else []
    left = len(groups) - most
    return [*lines, f"{left} more kinds of failure"] if left > 0 else lines


def _note(text: str) -> str:
    text = one_line(text)
    return text if len(text) <= _LONGEST_NOTE else f"{text[: _LONGEST_NOTE - 1]}…"


def counted(matrix: Matrix) -> str:
    """How many cells have which state, as words."""
    return ", ".join(f"{number} {state}" for state, number in matrix.counts().items() if state != "-") or "no cells"


def markdown(matrix: Matrix) -> str:
    """The table for a pull request, with what failed folded up below it."""
    names = titles(matrix)
    lines = [f"### kobox matrix: {counted(matrix)}", ""]
    lines += [_md_row(["module", *matrix.kernels]), "|" + "---|" * (len(matrix.kernels) + 1)]
    for row in matrix.rows:
        cells = [matrix.cell(row, kernel).state for kernel in matrix.kernels]
        lines.append(_md_row([names[row], *(f"{_MARKS[state]} {state.value}" for state in cells)]))
    for cell in (*matrix.red(), *matrix.slower()):
        step = cell.deciding
        title = html_text(one_line(f"{names[cell.row]} on {cell.kernel}: {cell.state.value}"))
        log = html_text("\n".join(step.log.splitlines()[-40:]))
        lines += ["", f"<details><summary>{title}</summary>", ""]
        lines += [f"<p>{html_text(text)}</p>" for text in (_found(cell), *step.remedy.splitlines()) if text]
        lines += ["", f"<pre>{log}</pre>", "", "</details>"]
    return "\n".join(lines) + "\n"


def _found(cell: MatrixCell) -> str:
    step = cell.deciding
    return one_line(" ".join(filter(None, [step.finding, f"({step.place})" if step.place else ""])))


def _md_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(html_text(one_line(cell), quote=False).replace("|", "\\|") for cell in cells) + " |"


def as_data(matrix: Matrix) -> dict[str, object]:
    """The matrix as JSON holds it: rows in their order, in each a cell a kernel."""
    rows = [
        {
            "source": row.source,
            "module": row.module,
            "parameters": row.parameters,
            "cells": {kernel: _cell_data(matrix.cell(row, kernel)) for kernel in matrix.kernels},
        }
        for row in matrix.rows
    ]
    return {
        "format": FORMAT,
        "kobox": kobox.__version__,
        "kernels": list(matrix.kernels),
        "complete": matrix.complete,
        "counts": matrix.counts(),
        "rows": rows,
    }


def _cell_data(cell: MatrixCell) -> dict[str, object]:
    steps = {name: step_facts(step) for name, step in cell.steps.items()}
    return {"state": cell.state.value, "why": cell.why, "ratio": round(cell.ratio, 4), **steps}


def flat_rows(matrix: Matrix) -> list[Mapping[str, str | float | bool]]:
    """A flat row a cell, for a data frame."""
    found: list[Mapping[str, str | float | bool]] = []
    for row in matrix.rows:
        for kernel in matrix.kernels:
            cell = matrix.cell(row, kernel)
            step = cell.deciding
            found.append(
                {
                    "source": row.source,
                    "module": row.module,
                    "parameters": row.parameters,
                    "kernel": kernel,
                    "state": cell.state.value,
                    **{name: one.outcome.value for name, one in cell.steps.items()},
                    "why": cell.why,
                    "finding": step.finding,
                    "place": step.place,
                    "changes": " ".join(step.changes),
                    "remedy": step.remedy,
                    "log": step.log,
                    "instructions": cell.cost.instructions,
                    "ratio": cell.ratio,
                    "seconds": sum(one.seconds for one in cell.steps.values()),
                    "cached": all(one.cached or not one.key for one in cell.steps.values()),
                }
            )
    return found
