"""A PCI device of which nothing is known but which driver wants it: its registers answer by a policy.

    driver's aliases (pci:v00008086d0000100E…)  ->  identities_for()  ->  phantom(identity, policy)  ->  box.plug()

What each register must say is found by trying (`kobox.checks.phantom`); what was found is a `Policy`, which is also the
first draft of a model made by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

from kobox.devices.pci import PciDevice, expansion_rom
from kobox.devices.phantom_policy import (
    COMPANION,
    CONFIGURATION,
    CONFIGURATION_HEADER,
    HEADER,
    MEMORY,
    PORTS,
    ROM,
    ROM_HEADER,
    ROM_SIZE,
    BarLayout,
    Policy,
    PolicyAnswers,
    RegisterAt,
)
from kobox.machine.pci_capabilities import Capability, Express, own
from kobox.machine.pci_function import MAX_VECTORS, PciIdentity

_ALIAS = re.compile(
    r"pci:v(\*|[0-9A-F]{8})d(\*|[0-9A-F]{8})sv(\*|[0-9A-F]{8})sd(\*|[0-9A-F]{8})bc(\*|..)sc(\*|..)i(\*|..)\*?"
)
_FILLED, _PAGE_MASK = 512, 4095  # writes one after the other
_IDE, _NATIVE = (1, 1), 0x8F
_BRIDGE = 0x068000  # the class of a bridge of no kind of its own, for which no driver's table waits
# The BARs of each layout, and which of them are ports. One is left for the table of MSI-X.
_NUMBERS = {BarLayout.MEMORY: (0, 1, 2, 3, 5), BarLayout.MIXED: (0, 1, 2, 3, 4), BarLayout.PORTS: (0, 1, 2, 3, 4)}
_PORTS = {BarLayout.MEMORY: (), BarLayout.MIXED: (0, 4), BarLayout.PORTS: (0, 1, 2, 3, 4)}


class PhantomDevice(PolicyAnswers, PciDevice):
    """A phantom on the PCI bus."""

    no_state = PciDevice.no_state | {"siblings", "beside", "polled", "expected"}
    companion: ClassVar[int] = 0
    """From 1 on: it is a companion, and its registers are called by that number."""
    siblings: Sequence[PciDevice] = ()
    """Other functions of its card, that the driver looks for."""
    beside: Sequence[PhantomDevice] = ()
    """All its companions."""

    def other_functions(self) -> Sequence[PciDevice]:
        return self.siblings

    def __init__(self) -> None:
        super().__init__()
        self._shared: list[tuple[int, int, RegisterAt]] = []
        self._allocations = 0
        self._fill = (0, 0, (-1, 0))  # writes one after the other: where they began, how many, where the next would be

    def interrupt(self, vector: int = 0) -> None:
        if not self.is_silent:
            super().interrupt(vector)

    def share_memory(self, address: int, size: int, register: RegisterAt | None = None) -> None:
        """The driver has allocated memory for both: its bus address. `register` is what it is called, when it is no
        memory of the driver's."""
        if register is None:
            register = RegisterAt(MEMORY + self._allocations, 0)
            self._allocations += 1
        self._shared.append((address, size, register))

    def read_memory(self, bar: int, offset: int, size: int) -> int:
        return self._asked(RegisterAt(bar, offset), size, None)

    def rom_read(self, offset: int, size: int) -> int:
        if offset + size <= ROM_HEADER:
            return super().rom_read(offset, size)
        return self._asked(RegisterAt(ROM, offset), size, None)

    def read_configuration(self, register: int, size: int, value: int) -> int:
        if register < CONFIGURATION_HEADER:
            return self._asked(RegisterAt(HEADER, CONFIGURATION_HEADER + register), size, value)
        if not self.function.is_own(register):
            return value
        return self._asked(RegisterAt(CONFIGURATION, register), size, value)

    def shared_read(self, address: int, size: int, value: int) -> int:
        for start, room, register in reversed(self._shared):
            if start <= address < start + room:
                at = RegisterAt(register.bar, register.offset + address - start)
                return self._asked(at, size, value)
        return value

    def port_read(self, port: int, size: int) -> int:
        """The driver reads a port that is no device's."""
        ones = (1 << 8 * size) - 1
        return self._asked(RegisterAt(PORTS, port), size, ones) if self.plugged else ones

    def _asked(self, register: RegisterAt, size: int, otherwise: int | None) -> int:
        if self.companion:
            register = RegisterAt(register.bar - COMPANION * self.companion, register.offset)
        return self.answer(register, size, otherwise, self.function.reads_on_bus)

    def write_memory(self, bar: int, offset: int, size: int, value: int) -> None:
        self.keep(RegisterAt(bar, offset), size, value)
        first, count, following = self._fill
        self._fill = (
            (first, count + 1, (bar, offset + size))
            if (bar, offset) == following
            else (offset, 1, (bar, offset + size))
        )
        if count == _FILLED and (bar, offset) == following and self.lie is None:
            self._become_memory(bar, first)

    def _become_memory(self, bar: int, first: int) -> None:
        """Who writes one word after the other fills memory: a frame buffer, say. From there on the BAR is memory."""
        first &= ~_PAGE_MASK
        size = next((row[1] for row in bars_of(self.policy) if row[0] == bar), 0) - first
        if size > 0 and not any(at.bar == bar and at.offset >= first for at in self.policy.known):
            self.function.keep_memory(bar, first, size, self.written_at(bar, first))


