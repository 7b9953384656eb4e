"""The box's side of a device on the wires behind a controller: I2C, SPI."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from kobox.box.booted import BootedKernel
from kobox.box.devices.bound import driver_at, unbind
from kobox.devices.i2c import I2cBus, I2cDevice
from kobox.devices.spi import SpiBus, SpiDevice


class _Controller(Protocol):
    @property
    def plugged(self) -> bool: ...

    @property
    def wires(self) -> I2cBus | SpiBus: ...


class WiredPlace:
    """Where a device is: `sysfs` says where the kernel shows it now. `told_by` is the adapter's directory whose
    `new_device` has told the kernel of it; "" where a description of the hardware has."""

    def __init__(
        self,
        box: BootedKernel,
        controller: _Controller,
        device: I2cDevice | SpiDevice,
        sysfs: Callable[[], str],
        *,
        told_by: str = "",
    ) -> None:
        self._box, self._controller, self._device, self._sysfs = box, controller, device, sysfs
        self.told_by = told_by

    @property
    def plugged(self) -> bool:
        return self._controller.plugged and self._device in self._controller.wires.devices.values()

    @property
    def sysfs(self) -> str:
        return self._sysfs()

    @property
    def driver(self) -> str | None:
        return driver_at(self._box, self.sysfs)

    def unplug(self) -> None:
        place = self.sysfs
        self._controller.wires.detach(self._device)
        if not self.told_by:
            unbind(self._box, self._device.bus.lower(), place)
        elif self._box.alive and isinstance(self._device, I2cDevice):
            with suppress(OSError):  # the driver has found it by itself, or is gone
                self._box.write_bytes(f"{self.told_by}/delete_device", f"{self._device.address:#x}".encode())
