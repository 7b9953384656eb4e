"""Devices that Python plays on an arm64 board: nodes of the device tree, which the kernel gets while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest

from kobox.box.boot.bare_boot import boot
from kobox.box.box import Box
from kobox.devices import PlatformDevice, Register, RegisterValue
from kobox.devices.primecell import Pl031
from kobox.errors import KoboxError
from kobox.images.store import KernelImage
from tests.building import built_module


class Counter(PlatformDevice):
    compatible = "acme,counter"
    regs = PlatformDevice.memory(0x100)
    step = Register(regs, 0x00)
    count = Register(regs, 0x04, read_only=True)
    status = Register(regs, 0x08, clear_on_write=1)
    interrupts = 1
    properties: ClassVar = {"acme,step": 3, "label": "first"}

    def written(self, register: RegisterValue) -> None:
        if register is self.step:
            self.count.value += register.value
            self.status.value = 1
        self.set_interrupt_level(bool(self.status.value))


class Quiet(Counter):
    properties: ClassVar = {"acme,step": 70000}


@pytest.fixture(scope="module")
def booted(board_kernel: KernelImage) -> Iterator[Box]:
    with boot(board_kernel) as box:
        yield box


@pytest.fixture
def box(booted: Box) -> Box:
    booted.reset()
    return booted


def test_registers_interrupts_and_properties(box: Box, board_kernel: KernelImage) -> None:
    driver = box.insmod(built_module(board_kernel, "boardcounter"))
    first, second = box.plug(Counter()), box.plug(Quiet())
    assert (first.driver, second.driver) == ("boardcounter", "boardcounter")
    node = box.path(first.sysfs[0]) / "of_node"
    assert (node / "compatible").read_bytes() == b"acme,counter\0"
    for device in (first, second, first):
        (box.path(device.sysfs[0]) / "run").write_text("1")
    assert (box.path(first.sysfs[0]) / "state").read_text().startswith("6 2 ")
    assert (box.path(second.sysfs[0]) / "state").read_text().startswith("70000 1 ")
    second.unplug()
    assert not second.plugged
    (box.path(first.sysfs[0]) / "run").write_text("1")
    assert first.count.value == 9
    driver.unload()
    assert not box.findings


def test_a_driver_that_comes_later_and_checkpoints(box: Box, board_kernel: KernelImage) -> None:
    device = box.plug(Counter())
    assert device.driver is None
    with box.checkpoint() as before:
        box.insmod(built_module(board_kernel, "boardcounter"))
        assert device.driver == "boardcounter"
        (box.path(device.sysfs[0]) / "run").write_text("1")
        assert device.count.value == 3
        before.restore()
    assert device.driver is None
    assert device.count.value == 0
    assert not box.findings


def test_a_device_without_compatible_is_refused(box: Box) -> None:
    class Nameless(PlatformDevice):
        hid = "KOBX0001"

    with pytest.raises(KoboxError, match="Nameless has no `compatible`"):
        box.plug(Nameless())


class CountedClock(Pl031):
    """A clock that counts how often it is asked."""

    asked = 0

    def read_register(self, offset: int) -> int:
        self.asked += 1
        return super().read_register(offset)


def test_a_register_that_python_answers_costs_work(arm64_kernel: KernelImage) -> None:
    """Else a driver that polls one for ever would use this computer's time, and none of its own."""
    with boot(arm64_kernel) as box:
        clock = box.plug(CountedClock())
        asked, work, blocks = clock.asked, box.machine.work, box.machine.blocks
        for _ in range(20):
            box.read_text("/sys/class/rtc/rtc0/time")
        reads = clock.asked - asked
        assert reads >= 20
        assert box.machine.work - work - (box.machine.blocks - blocks) >= 100 * reads
