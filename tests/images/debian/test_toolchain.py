"""Programs that live on another C library: started through its loader, also by one that has no --argv0."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from kobox.images.debian.toolchain import elf_programs, make_toolchain, wrap
from tests.debian import Suite


@pytest.mark.parametrize(("suite", "has_argv0"), [("bullseye", False), ("bookworm", True)])
def test_a_program_runs_on_the_toolchain_s_c_library(suite: str, has_argv0: bool, tmp_path: Path) -> None:
    """Debian 11's loader has no --argv0. The program runs, and finds another whose name begins with its own."""
    toolchain = tmp_path / "toolchain"
    shutil.copytree(Suite(suite).package("libc6"), toolchain, symlinks=True)
    programs = tmp_path / "bin"
    programs.mkdir()
    shutil.copy(Suite(suite).package("hostname") / "bin/hostname", programs / "tool")
    (programs / "tool.real-one").write_text("#!/bin/sh\necho the other one\n")
    (programs / "tool.real-one").chmod(0o755)
    (program,) = elf_programs(programs)
    wrap(program, toolchain)
    assert ("--argv0" in (programs / "tool").read_text()) == has_argv0
    done = subprocess.run([programs / "tool"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == os.uname().nodename
    named = programs / ("tool" if has_argv0 else "tool.elf")
    done = subprocess.run([f"{named}.real-one"], capture_output=True, text=True, check=True)
    assert done.stdout == "the other one\n"


class LibrariesAlone:
    """An archive whose packages hold libraries and no programs."""

    suite = "bookworm"

    def download(self, packages: object, progress: object) -> list[Path]:
        return []

    def unpack(self, debs: object, into: Path, progress: object) -> None:
        (into / "usr/lib").mkdir(parents=True)
        (into / "usr/lib/libelf.so.1").write_bytes(b"a library")


def test_a_toolchain_may_be_libraries_alone(tmp_path: Path) -> None:
    """A new Debian with gcc has no libelf, which Kbuild's own programs need."""
    root = tmp_path / "kernels" / "6.1"
    root.mkdir(parents=True)
    make_toolchain(LibrariesAlone(), [], root, lambda *_: None)  # type: ignore[arg-type]
    assert (root / "toolchain/usr/lib/libelf.so.1").read_bytes() == b"a library"
    assert list((root / "toolchain/bin").iterdir()) == []
