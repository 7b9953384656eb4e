"""PCI devices of a box: plugged in while it runs, as in a hot-plug slot, and taken out.

place on the bus -> /sys/bus/pci/rescan -> the kernel finds it, gives it addresses, binds a driver that it has
taken out: reads give ones -> /sys/bus/pci/devices/ADDRESS/remove -> the driver's remove() is called
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TypeVar

from kobox.box.booted import BootedKernel
from kobox.box.devices.card import add_card
from kobox.box.devices.computer import BoxComputer
from kobox.devices.pci import PciDevice
from kobox.errors import KoboxError

Plugged = TypeVar("Plugged", bound=PciDevice)
_DEVICES = "/sys/bus/pci/devices"


def plug(box: BootedKernel, device: Plugged) -> Plugged:
    """Plug a device in and let the kernel find it; drivers that are loaded are asked whether it is theirs.

    Raises `KoboxError` when it is plugged in already, the bus is full, or the kernel does not see it.
    """
    if device.plugged:
        raise KoboxError(f"{type(device).__name__} is plugged in already", hint="Make another object for another box.")
    function = device.function
    device.computer = BoxComputer(box)
    device.power_on()
    place = box.machine.pci.attach(function)
    device.address = f"0000:00:{place:02x}.0"
    device._look = lambda: driver_of(box, device)
    device._unplug = lambda: unplug(box, device)
    start = box.log.next_seq
    try:
        box.write_bytes("/sys/bus/pci/rescan", b"1")
        box.stat(f"{_DEVICES}/{device.address}")
    except OSError as error:
        box.machine.pci.detach(function)
        lines = "; ".join(record.text for record in box.log.since(start))
        raise KoboxError(
            f"{type(device).__name__}: the kernel does not see it: {error.strerror}{lines and f' ({lines})'}",
            hint="The kernel must have PCI in its configuration, and /sys must be mounted.",
        ) from error
    except BaseException:
        box.machine.pci.detach(function)
        raise
    add_card(box, device)
    return device


def unplug(box: BootedKernel, device: PciDevice) -> None:
    """Take a device out by surprise, and tell the kernel."""
    box.machine.pci.detach(device.function)
    if box.alive:
        with suppress(FileNotFoundError):
            box.write_bytes(f"{_DEVICES}/{device.address}/remove", b"1")


def driver_of(box: BootedKernel, device: PciDevice) -> str | None:
    """The name of the driver that is bound to a device; None for none."""
    try:
        return os.path.basename(box.readlink(f"{_DEVICES}/{device.address}/driver"))
    except FileNotFoundError:
        return None
