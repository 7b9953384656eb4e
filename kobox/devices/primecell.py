"""Arm's PrimeCells on a board that a device tree announces: GPIO lines, a clock of the day; and fixed clocks.

    rtc = box.plug(Pl031())                     /sys/class/rtc/rtc0 says the box's time
    gpio = box.plug(Pl061())                    eight lines: gpio.drive(3, True), gpio.level(4)
    clock = box.plug(FixedClock(48_000_000))
    device.properties = {"clocks": clock}       a node refers to another one: [clock, 1] with a cell behind it

The drivers are gpio-pl061, rtc-pl031 and clk-fixed-rate, which Debian's arm64 kernels have built in.

    every PrimeCell    0xFE0 four bytes that say which it is, 0xFF0 four that say that it is one

Source: Arm DDI 0190 (PL061), DDI 0224 (PL031); Documentation/devicetree/bindings/gpio/pl061-gpio.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from kobox.devices.platform import PlatformDevice, Property
from kobox.errors import KoboxError

_WINDOW = 0x1000
_IDENTIFICATION = 0xFE0
_SIGNATURE = (0x0D, 0xF0, 0x05, 0xB1)
_NS = 1_000_000_000
EPOCH = 1767225600
"""2026-01-01 00:00:00 UTC: what the clock of every box shows at power on."""


class PrimeCell(PlatformDevice):
    """A device of Arm's: its driver finds it by a number in its registers."""

    primecell = True
    regs = PlatformDevice.memory(_WINDOW)
    interrupts: ClassVar[int] = 1
    part: ClassVar[tuple[int, int, int, int]]
    """The four bytes that say which it is."""

    def read_memory(self, bar: int, offset: int, size: int) -> int:
        if offset < _IDENTIFICATION:
            return self.read_register(offset)
        return (*self.part, *_SIGNATURE)[offset - _IDENTIFICATION >> 2 & 7]

    def write_memory(self, bar: int, offset: int, size: int, value: int) -> None:
        self.write_register(offset, value)

    def read_register(self, offset: int) -> int:
        """What stands at an offset of its window."""
        raise NotImplementedError

    def write_register(self, offset: int, value: int) -> None:
        """The driver writes there."""
        raise NotImplementedError


class Pl061(PrimeCell):
    """Eight GPIO lines. `drive` sets a line from outside, `level` is what a line is; override `line_changed` to be told
    of outputs.

    0x000 … 0x3FC data: bits 2 to 9 of the address say which lines    0x400 direction    0x404 level-sensitive
    0x408 both edges    0x40C high or rising    0x410 mask    0x414 raw    0x418 masked    0x41C clear
    """

    compatible = "arm,pl061"
    part = (0x61, 0x10, 0x04, 0x00)
    lines: ClassVar[int] = 8
    properties: Mapping[str, Property] = MappingProxyType(
        {"gpio-controller": True, "#gpio-cells": 2, "interrupt-controller": True, "#interrupt-cells": 2}
    )

    def __init__(self) -> None:
        self.outside = 0
        self.reset()

    def reset(self) -> None:
        self._data = self._direction = self._by_level = self._both = self._event = self._mask = self._raw = 0

    def line_changed(self, number: int, high: bool) -> None:
        """The box drives a line high or low, which was the other before."""

    @property
    def _levels(self) -> int:
        return self._data & self._direction | self.outside & ~self._direction

    def level(self, number: int) -> bool:
        """Whether a line is high: by the box where it is an output, else from outside."""
        return bool(self._levels >> self._checked(number) & 1)

    def is_output(self, number: int) -> bool:
        """Whether the box drives a line."""
        return bool(self._direction >> self._checked(number) & 1)

    def drive(self, number: int, high: bool) -> None:
        """Drive a line from outside; the box is interrupted if it has asked for that."""
        before, bit = self._levels, 1 << self._checked(number)
        self.outside = self.outside & ~bit | (bit if high else 0)
        self._sense(before)

    def _checked(self, number: int) -> int:
        if not 0 <= number < self.lines:
            raise KoboxError(f"{type(self).__name__}: there is no GPIO line {number}", hint="Lines are 0 to 7.")
        return number

    def read_register(self, offset: int) -> int:
        if offset < 0x400:
            return self._levels & offset >> 2
        masked = self._raw & self._mask
        registers = (self._direction, self._by_level, self._both, self._event, self._mask, self._raw, masked)
        at = offset - 0x400 >> 2
        return registers[at] if at < len(registers) else 0

    def write_register(self, offset: int, value: int) -> None:
        before, outputs, value = self._levels, self._direction, value & 0xFF
        if offset < 0x400:
            lines = offset >> 2
            self._data = self._data & ~lines | value & lines
        elif offset == 0x41C:
            self._raw &= ~value
        else:
            names = {0x400: "_direction", 0x404: "_by_level", 0x408: "_both", 0x40C: "_event", 0x410: "_mask"}
            if offset in names:
                setattr(self, names[offset], value)
        changed = (before ^ self._levels | self._direction & ~outputs) & self._direction
        for number in range(self.lines):
            if changed >> number & 1:
                self.line_changed(number, self.level(number))
        self._sense(before)

    def _sense(self, before: int) -> None:
        """Interrupt where a line is, or has become, what the box waits for."""
        now = self._levels
        edges = (now ^ before) & (self._both | ~(now ^ self._event)) & ~self._by_level
        held = ~(now ^ self._event) & self._by_level
        self._raw = (self._raw | edges) & ~self._by_level & 0xFF | held & 0xFF
        if self.plugged:
            self.set_interrupt_level(bool(self._raw & self._mask))


class Pl031(PrimeCell):
    """A clock of the day: it goes on from `EPOCH` with the box's own time, and can be set."""

    compatible = "arm,pl031"
    part = (0x31, 0x10, 0x04, 0x00)

    def __init__(self) -> None:
        self.offset = EPOCH
        self._match = self._mask = 0

    @property
    def seconds(self) -> int:
        """Since 1970, as the clock shows it."""
        return (self.offset + self.computer.now // _NS) & 0xFFFFFFFF

    def read_register(self, offset: int) -> int:
        registers = {0x00: self.seconds, 0x04: self._match, 0x08: self.seconds, 0x0C: 1, 0x10: self._mask}
        return registers.get(offset, 0)

    def write_register(self, offset: int, value: int) -> None:
        if offset == 0x04:
            self._match = value
        elif offset == 0x08:
            self.offset += value - self.seconds
        elif offset == 0x10:
            self._mask = value & 1


class FixedClock(PlatformDevice):
    """A clock that always ticks: other nodes name it in `clocks`."""

    compatible = "fixed-clock"

    def __init__(self, hertz: int) -> None:
        self.properties = {"#clock-cells": 0, "clock-frequency": hertz}
