"""GPIO lines, in and out: tests/modules/gpio/gpiobutton.c drives devices on the board and on I2C that have some."""

from __future__ import annotations

import struct
from typing import ClassVar

import pytest

from kobox.box.box import Box
from kobox.devices import GpioLine, PlatformDevice
from kobox.devices.gpio import AmdGpio
from kobox.devices.i2c import I2cDevice, I2cRegisters
from kobox.errors import KoboxError
from kobox.images.kernel_image import KernelImage
from tests.building import BuiltTestModules

LINES = {"press": GpioLine(20, interrupt="both"), "lamp": GpioLine(21, active_low=True), "sense": GpioLine(22)}


class Panel(PlatformDevice):
    compatible = "acme,panel"
    gpios = LINES


class I2cPanel(I2cRegisters):
    compatible, address = "acme,i2c-panel", 0x33
    gpios = LINES


@pytest.fixture(scope="session")
def gpio_modules(full_kernel: KernelImage) -> BuiltTestModules:
    return BuiltTestModules(full_kernel, "gpio")


@pytest.mark.parametrize("kind", [Panel, I2cPanel])
def test_lines_in_and_out_and_interrupts(
    full_box: Box, gpio_modules: BuiltTestModules, kind: type[Panel | I2cPanel]
) -> None:
    box = full_box
    driver = box.insmod(gpio_modules("gpiobutton"))
    panel = box.plug(kind())
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


class Edges:
    """How often a driver was interrupted when a line went up, up again, and down."""

    rows: ClassVar = {"rising": 1, "falling": 1, "both": 2}


@pytest.mark.parametrize("interrupt", Edges.rows)
def test_which_edges_interrupt(interrupt: str) -> None:
    levels: list[bool] = []

    class Controller(AmdGpio):
        plugged = True  # type: ignore[assignment]

        def set_interrupt_level(self, high: bool, interrupt: int = 0) -> None:
            levels.append(high)

    controller = Controller()
    active = {"rising": 0, "falling": 1, "both": 2}[interrupt]
    controller.write_memory(0, 4 * 7, 4, active << 9 | 1 << 11 | 1 << 12)
    count = 0
    for high in (True, True, False):
        controller.drive(7, high)
        pending = controller.read_memory(0, 4 * 7, 4) >> 28 & 1
        assert levels[-1] is bool(pending)
        assert controller.read_memory(0, 0x2F8, 4) == pending << 1
        count += pending
        controller.write_memory(0, 4 * 7, 4, controller.read_memory(0, 4 * 7, 4))  # as the driver clears it
    assert count == Edges.rows[interrupt]


def test_the_controller_alone_as_user_space_has_it(full_box: Box) -> None:
    changes: list[tuple[int, bool]] = []

    class Watched(AmdGpio):
        def line_changed(self, number: int, high: bool) -> None:
            changes.append((number, high))

    controller = full_box.plug(Watched())
    assert controller.driver == "amd_gpio"
    with full_box.open("/dev/gpiochip0", "rb") as chip:
        # struct gpiohandle_request (include/uapi/linux/gpio.h): one output, high
        request = bytearray(364)
        struct.pack_into("<I", request, 0, 40)
        struct.pack_into("<I", request, 256, 2)
        request[260] = 1
        struct.pack_into("<I", request, 356, 1)
        chip.ioctl(0xC16CB403, request)
    assert changes == [(40, True)]
    assert controller.is_output(40)
    assert controller.level(40)


# -- what goes wrong ------------------------------------------------------------------------------------------


WRONG = {
    "line": ({"a": GpioLine(184)}, "there is no GPIO line 184"),
    "register": ({"a": GpioLine(63)}, "there is no GPIO line 63"),
    "interrupt": ({"a": GpioLine(1, interrupt="often")}, "'often' is no kind of interrupt"),
}


@pytest.mark.parametrize("what", WRONG)
def test_lines_that_cannot_be(box: Box, what: str) -> None:
    lines, text = WRONG[what]
    device = type("Wrong", (Panel,), {"gpios": lines})()
    with pytest.raises(KoboxError, match=text):
        box.plug(device)
    assert not box.machine.platform.windows


def test_a_kernel_without_a_driver_of_the_controller(box: Box) -> None:
    with pytest.raises(KoboxError, match="no driver for the GPIO controller"):
        box.plug(Panel())
    assert not box.machine.platform.windows


def test_lines_that_are_asked_for_in_vain(full_box: Box) -> None:
    class Named(I2cDevice):
        device_name, gpios = "lm75", LINES

    with pytest.raises(KoboxError, match="described by ACPI"):
        full_box.plug(Named())
    with pytest.raises(KoboxError, match="not plugged in"):
        Panel().line("lamp")
    with pytest.raises(KoboxError, match="has no GPIO line 'nothing'"):
        full_box.plug(Panel()).line("nothing")
