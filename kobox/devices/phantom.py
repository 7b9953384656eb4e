"""A PCI device of which nothing is known but which driver wants it: its registers answer by a policy.

    driver's aliases (pci:v00008086d0000100E…)  ->  identities_for()  ->  phantom(identity, policy)  ->  box.plug()

What each register must say is found by trying (`kobox.checks.phantom`); what was found is a `Policy`, which is also the
first draft of a model made by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import ClassVar, NamedTuple
from zlib import crc32

from kobox.devices.pci import PciDevice, expansion_rom
from kobox.machine.pci_capabilities import Express
from kobox.machine.pci_function import MAX_VECTORS, PciIdentity

_ALIAS = re.compile(
    r"pci:v(\*|[0-9A-F]{8})d(\*|[0-9A-F]{8})sv(\*|[0-9A-F]{8})sd(\*|[0-9A-F]{8})bc(\*|..)sc(\*|..)i(\*|..)\*?"
)
_MOST_READS = 1 << 14
_BRIDGE = 0x068000  # the class of a bridge of no kind of its own, for which no driver's table waits
PATIENCE = 64  # reads of one register, one after the other, that say the same
# In RegisterAt.bar: the expansion ROM; configuration space; what the kernel knows of the device (below); from 8 on,
# memory that the driver shares with it, firmware too. Below the ROM, the BARs of companions, 16 numbers for each.
ROM = -1
CONFIGURATION = 6
HEADER = 7
# Offsets in HEADER: as in struct pci_dev from `vendor` on; then a struct resource for each BAR; then sizes of firmware.
# From 0x40 on the header of configuration space, as it is read there.
CONFIGURATION_HEADER = 0x40
RESOURCES, RESOURCE, FIRMWARE = 0x100, 0x20, 0x1000
ROM_HEADER, ROM_SIZE = 0x34, 64 << 10
MEMORY = 8
_COMPANION = 16


class RegisterAt(NamedTuple):
    """Where a register is: its BAR, CONFIGURATION, or MEMORY + the number of an allocation; and the offset in it."""

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


class Step(NamedTuple):
    """From its read number `since` on (the first is 0), the bits of a register in `mask` are as in `value`."""

    since: int
    mask: int
    value: int

    def __str__(self) -> str:
        whole = self.mask in (0xFF, 0xFFFF, 0xFFFFFFFF, (1 << 64) - 1)
        bits = f" = {self.value:#x}" if whole else f" & {self.mask:#x} = {self.value:#x}"
        return bits + (f" from read {self.since + 1} on" if self.since else "")


@dataclass(frozen=True, slots=True)
class Policy:
    """How a phantom answers: what `rest` says, with the bits changed that are known; later steps win."""

    layout: BarLayout = BarLayout.MEMORY
    rest: Rest = Rest.WRITTEN
    known: Mapping[RegisterAt, tuple[Step, ...]] = field(default_factory=dict)
    bars: Mapping[int, tuple[int, bool]] = field(default_factory=dict)
    """BARs that are other than the layout's: their size (0: there is none), and whether they are ports."""
    firmware: Mapping[str, int] = field(default_factory=dict)
    """Files that the driver asks for, and how large each is; they are full of zeros, but for what is known."""
    companions: tuple[tuple[int, int], ...] = ()
    """Other devices that the driver looks for: vendor, device."""
    express: bool = False
    """Whether it is a device of PCI Express."""
    rom: bool = False
    """Whether it has an expansion ROM."""

    def with_step(self, register: RegisterAt, step: Step) -> Policy:
        """The same, and one step more; where it says something of bits that a step of the same read has, it wins."""
        others = [other for other in self.known.get(register, ()) if other.since != step.since]
        for other in self.known.get(register, ()):
            if other.since == step.since:
                kept = other.mask & ~step.mask
                step = Step(step.since, step.mask | kept, step.value & step.mask | other.value & kept)
        return replace(self, known={**self.known, register: tuple(sorted([*others, step]))})

    def with_bar(self, number: int, size: int, is_ports: bool) -> Policy:
        """The same with another BAR."""
        return replace(self, bars={**self.bars, number: (size, is_ports)})

    def with_firmware(self, name: str, size: int) -> Policy:
        """The same with a file of firmware."""
        return replace(self, firmware={**self.firmware, name: size})

    def with_companion(self, vendor: int, device: int) -> Policy:
        """The same with another device beside it."""
        return replace(self, companions=(*self.companions, (vendor, device)))

    @property
    def key(self) -> tuple[object, ...]:
        """What distinguishes it from others."""
        known, bars, firmware = (tuple(sorted(one.items())) for one in (self.known, self.bars, self.firmware))
        return self.layout, self.rest, known, bars, firmware, self.companions, self.express, self.rom

    def lines(self) -> list[str]:
        """What is known, a line for each step of a register."""
        bars = [
            f"BAR {number}: " + (f"{size:#x} bytes of {'ports' if is_ports else 'memory'}" if size else "none")
            for number, (size, is_ports) in sorted(self.bars.items())
        ]
        files = [f"firmware {name} of {size} bytes" for name, size in sorted(self.firmware.items())]
        files += ["PCI Express"] * self.express + ["an expansion ROM"] * self.rom
        files += [f"beside it {vendor:04x}:{device:04x}" for vendor, device in self.companions]
        return bars + files + [f"{name_of(at)}{step}" for at, steps in sorted(self.known.items()) for step in steps]


