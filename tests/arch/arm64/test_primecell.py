"""GPIO lines, clocks and references between nodes of a device tree; the drivers are those of Debian's arm64 kernel."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kobox.box.boot.bare_boot import boot
from kobox.box.box import Box
from kobox.devices import GpioLine, PlatformDevice
from kobox.devices.primecell import EPOCH, FixedClock, Pl031
from kobox.errors import KoboxError
from kobox.images.store import KernelImage
from tests.building import BuiltTestModules

LINES = {"press": GpioLine(4, interrupt="both"), "lamp": GpioLine(9, active_low=True), "sense": GpioLine(3)}


class Panel(PlatformDevice):
    compatible = "acme,panel"
    gpios = LINES


@pytest.fixture(scope="module")
def booted(arm64_kernel: KernelImage) -> Iterator[Box]:
    with boot(arm64_kernel) as box:
        yield box


@pytest.fixture
def box(booted: Box) -> Box:
    booted.reset()
    return booted


def test_lines_in_and_out_and_interrupts(box: Box, arm64_kernel: KernelImage) -> None:
    driver = box.insmod(BuiltTestModules(arm64_kernel, "gpio")("gpiobutton"))
    panel = box.plug(Panel())
    assert panel.driver == "gpiobutton", box.log.text()[-500:]
    assert not panel.line("lamp")  # on, and low means active
    state, lamp = (box.path(f"{panel.sysfs[0]}/{name}") for name in ("state", "lamp"))
    assert state.read_text() == "0 pressed 0 lamp 1 sense 0\n"
    lamp.write_text("0")
    assert panel.line("lamp")
    for high in (True, False, True):
        panel.set_line("press", high)
        panel.set_line("sense", high)
        box.sleep(0.01)
    assert state.read_text() == "3 pressed 1 lamp 0 sense 1\n"
    with box.checkpoint():
        panel.set_line("sense", False)
        assert state.read_text() == "3 pressed 1 lamp 0 sense 0\n"
    assert state.read_text() == "3 pressed 1 lamp 0 sense 1\n"
    panel.unplug()
    driver.unload()
    assert not box.findings


def test_a_clock_of_the_day_goes_and_is_set(box: Box) -> None:
    clock = box.plug(Pl031())
    assert clock.driver == "rtc-pl031"
    seconds = int(box.read_text("/sys/class/rtc/rtc0/since_epoch"))
    assert EPOCH <= seconds < EPOCH + 3600
    box.sleep(100)
    assert int(box.read_text("/sys/class/rtc/rtc0/since_epoch")) in (seconds + 100, seconds + 101)
    clock.offset += 86400
    assert int(box.read_text("/sys/class/rtc/rtc0/since_epoch")) >= seconds + 86500


def test_a_node_refers_to_another_one(box: Box) -> None:
    clock = box.plug(FixedClock(48_000_000))
    assert "48000000" in box.read_text("/sys/kernel/debug/clk/clk_summary")

    class Clocked(PlatformDevice):
        compatible = "acme,clocked"

    device = Clocked()
    device.properties = {"clocks": clock, "acme,pair": [clock, 7]}
    box.plug(device)
    node = box.path(device.sysfs[0]) / "of_node"
    handle = (node / "clocks").read_bytes()
    assert (node / "acme,pair").read_bytes() == handle + (7).to_bytes(4, "big")
    assert handle == (box.path(clock.sysfs[0]) / "of_node" / "phandle").read_bytes()


def test_what_it_refers_to_has_to_be_there(box: Box) -> None:
    class Clocked(PlatformDevice):
        compatible = "acme,clocked"

    device = Clocked()
    device.properties = {"clocks": FixedClock(1000)}
    with pytest.raises(KoboxError, match="FixedClock is not plugged in"):
        box.plug(device)


def test_a_kernel_without_the_controllers_driver_says_so(riscv64_kernel: KernelImage) -> None:
    with boot(riscv64_kernel) as box:
        with pytest.raises(KoboxError, match="has no driver for the GPIO controller"):
            box.plug(Panel())
        assert not box.findings
