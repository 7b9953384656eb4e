"""Phantoms of all buses: whom they can be, and how one is made."""

from __future__ import annotations

from typing import TypeAlias

from kobox.devices.phantom import PhantomDevice, phantom
from kobox.devices.phantom_board import BoardIdentity, PhantomBoard, phantom_board
from kobox.devices.phantom_i2c import I2cIdentity, PhantomI2c, phantom_i2c
from kobox.devices.phantom_policy import Policy
from kobox.devices.phantom_spi import PhantomSpi, SpiIdentity, phantom_spi
from kobox.devices.phantom_usb import PhantomUsb, UsbIdentity, phantom_usb
from kobox.devices.phantom_virtio import PhantomVirtio, VirtioIdentity, phantom_virtio
from kobox.machine.pci_function import PciIdentity

Identity: TypeAlias = PciIdentity | I2cIdentity | SpiIdentity | UsbIdentity | VirtioIdentity | BoardIdentity
Phantom: TypeAlias = PhantomDevice | PhantomI2c | PhantomSpi | PhantomUsb | PhantomVirtio | PhantomBoard
_BUSES: dict[type[object], str] = {
    I2cIdentity: "I2C",
    SpiIdentity: "SPI",
    UsbIdentity: "USB",
    VirtioIdentity: "virtio",
    BoardIdentity: "platform",
}
PHANTOMS = PhantomDevice, PhantomI2c, PhantomSpi, PhantomUsb, PhantomVirtio, PhantomBoard


def phantom_of(identity: Identity, policy: Policy) -> Phantom:
    """A device that says it is `identity`, on the bus of that, and answers by `policy`."""
    if isinstance(identity, PciIdentity):
        return phantom(identity, policy)
    if isinstance(identity, I2cIdentity):
        return phantom_i2c(identity, policy)
    if isinstance(identity, SpiIdentity):
        return phantom_spi(identity, policy)
    if isinstance(identity, VirtioIdentity):
        return phantom_virtio(identity, policy)
    if isinstance(identity, UsbIdentity):
        return phantom_usb(identity, policy)
    return phantom_board(identity, policy)


def title_of(identity: Identity) -> str:
    """How it is called in texts: "PCI phantom 1234:11e9"."""
    if isinstance(identity, PciIdentity):
        return f"PCI phantom {identity.vendor:04x}:{identity.device:04x}"
    return f"{_BUSES[type(identity)]} phantom {identity}"
