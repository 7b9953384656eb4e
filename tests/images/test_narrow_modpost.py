"""modpost for kernels of 32 bits: what is done where i386's cannot be had."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from kobox.errors import FetchError
from kobox.images.debian.archive import Archive
from kobox.images.debian.narrow_modpost import fetch_narrow_modpost

PROGRAM = "usr/lib/linux-kbuild-6.1/scripts/mod/modpost.real-lsb-32"


class WithoutI386:
    """A mirror that has no such port."""

    def __init__(self, architecture: str) -> None:
        self.architecture, self.asked = architecture, 0

    def for_port(self, port: str) -> Archive:
        self.asked += 1
        raise FetchError(f"no {port} here")


@pytest.mark.parametrize(
    ("here", "has_program", "asked"), [("amd64", True, 1), ("amd64", False, 0), ("arm64", True, 0)], ids=str
)
def test_a_kernel_is_added_all_the_same(tmp_path: Path, here: str, has_program: bool, asked: int) -> None:
    mirror, said = WithoutI386(here), list[str]()
    program = tmp_path / PROGRAM
    program.parent.mkdir(parents=True)
    if has_program:
        program.write_text("Debian's own")
    fetch_narrow_modpost(cast("Archive", mirror), ["linux-kbuild-6.1"], tmp_path, lambda what, *_: said.append(what))
    assert mirror.asked == asked
    assert [text for text in said if "no i386 here" in text] == said
    assert not has_program or program.read_text() == "Debian's own"
    assert not (tmp_path / "narrow.new").exists()
