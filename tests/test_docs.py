"""The Python examples of the documentation run as they are written, in a directory that has hello.ko."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest

from kobox.cli.main import COMMANDS
from kobox.cli.parser import parser_of
from kobox.images.store import KernelImage
from tests.building import BuiltTestModules
from tests.console_blocks import PAGES, ROOT, blocks_in, missing
from tests.debian import EXT4, Programs
from tests.test_architecture import FLOORS

RUNNABLE = (
    "README.md",
    *(
        f"docs/{name}.md"
        for name in (
            "box",
            "shell",
            "network",
            "disks",
            "hardware",
            "devices",
            "races",
            "debugging",
            "graph",
            "trace",
            "profile",
            "drgn",
            "monitor",
            "matrix",
            "ebpf",
            "two-filters",
        )
    ),
)


def python_in(page: str) -> list[tuple[int, str]]:
    """(line number, code) of each Python block of a page."""
    text = (ROOT / page).read_text()
    blocks = re.finditer(r"^```python\n(.*?)^```$", text, flags=re.M | re.S)
    return [(text.count("\n", 0, match.start(1)) + 1, match[1]) for match in blocks]


@pytest.mark.parametrize("page", RUNNABLE)
def test_the_examples_of_a_page_run_in_order(
    page: str,
    modules: BuiltTestModules,
    full_kernel: KernelImage,
    arm64_kernel: KernelImage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("hello", "pcicounter"):
        shutil.copy(modules(name), tmp_path)
    if page in ("docs/disks.md", "docs/devices.md"):
        Programs(*EXT4).run("mkfs.ext4", "-q", "-F", tmp_path / "disk.img", "64M")
    monkeypatch.chdir(tmp_path)
    special = {"docs/devices.md": full_kernel, "docs/architectures.md": arm64_kernel}
    monkeypatch.setenv("KOBOX_KERNEL", special.get(page, modules.kernel).name)
    blocks = python_in(page)
    assert blocks
    names: dict[str, object] = {}
    for line, code in blocks:
        exec(compile("\n" * (line - 1) + code, page, "exec"), names)


def test_the_commands_of_the_tutorial_print_what_it_shows(tmp_path: Path, debian_kernel: KernelImage) -> None:
    place = tmp_path
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "KOBOX_KERNEL": debian_kernel.name, "COLUMNS": "120"}
    commands = [command for block in blocks_in("docs/tutorial.md") for command in block.commands]
    assert len(commands) >= 8
    for command, shown in ((command.text, command.shown) for command in commands):
        if command.startswith("cd "):
            place = place / command[3:]
            continue
        done = subprocess.run(
            ["bash", "-c", command], cwd=place, capture_output=True, text=True, env=environment, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        assert missing(shown, done.stdout + done.stderr) == [], command


@pytest.mark.parametrize("page", PAGES)
def test_a_console_block_is_run_by_make_test_docs_or_says_why_not(page: str) -> None:
    for block in blocks_in(page):
        assert block.commands or len(block.reason.split()) >= 3, f"{page}:{block.line}"


@pytest.mark.parametrize(
    ("shown", "printed", "lost"),
    [
        ("loop: 16384 bytes", "x\nloop: 20480 bytes\n", False),
        ("built for 6.1.0-56-cloud-amd64 in 1.1 s", "built for 6.12.118+deb13-cloud-amd64 in 12 s", False),
        ("  7.1 us  f(a=0xffff888003c41500)", "13.7 ms  f(a=0x10)", False),
        ("ok: nothing", "FAILED: nothing", True),
        ("key … by Ann", "key 0a by Ann", False),
        ("key … by Ann", "key 0a by Bob", True),
        ("hello loaded", "hello loaded, and more", True),
        ("mode 0644", "mode", True),
    ],
)
def test_lines_of_a_block_are_compared_but_for_figures(shown: str, printed: str, lost: bool) -> None:
    assert missing([shown], printed) == ([shown] if lost else [])


def kobox_calls(page: str) -> list[list[str]]:
    """The arguments of each `kobox` in a page's console blocks, without a shell's pipes and redirections."""
    calls = []
    for block in re.findall(r"^```console\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S):
        whole = re.sub(r"\\\n\s*|\n> ", " ", block)
        for line in re.findall(r"^[$#] (.*)", whole, re.M):
            for command in re.split(r" (?:\||&&|;) ", line):
                words = shlex.split(command, comments=True) if command.count("'") % 2 == 0 else []
                words = [word for word in words if "=" not in word or word.startswith("-") or "kobox" in words[:1]]
                if words[:1] == ["kobox"]:
                    end = next((i for i, word in enumerate(words) if re.match(r"\d?[<>]", word)), len(words))
                    calls.append(words[1:end])
    return calls


@pytest.mark.parametrize("page", [page for page in PAGES if kobox_calls(page)])
def test_the_commands_of_a_page_are_such_as_kobox_takes(page: str) -> None:
    for name, *arguments in filter(None, kobox_calls(page)):
        if name.startswith("-") or name == "help":
            continue
        main = __import__(COMMANDS[name][0], fromlist=["main"])
        parser = None if hasattr(main, "HELP") else parser_of(main.main, f"kobox {name}")
        if parser is not None:
            nested = any(isinstance(action, argparse._SubParsersAction) for action in parser.arguments())
            parse = parser.parse_args if nested else parser.parse_intermixed_args
            with suppress(SystemExit) if "--help" in arguments else nullcontext():
                parse(arguments)


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    here = ROOT / page
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", here.read_text()):
        assert (here.parent / target).exists(), f"{page} links to {target}"


def test_the_indexes_name_every_page_and_the_reference_has_every_room() -> None:
    for folder in (ROOT / "docs", ROOT / "docs/reference"):
        index = (folder / "index.md").read_text()
        assert {page.name for page in folder.glob("*.md") if f"]({page.name})" not in index} == {"index.md"}
    commands = {"cli"}  # their reference is `kobox COMMAND --help`
    pages = {page.stem for page in (ROOT / "docs/reference").glob("*.md")} - {"index"}
    assert pages == {"kobox", *(set(FLOORS) - commands)}
