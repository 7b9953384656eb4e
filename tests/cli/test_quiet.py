"""`-q`: what went wrong, and the verdict."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.building import SOURCES, BuiltTestModules

BROKEN = '#include <linux/module.h>\nMODULE_LICENSE("GPL");\nint start(void) { return nothing; }\n'


def kobox(modules: BuiltTestModules, *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kobox", words[0], "-q", "-k", modules.kernel.name, *words[1:]]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("words", "status", "lines"),
    [
        (("run", "good"), 0, ["ok: good loaded and unloaded; no warnings, no errors"]),
        (("run", "good", "result=-16"), 1, None),
        (
            ("check", "good", "--no-faults", "--no-races", "--no-elsewhere", "--exercise=none"),
            0,
            ["note: module-info: it has no MODULE_DESCRIPTION()", "good: 1 note"],
        ),
    ],
    ids=["run", "run a module that fails", "check"],
)
def test_a_life_says_what_went_wrong_and_the_verdict(
    words: tuple[str, ...], status: int, lines: list[str] | None, modules: BuiltTestModules
) -> None:
    done = kobox(modules, words[0], modules(words[1]), *words[2:])
    assert (done.returncode, done.stderr) == (status, "")
    if lines is not None:
        assert done.stdout.splitlines() == lines
    else:
        assert all(line.startswith((" ! ", "   ", "FAILED: ")) for line in done.stdout.splitlines()), done.stdout


def test_a_build_says_nothing_unless_it_fails(modules: BuiltTestModules, tmp_path: Path) -> None:
    shutil.copy(SOURCES / "hello.c", tmp_path)
    done = kobox(modules, "build", tmp_path / "hello.c")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (tmp_path / "hello.c").write_text(BROKEN)
    done = kobox(modules, "build", tmp_path / "hello.c")
    assert (done.returncode, done.stdout) == (1, "")
    assert "undeclared" in done.stderr
