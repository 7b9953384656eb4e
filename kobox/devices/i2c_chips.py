"""Chips on an I2C bus: an EEPROM (`at24`), a temperature sensor (`lm75`), a real-time clock (DS1307).

Source: the data sheets of Microchip's 24LC02, Texas Instruments' LM75B and Maxim's DS1307.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar

from kobox.devices.i2c import I2cRegisters
from kobox.errors import KoboxError


class At24(I2cRegisters):
    """A serial EEPROM of 256 bytes (24c02): `content` is what it holds; the driver shows it as `eeprom` in /sys."""

    device_name: ClassVar[str] = "24c02"
    address = 0x50
    _PAGE = 8

    def __init__(self, content: bytes = b"", address: int | None = None) -> None:
        super().__init__(address)
        if len(content) > self.size:
            raise KoboxError(f"{len(content)} bytes for an EEPROM of {self.size}")
        self.memory[:] = content.ljust(self.size, b"\xff")

    @property
    def content(self) -> bytes:
        """All that it holds."""
        return bytes(self.memory)

    def write_byte(self, byte: int) -> None:
        first = self._chosen >= self.pointer_bytes
        page = self._pointer // self._PAGE
        super().write_byte(byte)
        if first and self._pointer // self._PAGE != page:  # a write goes round in its page
            self._pointer = page * self._PAGE


class Lm75(I2cRegisters):
    """A temperature sensor: `celsius` is what it measures, in steps of 0.5 degrees."""

    device_name: ClassVar[str] = "lm75"
    address = 0x48
    size: ClassVar[int] = 8
    width: ClassVar[int] = 2
    initial: ClassVar[bytes] = bytes.fromhex("1900 0000 4b00 5000 0000 0000 0000 0000")

    def __init__(self, celsius: float = 25.0, address: int | None = None) -> None:
        super().__init__(address)
        self.celsius = celsius

    def reading(self, register: int) -> None:
        if register == 0:
            self.memory[0:2] = (round(self.celsius * 2) << 7 & 0xFFFF).to_bytes(2, "big")

    def following(self, register: int) -> int:
        return register  # the pointer stays

    @property
    def overheated(self) -> bool:
        """Whether it is hotter than the limit (`temp1_max`) that the driver has set."""
        return self.celsius * 256 > int.from_bytes(self.memory[6:8], "big", signed=True)


class Ds1307(I2cRegisters):
    """A real-time clock with 56 bytes of memory: it runs in virtual time from `start` on."""

    device_name: ClassVar[str] = "ds1307"
    address = 0x68
    size: ClassVar[int] = 64
    _CLOCK = range(7)

    def __init__(self, start: datetime = datetime(2026, 1, 1), address: int | None = None) -> None:
        self.start_time, self._set_at = start, 0
        super().__init__(address)

    def reset(self) -> None:
        self._set_at = self.computer.now

    @property
    def now(self) -> datetime:
        """What the clock shows."""
        return self.start_time + timedelta(microseconds=(self.computer.now - self._set_at) // 1000)

    def reading(self, register: int) -> None:
        if register in self._CLOCK:
            now = self.now
            fields = (now.second, now.minute, now.hour, now.isoweekday() % 7 + 1, now.day, now.month, now.year % 100)
            self.memory[0:7] = bytes(value // 10 << 4 | value % 10 for value in fields)

    def written(self, register: int) -> None:
        if register not in self._CLOCK:
            return
        second, minute, hour, _, day, month, year = ((b >> 4) * 10 + (b & 15) for b in bytes(self.memory[0:7]))
        try:
            self.start_time = datetime(2000 + year, month, day, hour % 24, minute, second % 60)
        except ValueError:
            return  # half of a date: the rest comes
        self._set_at = self.computer.now
