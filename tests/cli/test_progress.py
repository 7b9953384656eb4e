"""The progress line: how far, how fast, until when, and what a terminal gets."""

from __future__ import annotations

import io
import os
from types import SimpleNamespace

import pytest

from kobox.cli import progress
from kobox.cli.progress import ProgressLine, figures


@pytest.mark.parametrize(
    ("done", "total", "lately", "seconds", "text"),
    [
        (0, 0, 0, 9.0, ""),
        (1_000_000, 4_000_000, 1_000_000, 0.5, "  1.0 of 4.0 MB (25%)"),
        (1_000_000, 4_000_000, 1_000_000, 2.0, "  1.0 of 4.0 MB (25%), 0.5 MB/s, 6 s left"),
        (3_000_000, 4_000_000, 1_000_000, 2.0, "  3.0 of 4.0 MB (75%), 0.5 MB/s, 2 s left"),
        (1_000_000, 400_000_000, 1_000_000, 1.0, "  1.0 of 400.0 MB (0%), 1.0 MB/s, 7 min left"),
        (4_000_000, 4_000_000, 4_000_000, 9.0, "  4.0 of 4.0 MB (100%)"),
        (2_000_000, 4_000_000, 0, 9.0, "  2.0 of 4.0 MB (50%)"),
    ],
)
def test_how_far_how_fast_until_when(done: int, total: int, lately: int, seconds: float, text: str) -> None:
    assert figures(done, total, lately, seconds) == text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    found = Terminal()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=found))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress.time, "monotonic", iter(range(100)).__next__)
    return found


def test_a_line_is_rewritten_and_ended(terminal: Terminal) -> None:
    line = ProgressLine()
    line("fetching", 0, 10_000_000)
    line("fetching", 5_000_000, 10_000_000)
    line("unpacking \x1b[2J", 0, 0)
    line.close()
    shown = terminal.getvalue()
    assert "\r\x1b[Kfetching  5.0 of 10.0 MB (50%), 5.0 MB/s, 1 s left\n" in shown
    assert shown.endswith("unpacking \\x1b[2J\n")


def test_a_long_line_fits_the_terminal(terminal: Terminal) -> None:
    ProgressLine()("x" * 500, 0, 10)
    assert terminal.getvalue() == f"\r\x1b[K{'x' * 79}"


def test_a_dumb_terminal_gets_a_line_a_stage(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    line = ProgressLine()
    for done in (0, 5, 9):
        line("fetching", done, 10)
    line("unpacking", 0, 0)
    line.close()
    assert terminal.getvalue() == "fetching\nunpacking\n"


@pytest.mark.parametrize("quiet", [True, False])
def test_nothing_where_it_is_no_terminal_or_nobody_asks(
    quiet: bool, monkeypatch: pytest.MonkeyPatch, terminal: Terminal
) -> None:
    if not quiet:
        monkeypatch.setattr(terminal, "isatty", lambda: False)
    ProgressLine(quiet=quiet)("fetching", 1, 10)
    assert terminal.getvalue() == ""
    assert os.environ["TERM"] == "xterm"
