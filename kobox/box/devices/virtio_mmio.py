"""Virtio devices of a box: plugging one in, binding its driver, and finding what the kernel made of it.

box.machine.devices   LNRO0005:03                        a place that ACPI (or a device tree) announces
/sys/bus/platform/drivers/virtio-mmio/bind               looks there (again)
/sys/bus/platform/devices/LNRO0005:03/virtio1/net/eth0   the device, and what its driver made
"""

from __future__ import annotations

from contextlib import suppress

from kobox.box.booted import BootedKernel
from kobox.errors import KoboxError
from kobox.machine.virtio import VirtioDevice

_DRIVER = "/sys/bus/platform/drivers/virtio-mmio"


def plug(box: BootedKernel, device: VirtioDevice, driver: str, kind: str) -> str:
    """Plug a device in and bind its driver: the name of what that made, of `kind` "net" or "block".

    Raises `KoboxError` when the kernel has no such driver, or the driver refuses.
    """
    _load(box, driver)
    start = box.log.next_seq
    found, reason = "", "the driver did not take it"
    try:
        bind(box, device)
        found = made_at(box, device, kind)
    except OSError as error:
        reason = error.strerror or ""
    if not found:
        unplug(box, device)
        lines = "; ".join(record.text for record in box.log.since(start))
        raise KoboxError(f"{driver}: no {kind} device came of it: {reason}{lines and f' ({lines})'}")
    return found


def bind(box: BootedKernel, device: VirtioDevice) -> None:
    """Plug a device in and let virtio-mmio find it; the driver of its type, if one is loaded, then is asked.

    Raises `KoboxError` when the kernel has no virtio-mmio or no place is free, `OSError` when that refuses.
    """
    load_transport(box)
    place = box.machine.device_name(box.machine.devices.attach(device))
    box.write_bytes(f"{_DRIVER}/bind", place.encode())


def load_transport(box: BootedKernel) -> None:
    """Load the driver that finds virtio devices, when it is not there. Raises `KoboxError` when the kernel has none."""
    _load(box, "virtio_mmio")


def unplug(box: BootedKernel, device: VirtioDevice) -> None:
    """Unbind the driver and take the device out."""
    with suppress(OSError):
        box.write_bytes(f"{_DRIVER}/unbind", box.machine.device_name(device.slot).encode())
    box.machine.devices.detach(device)


def device_at(box: BootedKernel, device: VirtioDevice) -> str:
    """The directory of a device on the virtio bus, in /sys; "" when there is none."""
    place = f"/sys/bus/platform/devices/{box.machine.device_name(device.slot)}"
    with suppress(OSError):
        return next((f"{place}/{name}" for name in box.listdir(place) if name.startswith("virtio")), "")
    return ""


def made_at(box: BootedKernel, device: VirtioDevice, kind: str) -> str:
    """The name of what the driver made of a device; "" for nothing."""
    place = device_at(box, device)
    with suppress(FileNotFoundError):
        return next((made for made in box.listdir(f"{place}/{kind}") if made[0] != "."), "") if place else ""
    return ""


def _load(box: BootedKernel, module: str) -> None:
    with suppress(FileNotFoundError):
        box.stat(f"/sys/bus/platform/drivers/{module.replace('_', '-')}" if module == "virtio_mmio" else _of(module))
        return
    try:
        box.modprobe(module)
    except KoboxError as error:
        raise KoboxError(
            f"{module}: the kernel of this box has no such driver: {error.message}",
            hint="Boot it with `kobox.boot`, from a kernel that came with its modules.",
        ) from error


def _of(module: str) -> str:
    return f"/sys/bus/virtio/drivers/{module}"
