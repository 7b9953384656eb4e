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
    for module in ("virtio_mmio", driver):
        _load(box, module)
    place = box.machine.device_name(box.machine.devices.attach(device))
    start = box.log.next_seq
    try:
        box.write_bytes(f"{_DRIVER}/bind", place.encode())
        found = made_at(box, device, kind)
    except OSError as error:
        found = ""
        reason = error.strerror or ""
    else:
        reason = "the driver did not take it"
    if not found:
        unplug(box, device)
        lines = "; ".join(record.text for record in box.log.since(start))
        raise KoboxError(f"{driver}: no {kind} device came of it: {reason}{lines and f' ({lines})'}")
    return found


def unplug(box: BootedKernel, device: VirtioDevice) -> None:
    """Unbind the driver and take the device out."""
    with suppress(OSError):
        box.write_bytes(f"{_DRIVER}/unbind", box.machine.device_name(device.slot).encode())
    box.machine.devices.detach(device)


def made_at(box: BootedKernel, device: VirtioDevice, kind: str) -> str:
    """The name of what the driver made of a device; "" for nothing."""
    place = f"/sys/bus/platform/devices/{box.machine.device_name(device.slot)}"
    for name in box.listdir(place):
        if name.startswith("virtio"):
            with suppress(FileNotFoundError):
                return next((made for made in box.listdir(f"{place}/{name}/{kind}") if made[0] != "."), "")
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
