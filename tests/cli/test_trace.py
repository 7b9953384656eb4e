"""`kobox trace` as it is typed."""

from __future__ import annotations

import json
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


def trace(*words: str | Path, status: int = 0) -> str:
    """What `kobox trace` prints."""
    command = [sys.executable, "-m", "kobox", "trace", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if not status else done.stdout + done.stderr


def test_a_life_with_commands_and_files(debug_modules: BuiltTestModules, tmp_path: Path) -> None:
    chrome, page = tmp_path / "t.json", tmp_path / "t.html"
    said = trace(
        debug_modules("journal"),
        *("-c", "echo -n one > /dev/journal", "--lines", "--perfetto", chrome, "--html", page),
    )
    assert re.search(r"^ +[\d.]+ [num]s  write\(1, \"one\", 3\) = 3   sh\[\d+\]$", said, re.M)
    assert re.search(
        r'^ +[\d.]+ [num]s    journal_write\(file=0x\w+ "journal", from="one", count=3, at=0x\w+\) = 3$', said, re.M
    )
    assert re.search(r"^ +[\d.]+ [num]s      add_entry\(word=\"one\"\) = 1$", said, re.M)
    assert re.search(r"kmalloc_trace\(.*size=40\) = 0x\w+   40 bytes  journal\.c:\d+$", said, re.M)
    assert said.splitlines()[-1].endswith("40 bytes allocated in 1 call")
    assert {"journal_write", "add_entry"} <= {event["name"] for event in json.loads(chrome.read_text())["traceEvents"]}
    assert "journal_write" in page.read_text()


def test_why_a_load_failed(debug_modules: BuiltTestModules) -> None:
    said = trace(debug_modules("tracee"), "fail=1", status=1)
    assert re.search(r"^the first call that returned it: __kmalloc\(\) = NULL at tracee\.c:\d+$", said, re.M)
    errors = trace(debug_modules("tracee"), "fail=2", "--errors", status=1)
    assert re.search(
        r"^misc_register\(\) returned -EEXIST first:\ninit_module\(.*\n  tracee_init\(\) = -EEXIST\n    misc_",
        errors,
        re.M,
    )


def test_json_with_filters_and_an_oops(debug_modules: BuiltTestModules) -> None:
    told = json.loads(
        trace(
            debug_modules("journal"),
            "-c",
            "echo -n extraordinary > /dev/journal",
            "--json",
            "--kernel-depth",
            "0",
            status=1,
        )
    )
    names = [call["name"] for root in told["calls"] for call in root["calls"]]
    assert "journal_write" in names
    assert "misc_register" not in names


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["nowhere.ko"], 1, "nowhere.ko: no such file"),
        (["--depth", "-1", "x.ko"], 2, "not a number of 0 or more"),
        (["--depth", "many", "x.ko"], 2, "not a number of 0 or more"),
        ([], 2, "required"),
    ],
)
def test_wrong_usage(words: list[str], status: int, says: str) -> None:
    assert says in trace(*words, status=status)
