"""A device on an I2C bus of which nothing is known but which driver wants it.

    write 0x0F, read one byte      register 0x0F, byte 0: asked of the policy
    write 0x20, 0x13               register 0x20 holds 0x13 from now on

The bytes that were written before a read choose the register. A second address of the chip is answered as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from kobox.devices.gpio_line import GpioLine
from kobox.devices.i2c import I2cDevice
from kobox.devices.phantom_aliases import compatibles, hardware_ids, names, some
from kobox.devices.phantom_policy import ELSEWHERE, I2C, PLACE_BITS, Policy, PolicyAnswers, RegisterAt

_LONGEST, _LONGEST_MESSAGE = 7, 4095  # bytes that choose a register; bytes of a message that matter
_LINE = 20


class I2cIdentity(NamedTuple):
    """Whom a driver's table waits for: its name there, a hardware ID of ACPI, or what it is compatible with; its
    address, and whether it has an interrupt."""

    name: str = ""
    hid: str = ""
    compatible: str = ""
    address: int = 0x48
    interrupt: bool = False

    def __str__(self) -> str:
        return f"{self.name or self.hid or self.compatible} at {self.address:#x}"


class PhantomI2c(PolicyAnswers, I2cDevice):
    """A phantom on an I2C bus."""

    plain_messages = True
    vectors = 1

    def __init__(self) -> None:
        super().__init__()
        self._message = b""
        self._elsewhere = self._place = 0

    @property
    def wanted_name(self) -> str:
        """What the driver's table calls it."""
        return self.device_name or self.hid or self.compatible

    def elsewhere(self, address: int) -> I2cDevice:
        self._elsewhere = address
        return self

    def start(self, *, read: bool) -> None:
        self._place = 0
        if self.next_is_refused():
            self.refuse()
        if not read:
            self._message = b""

    def write_byte(self, byte: int) -> None:
        if len(self._message) < _LONGEST_MESSAGE:
            self._message += bytes([byte])
            self._remember(self._message)

    def read_byte(self) -> int:
        value = self.answer(self._register(self._message, self._place), 1)
        self._place += 1
        return value

    def stop(self) -> None:
        self._elsewhere = 0

    def interrupt(self, vector: int = 0) -> None:
        """Pulse the interrupt line, when it has one."""
        if not self.is_silent and self.gpios and self.plugged:
            self.set_line("irq", False)
            self.set_line("irq", True)

    def _register(self, chosen: bytes, place: int) -> RegisterAt:
        chosen = chosen[:_LONGEST]
        bus = I2C + ELSEWHERE * self._elsewhere + len(chosen)
        return RegisterAt(bus, int.from_bytes(chosen, "big") << PLACE_BITS | place)

    def _remember(self, message: bytes) -> None:
        """The last byte of a message may be a value: of a register that one byte chooses, or two."""
        for chosen in (1, 2):
            if len(message) > chosen:
                place = len(message) - chosen - 1
                self.keep(self._register(message[:chosen], place), 1, message[-1])
                following = (int.from_bytes(message[:chosen], "big") + place) % (1 << 8 * chosen)
                self.keep(self._register(following.to_bytes(chosen, "big"), 0), 1, message[-1])


def i2c_identities(aliases: Iterable[str], most: int = 3) -> list[I2cIdentity]:
    """Whom a device may be for a driver with these aliases: the names of its table, then what ACPI describes."""
    aliases = list(aliases)
    described = [I2cIdentity(compatible=one) for one in compatibles(aliases)]
    described += [I2cIdentity(hid=one) for one in hardware_ids(aliases)]
    return [I2cIdentity(name) for name in some(names(aliases, "i2c"), most)] + described[:1]


def phantom_i2c(identity: I2cIdentity, policy: Policy) -> PhantomI2c:
    """A device that is `identity` and answers by `policy`."""
    members = {
        "policy": policy,
        "device_name": identity.name,
        "hid": identity.hid,
        "compatible": identity.compatible,
        "address": identity.address,
        "gpios": {"irq": GpioLine(_LINE, interrupt="falling")} if identity.interrupt else {},
    }
    made = type("Phantom", (PhantomI2c,), members)()
    assert isinstance(made, PhantomI2c)
    return made