def name_of(register: RegisterAt) -> str:
    """How a register is called in texts."""
    if register.bar < ROM:
        number, bar = divmod(register.bar, _COMPANION)
        return f"beside it, device {-number}: {name_of(RegisterAt(bar, register.offset))}"
    if register.bar == ROM:
        return f"expansion ROM + {register.offset:#x}"
    if register.bar >= MEMORY:
        return f"shared memory {register.bar - MEMORY} + {register.offset:#x}"
    if register.bar == HEADER:
        return f"what the kernel knows of the device + {register.offset:#x}"
    if register.bar == CONFIGURATION:
        return f"configuration space + {register.offset:#x}"
    return f"BAR {register.bar} + {register.offset:#x}"


class Read(NamedTuple):
    """A read of a phantom: its number on the bus, the register, how often that had been read before, and the answer."""

    number: int
    register: RegisterAt
    visit: int
    size: int
    value: int


class LieKind(StrEnum):
    """How a device that means harm answers."""

    HONEST = "honest"  # by the policy, but memory that is shared is asked for as well
    REGISTER = "register"  # one register says `value`
    GONE = "gone"  # from read number `value` on there are only ones, as when it is taken out
    SILENT = "silent"  # it never interrupts
    RANDOM = "random"  # every third answer is a number that breaks sums and indexes, chosen by the seed `value`


