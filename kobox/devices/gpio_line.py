"""The GPIO lines that a device is joined to, whatever bus it is on; the controller is `kobox.devices.gpio`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from kobox.errors import KoboxError

LINES, NO_LINE = 184, 63
"""The controller's lines; one number among them is a register of the controller itself."""
_INTERRUPTS = ("", "rising", "falling", "both", "high", "low")


@dataclass(frozen=True, slots=True)
class GpioLine:
    """A line that a device is joined to: its number at the controller; whether low means active; when it interrupts
    ("rising", "falling", "both", "high", "low"; "" for never)."""

    number: int
    active_low: bool = False
    interrupt: str = ""

    def check(self, who: str) -> None:
        """Raise `KoboxError` when there is no such line, or no such interrupt. `who` begins the sentence."""
        if not 0 <= self.number < LINES or self.number == NO_LINE:
            raise KoboxError(
                f"{who}: there is no GPIO line {self.number}", hint=f"Lines are 0 to {LINES - 1}, without {NO_LINE}."
            )
        if self.interrupt not in _INTERRUPTS:
            kinds = ", ".join(filter(None, _INTERRUPTS))
            raise KoboxError(f"{who}: {self.interrupt!r} is no kind of interrupt", hint=f"There are: {kinds}.")


class LineController(Protocol):
    """A GPIO controller, as devices know it."""

    def level(self, number: int) -> bool: ...
    def drive(self, number: int, high: bool) -> None: ...


class HasLines:
    """A device with GPIO lines: `gpios` are their names, as gpiod_get(dev, name) has them, and where they are."""

    gpios: ClassVar[Mapping[str, GpioLine]] = {}
    line_controller: LineController | None = None

    def line(self, name: str) -> bool:
        """Whether a line is high (1.8 V, say), whatever that means to the device."""
        controller, number = self._line(name)
        return controller.level(number)

    def set_line(self, name: str, high: bool) -> None:
        """Drive a line high or low, as a button or an interrupt output of the device does."""
        controller, number = self._line(name)
        controller.drive(number, high)

    def _line(self, name: str) -> tuple[LineController, int]:
        who = type(self).__name__
        if name not in self.gpios:
            raise KoboxError(f"{who} has no GPIO line {name!r}", hint=f"Its lines: {', '.join(self.gpios) or 'none'}.")
        if self.line_controller is None:
            raise KoboxError(f"{who} is not plugged in")
        return self.line_controller, self.gpios[name].number
