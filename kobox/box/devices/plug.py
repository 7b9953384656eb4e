"""Plugging a model into a box: by the bus that it is made for."""

from __future__ import annotations

from typing import TypeVar

from kobox.box.booted import BootedKernel
from kobox.box.devices import pci
from kobox.box.devices.device_tree import plug_banks, plug_node
from kobox.box.devices.gpio import check_lines, controller_of
from kobox.box.devices.i2c import plug_i2c
from kobox.box.devices.platform import plug_platform
from kobox.box.devices.spi import plug_spi
from kobox.box.devices.tree_buses import plug_tree_i2c, plug_tree_spi
from kobox.box.devices.usb import plug_usb
from kobox.box.devices.virtio_model import plug_virtio
from kobox.devices.gpio import AmdGpio
from kobox.devices.gpio_line import HasLines
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
    if isinstance(device, HasLines) and device.gpios:
        _must_have_controller(box, device)
    if isinstance(device, PciDevice):
        return pci.plug(box, device)
    if isinstance(device, PlatformDevice):
        return plug_node(box, device) if box.arch.boot.device_tree else plug_platform(box, device)
    if isinstance(device, SpiDevice):
        return plug_tree_spi(box, device) if box.arch.boot.device_tree else plug_spi(box, device)
    if isinstance(device, UsbDevice):
        return plug_usb(box, device)
    if isinstance(device, I2cDevice):
        return plug_tree_i2c(box, device) if box.arch.boot.device_tree else plug_i2c(box, device)
    if isinstance(device, VirtioModel):
        return plug_virtio(box, device)
    raise KoboxError(
        f"{type(device).__name__} is no device that can be plugged in",
        hint="A model is an object of a subclass of the classes in kobox.devices.",
    )


def _must_have_controller(box: BootedKernel, device: HasLines) -> None:
    """Plug in a GPIO controller when the box has none. Raises `KoboxError`."""
    check_lines(device)
    if box.arch.boot.device_tree:
        plug_banks(box, device)
        return
    if controller_of(box) is not None:
        return
    who = type(device).__name__
    controller = plug_platform(box, AmdGpio())
    if controller.driver is None:
        controller.unplug()
        raise KoboxError(
            f"{who}: the kernel of this box has no driver for the GPIO controller (CONFIG_PINCTRL_AMD)",
            hint="Debian's full kernel has it: `kobox kernel add debian:6.1.0-56-amd64`, then boot that.",
        )
