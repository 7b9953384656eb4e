"""The driver that has a device, as /sys shows it: /sys/bus/usb/devices/1-1:1.0/driver ->
../../../../bus/usb/drivers/usbhid"""

from __future__ import annotations

import os
from contextlib import suppress

from kobox.box.booted import BootedKernel


def driver_at(box: BootedKernel, device: str) -> str | None:
    """The name of the driver of the device with this directory; None for none, or when the device is gone."""
    with suppress(OSError):
        return os.path.basename(box.readlink(f"{device}/driver"))
    return None


def unbind(box: BootedKernel, bus: str, device: str) -> None:
    """Take the driver of a device off, if it has one: the driver's remove() is called."""
    driver = driver_at(box, device) if box.alive else None
    if driver is not None:
        with suppress(OSError):
            box.write_bytes(f"/sys/bus/{bus}/drivers/{driver}/unbind", os.path.basename(device).encode())
