"""`kobox doctor` tells what is there and what to do about what is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from kobox.isolation import landlock

KOBOX = str(Path(sys.executable).with_name("kobox"))


def doctor(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [KOBOX, "doctor", *words], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


def test_this_machine_can_run_boxes() -> None:
    done = doctor("--json")
    facts = {fact["name"]: fact for fact in json.loads(done.stdout)}
    assert done.returncode == 0
    assert all(facts[name]["ok"] for name in ("python", "emulator", "cache", "cache may be written"))
    assert facts["isolation of files"]["ok"] == bool(landlock.abi())
    assert all(fact["ok"] or fact["advice"] for fact in facts.values())


def test_a_cache_that_others_can_write_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "kobox/kernels/k").mkdir(parents=True)
    (tmp_path / "kobox/kernels/k").chmod(0o777)
    done = doctor(XDG_CACHE_HOME=str(tmp_path))
    assert done.returncode == 1
    assert "everybody can write to it" in done.stdout
    assert "chmod -R go-w" in done.stdout
    (tmp_path / "kobox/kernels/k").chmod(0o755)
    done = doctor(XDG_CACHE_HOME=str(tmp_path), PATH="/nowhere")
    assert done.returncode == 0
    assert "note  cache" in done.stdout
    assert "without apt-get, dpkg-deb" in done.stdout
