"""Commands that write, where the disk is full: one sentence that names the file, and nothing left behind.

The limit on a file's size (RLIMIT_FSIZE) stands for the disk: write(2) fails with an errno there as well.
"""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kobox.images.store import KernelImage
from tests.building import BuiltTestModules

KOBOX = str(Path(sys.executable).with_name("kobox"))
COMMANDS = {
    "new": ["new", "chardev", "dev"],
    "learn start": ["learn", "start", "1"],
    "learn export": ["learn", "export", "class"],
    "graph": ["graph", "good.ko", "-o", "good.json"],
    "keys": ["keys", "new", "mine"],
    "ci": ["ci", "init", "github"],
    "run --record": ["run", "--record", "r.kbx", "good.ko"],
    "trace": ["trace", "--html", "t.html", "good.ko"],
    "profile": ["profile", "--svg", "p.svg", "good.ko"],
    "inspect": ["inspect", "--html", "i.html", "good.ko"],
}


def _full() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk(name: str, debian_kernel: KernelImage, tmp_path: Path) -> None:
    (tmp_path / "good.ko").write_bytes(BuiltTestModules(debian_kernel)("good").read_bytes())
    (tmp_path / "Kbuild").write_text("obj-m := good.o\n")
    done = subprocess.run(
        [KOBOX, *COMMANDS[name]], capture_output=True, text=True, check=False, cwd=tmp_path, preexec_fn=_full
    )
    assert done.returncode in (1, 2), done.stdout + done.stderr
    (said, *_) = done.stderr.splitlines()
    assert said.endswith(": File too large"), done.stderr
    file = Path(said.removesuffix(": File too large").rpartition(": ")[2].removeprefix("could not write "))
    assert not (tmp_path / file).exists()
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"good.ko", "Kbuild"}
    if COMMANDS[name][-1] != "good.ko":  # with room again, nothing is in the way
        done = subprocess.run([KOBOX, *COMMANDS[name]], capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
