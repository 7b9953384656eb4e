"""SPI devices that Python plays.

    class Flash(SpiDevice):
        compatible = "acme,flash"            of_match_table; or hid = "ABCD0001", acpi_match_table

        def select(self):                    chip select: a message begins
            self.command = None

        def exchange(self, word):            a word in, a word out, at the same time
            ...

    box.plug(Flash())                        a controller is plugged in with the first one (`kobox.devices.lpss_spi`)

ACPI tells the kernel of it (SpiSerialBus), with properties as a platform device has them. A device that raises
`SpiError` in `exchange` loses the word: the controller reports an overrun, and the driver's transfer fails with EIO.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from kobox.devices.errors import model_errors
from kobox.devices.gpio_line import HasLines
from kobox.devices.i2c import ClientModel
from kobox.devices.state import Restore
from kobox.errors import KoboxError
from kobox.machine import aml


class SpiError(Exception):
    """A word is lost on the wires: the controller has received nothing."""


class SpiDevice(HasLines, ClientModel):
    """A device on an SPI bus: subclass it, and answer words.

    `mode` is 0 to 3 (clock polarity and phase), `max_speed` is in Hz, `word_bits` the size of a word.
    """

    bus: ClassVar[str] = "SPI"
    hid: ClassVar[str] = ""
    compatible: ClassVar[str] = ""
    properties: ClassVar[Mapping[str, aml.Value]] = {}
    mode: ClassVar[int] = 0
    max_speed: ClassVar[int] = 1_000_000
    word_bits: ClassVar[int] = 8
    bits: int = 8
    """How many bits the word has that is exchanged now."""

    def select(self) -> None:
        """Chip select: a message begins."""

    def exchange(self, word: int) -> int:
        """The driver sends a word; the word that comes back meanwhile. Raise `SpiError` to lose it."""
        return 0

    def deselect(self) -> None:
        """The message is over."""


class SpiBus:
    """The wires behind a controller, with the devices on them by their chip selects."""

    def __init__(self, selects: int) -> None:
        self.devices: dict[int, SpiDevice] = {}
        self.selects = selects
        self.selected: SpiDevice | None = None

    def attach(self, device: SpiDevice) -> int:
        """Put a device on the bus: its chip select. Raises `KoboxError` when all are taken."""
        number = next((n for n in range(self.selects) if n not in self.devices), None)
        if number is None:
            raise KoboxError(f"all {self.selects} chip selects of the SPI bus are taken", hint="Unplug a device first.")
        self.devices[number] = device
        return number

    def detach(self, device: ClientModel) -> None:
        """Take a device off."""
        self.devices = {number: other for number, other in self.devices.items() if other is not device}
        if self.selected is device:
            self.selected = None

    def select(self, number: int | None) -> None:
        """Select the device of a chip select; None: none."""
        if self.selected is not None:
            with model_errors(self.selected):
                self.selected.deselect()
        self.selected = self.devices.get(number) if number is not None else None
        if self.selected is not None:
            with model_errors(self.selected):
                self.selected.select()

    def exchange(self, word: int, bits: int) -> int:
        """A word of `bits` bits to the device that is selected, and one back; ones when none is. Raises `SpiError`."""
        if self.selected is None:
            return -1
        self.selected.bits = bits
        with _spi_error_passes(self.selected):
            return int(self.selected.exchange(word))

    def save(self) -> Restore:
        """For a checkpoint: a function that brings back the devices and their state."""
        devices, selected = dict(self.devices), self.selected
        undo = [device.save() for device in devices.values()]

        def restore() -> None:
            self.devices, self.selected = dict(devices), selected
            for one in undo:
                one()

        return restore


class _spi_error_passes(model_errors):  # noqa: N801  a context manager, used as a function
    """`model_errors`, but `SpiError` is no error of the model's."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, SpiError):
            super().__exit__(kind, error, trace)
