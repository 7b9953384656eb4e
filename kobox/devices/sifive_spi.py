"""SiFive's SPI controller on a board that a device tree announces: the driver is `spi-sifive`.

    0x10 which chip select   0x14 their idle levels   0x18 chip select: 2 held, else by itself   0x40 format
    0x48 send a word   0x4C a word that was received   0x50, 0x54 watermarks   0x70 interrupts wanted   0x74 pending

A word is exchanged while the driver writes it.

Source: SiFive FU540-C000 Manual v1p4, chapter 19; drivers/spi/spi-sifive.c.
"""

from __future__ import annotations

from collections import deque
from typing import ClassVar

from kobox.devices.model import HardwareModel
from kobox.devices.platform import PlatformDevice
from kobox.devices.spi import SpiBus, SpiError

_SELECTS, _SELECT_MODE, _FORMAT, _SEND, _RECEIVE = 0x14, 0x18, 0x40, 0x48, 0x4C
_SEND_MARK, _RECEIVE_MARK, _WANTED, _PENDING = 0x50, 0x54, 0x70, 0x74
_HELD, _ONLY_SENDS, _EMPTY = 2, 1 << 3, 1 << 31
_SENT, _RECEIVED = 1, 2
_DEPTH = 8


class SifiveSpi(PlatformDevice):
    """An SPI controller with a bus for one `SpiDevice`. `properties` must have its `clocks`."""

    compatible = "sifive,spi0"
    driver_module: ClassVar[str] = "spi-sifive"
    regs = PlatformDevice.memory(0x1000)
    interrupts = 1

    def __init__(self) -> None:
        self.wires = SpiBus(1)
        self.reset()

    def reset(self) -> None:
        """Power on."""
        self.held: dict[int, int] = {_SELECTS: 1, _SEND_MARK: 1}
        self.received: deque[int] = deque()

    @property
    def attached(self) -> list[HardwareModel]:
        return list(self.wires.devices.values())

    def read_memory(self, bar: int, offset: int, size: int) -> int:
        if offset == _RECEIVE:
            value = self.received.popleft() if self.received else _EMPTY
            self._signal()
            return value
        return self._pending if offset == _PENDING else 0 if offset == _SEND else self.held.get(offset, 0)

    def write_memory(self, bar: int, offset: int, size: int, value: int) -> None:
        if offset == _SEND:
            self._exchange(value)
        elif offset == _SELECTS:
            self.held[offset] = value & 1  # the driver counts the bits that can be set
        else:
            self.held[offset] = value
        if offset == _SELECT_MODE:
            self.wires.select(0 if value & 3 == _HELD else None)
        self._signal()

    def _exchange(self, word: int) -> None:
        form = self.held.get(_FORMAT, 8 << 16)
        bits = form >> 16 & 15 or 8
        mask = (1 << bits) - 1
        try:
            answer = self.wires.exchange(word & mask, bits) & mask
        except SpiError:
            return  # the driver waits for it in vain
        if not form & _ONLY_SENDS and len(self.received) < _DEPTH:
            self.received.append(answer)

    @property
    def _pending(self) -> int:
        sent = self.held.get(_SEND_MARK, 0) > 0
        return sent * _SENT | (len(self.received) > self.held.get(_RECEIVE_MARK, 0)) * _RECEIVED

    def _signal(self) -> None:
        if self.plugged:
            self.set_interrupt_level(bool(self._pending & self.held.get(_WANTED, 0)))
