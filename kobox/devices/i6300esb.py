"""Intel's 6300ESB watchdog timer, as a PCI card; the driver is `i6300esb`.

    watchdog.running, watchdog.timeout     what the driver has set      watchdog.bites     how often time ran out

    0x00 timer 1, 0x04 timer 2: the two stages, in 1/1024 s      0x0C reload: 0x80, 0x86, then bit 8 starts them
    configuration space: 0x68 bit 1 enables, bit 0 locks

Source: Intel, 6300ESB I/O Controller Hub datasheet, chapter 16; drivers/watchdog/i6300esb.c.
"""

from __future__ import annotations

from typing import ClassVar

from kobox.devices.computer import Timer
from kobox.devices.pci import PciDevice
from kobox.devices.register import Register, RegisterValue

_LOCK, _ENABLED, _LOCKED = 0x68, 2, 1
_UNLOCK = (0x80, 0x86)
_RELOAD, _TIMED_OUT = 1 << 8, 1 << 9
_TICKS = 1024  # in a second


class I6300Esb(PciDevice):
    """A watchdog: `bite` is called when the driver has not reloaded it in time; a real one resets the computer then."""

    vendor_id, device_id, class_code = 0x8086, 0x25AB, 0x088000
    vectors: ClassVar[int] = 0
    bar0 = PciDevice.memory(0x10)
    first = Register(bar0, 0x00, reset=0xFFFFF)
    second = Register(bar0, 0x04, reset=0xFFFFF)
    reload = Register(bar0, 0x0C, size=2)

    def __init__(self) -> None:
        self.bites = 0
        self.locked = self.running = self._timed_out = False
        self._unlocked = 0
        self._alarm = Timer(self, self._ran_out)

    def reset(self) -> None:
        self.locked = self.running = False
        self._unlocked = 0
        self._alarm.stop()

    @property
    def timeout(self) -> float:
        """Seconds until it bites, from a reload on."""
        return ((self.first.value & 0xFFFFF) + (self.second.value & 0xFFFFF)) / _TICKS

    def bite(self) -> None:
        """The time has run out."""

    def reading(self, register: RegisterValue) -> None:
        if register is self.reload:
            register.value = _TIMED_OUT if self._timed_out else 0

    def written(self, register: RegisterValue) -> None:
        if register is not self.reload:
            self._unlocked = 0
        elif self._unlocked < len(_UNLOCK):
            self._unlocked = self._unlocked + 1 if register.value == _UNLOCK[self._unlocked] else 0
        else:
            self._unlocked = 0
            self._timed_out &= not register.value & _TIMED_OUT
            if register.value & _RELOAD:
                self._start()

    def write_configuration(self, register: int, size: int, value: int) -> None:
        if register == _LOCK and not self.locked:
            self.locked, self.running = bool(value & _LOCKED), bool(value & _ENABLED)
            self._start()

    def read_configuration(self, register: int, size: int, value: int) -> int:
        if register == _LOCK:
            return _ENABLED * self.running | _LOCKED * self.locked
        return value

    def _start(self) -> None:
        self._alarm.stop()
        if self.running:
            self._alarm.start(int(self.timeout * 1e9))

    def _ran_out(self) -> None:
        self.bites += 1
        self._timed_out = True
        self.bite()
