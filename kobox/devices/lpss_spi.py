"""Intel's SPI controller of the low power subsystem (Lynx Point): the driver is `spi-pxa2xx-platform`.

    0x00 SSCR0   0x04 SSCR1   0x08 SSSR   0x10 SSDR: a word is sent and another received
    0x818 chip select: 1 by software, 0 the level (low selects)

A word is exchanged while the driver writes it. When the device loses it, the receiver reports an overrun (SSSR.ROR).

Source: drivers/spi/spi-pxa2xx.c; Intel, Lynx Point LP data sheet, 329366.
"""

from __future__ import annotations

from collections import deque
from typing import ClassVar

from kobox.devices.model import HardwareModel
from kobox.devices.pci import PciDevice
from kobox.devices.spi import SpiBus, SpiError

_SSCR0, _SSCR1, _SSSR, _SSDR, _CHIP_SELECT = 0x00, 0x04, 0x08, 0x10, 0x818
_RIE, _TIE, _TINTE = 1, 2, 1 << 19
_NOT_FULL, _NOT_EMPTY, _TX_SERVICE, _RX_SERVICE = 1 << 2, 1 << 3, 1 << 5, 1 << 6
_OVERRUN, _TIMEOUT = 1 << 7, 1 << 19
_DEPTH = 256


class LpssSpi(PciDevice):
    """An SPI controller (8086:9ce5) with a bus for one `SpiDevice`; `SecondLpssSpi` is another for one more."""

    vendor_id, device_id, class_code, revision = 0x8086, 0x9CE5, 0x0C8000, 0x03
    subsystem: ClassVar[tuple[int, int]] = (0x8086, 0x9CE5)
    vectors = 0
    bar0 = PciDevice.memory(0x1000)

    def __init__(self) -> None:
        self.wires = SpiBus(1)
        self.reset()

    def reset(self) -> None:
        self.held: dict[int, int] = {}
        self.received: deque[int] = deque()
        self.overrun = False

    @property
    def attached(self) -> list[HardwareModel]:
        return list(self.wires.devices.values())

    def read_memory(self, bar: int, offset: int, size: int) -> int:
        if offset == _SSSR:
            return self._status()
        if offset == _SSDR:
            word = self.received.popleft() if self.received else 0
            self._signal()
            return word
        return self.held.get(offset, 0)

    def write_memory(self, bar: int, offset: int, size: int, value: int) -> None:
        if offset == _SSDR:
            self._exchange(value)
        elif offset == _SSSR:
            self.overrun &= not value & _OVERRUN
        else:
            self.held[offset] = value
            if offset == _CHIP_SELECT:
                low = value & 1 and not value & 2
                self.wires.select(0 if low else None)
        self._signal()

    def _exchange(self, word: int) -> None:
        bits = self._bits()
        mask = (1 << bits) - 1
        if len(self.received) >= _DEPTH:
            return
        try:
            self.received.append(self.wires.exchange(word & mask, bits) & mask)
        except SpiError:
            self.overrun = True

    def _bits(self) -> int:
        control = self.held.get(_SSCR0, 0)
        return (control & 15) + 1 + (16 if control & 1 << 20 else 0)

    def _status(self) -> int:
        waiting = len(self.received)
        status = _NOT_FULL | _TX_SERVICE | (_OVERRUN if self.overrun else 0)
        if waiting:
            status |= _NOT_EMPTY | _RX_SERVICE
            if self.held.get(_SSCR1, 0) & _TINTE:
                status |= _TIMEOUT
        return status

    def _signal(self) -> None:
        control, status = self.held.get(_SSCR1, 0), self._status()
        wanted = (_RX_SERVICE | _OVERRUN if control & _RIE else 0) | (_TX_SERVICE if control & _TIE else 0)
        self.set_interrupt_level(bool(status & (wanted | (_TIMEOUT if control & _TINTE else 0))))


class SecondLpssSpi(LpssSpi):
    """The second one (8086:9ce6): its driver tells them apart by their IDs."""

    device_id = 0x9CE6
