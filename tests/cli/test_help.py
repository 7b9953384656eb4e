"""Help, colours, suggestions, the version: what holds for every command."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kobox.cli import topics
from kobox.cli.colour import coloured
from kobox.cli.main import COMMANDS, MULTICALL, overview
from kobox.cli.parser import CommandParser, parser_of
from tests.building import BuiltTestModules

KOBOX = str(Path(sys.executable).with_name("kobox"))
ROOT = Path(__file__).parents[2]


def kobox(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    return subprocess.run([KOBOX, *words], capture_output=True, text=True, check=False, env={**plain, **environment})


def command_parser(name: str) -> CommandParser:
    found = parser_of(__import__(COMMANDS[name][0], fromlist=["main"]).main, f"kobox {name}")
    assert found is not None
    return found


def with_subcommands(parser: CommandParser) -> Iterator[CommandParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in dict.fromkeys(action.choices.values()):
                yield from with_subcommands(below)


OWN = sorted(set(COMMANDS) - MULTICALL)


@pytest.mark.parametrize("name", OWN)
def test_the_help_of_a_command_fits_80_columns(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for parser in with_subcommands(command_parser(name)):
        wide = [line for line in parser.format_help().splitlines() if len(line) > 80]
        assert wide == [], parser.prog


@pytest.mark.parametrize("name", sorted(MULTICALL))
def test_the_help_of_a_kmod_tool_fits_80_columns(name: str) -> None:
    assert [line for line in kobox(name, "--help").stdout.splitlines() if len(line) > 80] == []


def test_the_overview_and_the_topics_fit_80_columns() -> None:
    for text in (overview(), *map(topics.topic, topics.topics())):
        assert [line for line in text.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("name", OWN)
def test_every_option_of_a_command_says_what_it_does(name: str) -> None:
    for parser in with_subcommands(command_parser(name)):
        assert [action.dest for action in parser._actions if not action.help and action.dest != argparse.SUPPRESS] == []


@pytest.mark.parametrize("topic", list(topics.topics()))
def test_a_topic_is_shown(topic: str) -> None:
    assert kobox("help", topic).stdout == f"{topics.topic(topic)}\n"


def test_help_of_a_command_and_of_nothing_that_exists() -> None:
    assert kobox("help", "run").stdout == kobox("run", "--help").stdout != ""
    assert kobox("help", "kernel", "add").stdout == kobox("kernel", "add", "--help").stdout != ""
    assert kobox("help", "rum").returncode == 2
    assert kobox("help").stdout == kobox("--help").stdout


def test_the_page_on_commands_has_the_table_of_exit_codes() -> None:
    page = (ROOT / "docs/commands.md").read_text()
    for command, rows in topics.EXIT_CODES.items():
        for status, meaning in rows:
            assert f"| {f'`{command}`' if command else 'every command'} | {status} | {meaning} |" in page
    assert set(topics.EXIT_CODES) - {"", "kmod tools"} <= set(COMMANDS)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "--kernl", "x"), "did you mean --kernel?"),
        (("check", "--sarf=x", "y.ko"), "did you mean --sarif?"),
        (("kernel", "lst"), "did you mean list?"),
        (("kernel", "defualt"), "did you mean default?"),
        (("completion", "bsh"), "did you mean bash?"),
        (("shell", "--profile", "fats"), "did you mean fast?"),
        (("rnu",), "did you mean `kobox run`?"),
        (("che",), "did you mean `kobox check`?"),
        (("caches",), "did you mean `kobox cache`?"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else None,
)
def test_a_mistyped_word_is_answered_with_the_nearest(words: tuple[str, ...], said: str) -> None:
    done = kobox(*words)
    assert done.returncode == 2
    assert said in done.stderr


def test_the_version_names_what_decides_how_a_box_behaves(modules: BuiltTestModules) -> None:
    said = kobox("--version", KOBOX_KERNEL=modules.kernel.name).stdout
    assert re.fullmatch(rf"kobox \d\S*\nkernel {modules.kernel.name}\nUnicorn 2\S*, Python 3\S*, \w+\n", said)


def test_the_version_without_a_kernel(tmp_path: Path) -> None:
    done = kobox("--version", XDG_CACHE_HOME=str(tmp_path), KOBOX_KERNEL="")
    assert "kernel none yet; `kobox kernel add debian` fetches one" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("environment", "terminal", "expected"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "0"}, False, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, True, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True, True),
    ],
)
def test_when_output_is_coloured(
    environment: dict[str, str], terminal: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    assert coloured() is expected


def test_the_option_decides_before_the_environment(modules: BuiltTestModules) -> None:
    run = ("run", "--kernel", modules.kernel.name, str(modules("good")))
    assert "\x1b[" in kobox("--color=always", *run, NO_COLOR="1").stdout
    assert "\x1b[" in kobox(*run, "--color", "always").stdout
    assert "\x1b[" not in kobox(*run, "--color", "never", FORCE_COLOR="1").stdout
    assert kobox("--color", "blue", "run").returncode == 2
