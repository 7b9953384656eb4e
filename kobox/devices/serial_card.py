"""A PCI card with a serial port, a 16550A: the driver is `8250_pci`, in the kernel itself, and the port a /dev/ttyS.

    card.feed(b"text")        what comes in by the wire       card.sent       what the driver has sent

Source: National Semiconductor, PC16550D data sheet; drivers/tty/serial/8250/8250_pci.c.
"""

from __future__ import annotations

from collections import deque
from typing import ClassVar

from kobox.devices.kept import Kept
from kobox.devices.pci import PciDevice

_DATA, _ENABLE, _IDENTIFY, _LINE, _MODEM, _STATUS, _MODEM_STATUS, _SCRATCH = range(8)
_FIFO = 16
_LOOP = 0x10


class SerialCard(PciDevice):
    """A card with one port (QEMU's pci-serial, 1b36:0002). `sent` has what the box has sent."""

    vendor_id, device_id, class_code, revision = 0x1B36, 0x0002, 0x070002, 0x01
    subsystem: ClassVar[tuple[int, int]] = (0x1AF4, 0x1100)
    vectors = 0
    bar0 = PciDevice.ports(8)

    def __init__(self) -> None:
        self._sent = Kept()
        self.reset()

    def reset(self) -> None:
        self.held = bytearray(8)
        self.divisor = bytearray(2)
        self.waiting: deque[int] = deque()
        self._fifo = False
        self._empty = False  # the transmitter has become empty, and the driver has not been told

    @property
    def sent(self) -> bytes:
        """What the box has sent; when that is much, its end."""
        return bytes(self._sent)

    def feed(self, data: bytes) -> None:
        """Bytes come in by the wire."""
        self.waiting.extend(data)
        self._signal()

    @property
    def baud_rate(self) -> int:
        """The speed that the driver has set; 0 for none."""
        divisor = int.from_bytes(self.divisor, "little")
        return 115200 // divisor if divisor else 0

    def read_memory(self, bar: int, offset: int, size: int) -> int:
        value = self.held[offset]
        if offset in (_DATA, _ENABLE) and self.held[_LINE] & 0x80:
            return self.divisor[offset]
        if offset == _DATA:
            value = self.waiting.popleft() if self.waiting else 0
        elif offset == _IDENTIFY:
            value = self._cause() | (0xC0 if self._fifo else 0)
            if value & 15 == 2:
                self._empty = False
        elif offset == _STATUS:
            value = 0x60 | bool(self.waiting)
        elif offset == _MODEM_STATUS:
            value = 0xB0 if not self.held[_MODEM] & _LOOP else self._looped()
        self._signal()
        return value

    def _looped(self) -> int:
        control = self.held[_MODEM]
        return (control & 1) << 5 | (control & 2) << 3 | (control & 4) << 4 | (control & 8) << 4

    def write_memory(self, bar: int, offset: int, size: int, value: int) -> None:
        if offset in (_DATA, _ENABLE) and self.held[_LINE] & 0x80:
            self.divisor[offset] = value & 0xFF
        elif offset == _DATA:
            if self.held[_MODEM] & _LOOP:
                self.waiting.append(value & 0xFF)
            else:
                self._sent.add(bytes([value & 0xFF]))
            self._empty = True
        elif offset == _IDENTIFY:
            self._fifo = bool(value & 1)
            if value & 2:
                self.waiting.clear()
        elif offset not in (_STATUS, _MODEM_STATUS):
            if offset == _ENABLE and value & 2:
                self._empty = True
            self.held[offset] = value & 0xFF
        self._signal()

    def _cause(self) -> int:
        """The interrupt identification register: 4 data, 2 the transmitter is empty, 1 nothing."""
        if self.held[_ENABLE] & 1 and self.waiting:
            return 4
        return 2 if self.held[_ENABLE] & 2 and self._empty else 1

    def _signal(self) -> None:
        self.set_interrupt_level(self._cause() != 1)
