"""`kobox profile` as a person calls it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kobox.images.store import KernelImage
from tests.building import SOURCES, BuiltTestModules


@pytest.fixture
def here(debian_kernel: KernelImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(BuiltTestModules(debian_kernel, "costs")("tally"), tmp_path)
    shutil.copy(SOURCES / "costs" / "tally.c", tmp_path)
    (tmp_path / "use.py").write_text(
        "def exercise(box):\n"
        "    with box.open('/dev/tally', 'r+b') as device:\n"
        "        device.write(b'hello there\\n')\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def profile(kernel: KernelImage, *words: str) -> tuple[int, str, str]:
    """As a process: the wall stands round it."""
    done = subprocess.run(
        [sys.executable, "-m", "kobox", "profile", "tally.ko", "-k", kernel.name, *words],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_tables_pictures_and_a_baseline(debian_kernel: KernelImage, here: Path) -> None:
    made = ["--svg", "t.svg", "--folded", "t.folded", "--speedscope", "t.json", "--save", "t.profile"]
    status, out, err = profile(debian_kernel, "--exercise", "use.py", *made)
    assert (status, err) == (0, "")
    assert "      144          600  tally.c:31  found += data[a] == data[b];\n" in out
    assert all((here / name).stat().st_size > 1000 for name in ("t.svg", "t.folded", "t.json", "t.profile"))
    again = profile(debian_kernel, "--exercise", "use.py", "--baseline", "t.profile", "--fail-on", "0%")
    assert again[0] == 0
    assert "nothing costs more than in the baseline" in again[1]
    status, out, _ = profile(
        debian_kernel, "pieces=9", "--exercise", "use.py", "--baseline", "t.profile", "--fail-on", "50%"
    )
    assert status == 1
    assert out.splitlines()[-1].startswith("tally_write [tally]: ")
    status, out, _ = profile(debian_kernel, "--exercise", "use.py", "--json")
    assert status == 0
    assert json.loads(out)["format"] == 1


def test_values_side_by_side_and_growth(debian_kernel: KernelImage, here: Path) -> None:
    status, out, _ = profile(debian_kernel, "--compare", "pieces=1,9", "--exercise", "use.py")
    assert status == 0
    assert out.split()[:2] == ["pieces=1", "pieces=9"]
    status, out, _ = profile(debian_kernel, "--scale", "n=20..400", "-c", "head -c {n} /dev/zero > /dev/tally")
    assert status == 0
    assert next(line for line in out.splitlines() if "count_equal" in line).endswith("with the square")


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--fail-on", "5%"], 2, "--fail-on needs --baseline"),
        (["--fail-on", "x", "--baseline", "a"], 2, "not a percentage"),
        (["--compare", "pieces=1"], 2, "two values at least"),
        (["--scale", "n=1..2"], 2, "three different numbers"),
        (["--scale", "n=9..2"], 2, "not NAME=FIRST..LAST"),
        (["--baseline", "none.profile"], 1, "none.profile: No such file"),
        (["--baseline", "tally.ko"], 1, "tally.ko: no JSON"),
        (["--baseline", "use.json"], 1, "use.json: no profile of format 1"),
        (["pieces=x"], 1, "the module's life ended with an error"),
        (["--svg", "no/such/place.svg"], 1, "no/such/place.svg"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_ends_in_one_sentence(
    words: list[str], status: int, said: str, debian_kernel: KernelImage, here: Path
) -> None:
    (here / "use.json").write_text("{}")
    found = profile(debian_kernel, *words)
    assert found[0] == status
    assert said in found[2]
    assert "Traceback" not in found[2]
