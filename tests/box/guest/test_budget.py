"""A module that would keep the machine for ever is ended by its CPU limit, and by Ctrl-C, whatever it does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kobox.box.box import Box
from kobox.checks.memory.memory import MemoryCheck
from kobox.checks.runner.session import Examination
from kobox.errors import BoxError, BoxHungError
from kobox.images.store import KernelImage
from kobox.ko.modulefile import ModuleFile
from tests.building import BuiltTestModules

ROOT = Path(__file__).parents[3]
WHATS = [
    "masked timer",
    "fast timer",
    "five levels",
    "faulting handlers",
    "device registers",
    "log",
    "wide memset",
    "wide search",
]


@pytest.fixture(scope="module")
def hangs(debian_kernel: KernelImage) -> Path:
    return BuiltTestModules(debian_kernel, "hangs")("hangs")


@pytest.mark.parametrize("what", WHATS)
def test_a_cpu_limit_ends_it(box: Box, hangs: Path, what: str) -> None:
    box.limits.cpu = 0.3
    with pytest.raises(BoxError) as caught:
        box.insmod(hangs, what=what)
    assert isinstance(caught.value, BoxHungError) or "triple fault" in str(caught.value)


@pytest.mark.parametrize("what", ["wide memset", "wide search"])
def test_a_cpu_limit_ends_it_under_the_watcher(box: Box, hangs: Path, what: str) -> None:
    box.limits.cpu = 1
    findings = Examination(box, ModuleFile(hangs), [MemoryCheck()], parameters=f'what="{what}"').run()
    assert "hang" in {finding.kind for finding in findings}


def test_one_budget_for_many_calls_that_each_keep_theirs(box: Box, hangs: Path) -> None:
    """Files that never end, since the module has replaced read(): each call is quick."""
    box.insmod(hangs, what="endless reads")
    box.limits.cpu = 5
    with pytest.raises(BoxHungError, match=r"all calls together burnt 0\.2 s"), box.guest.processes.budget(0.2):
        _read_to_the_end(box, "/proc/version")


def test_a_budget_within_a_budget_ends_no_later(box: Box) -> None:
    processes = box.guest.processes
    with pytest.raises(BoxHungError, match=r"together burnt 0\.01 s"), processes.budget(0.01), processes.budget(1000):
        _for_ever(lambda: box.syscall("getpid"))


def _read_to_the_end(box: Box, path: str) -> None:
    fd, chunk = box.syscall("open", path, os.O_RDONLY, 0), bytearray(512)
    while box.syscall("read", fd, chunk, len(chunk)) > 0:
        pass


def _for_ever(action: Callable[[], object]) -> None:
    while True:
        action()


def test_a_budget_ends_with_its_block(box: Box) -> None:
    with box.guest.processes.budget(0.1):
        box.syscall("getpid")
    for _ in range(3000):
        box.syscall("getppid")


PROGRAM = """
import kobox, sys
box = kobox.boot({kernel!r})
box.limits.cpu = 1e6
for what in {whats!r}:
    print("ready", flush=True)
    try:
        box.insmod({module!r}, what=what)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    except kobox.BoxError as error:
        print(error, flush=True)
    box.reset()
"""


def test_ctrl_c_ends_it(box: Box, hangs: Path) -> None:
    whats = ["masked timer", "fast timer", "device registers", "log", "wide memset"]
    program = PROGRAM.format(kernel=box.image.name, module=str(hangs), whats=whats)
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert child.stdout is not None
    for what in whats:
        assert child.stdout.readline() == "ready\n", what
        time.sleep(0.5)  # in the module's code, where it is at once
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == "interrupted\n", what
    assert child.wait() == 0
