"""Devices on the board that Python plays, announced by ACPI at run time: tests/modules/boardcounter.c drives them."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from kobox.box.boot.bare_boot import boot
from kobox.box.box import Box
from kobox.devices import PlatformDevice, Register, RegisterValue
from kobox.errors import KoboxError
from kobox.images.kernel_image import KernelImage
from kobox.machine.aml import sized, value
from tests.building import BuiltTestModules


class Counter(PlatformDevice):
    hid = "KOBX0001"
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


class Compatible(Counter):
    hid, compatible = "", "acme,counter"
    window = PlatformDevice.ports(0x10)
    port = Register(window, 1, size=1, reset=0x5A)
    properties: ClassVar = {"acme,step": 70000}


def place(box: Box, device: PlatformDevice) -> Path:
    return box.path(device.sysfs[0])  # type: ignore[return-value]


def test_registers_interrupts_ports_and_properties(box: Box, modules: BuiltTestModules) -> None:
    driver = box.insmod(modules("boardcounter"))
    first, second = box.plug(Counter()), box.plug(Compatible())
    assert (first.driver, second.driver) == ("boardcounter", "boardcounter")
    assert first.where == "platform KOBX0001:00"
    for device in (first, second, first):
        (place(box, device) / "run").write_text("1")
    assert (place(box, first) / "state").read_text() == "6 2 0 first\n"
    assert (place(box, second) / "state").read_text() == "70000 1 90 none\n"
    second.unplug()
    assert not second.plugged
    assert "removed, value ffffffff" in box.log.text()
    (place(box, first) / "run").write_text("1")
    assert first.count.value == 9
    driver.unload()
    assert not box.findings


@pytest.mark.parametrize("suite", ["trixie_kernel", "sid_kernel"])
def test_other_kernels(request: pytest.FixtureRequest, suite: str) -> None:
    kernel: KernelImage = request.getfixturevalue(suite)
    with boot(kernel) as box:
        box.insmod(BuiltTestModules(kernel)("boardcounter"))
        device = box.plug(Counter())
        assert device.driver == "boardcounter"
        (place(box, device) / "run").write_text("1")
        assert (place(box, device) / "state").read_text() == "3 1 0 first\n"
        assert not box.findings


def test_a_driver_that_comes_later_and_checkpoints(box: Box, modules: BuiltTestModules) -> None:
    device = box.plug(Counter())
    assert device.driver is None
    box.insmod(modules("boardcounter"))
    assert device.driver == "boardcounter"
    (place(box, device) / "run").write_text("1")
    with box.checkpoint():
        (place(box, device) / "run").write_text("1")
        third = box.plug(Counter())
        assert device.count.value == 6
        device.unplug()
    assert device.plugged
    assert not third.plugged
    assert device.count.value == 3
    assert box.plug(Counter()).driver == "boardcounter"
    box.reset()
    assert not device.plugged
    assert box.plug(Compatible()).driver is None
    assert not box.findings


class Nameless(PlatformDevice):
    pass


class Large(PlatformDevice):
    hid = "KOBX0002"
    regs = PlatformDevice.memory(32 << 20)


class Talkative(PlatformDevice):
    hid = "KOBX0003"
    properties: ClassVar = {"text": "x" * 40000}


@pytest.mark.parametrize(
    ("device", "words"),
    [
        (Nameless, "neither `hid` nor `compatible`"),
        (Large, "no room is left for registers"),
        (Talkative, "its properties are too long"),
    ],
)
def test_what_goes_wrong(box: Box, device: type[PlatformDevice], words: str) -> None:
    with pytest.raises(KoboxError, match=words):
        box.plug(device())
    assert box.plug(Counter()).where == "platform KOBX0001:00"


def test_a_kernel_without_acpi(debian_kernel: KernelImage) -> None:
    with boot(debian_kernel, cmdline="acpi=off") as box, pytest.raises(KoboxError, match="no ACPI that loads tables"):
        box.plug(Counter())


@pytest.mark.parametrize("size", [0, 1, 62, 63, 4093, 4094, 1 << 20, (1 << 20) - 4])
def test_lengths_in_aml(size: int) -> None:
    """PkgLength counts itself (20.2.4)."""
    block = sized(bytes(size))
    more = block[0] >> 6
    low = block[0] & (63 if not more else 15)
    assert low | int.from_bytes(block[1 : 1 + more], "little") << 4 == len(block)
    assert len(block) == size + 1 + more


def test_constants_in_aml() -> None:
    assert value(5) == b"\x0a\x05"
    assert value(0x12345) == bytes.fromhex("0c45230100")
    assert value(-1) == b"\x0e" + b"\xff" * 8
    assert value("ab") == b"\x0dab\0"
    assert value([1, "a"]) == b"\x12\x07\x02\x0a\x01\x0da\0"
    assert value(b"\x01") == b"\x11\x04\x0a\x01\x01"
