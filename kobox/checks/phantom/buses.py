"""Which bus a driver's device is on, by its table of aliases and by the function that registers it; who attends to a
phantom there."""

from __future__ import annotations

from kobox.box.box import Box
from kobox.checks.phantom.attendant import DriverAttendant
from kobox.checks.phantom.board_bus import BoardPhantoms
from kobox.checks.phantom.bus import PhantomBus
from kobox.checks.phantom.hid_bus import HidPhantoms
from kobox.checks.phantom.i2c_bus import I2cAttendant, I2cPhantoms
from kobox.checks.phantom.pci_attendant import PciAttendant
from kobox.checks.phantom.pci_bus import PciPhantoms
from kobox.checks.phantom.spi_bus import SpiAttendant, SpiPhantoms
from kobox.checks.phantom.usb_bus import UsbAttendant, UsbPhantoms
from kobox.checks.phantom.virtio_bus import VirtioAttendant, VirtioPhantoms
from kobox.devices.phantom import PhantomDevice
from kobox.devices.phantom_i2c import PhantomI2c
from kobox.devices.phantom_kinds import Phantom
from kobox.devices.phantom_spi import PhantomSpi
from kobox.devices.phantom_usb import PhantomUsb
from kobox.devices.phantom_virtio import PhantomVirtio
from kobox.ko.modulefile import ModuleFile
from kobox.machine.taint import Taint

_I2C, _SPI, _BOARD = "i2c_register_driver", "__spi_register_driver", "__platform_driver_register"


def bus_of(file: ModuleFile) -> PhantomBus | None:
    """The bus for a driver's phantom, PCI before the others; None when no alias is of a bus that phantoms are for. What
    ACPI describes can be on several: the function that registers the driver decides."""
    if (pci := PciPhantoms(file)).identities:
        return pci
    if (usb := UsbPhantoms(file)).identities:
        return usb
    if (hid := HidPhantoms(file)).identities:
        return hid
    if (virtio := VirtioPhantoms(file)).identities:
        return virtio
    imports = {symbol.name for symbol in file.imports}
    if (i2c := I2cPhantoms(file)).identities and (_I2C in imports or any(one.name for one in i2c.identities)):
        return i2c
    if (spi := SpiPhantoms(file)).identities and _SPI in imports:
        return spi
    if (board := BoardPhantoms(file)).identities and _BOARD in imports:
        return board
    return None


def attendant_for(box: Box, device: Phantom, taint: Taint | None, *, watches: bool = False) -> DriverAttendant:
    """Who attends to a phantom that is plugged in."""
    if isinstance(device, PhantomDevice):
        return PciAttendant(box, device, taint, watches=watches)
    if isinstance(device, PhantomI2c):
        return I2cAttendant(box, device, taint)
    if isinstance(device, PhantomSpi):
        return SpiAttendant(box, device, taint)
    if isinstance(device, PhantomVirtio):
        return VirtioAttendant(box, device, taint)
    if isinstance(device, PhantomUsb):
        return UsbAttendant(box, device, taint)
    return DriverAttendant(box, device, taint)
