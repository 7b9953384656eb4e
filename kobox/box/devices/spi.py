"""SPI devices of a box: put on the bus of a controller, and described to the kernel by ACPI.

table: PCI0.S001 -> controller, plugged in when there is none -> table: PCI0.S001.D000 -> /sys/bus/spi/devices/spi-…
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from kobox.box.booted import BootedKernel
from kobox.box.devices import pci
from kobox.box.devices.acpi_table import Client, describe_next_card, must_load_tables, symbol_of
from kobox.box.devices.card import plugged_models
from kobox.box.devices.computer import BoxComputer
from kobox.box.devices.gpio import connect_lines
from kobox.box.devices.wired import WiredPlace
from kobox.devices.lpss_spi import LpssSpi, SecondLpssSpi
from kobox.devices.spi import SpiDevice
from kobox.errors import KoboxError
from kobox.machine import aml

PluggedSpi = TypeVar("PluggedSpi", bound=SpiDevice)
_DRIVERS = ("spi-pxa2xx-pci", "spi-pxa2xx-platform")
_LETTER = "S"  # of the names of controllers in ACPI's namespace


def plug_spi(box: BootedKernel, device: PluggedSpi) -> PluggedSpi:
    """Put a device on an SPI bus of the box, and have the kernel load a table that describes it.

    Raises `KoboxError` when it is plugged in already, or the kernel has no ACPI or no driver of the controller.
    """
    name = type(device).__name__
    if device.plugged:
        raise KoboxError(f"{name} is plugged in already", hint="Make another object for another box.")
    if not device.hid and not device.compatible:
        raise KoboxError(f"{name} has neither `hid` nor `compatible`", hint="Set what the driver's table has.")
    must_load_tables(box, name)
    controller = controller_for(box)
    client = Client(box, symbol_of(_LETTER, controller.function.place), "spi")
    select = controller.wires.attach(device)
    try:
        device.computer = BoxComputer(box)
        device.host = WiredPlace(box, controller, device, lambda: client.sysfs)
        device.reset()
        wires = {"speed": device.max_speed, "bits": device.word_bits, "mode": device.mode}
        lines, properties = connect_lines(box, device, client.path)
        client.load(device, aml.spi_connection(client.controller, select, **wires) + lines, properties)
    except BaseException:
        controller.wires.detach(device)
        raise
    return device


def controller_for(box: BootedKernel) -> LpssSpi:
    """A controller of the box that has no device yet, plugged in when there is none. Raises `KoboxError` when both have
    one, or the kernel has no driver for it."""
    controllers = [model for model in plugged_models(box) if isinstance(model, LpssSpi)]
    free = next((model for model in controllers if not model.wires.devices), None)
    return free or _plug_controller(box, controllers)


def _plug_controller(box: BootedKernel, others: Sequence[LpssSpi]) -> LpssSpi:
    kind = next((kind for kind in (LpssSpi, SecondLpssSpi) if not any(type(other) is kind for other in others)), None)
    if kind is None:
        raise KoboxError("both SPI buses have a device", hint="Unplug one of them first.")
    try:
        for module in _DRIVERS:
            box.modprobe(module)
    except KoboxError as error:
        raise KoboxError(
            f"SPI: the kernel of this box has no driver for the controller ({_DRIVERS[1]}): {error.message}",
            hint="Debian's full kernel has it: `kobox kernel add debian:6.1.0-56-amd64`, then boot that.",
        ) from error
    describe_next_card(box, _LETTER)
    return pci.plug(box, kind())
