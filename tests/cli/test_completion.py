"""Completion: what a word may become, and that real shells ask for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from kobox.cli.completion import words
from kobox.cli.main import COMMANDS
from kobox.images.store import KernelImage
from tests.debian import Suite

KOBOX = Path(sys.executable).with_name("kobox")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ru", {"run"}),
        ("kernel ", {"add", "list", "ls", "default", "rm"}),
        ("kernel add debian/s", {"debian/sid"}),
        ("run --ker", {"--kernel"}),
        ("run --color ", {"auto", "always", "never"}),
        ("run --color=al", {"--color=always"}),
        ("run --color = al", {"always"}),
        ("new ch", {"chardev"}),
        ("shell --plug e10", {"e1000"}),
        ("check --fail-on e", {"error"}),
        ("check x.ko --fail-on w", {"warning"}),
        ("help exit", {"exit-codes"}),
        ("modprobe --show-d", {"--show-depends"}),
        ("cache prune --kind bu", {"builds"}),
        ("completion f", {"fish"}),
        ("nonsense ", set()),
        ("run hello.k", set()),
    ],
)
def test_what_a_word_may_become(line: str, expected: set[str]) -> None:
    assert set(words(line.split(" "))) == expected


def test_kernels_are_completed_where_one_is_meant(debian_kernel: KernelImage) -> None:
    name = debian_kernel.name
    for line in ("run --kernel ", "run -k ", "shell -k ", "kernel default ", "kernel rm ", "build --kernel "):
        assert name in words([*line.split(" ")[:-1], name[:4]]), line


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_the_options_of_every_command_are_completed(command: str) -> None:
    assert "--help" in words([command, "--"])


def test_bash_completes(tmp_path: Path) -> None:
    shell = pexpect.spawn("bash", ["--norc", "--noprofile"], encoding="utf-8", timeout=30, dimensions=(30, 200))
    shell.sendline(f"PATH={KOBOX.parent}:$PATH; PS1='READY> '; source <(kobox completion bash)")
    shell.expect_exact("READY> ")
    shell.send("kobox kernel def\t")
    shell.expect_exact("kobox kernel default ")
    shell.send("\x15echo done; kobox run --color=al\t")
    shell.expect_exact("--color=always")
    shell.close(force=True)


LIBRARIES = ("libc6", "libtinfo6", "libpcre2-32-0", "libgcc-s1", "libcap2", "libstdc++6")


def program(package: str, name: str) -> list[str]:
    """A program of Debian's, run where it lies."""
    folders = [Suite("bookworm").package(one) for one in (*LIBRARIES, package)]
    places = [folder / place for folder in folders for place in ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")]
    binary = next(path for path in (folders[-1] / "bin" / name, folders[-1] / "usr/bin" / name) if path.exists())
    loader = folders[0] / "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
    return [str(loader), "--library-path", ":".join(map(str, places)), str(binary)]


def environment() -> dict[str, str]:
    return {**os.environ, "PATH": f"{KOBOX.parent}:{os.environ['PATH']}"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [("kobox kernel def", "default"), ("kobox new ch", "chardev"), ("kobox run --color=al", "--color=always")],
)
def test_fish_completes(line: str, expected: str, tmp_path: Path) -> None:
    share = Suite("bookworm").package("fish-common") / "usr/share/fish"
    functions = f"set -g fish_function_path {share}/functions; set -g __fish_data_dir {share}"
    code = f"{functions}; kobox completion fish | source; complete -C '{line}'"
    done = subprocess.run(
        [*program("fish", "fish"), "--no-config", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**environment(), "HOME": str(tmp_path)},
        timeout=60,
    )
    assert expected in done.stdout.split(), done.stderr


def test_zsh_completes(tmp_path: Path) -> None:
    functions = Suite("bookworm").package("zsh-common") / "usr/share/zsh/functions"
    modules = next((Suite("bookworm").package("zsh") / "usr/lib/x86_64-linux-gnu/zsh").iterdir())
    path = " ".join(str(folder) for folder in [functions, *sorted(functions.rglob("*"))] if folder.is_dir())
    binary = program("zsh", "zsh")
    shell = pexpect.spawn(
        binary[0],
        [*binary[1:], "-f", "-i"],
        encoding="utf-8",
        timeout=30,
        dimensions=(30, 200),
        env={**environment(), "HOME": str(tmp_path), "TERM": "vt100"},
    )
    shell.sendline(f"fpath=({path}); module_path=({modules}); zmodload zsh/zle zsh/complete; setopt zle; PS1='READY> '")
    shell.expect("READY> [^']*$")
    shell.sendline("source <(kobox completion zsh); echo SOUR''CED")
    shell.expect_exact("SOURCED")
    shell.expect("READY> ")
    shell.send("kobox kernel def\t")
    shell.expect("kobox kernel default")
    shell.close(force=True)
