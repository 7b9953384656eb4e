"""Plugging a model into a box: by the bus that it is made for."""

from __future__ import annotations

from typing import TypeVar

from kobox.box.booted import BootedKernel
from kobox.box.devices import pci
from kobox.box.devices.device_tree import plug_node
from kobox.box.devices.i2c import plug_i2c
from kobox.box.devices.platform import plug_platform
from kobox.box.devices.spi import plug_spi
from kobox.box.devices.usb import plug_usb
from kobox.box.devices.virtio_model import plug_virtio
from kobox.devices.i2c import I2cDevice
from kobox.devices.model import HardwareModel
from kobox.devices.pci import PciDevice
from kobox.devices.platform import PlatformDevice
from kobox.devices.spi import SpiDevice
from kobox.devices.usb import UsbDevice
from kobox.devices.virtio import VirtioModel
from kobox.errors import KoboxError

Plugged = TypeVar("Plugged", bound=HardwareModel)


def plug(box: BootedKernel, device: Plugged) -> Plugged:
    """Plug a model into a box; returns it. Raises `KoboxError`."""
    if isinstance(device, PciDevice):
        return pci.plug(box, device)
    if isinstance(device, PlatformDevice):
        return plug_node(box, device) if box.arch.boot.device_tree else plug_platform(box, device)
    if isinstance(device, SpiDevice):
        return plug_spi(box, device)
    if isinstance(device, UsbDevice):
        return plug_usb(box, device)
    if isinstance(device, I2cDevice):
        return plug_i2c(box, device)
    if isinstance(device, VirtioModel):
        return plug_virtio(box, device)
    raise KoboxError(
        f"{type(device).__name__} is no device that can be plugged in",
        hint="A model is an object of a subclass of the classes in kobox.devices.",
    )
