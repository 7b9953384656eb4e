"""Ready models by their names, as `--plug NAME[=ARGUMENT]` takes them.

make("e1000")               make("nvme=disk.img")               make("lm75=21.5")
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import NamedTuple

from kobox.devices.model import HardwareModel
from kobox.errors import KoboxError

_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class ReadyModel(NamedTuple):
    """A model of the package: where its class is, what it is, and what its argument means."""

    module: str
    name: str
    text: str
    argument: Callable[[str], object] | None = None
    needed: bool = False
    around: tuple[str, str] | None = None  # a controller that the object is put into


def medium(text: str) -> object:
    """An image's path, or a size such as 64M."""
    digits, unit = text[:-1], text[-1:].upper()
    if digits.isdigit() and unit in _UNITS:
        return int(digits) * _UNITS[unit]
    return text


def _hardware_address(text: str) -> bytes:
    data = bytes.fromhex(text.replace(":", "").replace("-", ""))
    if len(data) != 6:
        raise ValueError(f"{text}: a hardware address has six bytes")
    return data


_PACKAGE = "kobox.devices."
_VIRTIO_SCSI, _AHCI = ("virtio_scsi", "VirtioScsi"), ("ahci", "Ahci")
_DISK, _DRIVE, _MAC = "argument: image or size", "argument: image", "argument: hardware address"

READY: dict[str, ReadyModel] = {
    "edu": ReadyModel("edu", "Edu", "QEMU's device for courses"),
    "e1000": ReadyModel("e1000", "E1000", f"network card; {_MAC}", _hardware_address),
    "rtl8139": ReadyModel("rtl8139", "Rtl8139", f"network card; {_MAC}", _hardware_address),
    "nvme": ReadyModel("nvme", "Nvme", f"NVMe disk; {_DISK}", medium, True),
    "ahci": ReadyModel("scsi", "ScsiDisk", f"SATA disk; {_DISK}", medium, True, _AHCI),
    "ahci-cdrom": ReadyModel("scsi", "ScsiCdrom", f"SATA CD-ROM drive; {_DRIVE}", medium, False, _AHCI),
    "scsi-disk": ReadyModel("scsi", "ScsiDisk", f"virtio-scsi disk; {_DISK}", medium, True, _VIRTIO_SCSI),
    "scsi-cdrom": ReadyModel("scsi", "ScsiCdrom", f"virtio-scsi CD-ROM drive; {_DRIVE}", medium, False, _VIRTIO_SCSI),
    "scsi-tape": ReadyModel("scsi", "ScsiTape", "virtio-scsi tape drive", None, False, _VIRTIO_SCSI),
    "serial": ReadyModel("serial_card", "SerialCard", "PCI card with a serial port"),
    "i801": ReadyModel("i801", "I801", "SMBus controller"),
    "i2c-designware": ReadyModel("designware_i2c", "DesignwareI2c", "I2C controller"),
    "at24": ReadyModel("i2c_chips", "At24", "I2C EEPROM; argument: content", str.encode),
    "lm75": ReadyModel("i2c_chips", "Lm75", "I2C sensor; argument: degrees Celsius", float),
    "ds1307": ReadyModel("i2c_chips", "Ds1307", "I2C real-time clock"),
    "gpio": ReadyModel("gpio", "AmdGpio", "GPIO controller"),
    "xhci": ReadyModel("xhci", "Xhci", "USB host controller"),
    "usb-stick": ReadyModel("usb_storage", "UsbStick", f"USB stick; {_DISK}", medium, True),
    "watchdog": ReadyModel("i6300esb", "I6300Esb", "watchdog timer (Intel 6300ESB)"),
    "usb-ftdi": ReadyModel("usb_ftdi", "Ft232", "USB serial converter (FT232R)"),
    "usb-hub": ReadyModel("usb_hub", "UsbHub", "USB 2.0 hub"),
    "usb-serial": ReadyModel("usb_serial", "Cp2102", "USB serial converter (CP2102)"),
    "usb-keyboard": ReadyModel("usb_keyboard", "UsbKeyboard", "USB keyboard"),
    "keyboard": ReadyModel("virtio_keyboard", "VirtioKeyboard", "virtio keyboard"),
    "usb-ethernet": ReadyModel("usb_ethernet", "UsbEthernet", f"USB network adapter; {_MAC}", _hardware_address),
}


def make(spec: str) -> HardwareModel:
    """A ready model: `NAME` or `NAME=ARGUMENT`. Raises `KoboxError` for an unknown name or a wrong argument."""
    name, equals, argument = spec.partition("=")
    found = READY.get(name)
    if found is None:
        raise KoboxError(f"{name}: no ready model has that name", hint=f"There are: {', '.join(READY)}.")
    if found.needed and not argument:
        raise KoboxError(f"{name}: it needs an argument", hint=f"{found.text}: {name}=disk.img, {name}=64M.")
    if equals and found.argument is None:
        raise KoboxError(f"{spec}: this model takes no argument")
    try:
        values = [found.argument(argument)] if argument and found.argument is not None else []
    except ValueError as error:
        raise KoboxError(f"{spec}: {error}", hint=found.text) from error
    made = getattr(importlib.import_module(_PACKAGE + found.module), found.name)(*values)
    if found.around is not None:
        made = getattr(importlib.import_module(_PACKAGE + found.around[0]), found.around[1])(made)
    assert isinstance(made, HardwareModel)
    return made
