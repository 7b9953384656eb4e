"""USB devices of a box: put into a port of a host controller, found by the kernel's hub driver.

host controller (plugged in when there is none) -> port -> /sys/bus/usb/devices/1-1, and 1-1:1.0 for each interface
"""

from __future__ import annotations

from contextlib import suppress
from typing import TypeVar

from kobox.box.booted import BootedKernel
from kobox.box.devices import pci
from kobox.box.devices.bound import driver_at
from kobox.box.devices.card import add_card, plugged_models
from kobox.box.devices.computer import BoxComputer
from kobox.devices.usb import UsbDevice
from kobox.devices.usb_hub import CHANGED, UsbHub
from kobox.devices.xhci import PORTS, Xhci
from kobox.errors import KoboxError

PluggedUsb = TypeVar("PluggedUsb", bound=UsbDevice)
_DEVICES = "/sys/bus/usb/devices"
_SETTLE = 0.3  # virtual seconds for drivers to see to a device that is there
_STEP, _STEPS = 0.05, 200  # virtual seconds between two looks, and how many: a hub driver takes its time


class UsbPlace:
    """The box's side of a device in a USB port: of the controller, or of the hub `above` it."""

    def __init__(
        self, box: BootedKernel, controller: Xhci, device: UsbDevice, name: str, above: UsbHub | None = None
    ) -> None:
        self._box, self._controller, self._device, self._name = box, controller, device, name
        self._above = above

    @property
    def plugged(self) -> bool:
        if self._above is not None:
            return self._above.plugged and self._device in self._above.devices.by_port.values()
        return self._controller.plugged and self._device in self._controller.devices.by_port.values()

    @property
    def sysfs(self) -> str:
        return f"{_DEVICES}/{self._name}"

    @property
    def interfaces(self) -> list[str]:
        """The directories of its interfaces."""
        with suppress(OSError):
            names = sorted(self._box.listdir(self.sysfs))
            return [f"{self.sysfs}/{name}" for name in names if name.startswith(f"{self._name}:")]
        return []

    @property
    def driver(self) -> str | None:
        drivers = (driver_at(self._box, interface) for interface in self.interfaces)
        return next((driver for driver in drivers if driver), None)

    def unplug(self) -> None:
        self._take_out()
        for _ in range(_STEPS if self._box.alive else 0):
            if not self._box.exists(self.sysfs):
                return
            self._box.sleep(_STEP)

    def _take_out(self) -> None:
        if self._above is not None:
            self._above.disconnect(self._device)
        else:
            self._controller.detach(self._device)

    def found(self) -> None:
        """Wait until the kernel has found the device. Raises `KoboxError` when it does not: then it is taken out."""
        box, device = self._box, self._device
        start = box.log.next_seq
        for _ in range(_STEPS):
            box.sleep(_STEP)
            if box.exists(self.sysfs) and len(self.interfaces) >= len({i.number for i in device.interfaces}):
                break
        if not box.exists(self.sysfs):
            self._take_out()
            lines = "; ".join(record.text for record in box.log.since(start))
            raise KoboxError(f"{type(device).__name__}: the kernel does not take it{lines and f': {lines}'}")
        box.sleep(_SETTLE)
        add_card(box, device)

    def found_behind(self, device: UsbDevice, port: int) -> None:
        """A device was put into a port of this hub: wait until the kernel has found it, and all that is behind it.
        Raises `KoboxError` when it does not."""
        assert isinstance(self._device, UsbHub)
        join = _join(self._box, self._controller, device, f"{self._name}.{port}", self._device)
        self._device.ready(CHANGED)
        for place in join:
            place.found()


def _join(
    box: BootedKernel, controller: Xhci, device: UsbDevice, name: str, above: UsbHub | None = None
) -> list[UsbPlace]:
    """Give a device, and all that is behind it, its side of the box."""
    device.computer = BoxComputer(box)
    device.reset()
    controller.join(device)
    device.host = place = UsbPlace(box, controller, device, name, above)
    places = [place]
    if isinstance(device, UsbHub):
        for port, one in device.devices.by_port.items():
            places += _join(box, controller, one, f"{name}.{port}", device)
    return places


def plug_usb(box: BootedKernel, device: PluggedUsb) -> PluggedUsb:
    """Put a device into a USB port of the box, and wait until the kernel has found it; a hub with all behind it.

    Raises `KoboxError` when it is plugged in already, all ports are taken, the kernel has no driver for the controller,
    or the kernel refuses the device's descriptors.
    """
    if device.plugged:
        raise KoboxError(f"{type(device).__name__} is plugged in already", hint="Make another object for another box.")
    controller = controller_of(box)
    buses = _buses(box, controller)
    port, half = controller.free_port(device), PORTS // 2
    places = _join(box, controller, device, f"{buses[port // half]}-{port % half + 1}")
    controller.attach(device)
    for place in places:
        place.found()
    return device


def controller_of(box: BootedKernel) -> Xhci:
    """The USB host controller of the box, plugged in when there is none. Raises `KoboxError` when the kernel has no
    driver for it."""
    there = next((model for model in plugged_models(box) if isinstance(model, Xhci)), None)
    if there is not None:
        return there
    try:
        box.modprobe("xhci_pci")
    except KoboxError as error:
        raise KoboxError(
            f"USB: the kernel of this box has no driver for the controller (xhci_pci): {error.message}",
            hint="Debian's full kernel has it: `kobox kernel add debian:6.1.0-56-amd64`, then boot that.",
        ) from error
    return pci.plug(box, Xhci())


def _buses(box: BootedKernel, controller: Xhci) -> tuple[int, int]:
    """The numbers of the controller's buses: for USB 2, for USB 3."""
    found = sorted(
        int(name[3:]) for place in controller.sysfs for name in box.listdir(place) if name[:3] == "usb" and name[3:]
    )
    if len(found) != 2:
        raise KoboxError("USB: the controller has no driver", hint="`box.modprobe('xhci_pci')` loads it.")
    return found[0], found[1]
