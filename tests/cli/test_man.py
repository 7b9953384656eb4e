"""The man pages of the commands say what their help says."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import kobox
from kobox.cli.main import COMMANDS, MULTICALL
from kobox.cli.manpage import pages
from kobox.cli.parser import parser_of

KOBOX = str(Path(sys.executable).with_name("kobox"))
PAGES = pages(COMMANDS, kobox.__version__)
OWN = sorted(COMMANDS.keys() - MULTICALL)


def test_every_command_has_a_page() -> None:
    assert PAGES.keys() == {"kobox.1"} | {f"kobox-{name}.1" for name in OWN}
    for name, (_, summary) in COMMANDS.items():
        assert f"\\fBkobox {name}\\fR\n{summary.replace('-', chr(92) + '-')}\n" in PAGES["kobox.1"]


@pytest.mark.parametrize("name", OWN)
def test_a_page_has_every_option(name: str) -> None:
    page = PAGES[f"kobox-{name}.1"]
    parser = parser_of(__import__(COMMANDS[name][0], fromlist=["main"]).main, f"kobox {name}")
    assert parser is not None
    todo = [parser]
    while todo:
        one = todo.pop()
        for action in one.arguments():
            if isinstance(action, argparse._SubParsersAction):
                todo += action.choices.values()
            elif action.help != argparse.SUPPRESS:
                assert all(option.replace("-", "\\-") in page for option in action.option_strings)
    heads = [line for line in page.splitlines() if line.startswith(".SH")]
    assert heads[:4] == [".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION", ".SH OPTIONS"]
    assert heads[-2:] == [".SH EXIT STATUS", ".SH SEE ALSO"]
    assert not re.search(r"%\(\w+\)", page), "argparse's own marks are put in"


@pytest.mark.parametrize("name", sorted(PAGES))
def test_roff_takes_a_page_as_it_is(name: str, tmp_path: Path) -> None:
    for line in PAGES[name].splitlines():
        assert not line.startswith("'")
        if line.startswith("."):
            assert re.match(r"\.(TH|SH|TP|PP|BR?|br|nf|fi)\b", line), line
    groff = shutil.which("groff")
    if groff:  # the page is right without it, too: this only asks somebody else
        (tmp_path / name).write_text(PAGES[name])
        done = subprocess.run(
            [groff, "-man", "-Tutf8", "-ww", "-z", tmp_path / name], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_pages_are_written_into_a_directory(tmp_path: Path) -> None:
    done = subprocess.run([KOBOX, "man", "--write", tmp_path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.name: path.read_text() for path in (tmp_path / "man1").iterdir()} == PAGES


@pytest.mark.parametrize("words", [["nonsense"], ["../run"], ["modprobe"], ["--write", "/proc/nowhere"]])
def test_what_cannot_be_shown_is_said(words: list[str]) -> None:
    done = subprocess.run([KOBOX, "man", *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("kobox man: error: ")
    assert "Traceback" not in done.stderr


def test_a_page_is_shown_by_man_or_its_lack_is_said(tmp_path: Path) -> None:
    (tmp_path / "man").write_text('#!/bin/sh\n[ "$1" = -l ] && head -1 "$2"\n')
    (tmp_path / "man").chmod(0o755)
    shown = subprocess.run(
        [KOBOX, "man", "run"],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": f"{tmp_path}:/bin"},
        check=True,
    )
    assert shown.stdout.startswith(".TH KOBOX-RUN 1 ")
    empty = tmp_path / "empty"
    empty.mkdir()
    none = subprocess.run(
        [KOBOX, "man", "run"], capture_output=True, text=True, env={**os.environ, "PATH": str(empty)}, check=False
    )
    assert none.returncode == 1
    assert "no program `man` here" in none.stderr
