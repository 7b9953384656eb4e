"""`kobox kernel`, as a person and a script see it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.images.test_identify import bzimage

KOBOX = str(Path(sys.executable).with_name("kobox"))


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    path = tmp_path / "vmlinuz"
    path.write_bytes(bzimage(b"9.1.0-mine (me@here) #1"))
    return path


def kobox(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    return subprocess.run([KOBOX, "kernel", *arguments], env=environment, capture_output=True, text=True, check=False)


def test_an_empty_cache_says_what_to_do(tmp_path: Path) -> None:
    assert kobox(tmp_path, "list").stdout == "no kernel in the cache; `kobox kernel add debian` fetches one\n"
    assert json.loads(kobox(tmp_path, "list", "--json").stdout) == []
    done = kobox(tmp_path, "default")
    assert (done.returncode, done.stdout) == (1, "")
    assert "kobox kernel add debian" in done.stderr


def test_a_kernel_s_way_through_the_cache(tmp_path: Path, kernel: Path) -> None:
    done = kobox(tmp_path, "add", str(kernel))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("9.1.0-mine: no modules, no headers, in ")
    assert done.stderr == ""  # progress is for a terminal
    assert kobox(tmp_path, "default").stdout == "9.1.0-mine\n"
    (listed,) = json.loads(kobox(tmp_path, "list", "--json").stdout)
    assert (listed["name"], listed["default"], listed["modules"]) == ("9.1.0-mine", True, None)
    assert kobox(tmp_path, "list").stdout.startswith("* 9.1.0-mine ")
    assert kobox(tmp_path, "rm", "9.1").stdout == "9.1.0-mine: removed\n"
    assert json.loads(kobox(tmp_path, "list", "--json").stdout) == []


def test_a_misspelt_name_removes_nothing(tmp_path: Path, kernel: Path) -> None:
    kobox(tmp_path, "add", str(kernel))
    done = kobox(tmp_path, "rm", "9.1", "9.9")
    assert done.returncode == 1
    assert "9.9: no such kernel" in done.stderr
    assert len(json.loads(kobox(tmp_path, "list", "--json").stdout)) == 1


def test_errors_are_text_and_usage_is_two(tmp_path: Path) -> None:
    done = kobox(tmp_path, "add", __file__)
    assert done.returncode == 1
    assert "not a Linux kernel image" in done.stderr
    assert "Traceback" not in done.stderr
    assert kobox(tmp_path, "add").returncode == 2
    assert kobox(tmp_path).returncode == 2
