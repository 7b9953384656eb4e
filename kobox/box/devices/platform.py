"""Devices on the board of a box: windows and lines in the machine, and a table that the kernel loads.

SSDT in memory -> /sys/bus/acpi/devices/LNRO0005:0f/sun (the kernel loads it) -> ACPI device -> platform device
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TypeVar

from kobox.box.booted import BootedKernel
from kobox.box.devices.acpi_table import encoded, load_table, must_load_tables, node_at
from kobox.box.devices.bound import driver_at, unbind
from kobox.box.devices.card import add_card
from kobox.box.devices.computer import BoxComputer
from kobox.box.devices.gpio import connect_lines
from kobox.devices.platform import PlatformDevice
from kobox.errors import KoboxError
from kobox.machine import aml
from kobox.machine.pci_function import Space

PluggedPlatform = TypeVar("PluggedPlatform", bound=PlatformDevice)
_STEP, _STEPS = 0.05, 40


class PlatformPlace:
    """The box's side of a device on the board."""

    def __init__(self, box: BootedKernel, device: PlatformDevice, symbol: str) -> None:
        self._box, self._device, self._symbol = box, device, symbol
        self._node = ""

    @property
    def path(self) -> str:
        """Its name in ACPI's namespace."""
        return f"\\_SB_.{self._symbol}"

    @property
    def plugged(self) -> bool:
        return self._device in self._box.machine.platform.models

    @property
    def sysfs(self) -> str:
        if not self._node:
            self._node = node_at(self._box, self.path)
        with suppress(OSError):
            return f"/sys/bus/platform/devices/{os.path.basename(self._box.readlink(f'{self._node}/physical_node'))}"
        return self._node

    @property
    def driver(self) -> str | None:
        return driver_at(self._box, self.sysfs)

    @property
    def reads_on_bus(self) -> int:
        """How many reads of devices there were, on all buses."""
        return self._box.machine.pci.reads

    def set_level(self, interrupt: int, high: bool) -> None:
        lines = self._box.machine.platform.lines(self._device)
        if not 0 <= interrupt < len(lines):
            who = type(self._device).__name__
            raise KoboxError(f"{who} has {len(lines)} interrupts; there is no number {interrupt}")
        self._box.machine.platform.level(self._device, lines[interrupt], high)

    def dma_read(self, address: int, size: int) -> bytes:
        self._check(address, size)
        self._box.machine.device_work.moved(size)
        return bytes(self._box.machine.ram[address : address + size])

    def dma_write(self, address: int, data: bytes) -> None:
        self._check(address, len(data))
        self._box.machine.device_work.moved(len(data))
        self._box.machine.ram[address : address + len(data)] = data
        self._box.machine.devices.wrote(address, len(data))

    def _check(self, address: int, size: int) -> None:
        if size < 0 or not 0 <= address <= len(self._box.machine.ram) - size:
            raise KoboxError(
                f"DMA of {size} bytes at {address:#x}: the box has RAM up to {len(self._box.machine.ram):#x}",
                hint="The driver gave the device a wrong address, or the model read it wrongly.",
            )

    def unplug(self) -> None:
        place = self.sysfs
        self._box.machine.platform.detach(self._device)
        unbind(self._box, "platform", place)


def plug_platform(box: BootedKernel, device: PluggedPlatform) -> PluggedPlatform:
    """Put a device on the board of the box, and have the kernel load a table that describes it.

    Raises `KoboxError` when it is plugged in already, there is no room for its windows, or the kernel has no ACPI.
    """
    if device.plugged:
        raise KoboxError(f"{type(device).__name__} is plugged in already", hint="Make another object for another box.")
    must_load_tables(box, type(device).__name__)
    board = box.machine.platform
    symbol = f"K{board.made:03X}"
    windows = board.attach(device, list(device.windows.values()), device.interrupts)
    place = PlatformPlace(box, device, symbol)
    try:
        resources = [
            (aml.ports if window.space is Space.PORTS else aml.memory)(window.address, window.bar.size)
            for window in windows
        ]
        resources += [aml.interrupt(line) for line in board.lines(device)]
        connections, properties = connect_lines(box, device, place.path)
        resources += [connections] if connections else []
        table = encoded(device, aml.scope(b"\\_SB_", device.description(symbol, board.made, resources, properties)))
        device.computer = BoxComputer(box)
        device.host = place
        device.power_on()
        start = box.log.next_seq
        load_table(box, table)
        for _ in range(_STEPS):
            if place.sysfs:
                box.sleep(_STEP)  # its driver's probe runs in the same worker, after that
                break
            box.sleep(_STEP)
        else:
            lines = "; ".join(record.text for record in box.log.since(start))
            raise KoboxError(f"{type(device).__name__}: the kernel does not take it{lines and f': {lines}'}")
    except BaseException:
        board.detach(device)
        raise
    add_card(box, device)
    return device
