"""I2C devices of a box: put on the bus of a controller, and made known to the kernel.

controller (plugged in when there is none) -> /sys/bus/i2c/devices/i2c-N/new_device -> /sys/bus/i2c/devices/N-0048
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TypeVar

from kobox.box.booted import BootedKernel
from kobox.box.devices import pci
from kobox.box.devices.card import plugged_models
from kobox.box.devices.computer import BoxComputer
from kobox.devices.i2c import I2cDevice
from kobox.devices.i801 import I801
from kobox.errors import KoboxError

PluggedI2c = TypeVar("PluggedI2c", bound=I2cDevice)
_DEVICES = "/sys/bus/i2c/devices"


class I2cPlace:
    """The box's side of a device on an I2C bus."""

    def __init__(self, box: BootedKernel, controller: I801, device: I2cDevice, adapter: int) -> None:
        self._box, self._controller, self._device, self._adapter = box, controller, device, adapter

    @property
    def plugged(self) -> bool:
        return self._controller.plugged and self._controller.wires.devices.get(self._device.address) is self._device

    @property
    def sysfs(self) -> str:
        return f"{_DEVICES}/{self._adapter}-{self._device.address:04x}"

    @property
    def driver(self) -> str | None:
        with suppress(OSError):
            return os.path.basename(self._box.readlink(f"{self.sysfs}/driver"))
        return None

    def unplug(self) -> None:
        self._controller.wires.devices.pop(self._device.address, None)
        if self._box.alive:
            with suppress(OSError):  # the driver has found it by itself, or is gone
                path = f"{_DEVICES}/i2c-{self._adapter}/delete_device"
                self._box.write_bytes(path, f"{self._device.address:#x}".encode())


def plug_i2c(box: BootedKernel, device: PluggedI2c) -> PluggedI2c:
    """Put a device on the I2C bus of the box, and tell the kernel that it is there.

    Raises `KoboxError` when it is plugged in already, its address is taken, or the kernel has no driver for the
    controller.
    """
    if device.plugged:
        raise KoboxError(f"{type(device).__name__} is plugged in already", hint="Make another object for another box.")
    controller = next((model for model in plugged_models(box) if isinstance(model, I801)), None)
    if controller is None:
        controller = _plug_controller(box)
    adapter = _adapter_of(box, controller)
    controller.wires.attach(device)
    device.computer = BoxComputer(box)
    place = I2cPlace(box, controller, device, adapter)
    device.host = place
    device.reset()
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


def _plug_controller(box: BootedKernel) -> I801:
    try:
        box.modprobe("i2c-i801")
    except KoboxError as error:
        raise KoboxError(
            f"I2C: the kernel of this box has no driver for the controller (i2c-i801): {error.message}",
            hint="Debian's full kernel has it: `kobox kernel add debian:6.1.0-56-amd64`, then boot that.",
        ) from error
    return pci.plug(box, I801())


def _adapter_of(box: BootedKernel, controller: I801) -> int:
    """The number of the controller's bus, i2c-N."""
    for place in controller.sysfs:
        for name in box.listdir(place):
            if name.startswith("i2c-"):
                return int(name[4:])
    raise KoboxError("I2C: the controller has no driver", hint="`box.modprobe('i2c-i801')` loads it.")
