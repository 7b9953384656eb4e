"""What a driver looks for beside its device: files of firmware, other devices."""

from __future__ import annotations

from contextlib import suppress

from kobox.box.box import Box
from kobox.devices.phantom import PhantomDevice, companions_of
from kobox.devices.phantom_kinds import Phantom
from kobox.devices.phantom_usb import HID_CLASS, PhantomUsb
from kobox.errors import KoboxError


def surround(box: Box, device: Phantom) -> list[PhantomDevice]:
    """Give a box what a driver looks for beside its device: files of firmware; other devices, which it returns; for a
    HID device the driver of its interface."""
    policy = device.policy
    is_hid = isinstance(device, PhantomUsb) and device.interfaces[0].interface_class == HID_CLASS
    if is_hid and not box.exists("/sys/module/usbhid"):
        with suppress(KoboxError):
            box.modprobe("usbhid")
    companions = companions_of(policy)
    for companion in companions:
        box.plug(companion)
    for name, size in policy.firmware.items():
        path = "/lib/firmware"
        for part in ("", *name.split("/")[:-1]):
            path = f"{path}/{part}".rstrip("/")
            for directory in ("/lib", path):
                with suppress(OSError):
                    box.syscall("mkdir", directory, 0o755)
        with suppress(OSError):
            box.write_bytes(f"/lib/firmware/{name}", bytes(size))
    return companions
