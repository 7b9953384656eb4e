"""Drivers for devices that have none: what udev does with the modalias of each new device.

/sys/bus/pci/devices/0000:00:01.0/modalias -> modprobe -> a driver, and with it new devices: usb, scsi, net ...
"""

from __future__ import annotations

from contextlib import suppress

from kobox.box.booted import BootedKernel
from kobox.errors import KoboxError

# The buses of devices that can be plugged in, each after the one that leads to it.
_BUSES = ("pci", "virtio", "acpi", "platform", "i2c", "spi", "usb", "scsi", "hid", "mmc", "serio")
_ROUNDS, _SETTLE = 8, 1.5  # at most so many times, and virtual seconds for each: usb-storage waits for one


def load_drivers(box: BootedKernel) -> list[str]:
    """Load a module for each device without a driver, until no more devices come. The aliases that had one."""
    loaded: list[str] = []
    tried: set[str] = set()
    for _ in range(_ROUNDS):
        new = [alias for alias in _aliases(box) if alias not in tried]
        tried.update(new)
        found = []
        for alias in new:
            with suppress(KoboxError):
                box.modprobe(alias)
                found.append(alias)
        loaded += found
        if not found:
            break
        box.sleep(_SETTLE)
    return loaded


def _aliases(box: BootedKernel) -> list[str]:
    """The modalias of each device that has no driver."""
    found = []
    for bus in _BUSES:
        place = f"/sys/bus/{bus}/devices"
        with suppress(OSError):
            for device in sorted(box.listdir(place)):
                if box.exists(f"{place}/{device}/modalias") and not box.exists(f"{place}/{device}/driver"):
                    found.append(box.read_text(f"{place}/{device}/modalias").strip())
    return list(dict.fromkeys(filter(None, found)))
