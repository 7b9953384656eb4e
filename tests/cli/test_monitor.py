"""`kobox monitor` as a process, on a kernel that has no modules to show, and on one that is made up."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from kobox.apps.top.app import ModuleTop
from kobox.cli import monitor, top
from kobox.cli.main import run
from kobox.monitor import ModuleMonitor
from kobox.monitor.recording import KernelRecorder
from tests.monitor.test_monitor import FixedKernel, module_line


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> FixedKernel:
    found = FixedKernel({"/proc/modules": module_line("loop") + module_line("nvme", taint="O")})
    monkeypatch.setattr("kobox.kernel.host.Host", lambda: found)
    return found


def test_once_and_drift(kernel: FixedKernel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert monitor.main(["--once"], "kobox monitor") == 0
    assert "nvme                                  16384     0  live   O\n" in capsys.readouterr().out
    assert monitor.main(["--save-baseline", str(tmp_path / "base")], "kobox monitor") == 0
    assert monitor.main(["--baseline", str(tmp_path / "base")], "kobox monitor") == 0
    assert capsys.readouterr().out == "out of tree: nvme\n"
    kernel.files["/proc/modules"] = module_line("loop") + module_line("dummy")
    assert monitor.main(["--baseline", str(tmp_path / "base"), "--json"], "kobox monitor") == 1
    assert json.loads(capsys.readouterr().out)["added"] == ["dummy"]


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--listen", "x"], 2, "not ADDRESS:PORT"),
        (["--interval", "0"], 2, "not a number of seconds"),
        (["--baseline", "/dev/null"], 1, "/dev/null: no JSON"),
        (["--listen", "0.0.0.0:1"], 1, "a token is needed"),
        (["--token-file", "/dev/null"], 1, "16 characters"),
        (["--history", "/proc/none/x.db"], 1, "unable to open"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_ends_in_one_sentence(words: list[str], status: int, said: str, tmp_path: Path) -> None:
    code = (
        "import sys, kobox.kernel.host; from tests.monitor.test_monitor import FixedKernel, module_line\n"
        "kobox.kernel.host.Host = lambda: FixedKernel({'/proc/modules': module_line('loop')})\n"
        "from kobox.cli.main import main; sys.argv = ['kobox', 'monitor', *sys.argv[1:]]; sys.exit(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_it_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    code = (
        "import sys, kobox.kernel.host; from tests.monitor.test_monitor import FixedKernel, module_line\n"
        "kobox.kernel.host.Host = lambda: FixedKernel({'/proc/modules': module_line('loop')})\n"
        "from kobox.cli.main import main; sys.argv = ['kobox', 'monitor', *sys.argv[1:]]; sys.exit(main())\n"
    )
    program = subprocess.Popen(
        [sys.executable, "-c", code, "--interval", "0.2", "--history", str(tmp_path / "h.db"), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "h.db").exists() and program.poll() is None:
        pass
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=120)
    assert program.returncode == 130, err
    assert out == ""


def test_a_recording_is_made_and_shown(kernel: FixedKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kobox.monitor.monitor.ModuleMonitor.watch", lambda self, tell, interval: self.poll())
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert monitor.main(["--record", str(tmp_path / "r")], "kobox monitor") == 0
    shown = []

    def drive(top: ModuleTop) -> None:
        async def keys() -> None:
            async with top.run_test(size=(90, 24)) as pilot:
                await pilot.press("u", "l", "full_stop", "comma", "p")
                shown.append((top.title, top.sub_title, len(top.screen_stack)))

        asyncio.run(keys())

    monkeypatch.setattr(ModuleTop, "run", drive)
    assert top.main(["--recording", str(tmp_path / "r")], "kobox top") == 0
    [(title, line, screens)] = shown
    assert title.endswith(", recorded")
    assert "2 modules" in line
    assert "look 1 of 1" in line
    assert screens == 1  # nothing was asked: a recording cannot be changed


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--recording", "none"], 1, "none: No such file or directory"),
        (["--recording", "/dev/null"], 1, "/dev/null: no recording: "),
        (["--recording", "x", "--box"], 1, "--recording stands alone"),
        (["--recording", "x", "--record", "y"], 1, "--recording stands alone"),
        (["--recording", "x", "--speed", "0"], 2, "not a number from 0.01"),
        (["--record", "/none/x", "--ssh=-oProxyCommand=x"], 1, "is no host"),
        (["--box", "--ssh", "x"], 1, "two places"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_words_for_top(words: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        found = run("top", words, prog="kobox top")
    except SystemExit as ended:
        found = int(str(ended.code))
    assert found == status
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("colour", [True, False], ids=["colour", "no colour"])
def test_top_in_a_real_terminal(colour: bool, tmp_path: Path) -> None:
    """80 columns at a pseudo-terminal: it draws, answers to keys, and leaves the terminal as it was."""
    kernel = FixedKernel({"/proc/modules": module_line("loop") + module_line("nvme", taint="O")})
    recorder = KernelRecorder(kernel, tmp_path / "r", "web1", 0)
    ModuleMonitor(recorder, clock=lambda: 0, recorder=recorder).poll()
    recorder.close()
    child = pexpect.spawn(
        str(Path(sys.executable).with_name("kobox")),
        ["top", "--recording", str(tmp_path / "r")],
        env=os.environ | {"TERM": "xterm-256color"} | ({} if colour else {"NO_COLOR": "1"}),
        dimensions=(24, 80),
        timeout=120,
        encoding="utf-8",
    )
    drawn = io.StringIO()
    child.logfile_read = drawn
    child.expect("web1, recorded")
    child.expect("nvme")
    child.send("/")
    child.expect("part of a module")
    child.send("nv\r")
    for _ in range(40):  # a letter that comes before Enter has been answered still belongs to the filter
        child.send("q")
        if child.expect([pexpect.EOF, pexpect.TIMEOUT], timeout=3) == 0:
            break
    child.close()
    assert (child.exitstatus, child.signalstatus) == (0, None)
    assert "Traceback" not in drawn.getvalue()
    assert "\x1b[?1049l" in drawn.getvalue()  # the screen that was before
