"""The command itself: how it begins and ends, whatever stands around it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.building import BuiltTestModules

KOBOX = Path(sys.executable).with_name("kobox")


def shell(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_streams_that_are_closed_are_no_reason_to_fail(modules: BuiltTestModules, closed: str) -> None:
    run = f"{KOBOX} run --kernel {modules.kernel.name}"
    done = shell(f"{run} {modules('good')} {closed}")
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    done = shell(f"{run} /no/such/module.ko {closed}")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)


def test_a_reader_that_goes_is_no_reason_to_complain() -> None:
    done = shell(f"set -o pipefail; {KOBOX} completion bash | true; echo ${{PIPESTATUS[0]}}")
    assert done.stderr == ""
    assert done.stdout in ("0\n", "1\n")


def test_it_is_a_module_of_python_too() -> None:
    done = subprocess.run([sys.executable, "-m", "kobox", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("kobox ")


def test_wrong_usage_is_2() -> None:
    assert shell(f"{KOBOX} nonsense").returncode == 2
    assert shell(f"{KOBOX} run --nonsense").returncode == 2
    assert shell(f"{KOBOX}").returncode == 2


def test_a_fault_of_kobox_s_own_is_a_line_and_a_traceback_when_asked() -> None:
    code = (
        "import sys; from kobox.cli import main, doctor;"
        "doctor.main = lambda argv, prog: {}['nothing'];"
        "sys.exit(main.run('doctor', [], prog='kobox doctor'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("kobox doctor: error: kobox itself failed: KeyError: 'nothing'\n")
    assert "Traceback" not in done.stderr
    environment = {**os.environ, "KOBOX_TRACEBACK": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert "Traceback" in done.stderr
