"""A bridge to another PCI bus: configuration space of type 1, and what it passes on (PCI-to-PCI Bridge Architecture
1.2).

    0x18 primary, secondary, last bus    0x1C ports    0x20 memory    0x24 prefetchable memory    0x3E control

A conventional bridge has places for devices at 0, 4, 8 …: pin A of each of them is the bridge's pin A (9.1). A root
port of PCI Express has one place.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from kobox.errors import KoboxError
from kobox.machine import pci_capabilities as capability
from kobox.machine.devices import Restore
from kobox.machine.pci_function import (
    EXPRESS_CONFIG_SIZE,
    Found,
    Model,
    PciFeatures,
    PciFunction,
    PciIdentity,
    Segment,
    Space,
    Wiring,
)

_PLACES = range(0, 32, 4)
_RESET = 0x40  # in bridge control


class BridgeFunction(PciFunction):
    """A bridge with devices behind it. Raises `KoboxError` when there are more than it has places for."""

    _is_bridge = True

    def __init__(
        self, model: Model, identity: PciIdentity, features: PciFeatures, devices: Sequence[PciFunction]
    ) -> None:
        self.below = Segment(lambda: self._config[0x19] or -1)
        most = 1 if features.express is not None else len(_PLACES)
        if len(devices) > most:
            raise KoboxError(
                f"{len(devices)} devices behind a bridge that has {most} place{'s' * (most > 1)}",
                hint="A root port of PCI Express has one; a bridge with `express = None` has eight.",
            )
        super().__init__(model, identity, (), features)
        for place, device in zip(_PLACES, devices, strict=False):
            if device.features.virtual:
                raise KoboxError(
                    "a device with virtual functions cannot be behind a bridge", hint="Plug it in directly."
                )
            self.below.functions[place * 8] = device

    def _fill(self) -> None:
        super()._fill()
        config, writable = self._config, self._writable
        config[0x0E] |= 1
        config[0x2C:0x30] = bytes(4)  # a bridge has no subsystem there
        config[0x1C] = config[0x1D] = 0x00  # ports of 16 bits
        config[0x24] = config[0x26] = 0x01  # prefetchable memory of 64 bits
        writable[0x18:0x1C] = b"\xff" * 4
        writable[0x1C:0x1E] = b"\xf0" * 2
        struct.pack_into("<HHHHII", writable, 0x20, 0xFFF0, 0xFFF0, 0xFFF0, 0xFFF0, 0xFFFFFFFF, 0xFFFFFFFF)
        struct.pack_into("<H", writable, 0x3E, 0x0FFF)
        struct.pack_into("<H", self._cleared, 0x1E, 0xF900)

    @property
    def _own_registers(self) -> Sequence[tuple[int, int]]:
        return ((capability.EXTENDED_END, EXPRESS_CONFIG_SIZE),) if self.features.express else ()

    def config_write(self, register: int, size: int, value: int) -> None:
        before = self._config[0x3E]
        super().config_write(register, size, value)
        if self._config[0x3E] & ~before & _RESET:
            for function in self.below.functions.values():
                function.reset()

    def find(self, space: Space, address: int) -> Found | None:
        if not self._decodes(space) or not any(first <= address <= last for first, last in self._windows(space)):
            return None
        for function in self.below.functions.values():
            if (found := function.find(space, address)) is not None:
                return found
        return None

    def _windows(self, space: Space) -> Iterator[tuple[int, int]]:
        """The addresses that it passes on: first and last."""
        config = self._config
        if space is Space.PORTS:
            yield (config[0x1C] & 0xF0) << 8, (config[0x1D] & 0xF0) << 8 | 0xFFF
            return
        low, high, first, last, first_high, last_high = struct.unpack_from("<HHHHII", config, 0x20)
        yield (low & 0xFFF0) << 16, (high & 0xFFF0) << 16 | 0xFFFFF
        yield first_high << 32 | (first & 0xFFF0) << 16, last_high << 32 | (last & 0xFFF0) << 16 | 0xFFFFF

    def behind(self) -> Iterator[PciFunction]:
        return self.below.walk()

    def plugged(self, wiring: Wiring | None, segment: Segment | None, place: int, number: int = 0) -> None:
        super().plugged(wiring, segment, place, number)
        for devfn, function in self.below.functions.items():
            if wiring is None:
                function.plugged(None, None, -1)
            else:
                function.plugged(wiring, self.below, devfn >> 3, devfn & 7)

    def save(self) -> Restore:
        own = super().save()
        behind = {devfn: (function, function.save()) for devfn, function in self.below.functions.items()}

        def restore() -> None:
            own()
            for devfn, (function, undo) in behind.items():
                if self.below.functions.get(devfn) is not function:
                    self.below.functions[devfn] = function
                    function.plugged(self._wiring, self.below, devfn >> 3, devfn & 7)
                undo()

        return restore
