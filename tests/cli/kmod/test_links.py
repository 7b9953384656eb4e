"""`kobox kmod links`: the tools by their own names, with man pages and completion."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kobox.cli.kmod import links
from kobox.cli.kmod.links import TOOLS
from kobox.cli.main import COMMANDS
from kobox.cli.manpage import tool_page
from tests.kmod_fixtures import Answer, Tree, kobox

KOBOX = Path(sys.executable).with_name("kobox")


def run(*words: str | Path, cwd: Path | None = None) -> Answer:
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False, cwd=cwd)
    return Answer(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("usr") / "sbin"
    answer = run(KOBOX, "kmod", "links", directory)
    assert answer.status == 0, answer
    made = [Path(line) for line in answer.output.splitlines()]
    assert len(made) == 3 * len(TOOLS)
    assert all(path.exists() for path in made)
    return directory


def test_each_link_is_its_tool(linked: Path, cloud: Tree, kmod: Callable[..., Answer]) -> None:
    where = ("-d", str(cloud.root), "-S", cloud.release)
    assert run(linked / "modprobe", *where, "-R", "fs-btrfs") == kmod("modprobe", *where, "-R", "fs-btrfs")
    path = next(cloud.path.rglob("loop.ko"))
    assert run(linked / "modinfo", path) == kmod("modinfo", path)
    assert run(linked / "lsmod") == kmod("lsmod")
    for tool in TOOLS:
        assert run(linked / tool, "--nosuch") == kmod(tool, "--nosuch") or tool == "kmod"
        assert run(linked / tool, "--version").output.startswith("kmod version")


def test_the_program_takes_nothing_of_its_caller_s(linked: Path, tmp_path: Path) -> None:
    """Neither the directory that it is called in, nor PYTHONPATH, nor what `site` would run."""
    assert (linked / "kmod").read_text().splitlines()[0] == f"#!{sys.executable} -IS"
    (tmp_path / "kobox.py").write_text("raise SystemExit('imported')\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONSTARTUP": str(tmp_path / "kobox.py")}
    done = subprocess.run(
        [linked / "lsmod", "--version"], capture_output=True, text=True, check=False, cwd=tmp_path, env=environment
    )
    assert done.stdout.startswith("kmod version")
    assert done.returncode == 0


@pytest.mark.parametrize("path", ["/opt/my programs/python", "/" + 250 * "x"])
def test_an_interpreter_that_no_program_can_name(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", path)
    assert not links.executable().startswith("#!")


def test_pages_and_completion_lie_beside_bin(linked: Path) -> None:
    share = linked.parent / "share"
    assert {path.name for path in (share / "man/man8").iterdir()} == {f"{tool}.8" for tool in TOOLS}
    assert {path.name for path in (share / "bash-completion/completions").iterdir()} == set(TOOLS)


def test_any_other_directory_has_them_below(tmp_path: Path) -> None:
    made = json.loads(run(KOBOX, "kmod", "links", "--json", tmp_path / "tools").output)
    assert {str(Path(path).relative_to(tmp_path / "tools").parent) for path in made} == {
        ".",
        "share/man/man8",
        "share/bash-completion/completions",
    }


def test_what_is_there_already_stays_without_force(tmp_path: Path) -> None:
    directory = tmp_path / "bin"
    directory.mkdir()
    (directory / "lsmod").write_text("mine")
    refused = run(KOBOX, "kmod", "links", directory)
    assert refused.status == 1
    assert f"{directory}/lsmod is there already" in refused.errors
    assert [path.name for path in directory.iterdir()] == ["lsmod"]
    assert (directory / "lsmod").read_text() == "mine"
    assert run(KOBOX, "kmod", "links", "--force", directory).status == 0
    assert os.readlink(directory / "lsmod") == "kmod"
    assert run(KOBOX, "kmod", "links", directory).status == 0  # once more changes nothing
    assert sorted(path.name for path in directory.iterdir()) == sorted(TOOLS)


@pytest.mark.parametrize("words", [(), ("a", "b"), ("--nosuch", "x")])
def test_wrong_usage(words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert kobox("kmod", "links", *words).status == 1
    assert not list(tmp_path.iterdir())


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    answer = kobox("kmod", "links", tmp_path / "file/sbin")
    assert answer.status == 1
    assert f"{tmp_path}/file" in answer.errors


@pytest.mark.parametrize("tool", TOOLS)
def test_a_man_page_has_every_option_of_the_help(tool: str, linked: Path) -> None:
    text = importlib.import_module(COMMANDS[tool][0]).HELP
    page = (linked.parent / f"share/man/man8/{tool}.8").read_text()
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))
    assert options
    assert all(option.replace("-", "\\-") in page for option in options)
    assert [line for line in page.splitlines() if line.startswith(".SH")][:3] == [
        ".SH NAME",
        ".SH SYNOPSIS",
        ".SH DESCRIPTION",
    ]
    groff = shutil.which("groff")
    if groff:  # the page is right without it, too: this only asks somebody else
        done = run(groff, "-man", "-Tascii", "-ww", "-z", linked.parent / f"share/man/man8/{tool}.8")
        assert done == (0, "", "")


def test_nothing_in_a_page_is_taken_for_a_request() -> None:
    page = tool_page("x", "usage: x\n\n.dangerous line\n\n  -a  'quoted' \\fB\n", "s", "1")
    assert "\\&.dangerous line" in page
    assert "\\&'quoted' \\efB" in page


def test_completion_of_options_and_names(linked: Path) -> None:
    scripts = linked.parent / "share/bash-completion/completions"
    for tool, word, expected in (
        ("modprobe", "--show-e", "--show-exports"),
        ("depmod", "--bas", "--basedir"),
        ("kmod", "stat", "static-nodes"),
    ):
        code = (
            f". {scripts / tool}; COMP_WORDS=({linked / tool} {word}); COMP_CWORD=1;"
            f' _kobox_{tool}; echo "${{COMPREPLY[@]}}"'
        )
        assert run("bash", "-c", code) == (0, f"{expected}\n", "")
