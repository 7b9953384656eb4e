"""I2C devices of a box: put on the bus of a controller, and made known to the kernel.

controller (plugged in when there is none) -> /sys/bus/i2c/devices/i2c-N/new_device -> /sys/bus/i2c/devices/N-0048
"""

from __future__ import annotations

from typing import TypeVar

from kobox.box.booted import BootedKernel
from kobox.box.devices import pci
from kobox.box.devices.acpi_table import Client, describe_next_card, must_load_tables, symbol_of
from kobox.box.devices.card import plugged_models
from kobox.box.devices.computer import BoxComputer
from kobox.box.devices.gpio import connect_lines
from kobox.box.devices.wired import WiredPlace
from kobox.devices.designware_i2c import DesignwareI2c
from kobox.devices.i2c import I2cDevice
from kobox.devices.i2c_controller import I2cCard
from kobox.devices.i801 import I801
from kobox.errors import KoboxError
from kobox.machine import aml

PluggedI2c = TypeVar("PluggedI2c", bound=I2cDevice)
_DEVICES = "/sys/bus/i2c/devices"
_LETTER = "I"  # of the names of controllers in ACPI's namespace


def plug_i2c(box: BootedKernel, device: PluggedI2c) -> PluggedI2c:
    """Put a device on the I2C bus of the box, and tell the kernel that it is there.

    Raises `KoboxError` when it is plugged in already, its address is taken, or the kernel has no driver for the
    controller.
    """
    if device.plugged:
        raise KoboxError(f"{type(device).__name__} is plugged in already", hint="Make another object for another box.")
    controller = controller_for(box, plain_messages=device.plain_messages)
    adapter = _adapter_of(box, controller)
    described = bool(device.hid or device.compatible)
    if device.gpios and not described:
        raise KoboxError(
            f"{type(device).__name__}: GPIO lines are described by ACPI",
            hint="Give the class `hid` or `compatible` in place of `device_name`.",
        )
    if described:
        must_load_tables(box, type(device).__name__)
    controller.wires.attach(device)
    client = Client(box, symbol_of(_LETTER, controller.function.place), "i2c") if described else None
    device.computer = BoxComputer(box)
    address = f"{adapter}-{device.address:04x}"
    place = WiredPlace(
        box,
        controller,
        device,
        lambda: client.sysfs if client is not None else f"{_DEVICES}/{address}",
        told_by="" if client is not None else f"{_DEVICES}/i2c-{adapter}",
    )
    device.host = place
    device.reset()
    if client is not None:
        try:
            lines, properties = connect_lines(box, device, client.path)
            client.load(device, aml.i2c_connection(client.controller, device.address) + lines, properties)
        except BaseException:
            controller.wires.devices.pop(device.address, None)
            raise
        return device
    if not device.device_name:
        return device  # a driver that looks for its device finds it
    try:
        if not box.exists(place.sysfs):
            words = f"{device.device_name} {device.address:#x}"
            box.write_bytes(f"{_DEVICES}/i2c-{adapter}/new_device", words.encode())
    except OSError as error:
        controller.wires.devices.pop(device.address, None)
        raise KoboxError(f"{type(device).__name__}: the kernel does not take it: {error.strerror}") from error
    return device


def controller_for(box: BootedKernel, *, plain_messages: bool) -> I2cCard:
    """The controller of the box's I2C bus, plugged in when there is none; a device that wants plain messages gets the
    one that does them. Raises `KoboxError` when the kernel has no driver for it."""
    there = [model for model in plugged_models(box) if isinstance(model, I2cCard)]
    if plain_messages:
        there = [model for model in there if isinstance(model, DesignwareI2c)]
    if there:
        return there[0]
    new = DesignwareI2c() if plain_messages else I801()
    try:
        box.modprobe(new.driver_module)
    except KoboxError as error:
        raise KoboxError(
            f"I2C: the kernel of this box has no driver for the controller ({new.driver_module}): {error.message}",
            hint="Debian's full kernel has it: `kobox kernel add debian:6.1.0-56-amd64`, then boot that.",
        ) from error
    describe_next_card(box, _LETTER)
    return pci.plug(box, new)


def _adapter_of(box: BootedKernel, controller: I2cCard) -> int:
    """The number of the controller's bus, i2c-N."""
    for place in controller.sysfs:
        for name in box.listdir(place):
            if name.startswith("i2c-"):
                return int(name[4:])
    raise KoboxError(
        "I2C: the controller has no driver", hint=f"`box.modprobe('{controller.driver_module}')` loads it."
    )
