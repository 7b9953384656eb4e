"""Ports of Debian that are younger than this machine's suite, and mirrors that are being changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from kobox.images.debian import suite
from kobox.images.debian.apt import Apt
from kobox.images.debian.archive import Archive

SIZE = "  File has unexpected size (1 != 2). Mirror sync in progress?"
SECURITY = "E: Failed to fetch http://mirror/debian-security/dists/trixie-security/main/binary-riscv64/Packages.xz"
MAIN = "E: Failed to fetch http://mirror/debian/dists/trixie/main/binary-riscv64/Packages.xz"


@pytest.mark.parametrize(
    ("here", "port", "meant"),
    [
        ("bookworm", "riscv64", "trixie"),
        ("bullseye", "riscv64", "trixie"),
        ("trixie", "riscv64", "trixie"),
        ("sid", "riscv64", "sid"),
        ("bookworm", "arm64", "bookworm"),
        ("bookworm", "amd64", "bookworm"),
    ],
)
def test_a_port_comes_from_the_first_suite_that_has_it(
    monkeypatch: pytest.MonkeyPatch, here: str, port: str, meant: str
) -> None:
    monkeypatch.setattr(suite, "machine_suite", lambda: here)
    assert suite.port_suite(port) == meant


@pytest.mark.parametrize(
    ("said", "lists", "goes_on"),
    [
        (SECURITY + SIZE, True, True),
        (SECURITY + "  Hash Sum mismatch", True, True),
        (SECURITY + SIZE, False, False),  # the suite's own list is not there either
        (MAIN + SIZE, True, False),
        (f"{SECURITY}{SIZE}\n{MAIN}{SIZE}", True, False),
        (SECURITY + "  Could not resolve 'mirror'", True, False),
        ("E: The repository 'http://mirror trixie-security' is not signed.", True, False),
    ],
)
def test_only_a_damaged_list_of_the_security_archive_is_passed_over(
    tmp_path: Path, said: str, lists: bool, goes_on: bool
) -> None:
    room = tmp_path / "room"
    (room / "state/lists").mkdir(parents=True)
    if lists:
        (room / "state/lists/mirror_debian_dists_trixie_main_binary-riscv64_Packages.lz4").touch()
    archive = Archive(Apt("trixie", "http://mirror/debian", "http://mirror/debian-security", room, "riscv64"))
    assert archive.only_security_is_damaged(said) is goes_on
