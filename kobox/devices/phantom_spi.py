"""A device on an SPI bus of which nothing is known but which driver wants it.

    send 0x8F, then one word more      what comes back with the second word: asked of the policy, register 0x8F, byte 1
    send 0x0F 0x13                     0x0F, and 0x8F, hold 0x13 from now on

The first four bytes of a message that were sent before a word choose the register. ACPI describes the device; a name of
the driver's table is what comes behind the comma in what it is compatible with.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from kobox.devices.gpio_line import GpioLine
from kobox.devices.phantom_aliases import compatibles, hardware_ids, names, some
from kobox.devices.phantom_policy import PLACE_BITS, SPI, Policy, PolicyAnswers, RegisterAt
from kobox.devices.spi import SpiDevice, SpiError

_CHOOSE, _LONGEST_MESSAGE = 4, 4095  # bytes that choose a register; bytes of a message that matter
_LINE = 20
_READ_BITS = (0x80, 0x40, 0x00)  # in the first byte, what a read has and a write has not, or the other way round


class SpiIdentity(NamedTuple):
    """Whom a driver's table waits for: a hardware ID of ACPI, or what it is compatible with; whether it has an
    interrupt."""

    hid: str = ""
    compatible: str = ""
    interrupt: bool = False

    def __str__(self) -> str:
        return self.hid or self.compatible


class PhantomSpi(PolicyAnswers, SpiDevice):
    """A phantom on an SPI bus."""

    vectors = 1
    max_speed = 10_000_000

    def __init__(self) -> None:
        super().__init__()
        self._sent = b""

    @property
    def wanted_name(self) -> str:
        """What the driver's table calls it."""
        return self.hid or self.compatible

    def select(self) -> None:
        self._sent = b""
        self._refused = self.next_is_refused()

    def exchange(self, word: int) -> int:
        if self._refused:
            raise SpiError
        size = (self.bits + 7) // 8
        value = 0
        for n in range(size):
            value |= self.answer(self._register(self._sent, len(self._sent) + n), 1) << 8 * n
        if len(self._sent) < _LONGEST_MESSAGE:
            self._sent += word.to_bytes(size, "big")
        return value

    def deselect(self) -> None:
        if len(self._sent) > 1:
            self._remember(self._sent)

    def interrupt(self, vector: int = 0) -> None:
        """Pulse the interrupt line, when it has one."""
        if not self.is_silent and self.gpios and self.plugged:
            self.set_line("irq", False)
            self.set_line("irq", True)

    _refused = False

    def _register(self, sent: bytes, place: int) -> RegisterAt:
        chosen = sent[:_CHOOSE]
        where = int.from_bytes(chosen, "big") << PLACE_BITS | min(place, _LONGEST_MESSAGE)
        return RegisterAt(SPI + len(chosen), where)

    def _remember(self, message: bytes) -> None:
        """What is behind the first byte, or the first two, may be values of the register that these choose."""
        for chosen in (1, 2):
            for bit in _READ_BITS:
                asked = bytes([message[0] ^ bit]) + message[1:chosen] + bytes(_CHOOSE)
                for place in range(chosen, min(len(message), _CHOOSE + 4)):
                    self.keep(self._register(asked[:place], place), 1, message[place])


def spi_identities(aliases: Iterable[str], most: int = 3) -> list[SpiIdentity]:
    """Whom a device may be for a driver with these aliases; empty when it is no driver of SPI devices."""
    aliases = list(aliases)
    own = names(aliases, "spi")
    found = [SpiIdentity(compatible=one) for one in compatibles(aliases)]
    known = {one.compatible.partition(",")[2] for one in found}
    found += [SpiIdentity(compatible=f"kobox,{name}") for name in own if name not in known]
    found += [SpiIdentity(hid=one) for one in hardware_ids(aliases)]
    return some(found, most)


def phantom_spi(identity: SpiIdentity, policy: Policy) -> PhantomSpi:
    """A device that is `identity` and answers by `policy`."""
    members = {
        "policy": policy,
        "hid": identity.hid,
        "compatible": identity.compatible,
        "gpios": {"irq": GpioLine(_LINE, interrupt="falling")} if identity.interrupt else {},
    }
    made = type("Phantom", (PhantomSpi,), members)()
    assert isinstance(made, PhantomSpi)
    return made
