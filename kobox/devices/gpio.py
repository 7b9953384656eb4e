"""GPIO lines of the board: a controller that Python plays, and the lines that devices are joined to.

    class Button(PlatformDevice):
        compatible = "acme,button"
        gpios = {"press": GpioLine(4, interrupt="both"), "lamp": GpioLine(5, active_low=True)}

    button = box.plug(Button())                 a controller is plugged in with the first one
    gpiod_get(dev, "lamp", GPIOD_OUT_HIGH)      button.line("lamp") is False
    gpiod_to_irq(), platform_get_irq()          button.set_line("press", True) interrupts

The controller is that of AMD's chips (drivers/pinctrl/pinctrl-amd.c, in Debian's full kernel): a register of 32 bits
for each line, and an interrupt for all.

    bit 8 level, 9 active level, 11 interrupt enabled, 12 and not masked, 16 what the line is, 22 output, 23 output
    enabled, 28 interrupt pending (cleared by writing one)      0x2F8 which four lines have one pending

Source: AMD, Processor Programming Reference for family 17h, chapter "GPIO"; ACPI specification 6.4, 6.4.3.8.1.
"""

from __future__ import annotations

from typing import ClassVar

from kobox.devices.gpio_line import LINES, GpioLine
from kobox.devices.platform import PlatformDevice

_WINDOW = 0x400
_MASTER, _STATUS_LOW, _STATUS_HIGH, _END = 0xFC, 0x2F8, 0x2FC, 1 << 29
_LEVEL, _ENABLED, _UNMASKED, _STATE = 1 << 8, 1 << 11, 1 << 12, 1 << 16
_OUTPUT, _IS_OUTPUT, _PENDING, _WAKE = 1 << 22, 1 << 23, 1 << 28, 1 << 29
_HIGH, _LOW, _BOTH = 0, 1, 2  # active levels, in bits 9 and 10


class AmdGpio(PlatformDevice):
    """A GPIO controller with 184 lines. `drive` sets a line from outside, `level` is what a line is; override
    `line_changed` to be told of outputs."""

    bus: ClassVar[str] = "platform"
    hid: ClassVar[str] = "AMDI0030"
    regs = PlatformDevice.memory(_WINDOW)
    interrupts: ClassVar[int] = 1

    def __init__(self) -> None:
        self.pins = [0] * (_WINDOW // 4)
        self.outside = [False] * (_WINDOW // 4)

    def reset(self) -> None:
        self.pins = [0] * (_WINDOW // 4)

    def line_changed(self, number: int, high: bool) -> None:
        """The box drives a line high or low, which was the other before."""

    def level(self, number: int) -> bool:
        """Whether a line is high: by the box where it is an output, else from outside."""
        self._check(number)
        pin = self.pins[number]
        return bool(pin & _OUTPUT) if pin & _IS_OUTPUT else self.outside[number]

    def is_output(self, number: int) -> bool:
        """Whether the box drives a line."""
        self._check(number)
        return bool(self.pins[number] & _IS_OUTPUT)

    def drive(self, number: int, high: bool) -> None:
        """Drive a line from outside; the box is interrupted if it has asked for that."""
        self._check(number)
        before = self.level(number)
        self.outside[number] = high
        self._sense(number, before)

    def _check(self, number: int) -> None:
        GpioLine(number).check(type(self).__name__)

    # -- registers -----------------------------------------------------------------------------------------------

    def read_memory(self, bar: int, offset: int, size: int) -> int:
        word = self._word(offset & ~3) >> 8 * (offset & 3)
        return word & (1 << 8 * size) - 1

    def _word(self, offset: int) -> int:
        if offset in (_STATUS_LOW, _STATUS_HIGH):
            groups = sum(1 << n // 4 for n in range(LINES) if n != _MASTER // 4 and self.pins[n] & _PENDING)
            return groups >> (32 if offset == _STATUS_HIGH else 0) & 0xFFFFFFFF
        number = offset // 4
        if number >= LINES or offset == _MASTER:
            return self.pins[number]
        return self.pins[number] | (_STATE if self.level(number) else 0)

    def write_memory(self, bar: int, offset: int, size: int, value: int) -> None:
        number, shift = offset // 4, 8 * (offset & 3)
        mask = ((1 << 8 * size) - 1) << shift
        value = value << shift & mask
        if offset & ~3 == _MASTER or number >= LINES:
            self.pins[number] = (self.pins[number] & ~mask | value) & ~_END
            self._interrupt()
            return
        before, old = self.level(number), self.pins[number]
        kept = old & (_PENDING | _WAKE) & ~value
        self.pins[number] = (old & ~mask | value) & ~(_PENDING | _WAKE | _STATE) | kept
        high = self.level(number)
        if self.pins[number] & _IS_OUTPUT and (high != before or not old & _IS_OUTPUT):
            self.line_changed(number, high)
        self._sense(number, before)

    def _sense(self, number: int, before: bool) -> None:
        """Interrupt when the line is, or has become, what the box waits for."""
        pin, high = self.pins[number], self.level(number)
        if pin & _ENABLED:
            active = pin >> 9 & 3
            wanted = high if active == _HIGH else not high if active == _LOW else True
            if wanted and (pin & _LEVEL or high != before):
                self.pins[number] |= _PENDING
        self._interrupt()

    def _interrupt(self) -> None:
        if self.plugged:
            wanted = _PENDING | _ENABLED | _UNMASKED
            self.set_interrupt_level(any(self.pins[n] & wanted == wanted for n in range(LINES) if n != _MASTER // 4))