class Lie(NamedTuple):
    """What a hostile device does to the answers of its policy."""

    kind: LieKind
    value: int
    register: RegisterAt | None = None

    def __str__(self) -> str:
        if self.register is not None:
            return f"the device said {self.value:#x} where {name_of(self.register)} was read"
        if self.kind is LieKind.GONE:
            return f"the device said only ones from read {self.value + 1} on, as if it had been taken out"
        if self.kind is LieKind.SILENT:
            return "the device never interrupted"
        return f"the device answered at random (seed {self.value})"

    def told(self, register: RegisterAt, number: int, value: int) -> int:
        """What is said instead of `value`, at read `number` of all."""
        if self.kind is LieKind.REGISTER:
            return self.value if register == self.register else value
        if self.kind in (LieKind.HONEST, LieKind.SILENT):
            return value
        if self.kind is LieKind.GONE:
            return -1 if number >= self.value else value
        chance = crc32(f"{self.value} {number}".encode())
        return EXTREMES[chance // 3 % len(EXTREMES)] if chance % 3 == 0 else value


EXTREMES = (0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0x10000, 0xFFFF, 0xFF, 0x1000, 0)
"""Numbers that lengths, indexes and counts are not made for."""


class PhantomDevice(PciDevice):
    """Answers by `policy`, and keeps what was read (the first some thousand reads, in order)."""

    policy: Policy = Policy()
    lie: Lie | None = None
    companion: ClassVar[int] = 0
    """From 1 on: it is a companion, and its registers are called by that number."""

    def __init__(self) -> None:
        self._answers = 0
        self.reads: list[Read] = []
        self._bytes: dict[tuple[int, int], int] = {}
        self._visits: dict[RegisterAt, int] = {}
        self._turn = False
        self._same, self._times = (RegisterAt(-1, 0), 0), 0
        self._shared: list[tuple[int, int, RegisterAt]] = []
        self._allocations = 0

    @property
    def most_reads(self) -> int:
        """How often the register was read that was read most."""
        return max(self._visits.values(), default=0)

    def interrupt(self, vector: int = 0) -> None:
        if self.lie is None or self.lie.kind is not LieKind.SILENT:
            super().interrupt(vector)

    def share_memory(self, address: int, size: int, register: RegisterAt | None = None) -> None:
        """The driver has allocated memory for both: its bus address. `register` is what it is called, when it is no
        memory of the driver's."""
        if register is None:
            register = RegisterAt(MEMORY + self._allocations, 0)
            self._allocations += 1
        self._shared.append((address, size, register))

    def read_memory(self, bar: int, offset: int, size: int) -> int:
        return self._answer(RegisterAt(bar, offset), size, None)

    def rom_read(self, offset: int, size: int) -> int:
        if offset + size <= ROM_HEADER:
            return super().rom_read(offset, size)
        return self._answer(RegisterAt(ROM, offset), size, None)

    def read_configuration(self, register: int, size: int, value: int) -> int:
        if register < CONFIGURATION_HEADER:
            return self._answer(RegisterAt(HEADER, CONFIGURATION_HEADER + register), size, value)
        if not self.function.is_own(register):
            return value
        return self._answer(RegisterAt(CONFIGURATION, register), size, value)

    def shared_read(self, address: int, size: int, value: int) -> int:
        for start, room, register in reversed(self._shared):
            if start <= address < start + room:
                at = RegisterAt(register.bar, register.offset + address - start)
                return self._answer(at, size, value)
        return value

    def _answer(self, register: RegisterAt, size: int, otherwise: int | None) -> int:
        if self.companion:
            register = RegisterAt(register.bar - _COMPANION * self.companion, register.offset)
        visit = self._visits.get(register, 0)
        self._visits[register] = visit + 1
        value = self._rest(register, size) if otherwise is None else otherwise
        for step in self.policy.known.get(register, ()):
            if step.since <= visit:
                value = value & ~step.mask | step.value & step.mask
        if self.lie is not None and register.bar not in (HEADER, ROM):
            value = self.lie.told(register, self._answers, value)
        self._answers += 1
        if register.bar < CONFIGURATION:
            value = self._impatient(register, value)
        value &= (1 << 8 * size) - 1
        if len(self.reads) < _MOST_READS:
            self.reads.append(Read(self.function.reads_on_bus, register, visit, size, value))
        return value

    def _impatient(self, register: RegisterAt, value: int) -> int:
        """Whoever reads the same again and again waits for something else: after a while that comes, by turns."""
        if (register, value) != self._same:
            self._same, self._times = (register, value), 0
        self._times += 1
        return ~value if self._times > PATIENCE and self._times & 1 else value

    def _rest(self, register: RegisterAt, size: int) -> int:
        if self.policy.rest is Rest.WRITTEN:
            return sum(self._bytes.get((register.bar, register.offset + n), 0) << 8 * n for n in range(size))
        self._turn = not self._turn
        ones = self.policy.rest is Rest.ONES or (self.policy.rest is Rest.TURNS and self._turn)
        return (1 << 8 * size) - 1 if ones else 0

    def write_memory(self, bar: int, offset: int, size: int, value: int) -> None:
        for n in range(size):
            self._bytes[bar, offset + n] = value >> 8 * n & 255


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
            (0xFF if base is None else base) << 16 | (sub or 0) << 8 | (interface or 0),
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
            "vectors": identity.vectors,
        },
    )
    made = kind()
    assert isinstance(made, PhantomDevice)
    return made


def companions_of(policy: Policy) -> list[PhantomDevice]:
    """The devices that are to be plugged in before the phantom itself."""
    known = {register: steps for register, steps in policy.known.items() if register.bar < ROM}
    return [
        phantom(PciIdentity(vendor, device, _BRIDGE, vectors=0), Policy(known=known), number)
        for number, (vendor, device) in enumerate(policy.companions, 1)
    ]
