"""The table as text, Markdown, JSON, a page and Parquet: what a module printed stays text in all of them."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from kobox.errors import KoboxError
from kobox.matrix import CellState, CellStep, Matrix, MatrixCell, MatrixRow, StepOutcome, as_data, markdown, table
from kobox.matrix import parquet as parquet_module
from kobox.matrix.page import page
from kobox.matrix.parquet import write_parquet
from kobox.matrix.table import counted, notes

OK = CellStep(StepOutcome.OK, 0.5, log="loaded\n", key="k1")
HOSTILE = "\x1b[2J</pre><script>alert(1)</script>'\"|`\udcff\u202e"
BROKEN = CellStep(StepOutcome.FAILED, 1.0, HOSTILE, HOSTILE, (HOSTILE, "inode.i_ctime"), HOSTILE, HOSTILE, "k2")
ROW, OTHER, TWICE = MatrixRow("a/m.c", "m"), MatrixRow("a/m.c", "m", "n=1"), MatrixRow("b/m.c", "m")


def made() -> Matrix:
    """Three rows on three kernels, with every state."""
    cells = [
        MatrixCell(ROW, "6.1", OK, OK, OK),
        MatrixCell(ROW, "6.12", CellStep(StepOutcome.WARNS, finding="m.c:1: warning: x"), OK, OK),
        MatrixCell(ROW, HOSTILE, BROKEN),
        MatrixCell(OTHER, "6.1", OK, BROKEN),
        MatrixCell(OTHER, "6.12", OK, OK, BROKEN),
        MatrixCell(OTHER, HOSTILE, OK, why="built for aarch64"),
        MatrixCell(TWICE, "6.1", OK, OK, OK),
    ]
    return Matrix(("6.1", "6.12", HOSTILE), {(cell.row, cell.kernel): cell for cell in cells}, complete=False)


def test_every_state_is_in_the_table_and_is_counted() -> None:
    matrix = made()
    states = [matrix.cell(row, kernel).state for row in matrix.rows for kernel in matrix.kernels]
    assert states == [
        CellState.CLEAN,
        CellState.WARNS,
        CellState.NO_BUILD,
        CellState.NO_LOAD,
        CellState.NOT_CLEAN,
        CellState.SKIPPED,
        CellState.CLEAN,
        CellState.SKIPPED,  # not run yet
        CellState.SKIPPED,
    ]
    assert counted(matrix) == "2 clean, 1 warns, 1 not clean, 1 no load, 1 no build"
    lines = table(matrix)
    assert [line.split("  ")[0] for line in lines[1:]] == ["a/m.c: m", "m n=1", "b/m.c: m"]


def test_a_table_too_wide_for_the_terminal_numbers_its_kernels() -> None:
    lines = table(made(), width=60)
    assert lines[0] == "[1] 6.1"
    assert max(map(len, lines[3:])) <= 60


def test_notes_group_cells_with_the_same_failure() -> None:
    cells = {(ROW, f"6.{n}"): MatrixCell(ROW, f"6.{n}", BROKEN) for n in range(5)}
    lines = notes(Matrix(tuple(kernel for _, kernel in cells), cells))
    assert lines[1].endswith("m on 6.0, m on 6.1, m on 6.2 and 2 more")
    assert all(line.isprintable() for line in lines)


class _Page(HTMLParser):
    """Tags, links and anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.anchors: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name == "href"]
        self.anchors += [value or "" for name, value in attrs if name == "id"]
        assert not [name for name, _ in attrs if name.startswith("on")]


def test_each_cell_of_the_page_leads_to_its_story_and_nothing_of_a_module_is_markup() -> None:
    text = page(made())
    read = _Page(text)
    assert "script" not in read.tags
    assert text.isprintable() or all(line.isprintable() for line in text.split("\n"))
    cells = [link for link in read.links if link.startswith("#c")]
    assert len(cells) == 9
    assert {link[1:] for link in cells} == set(read.anchors)
    assert len(read.anchors) < 9  # the same story stands there once
    assert "inode.i_ctime" in text
    assert "not all cells are there" in text


def test_markdown_has_one_row_a_module_and_escapes() -> None:
    text = markdown(made())
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 4
    assert all(line.replace("\\|", "").count("|") == 5 for line in rows)
    assert "<script>" not in text
    assert "\x1b" not in text


def test_json_and_parquet_hold_every_cell(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    matrix = made()
    read = json.loads(json.dumps(as_data(matrix)))
    assert read["complete"] is False
    assert read["rows"][0]["cells"]["6.12"]["state"] == "warns"
    assert read["rows"][0]["cells"][HOSTILE]["builds"]["changes"] == [HOSTILE, "inode.i_ctime"]
    write_parquet(matrix, tmp_path / "m.parquet")
    rows = pq.read_table(tmp_path / "m.parquet").to_pylist()
    assert len(rows) == 9
    assert [row["state"] for row in rows[:3]] == ["clean", "warns", "no build"]
    assert rows[0]["seconds"] == 1.5
    assert "<script>" in rows[2]["log"]


def test_without_pyarrow_it_is_said_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(KoboxError, match="pyarrow") as error:
        parquet_module.require()
    assert "kobox[parquet]" in error.value.hint
