"""Virtio models of a box: plugged in at one of the places for virtio devices.

place in the machine -> /sys/bus/platform/drivers/virtio-mmio/bind -> virtioN -> the driver that is loaded for its type
"""

from __future__ import annotations

from typing import TypeVar

from kobox.box.booted import BootedKernel
from kobox.box.devices.bound import driver_at
from kobox.box.devices.card import add_card
from kobox.box.devices.computer import BoxComputer
from kobox.box.devices.virtio_mmio import bind, device_at, unplug
from kobox.devices.virtio import VirtioModel, VirtioTransport
from kobox.errors import KoboxError

PluggedVirtio = TypeVar("PluggedVirtio", bound=VirtioModel)


class VirtioPlace:
    """The box's side of a virtio model."""

    def __init__(self, box: BootedKernel, device: VirtioTransport) -> None:
        self._box, self._device = box, device

    @property
    def plugged(self) -> bool:
        return self._box.machine.devices.slots.get(getattr(self._device, "slot", -1)) is self._device

    @property
    def sysfs(self) -> str:
        return device_at(self._box, self._device)

    @property
    def driver(self) -> str | None:
        return driver_at(self._box, self.sysfs)

    @property
    def reads_on_bus(self) -> int:
        """How many reads of devices there were in the box (`kobox.machine.taint`)."""
        return self._box.machine.pci.reads

    def unplug(self) -> None:
        unplug(self._box, self._device)


def plug_virtio(box: BootedKernel, model: PluggedVirtio) -> PluggedVirtio:
    """Plug a virtio model in; a driver that is loaded for its type is asked.

    Raises `KoboxError` when it is plugged in already, all places are taken, or the kernel has no virtio.
    """
    if model.plugged:
        raise KoboxError(f"{type(model).__name__} is plugged in already", hint="Make another object for another box.")
    transport = model.connect(box.machine.ram)
    model.computer = BoxComputer(box)
    model.host = VirtioPlace(box, transport)
    bind(box, transport)
    add_card(box, model)
    return model
