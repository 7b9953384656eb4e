"""`kobox run --record`, `kobox trace --record` and `kobox replay`, as they are typed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from kobox.images.store import KernelImage
from tests.building import BuiltTestModules


@pytest.fixture(scope="module")
def debug_modules(debian_kernel: KernelImage) -> BuiltTestModules:
    return BuiltTestModules(debian_kernel, "debug")


def kobox(*words: str | Path, status: int = 0) -> str:
    """What a command prints, errors too."""
    command = [sys.executable, "-m", "kobox", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == status, said
    assert "Traceback" not in said
    return said


@pytest.fixture(scope="module")
def oops(debug_modules: BuiltTestModules, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A life that ends by an oops, recorded."""
    path = tmp_path_factory.mktemp("record") / "oops.kbx"
    kobox("trace", debug_modules("journal"), "-c", "echo -n extraordinary > /dev/journal", "--record", path, status=1)
    return path


def test_a_run_is_repeated_from_kilobytes(debug_modules: BuiltTestModules, tmp_path: Path) -> None:
    path = tmp_path / "life.kbx"
    run = kobox("run", debug_modules("tracee"), "--plug", "e1000", "--record", path)
    assert path.stat().st_size < 200_000
    again = kobox("replay", path)
    assert re.search(r"^the same as recorded: \d+ blocks, \d\.\d+ s, \d+ log lines$", again, re.M)
    told = [line for line in run.splitlines()[1:] if "E1000" not in line]
    assert [line for line in again.splitlines() if line in told] == told


def test_a_life_with_an_oops_up_to_a_moment_before_it(oops: Path) -> None:
    assert "the same as recorded" in kobox("replay", "-q", oops)
    said = kobox("replay", oops, "--until", "oops-1")
    assert re.search(r"^#0  journal_write\+0x\w+/0x\w+ \[journal\]  journal\.c:\d+.*\n#1  vfs_write", said, re.M)
    assert "this never happens" in kobox("replay", oops, "--until", "panic", status=1)
    assert "no moment" in kobox("replay", oops, "--until", "a b", status=2)


def test_gdb_begins_where_it_is_told(oops: Path) -> None:
    said = kobox("replay", oops, "--gdb", "--until", "oops", "--", "-nx", "-batch", "-ex", "print target")
    assert "$1 = (struct entry * volatile) 0x0" in said


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no record of a life"),
        (b"\x80\x04\x95", "no record of a life"),
        (b"kobox life\n\x09\0\0\0\0\0\0\0", "its format is 9"),
    ],
    ids=["empty", "pickle", "newer"],
)
def test_what_is_no_record(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "x.kbx"
    path.write_bytes(content)
    said = kobox("replay", path, status=2)
    assert f"{path}: " in said
    assert says in said


def test_what_cannot_be_recorded_is_refused(tmp_path: Path, debug_modules: BuiltTestModules) -> None:
    for words in (["--plug", "card.py"], ["--phantom"], ["--lockdown", "integrity"]):
        assert "--record" in kobox("run", debug_modules("tracee"), *words, "--record", tmp_path / "x", status=2)
    assert not (tmp_path / "x").exists()