def _words(alias: str) -> list[int | None] | None:
    """Vendor, device, subsystem (2), class, subclass, interface of an alias, None for "*"; None for no alias of PCI."""
    match = _ALIAS.fullmatch(alias)
    return None if match is None else [None if word == "*" else int(word, 16) for word in match.groups()]


def wanted_by(aliases: Iterable[str]) -> Callable[[PciIdentity], bool]:
    """Whether one of these aliases is of a device with an identity."""
    rows = [words for alias in aliases if (words := _words(alias)) is not None]

    def wanted(who: PciIdentity) -> bool:
        base, sub, interface = who.class_code >> 16, who.class_code >> 8 & 255, who.class_code & 255
        is_ = (who.vendor, who.device, *who.subsystem, base, sub, interface)
        return any(all(word in (None, own) for word, own in zip(words, is_, strict=True)) for words in rows)

    return wanted


def _interface(base: int | None, sub: int | None, interface: int | None) -> int:
    """The lowest byte of a class: that of an alias; else of IDE controllers such as have BARs of their own, not a PC's
    old ports (PCI IDE Controller Specification 1.0, 2.2)."""
    if interface is None and (base, sub) == _IDE:
        return _NATIVE
    return interface or 0


def identities_for(aliases: Iterable[str], most: int = 3) -> list[PciIdentity]:
    """Whom a device may be for a driver with these aliases; empty when it is no PCI driver.

    Those that name vendor and device come first; of many, the first, the last and some between are taken.
    """
    named: dict[PciIdentity, None] = {}
    others: dict[PciIdentity, None] = {}
    for alias in aliases:
        if (words := _words(alias)) is None:
            continue
        vendor, device, subvendor, subdevice, base, sub, interface = words
        who = PciIdentity(
            0x1AF4 if vendor is None else vendor,
            0x10F0 if device is None else device,
            (0xFF if base is None else base) << 16 | (sub or 0) << 8 | _interface(base, sub, interface),
            subsystem=(
                (vendor or 0) if subvendor is None else subvendor,
                (device or 0) if subdevice is None else subdevice,
            ),
            vectors=MAX_VECTORS,
        )
        (others if vendor is None or device is None else named)[who] = None
    found = [*named, *others]
    if len(found) <= most:
        return found
    return [found[n * (len(found) - 1) // (most - 1)] for n in range(most)]


def bars_of(policy: Policy) -> list[tuple[int, int, bool]]:
    """The BARs of a phantom: number, size, whether they are ports."""
    ports, found = _PORTS[policy.layout], []
    for number in _NUMBERS[policy.layout]:
        size = 256 if number in ports else 16 << 20 if number < 3 else 1 << 20
        found.append((number, *policy.bars.get(number, (size, number in ports))))
    return [row for row in found if row[1]]


def phantom(identity: PciIdentity, policy: Policy, companion: int = 0) -> PhantomDevice:
    """A device that says it is `identity` and answers by `policy`: five BARs, large ones or of 256 ports each."""
    bars: dict[str, object] = {
        f"bar{number}": PciDevice.ports(size) if is_ports else PciDevice.memory(size)
        for number, size, is_ports in bars_of(policy)
    }
    kind = type(
        "Phantom",
        (PhantomDevice,),
        {
            **bars,
            "policy": policy,
            "companion": companion,
            "express": Express(speed=3, width=8) if policy.express else None,
            "serial_number": 0x0000C0FFEE000001 if policy.express else None,
            "rom": expansion_rom(bytes(ROM_SIZE - ROM_HEADER), identity.vendor, identity.device, identity.class_code)
            if policy.rom
            else b"",
            "vendor_id": identity.vendor,
            "device_id": identity.device,
            "class_code": identity.class_code,
            "subsystem": identity.subsystem,
            "revision": identity.revision,
            "initial_command": policy.command,
            "own_capabilities": capabilities_of(policy),
            "vectors": identity.vectors,
        },
    )
    made = kind()
    assert isinstance(made, PhantomDevice)
    return made


_PLAIN = 0x70, 0x40  # where capabilities stand in configuration space, and how long they are
_PLAIN_SIZE, _EXTENDED, _EXTENDED_SIZE, _MOST_EXTENDED = 0x2E, 0x1A0, 0x60, 8


def capabilities_of(policy: Policy) -> list[Capability]:
    """The capabilities that a driver looks for."""
    plain = [one for one in policy.capabilities if not one.is_extended][: len(_PLAIN)]
    extended = [one for one in policy.capabilities if one.is_extended][:_MOST_EXTENDED]
    found = [own(one.kind, one.content.ljust(_PLAIN_SIZE, b"\0"), at) for one, at in zip(plain, _PLAIN, strict=False)]
    for number, one in enumerate(extended):
        content = one.content.ljust(_EXTENDED_SIZE - 4, b"\0")
        found.append(own(one.kind, content, _EXTENDED + _EXTENDED_SIZE * number))
    return found


def companions_of(policy: Policy) -> list[PhantomDevice]:
    """The devices that are to be plugged in before the phantom itself."""
    known = {register: steps for register, steps in policy.known.items() if register.bar < ROM}
    found = []
    for number, (vendor, device, *_) in enumerate(policy.companions, 1):
        one = phantom(PciIdentity(vendor, device, _BRIDGE, vectors=0), Policy(known=known), number)
        found.append(one)
    return found
