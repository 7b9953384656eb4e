"""Tables of ACPI that a box loads while it runs (`kobox/machine/acpi.py`), and what they made.

SSDT in memory -> /sys/bus/acpi/devices/LNRO0005:0f/sun is read -> the kernel loads it, and looks for new devices
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

from kobox.box.booted import BootedKernel
from kobox.errors import KoboxError
from kobox.machine import aml
from kobox.machine.acpi import LOAD_AT, LOAD_SIZE, LOADER

_DEVICES = "/sys/bus/acpi/devices"
_STEP, _STEPS = 0.05, 40


def must_load_tables(box: BootedKernel, what: str) -> None:
    """Raise `KoboxError` when the kernel has no ACPI that loads tables. `what` begins the sentence."""
    if not box.exists(f"{_DEVICES}/{LOADER}/sun"):
        raise KoboxError(
            f"{what}: the kernel of this box has no ACPI that loads tables",
            hint="Such devices are plugged into boxes of PC kernels (amd64), booted with ACPI.",
        )


def encoded(device: object, body: bytes) -> bytes:
    """A table with this body. Raises `KoboxError` when it is too long for the place where it is put."""
    table = aml.table(b"SSDT", 2, body)
    if len(table) > LOAD_SIZE:
        who = type(device).__name__
        raise KoboxError(f"{who}: its properties are too long: a table of {len(table)} bytes, {LOAD_SIZE} is the most")
    return table


def load_table(box: BootedKernel, table: bytes) -> None:
    """Have the kernel load a table. It looks for new devices a little later."""
    box.machine.ram[LOAD_AT : LOAD_AT + len(table)] = table
    with suppress(OSError):
        box.read_bytes(f"{_DEVICES}/{LOADER}/sun")


def node_at(box: BootedKernel, path: str) -> str:
    """The directory in /sys of the ACPI device with a path in the namespace; "" for none."""
    for name in box.listdir(_DEVICES):
        with suppress(OSError):
            if box.read_text(f"{_DEVICES}/{name}/path").strip() == path:
                return f"{_DEVICES}/{name}"
    return ""


def describe_next_card(box: BootedKernel, letter: str) -> None:
    """Give the PCI card that is plugged in next an ACPI device, below which its clients are described."""
    place = box.machine.pci.next_place
    if place is not None and box.exists(f"{_DEVICES}/{LOADER}/sun"):
        node = aml.device(symbol_of(letter, place), aml.name("_ADR", place << 16))
        load_table(box, aml.table(b"SSDT", 2, aml.scope(b"\\\x2e_SB_PCI0", node)))
        box.sleep(_STEP)


def symbol_of(letter: str, place: int) -> str:
    """The name of the ACPI device of a PCI card."""
    return f"{letter}{place:03X}"


class Client:
    """A device that a table describes below its controller, and what the kernel has made of it."""

    def __init__(self, box: BootedKernel, controller: str, bus: str) -> None:
        self._box, self._bus, self._controller = box, bus, controller
        self._symbol = f"D{box.machine.platform.take_number():03X}"
        self._node = ""

    @property
    def controller(self) -> str:
        """The path of its controller in the namespace."""
        return f"\\_SB_.PCI0.{self._controller}"

    @property
    def sysfs(self) -> str:
        """Its directory on its bus in /sys; "" when the kernel has made nothing of it."""
        if not self._node:
            self._node = node_at(self._box, self.path)
        with suppress(OSError):
            made = os.path.basename(self._box.readlink(f"{self._node}/physical_node"))
            return f"/sys/bus/{self._bus}/devices/{made}"
        return ""

    @property
    def path(self) -> str:
        """Its own path in the namespace."""
        return f"{self.controller}.{self._symbol}"

    def load(self, device: AcpiClient, connection: bytes, more: Mapping[str, aml.Value] | None = None) -> None:
        """Have the kernel load the table, with `more` properties, and wait until it has made something of it. Raises
        `KoboxError`."""
        number = self._box.machine.platform.made
        properties = {**device.properties, **(more or {})}
        node = aml.client(self._symbol, number, device.hid, device.compatible, connection, properties)
        scope = b"\\\x2f\x03_SB_PCI0" + self._controller.encode()
        load_table(self._box, encoded(device, aml.scope(scope, node)))
        for _ in range(_STEPS):
            self._box.sleep(_STEP)
            if self.sysfs:
                self._box.sleep(_STEP)  # its driver's probe runs in the same worker, after that
                return
        raise KoboxError(f"{type(device).__name__}: the kernel does not take it")


class AcpiClient(Protocol):
    """A model that a table describes."""

    @property
    def hid(self) -> str: ...
    @property
    def compatible(self) -> str: ...
    @property
    def properties(self) -> Mapping[str, aml.Value]: ...
