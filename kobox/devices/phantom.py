"""A PCI device of which nothing is known but which driver wants it: its registers answer by a policy.

    driver's aliases (pci:v00008086d0000100E…)  ->  identities_for()  ->  phantom(identity, policy)  ->  box.plug()

What each register must say is found by trying (`kobox.checks.phantom`); what was found is a `Policy`, which is also the
first draft of a model made by hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from kobox.devices.pci import BarDeclaration, PciDevice
from kobox.machine.pci import PciIdentity

_ALIAS = re.compile(
    r"pci:v(\*|[0-9A-F]{8})d(\*|[0-9A-F]{8})sv(\*|[0-9A-F]{8})sd(\*|[0-9A-F]{8})bc(\*|..)sc(\*|..)i(\*|..)"
)
_MOST_READS = 4096


class RegisterAt(NamedTuple):
    """Where a register is: its BAR, and the offset in it."""

    bar: int
    offset: int


class Rest(StrEnum):
    """What a register says that no value is known for."""

    WRITTEN = "written"  # what was written there last, 0 before that
    ZERO = "zero"
    ONES = "ones"
    TURNS = "turns"  # zeroes and ones by turns: a loop that waits for a bit ends, whichever it is


class BarLayout(StrEnum):
    """Which BARs are memory, and which are ports."""

    MEMORY = "memory"
    MIXED = "mixed"  # BAR 0 and 4 are ports
    PORTS = "ports"  # all are


# The BARs of each layout, and which of them are ports. One is left for the table of MSI-X.
_NUMBERS = {BarLayout.MEMORY: (0, 1, 2, 3, 5), BarLayout.MIXED: (0, 1, 2, 3, 4), BarLayout.PORTS: (0, 1, 2, 3, 4)}
_PORTS = {BarLayout.MEMORY: (), BarLayout.MIXED: (0, 4), BarLayout.PORTS: (0, 1, 2, 3, 4)}


@dataclass(frozen=True, slots=True)
class Policy:
    """How a phantom answers: `known` registers say what stands there, the others what `rest` says."""

    layout: BarLayout = BarLayout.MEMORY
    rest: Rest = Rest.WRITTEN
    known: Mapping[RegisterAt, int] = field(default_factory=dict)

    def with_known(self, register: RegisterAt, value: int) -> Policy:
        """The same, and one register more."""
        return Policy(self.layout, self.rest, {**self.known, register: value})


class PhantomDevice(PciDevice):
    """Answers by `policy`, and keeps which registers were read (the first few thousand reads, in order)."""

    policy: Policy = Policy()

    def __init__(self) -> None:
        self.reads: list[RegisterAt] = []
        self._bytes: dict[tuple[int, int], int] = {}
        self._turn = False

    def read_memory(self, bar: int, offset: int, size: int) -> int:
        register = RegisterAt(bar, offset)
        if len(self.reads) < _MOST_READS:
            self.reads.append(register)
        known = self.policy.known.get(register)
        if known is not None:
            return known
        if self.policy.rest is Rest.WRITTEN:
            return sum(self._bytes.get((bar, offset + n), 0) << 8 * n for n in range(size))
        self._turn = not self._turn
        ones = self.policy.rest is Rest.ONES or (self.policy.rest is Rest.TURNS and self._turn)
        return (1 << 8 * size) - 1 if ones else 0

    def write_memory(self, bar: int, offset: int, size: int, value: int) -> None:
        for n in range(size):
            self._bytes[bar, offset + n] = value >> 8 * n & 255


def identities_for(aliases: Iterable[str], most: int = 3) -> list[PciIdentity]:
    """Whom a device may be for a driver with these aliases; empty when it is no PCI driver.

    Those that name vendor and device come first; of many, the first, the last and some between are taken.
    """
    named: dict[PciIdentity, None] = {}
    others: dict[PciIdentity, None] = {}
    for alias in aliases:
        if not (match := _ALIAS.fullmatch(alias)):
            continue
        words = [None if word == "*" else int(word, 16) for word in match.groups()]
        vendor, device, subvendor, subdevice, base, sub, interface = words
        who = PciIdentity(
            0x1AF4 if vendor is None else vendor,
            0x10F0 if device is None else device,
            (0xFF if base is None else base) << 16 | (sub or 0) << 8 | (interface or 0),
            subsystem=(subvendor or vendor or 0, subdevice or device or 0),
            vectors=8,
        )
        (others if vendor is None or device is None else named)[who] = None
    found = [*named, *others]
    if len(found) <= most:
        return found
    return [found[n * (len(found) - 1) // (most - 1)] for n in range(most)]


def phantom(identity: PciIdentity, policy: Policy) -> PhantomDevice:
    """A device that says it is `identity` and answers by `policy`: five BARs, of 1 MiB or 256 ports each."""
    ports = _PORTS[policy.layout]
    bars: dict[str, BarDeclaration] = {}
    for number in _NUMBERS[policy.layout]:
        size = 0x100000 if number < 2 else 0x10000
        bars[f"bar{number}"] = PciDevice.ports(0x100) if number in ports else PciDevice.memory(size)
    kind = type(
        "Phantom",
        (PhantomDevice,),
        {
            **bars,
            "policy": policy,
            "vendor_id": identity.vendor,
            "device_id": identity.device,
            "class_code": identity.class_code,
            "subsystem": identity.subsystem,
            "vectors": identity.vectors,
        },
    )
    made = kind()
    assert isinstance(made, PhantomDevice)
    return made
