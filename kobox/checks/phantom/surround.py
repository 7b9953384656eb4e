"""What a driver looks for beside its device: files of firmware, other devices."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from kobox.box.box import Box
from kobox.devices.pci import PciDevice
from kobox.devices.phantom import PhantomDevice, companions_of
from kobox.devices.phantom_kinds import Phantom
from kobox.devices.phantom_policy import PORTS, Companion
from kobox.devices.phantom_usb import HID_CLASS, PhantomUsb
from kobox.errors import KoboxError


def make_directories(box: Box, firmware: Sequence[str]) -> None:
    """The directories of a driver's files of firmware: some drivers look whether there is one."""
    for name in firmware:
        path = "/lib/firmware"
        for part in ("", *name.split("/")[:-1]):
            path = f"{path}/{part}".rstrip("/")
            for directory in ("/lib", path):
                with suppress(OSError):
                    box.syscall("mkdir", directory, 0o755)


def surround(box: Box, device: Phantom) -> list[PhantomDevice]:
    """Give a box what a driver looks for beside its device: files of firmware; other devices, which it returns; for a
    HID device the driver of its interface."""
    policy = device.policy
    is_hid = isinstance(device, PhantomUsb) and device.interfaces[0].interface_class == HID_CLASS
    if is_hid and not box.exists("/sys/module/usbhid"):
        with suppress(KoboxError):
            box.modprobe("usbhid")
    companions = _beside(box, device) if isinstance(device, PhantomDevice) else []
    if isinstance(device, PhantomDevice) and any(register.bar == PORTS for register in policy.known):
        box.machine.pci.play_ports(device.port_read)
    make_directories(box, tuple(policy.firmware))
    for name, size in policy.firmware.items():
        with suppress(OSError):
            box.write_bytes(f"/lib/firmware/{name}", bytes(size))
    return companions


class _Function0(PciDevice):
    """Where a driver looks for another function of a card, it has a function 0."""

    vendor_id, device_id, class_code, vectors = 0x1AF4, 0x10F1, 0x068000, 0
    no_state = PciDevice.no_state | {"_functions"}

    def __init__(self, functions: Sequence[PciDevice]) -> None:
        super().__init__()
        self._functions = functions

    def other_functions(self) -> Sequence[PciDevice]:
        return self._functions


def _beside(box: Box, device: PhantomDevice) -> list[PhantomDevice]:
    """Plug in the other devices that a driver looks for, where it does; other functions of the device's own card come
    with it."""
    bus, policy = box.machine.pci, device.policy
    device.device_number = policy.place or bus.next_place or 0
    companions = companions_of(policy)
    cards: dict[int, list[tuple[int, PhantomDevice]]] = {}
    anywhere: list[PhantomDevice] = []
    for companion, row in zip(companions, policy.companions, strict=True):
        place = Companion(*row).place
        if place < 0 or place == device.device_number * 8:
            anywhere.append(companion)
        else:
            cards.setdefault(place >> 3, []).append((place & 7, companion))
    device.siblings = _numbered(cards.pop(device.device_number, []))
    for number, functions in cards.items():
        parts = _numbered([row for row in functions if row[0]])
        first = next((one for function, one in functions if not function), None)
        card = first or _Function0(parts)
        if first is not None:
            first.siblings = parts
        card.device_number = number
        box.plug(card)
    free = (place for place in range(1, 32) if place != device.device_number and place not in cards)
    for companion, place in zip(anywhere, free, strict=False):
        companion.device_number = place
        box.plug(companion)
    device.beside = companions
    return companions


def _numbered(functions: list[tuple[int, PhantomDevice]]) -> list[PhantomDevice]:
    """Other functions of a card, of each number one."""
    for number, one in functions:
        one.function_number = number
    return list(dict(functions).values())
