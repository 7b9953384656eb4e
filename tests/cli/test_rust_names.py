"""Names of Rust symbols as Rust writes them, wherever a command shows a function. C takes such a name as well."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kobox.images.store import KernelImage
from tests.building import BuiltTestModules

MANGLED, SHOWN = "_RNvCshfMI71CQuHV_8rust_bad5third", "rust_bad::third"
LOG = f"mangled: Unknown symbol {MANGLED} (err -2)\n"


@pytest.fixture(scope="module")
def mangled(debian_kernel: KernelImage) -> Path:
    return BuiltTestModules(debian_kernel, "debug")("mangled")


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (["trace", "MODULE"], ""),
        (["profile", "MODULE"], ""),
        (["explain", "--log", "-"], LOG),
    ],
    ids=["trace", "profile", "explain"],
)
def test_a_command_shows_the_name_as_rust_writes_it(mangled: Path, words: list[str], given: str) -> None:
    command = [sys.executable, "-m", "kobox", *(str(mangled) if word == "MODULE" else word for word in words)]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    assert SHOWN in done.stdout, done.stdout + done.stderr
    assert MANGLED not in done.stdout
