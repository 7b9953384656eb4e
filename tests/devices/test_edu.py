"""QEMU's edu with a driver: a number inverted, factorials, and memory copied, which takes time."""

from __future__ import annotations

import math

import pytest

from kobox.box.box import Box
from kobox.devices.edu import Edu
from tests.building import BuiltTestModules


@pytest.fixture
def edu(box: Box, modules: BuiltTestModules) -> Edu:
    box.insmod(modules("edu"))
    return box.plug(Edu())


def test_registers_interrupts_and_memory(box: Box, edu: Edu) -> None:
    assert edu.driver == "edu"
    assert "edu 010000ed" in box.log.text()
    device = box.path("/sys/bus/pci/devices") / edu.address
    assert (device / "liveness").read_text() == "edcba987\n"
    for number in (0, 5, 12, 20, 33, 34, 4_000_000_000):
        (device / "factorial").write_text(str(number))
        expected = math.factorial(number) % (1 << 32) if number < 100 else 0
        assert (device / "factorial").read_text() == f"{expected}\n"
    before = box.time
    (device / "echo").write_text("there and back")
    assert 0.2 <= box.time - before < 0.3  # two transfers of 100 ms each
    assert (device / "echo").read_text() == "there and back\n"
    edu.unplug()
    assert not box.findings


def test_timers_go_back_with_checkpoints(box: Box, edu: Edu) -> None:
    edu.transfer.start(1_000_000_000)
    with box.checkpoint():
        box.sleep(2)
        assert edu.transfer.due is None
    assert edu.transfer.due is not None
    box.sleep(0.5)
    assert edu.transfer.due is not None
    box.sleep(0.6)
    assert edu.transfer.due is None
    edu.transfer.start(1_000_000)
    edu.unplug()
    box.sleep(1)  # it is not called any more
    assert edu.transfer.due is not None
