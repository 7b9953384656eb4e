"""PCI devices of a box: plugged in while it runs, as in a hot-plug slot, and taken out.

place on the bus -> /sys/bus/pci/rescan -> the kernel finds it, gives it addresses, binds a driver that it has
taken out: reads give ones -> /sys/bus/pci/devices/ADDRESS/remove -> the driver's remove() is called
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from kobox.box.booted import BootedKernel
from kobox.box.devices.bound import driver_at
from kobox.box.devices.card import add_card
from kobox.box.devices.computer import BoxComputer
from kobox.devices.pci import PciDevice
from kobox.errors import KoboxError

Plugged = TypeVar("Plugged", bound=PciDevice)
_DEVICES = "/sys/bus/pci/devices"
_RESCAN = "/sys/bus/pci/rescan"


def plug(box: BootedKernel, device: Plugged) -> Plugged:
    """Plug a device in, with its other functions or what is behind it, and let the kernel find it; drivers that are
    loaded are asked whether it is theirs.

    Raises `KoboxError` when it is plugged in already, the bus is full, or the kernel does not see it.
    """
    who = type(device).__name__
    if any(part.plugged for part in device.parts):
        raise KoboxError(f"{who} is plugged in already", hint="Make another object for another box.")
    if not box.exists(_RESCAN):
        raise KoboxError(
            f"{who}: the kernel of this box has no PCI",
            hint="PCI must be in its configuration (CONFIG_PCI), and /sys must be mounted.",
        )
    for part in device.parts:
        part.computer = BoxComputer(box)
        part.power_on()
        part._look = _look_at(box, part)
    box.machine.pci.attach(
        device.function, *device.card_functions, place=device.device_number, numbers=device.card_numbers
    )
    device._unplug = lambda: unplug(box, device)
    start = box.log.next_seq
    try:
        _rescan(box, device)
    except OSError as error:
        box.machine.pci.detach(device.function)
        lines = "; ".join(record.text for record in box.log.since(start))
        raise KoboxError(
            f"{who}: the kernel does not see it: {error.strerror}{lines and f' ({lines})'}",
            hint="A kernel that is booted with pci=off or without ACPI has no PCI bus.",
        ) from error
    except BaseException:
        box.machine.pci.detach(device.function)
        raise
    for part in device.parts:
        add_card(box, part)
    return device


def _rescan(box: BootedKernel, device: PciDevice) -> None:
    """Have the kernel look, and note where it has found each part. Raises `OSError` when it does not see the device."""
    device.address = _address(device)
    box.write_bytes(_RESCAN, b"1")
    for part in device.parts:
        part.address = _address(part)
    box.stat(f"{_DEVICES}/{device.address}")


def _address(device: PciDevice) -> str:
    function = device.function
    bus = function.segment.bus if function.segment is not None else 0
    return f"0000:{max(bus, 0):02x}:{function.place:02x}.{function.number}"


def _look_at(box: BootedKernel, device: PciDevice) -> Callable[[], str | None]:
    return lambda: driver_at(box, f"{_DEVICES}/{device.address}")


def unplug(box: BootedKernel, device: PciDevice) -> None:
    """Take a device out by surprise, and tell the kernel."""
    addresses = [part.address for part in device.parts if part not in device.virtual_parts]
    box.machine.pci.detach(device.function)
    for other in device.card_functions:
        box.machine.pci.detach(other)
    for address in addresses if box.alive else ():
        with suppress(FileNotFoundError):
            box.write_bytes(f"{_DEVICES}/{address}/remove", b"1")
