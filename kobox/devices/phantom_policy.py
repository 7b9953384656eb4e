"""How a phantom answers: what is known of its registers, what it says where nothing is known, and lies.

    Policy(known={RegisterAt(0, 0x10): (Step(0, 0xFF, 0x13),)})      BAR 0 + 0x10 says 0x13 in its low byte

A register is a BAR of PCI and an offset, or what other buses have in their place (`RegisterAt`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple
from zlib import crc32

_MOST_READS = 1 << 14
_MOST_KEPT = 1 << 16  # bytes that are remembered: a driver may write without end
PATIENCE = 64  # reads of one register that say the same, without a write of any between them
_LEAST_PATIENCE = 4  # of a register that was waited for in vain some times, and in a handler of interrupts
_MOST_LEARNED = 48  # answers for one register that are found while the driver waits for them
# In RegisterAt.bar: the expansion ROM; configuration space; what the kernel knows of the device (below); from 8 on,
# memory that the driver shares with it, firmware too. Below the ROM, the BARs of companions, 16 numbers for each.
ROM = -1
CONFIGURATION = 6
HEADER = 7
# Offsets in HEADER: as in struct pci_dev from `vendor` on; then a struct resource for each BAR; then sizes of firmware.
# From 0x40 on the header of configuration space, as it is read there.
CONFIGURATION_HEADER = 0x40
RESOURCES, RESOURCE, FIRMWARE = 0x100, 0x20, 0x1000
PLACE = -4
COMMAND = CONFIGURATION_HEADER + 4
ROM_HEADER, ROM_SIZE = 0x34, 64 << 10
MEMORY = 8
COMPANION = 16
# In HEADER, in front of the IDs: where the device is on its bus (`devfn` of struct pci_dev).
# From WIRES on, what other buses have. I2C and SPI: + how many bytes choose the register; these are the offset's upper
# part, the place in what is read its lower twelve bits. Of USB: CONTROL + kind and number of a request; its value, its
# index and the byte are the offset; ENDPOINT + the endpoint's address, and the byte. Of virtio: VIRTQUEUE +
# the queue, and the byte of a buffer. PORTS: ports that no device has, by their numbers.
WIRES, I2C, SPI, CONTROL, ENDPOINT, VIRTQUEUE, PORTS = 1 << 16, 1 << 16, 1 << 17, 1 << 18, 1 << 19, 1 << 20, 1 << 21
ELSEWHERE = 16  # in a register of I2C: times the address, where that is not the device's own
PLACE_BITS = 12


class RegisterAt(NamedTuple):
    """Where a register is: its BAR, CONFIGURATION, MEMORY + the number of an allocation, or what other buses have
    (`WIRES`); and the offset in it."""

    bar: int
    offset: int


def is_header(register: RegisterAt) -> bool:
    """Whether that is something that the kernel knows of the device, or of a companion."""
    return register.bar == HEADER or (register.bar < ROM and register.bar % COMPANION == HEADER)


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


class Step(NamedTuple):
    """From its read number `since` on (the first is 0), the bits of a register in `mask` are as in `value`."""

    since: int
    mask: int
    value: int

    def __str__(self) -> str:
        whole = self.mask in (0xFF, 0xFFFF, 0xFFFFFFFF, (1 << 64) - 1)
        bits = f" = {self.value:#x}" if whole else f" & {self.mask:#x} = {self.value:#x}"
        return bits + (f" from read {self.since + 1} on" if self.since else "")


class OwnCapability(NamedTuple):
    """A capability of PCI that the driver looks for: its number, whether it is an extended one, and what stands behind
    its header; zeros where that is too short."""

    kind: int
    is_extended: bool = False
    content: bytes = b""


class Companion(NamedTuple):
    """Another device that the driver looks for: its IDs, and its place on bus 0, device number times 8 plus function
    number; -1 for any."""

    vendor: int
    device: int
    place: int = -1


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
    companions: tuple[Companion, ...] = ()
    """Other devices that the driver looks for."""
    place: int = 0
    """Its device number on bus 0; 0 for the next free one."""
    command: int = 0
    """What firmware has left in the command register."""
    capabilities: tuple[OwnCapability, ...] = ()
    """Capabilities that the driver looks for."""
    express: bool = False
    """Whether it is a device of PCI Express."""
    rom: bool = False
    """Whether it has an expansion ROM."""
    quiet: bool = False
    """Whether it never interrupts."""

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

    def with_companions(self, *others: Companion) -> Policy:
        """The same with other devices beside it."""
        return replace(self, companions=(*self.companions, *others))

    def with_capability(self, capability: OwnCapability) -> Policy:
        """The same with a capability."""
        return replace(self, capabilities=(*self.capabilities, capability))

    @property
    def key(self) -> tuple[object, ...]:
        """What distinguishes it from others."""
        known, bars, firmware = (tuple(sorted(one.items())) for one in (self.known, self.bars, self.firmware))
        has = self.companions, self.express, self.rom, self.quiet, self.place, self.command, self.capabilities
        return self.layout, self.rest, known, bars, firmware, has

    def lines(self) -> list[str]:
        """What is known, a line for each step of a register."""
        bars = [
            f"BAR {number}: " + (f"{size:#x} bytes of {'ports' if is_ports else 'memory'}" if size else "none")
            for number, (size, is_ports) in sorted(self.bars.items())
        ]
        files = [f"firmware {name} of {size} bytes" for name, size in sorted(self.firmware.items())]
        files += ["PCI Express"] * self.express + ["an expansion ROM"] * self.rom + ["no interrupts"] * self.quiet
        files += [f"device {self.place:02x} of bus 0"] * bool(self.place)
        files += [f"command register {self.command:#x} at first"] * bool(self.command)
        files += [
            f"{'extended ' * one.is_extended}capability {one.kind:#x}"
            + (f" with {one.content.hex(' ')}" if one.content else "")
            for one in self.capabilities
        ]
        for one in self.companions:
            where = f" at {one.place >> 3:02x}.{one.place & 7}" if one.place >= 0 else ""
            files.append(f"beside it {one.vendor:04x}:{one.device:04x}{where}")
        return bars + files + [f"{name_of(at)}{step}" for at, steps in sorted(self.known.items()) for step in steps]


def name_of(register: RegisterAt) -> str:
    """How a register is called in texts."""
    if register.bar < ROM:
        number, bar = divmod(register.bar, COMPANION)
        return f"beside it, device {-number}: {name_of(RegisterAt(bar, register.offset))}"
    if register.bar == ROM:
        return f"expansion ROM + {register.offset:#x}"
    if register.bar >= WIRES:
        return _name_on_wires(register)
    if register.bar >= MEMORY:
        return f"shared memory {register.bar - MEMORY} + {register.offset:#x}"
    if register.bar == HEADER:
        return f"what the kernel knows of the device + {register.offset:#x}"
    if register.bar == CONFIGURATION:
        return f"configuration space + {register.offset:#x}"
    return f"BAR {register.bar} + {register.offset:#x}"


def _name_on_wires(register: RegisterAt) -> str:
    where, place = register.offset >> PLACE_BITS, register.offset & (1 << PLACE_BITS) - 1
    if register.bar >= PORTS:
        return f"port {register.offset:#x}"
    if register.bar >= VIRTQUEUE:
        return f"queue {register.bar - VIRTQUEUE}, byte {register.offset}"
    if register.bar >= ENDPOINT:
        return f"endpoint {register.bar - ENDPOINT:#x}, byte {register.offset}"
    if register.bar >= CONTROL:
        kind, number = divmod(register.bar - CONTROL, 256)
        value, index = divmod(where, 1 << 16)
        return f"request {kind:#x} {number:#x}, value {value:#x}, index {index:#x}, byte {place}"
    bus, start = ("SPI", SPI) if register.bar >= SPI else ("I2C", I2C)
    address = (register.bar - start) // ELSEWHERE
    return f"{bus}{f' {address:#x}' if address else ''} register {where:#x}, byte {place}"


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
    SILENT = "silent"  # it never interrupts, and its endpoints never answer
    REFUSED = "refused"  # the bus refuses transfer `value`: no acknowledge on I2C, a lost word on SPI, a stall on USB
    STORM = "storm"  # it interrupts as soon as the driver has asked for that, again and again
    RANDOM = "random"  # every third answer is a number that breaks sums and indexes, chosen by the seed `value`


_IN_WORDS = {
    LieKind.SILENT: "the device never interrupted",
    LieKind.REFUSED: "the device refused transfer {}",
    LieKind.STORM: "the device interrupted without end",
}


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
        if self.kind in _IN_WORDS:
            return _IN_WORDS[self.kind].format(self.value + 1)
        return f"the device answered at random (seed {self.value})"

    def told(self, register: RegisterAt, number: int, value: int) -> int:
        """What is said instead of `value`, at read `number` of all."""
        if self.kind is LieKind.REGISTER:
            return self.value if register == self.register else value
        if self.kind in (LieKind.HONEST, *_IN_WORDS):
            return value
        if self.kind is LieKind.GONE:
            return -1 if number >= self.value else value
        chance = crc32(f"{self.value} {number}".encode())
        return EXTREMES[chance // 3 % len(EXTREMES)] if chance % 3 == 0 else value


EXTREMES = (0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0x10000, 0xFFFF, 0xFF, 0x1000, 0)
"""Numbers that lengths, indexes and counts are not made for."""


class PolicyAnswers:
    """What all phantoms have in common: they answer by `policy`, and keep what was read (the first some thousand reads,
    in order)."""

    policy: Policy = Policy()
    lie: Lie | None = None

    def __init__(self) -> None:
        self._answers = 0
        self.transfers = 0
        """How many messages or transfers there were, on buses that have them."""
        self.reads: list[Read] = []
        self._bytes: dict[tuple[int, int], int] = {}
        self._visits: dict[RegisterAt, int] = {}
        self._turn = False
        # Since the last write, of each register: what it said, how often one after the other, how often in all, and
        # the number of its last read.
        self._same: dict[RegisterAt, tuple[int, int, int, int]] = {}
        self._same_outside: dict[RegisterAt, tuple[int, int, int, int]] = {}  # of a handler of interrupts, in one
        self._patience: dict[RegisterAt, int] = {}
        self._learned: dict[RegisterAt, int] = {}
        self.expected: Callable[[RegisterAt, int, int, int], int | None] | None = None
        """Asked what a driver waits for that polls a register: the register, the number of its last read, what it has
        said, and how often that was asked before; None when nobody knows."""
        self.polled: Callable[[int], None] | None = None
        """Told of each read of a register that somebody polls: how many there were since that was noticed."""
        self.is_handled = False
        """Whether the driver's interrupt handler runs: it goes on while something is to be done, whatever it writes."""
        self.waits = 0
        """How often a driver has waited for a register in vain."""

    @property
    def most_reads(self) -> int:
        """How often the register was read that was read most."""
        return max(self._visits.values(), default=0)

    @property
    def is_silent(self) -> bool:
        """Whether it never interrupts, by its policy or as a lie."""
        return self.policy.quiet or (self.lie is not None and self.lie.kind is LieKind.SILENT)

    @property
    def storms(self) -> bool:
        """Whether it interrupts without end, as a lie."""
        return self.lie is not None and self.lie.kind is LieKind.STORM

    def next_is_refused(self) -> bool:
        """Count a transfer; whether the bus refuses it."""
        self.transfers += 1
        lie = self.lie
        return lie is not None and lie.kind is LieKind.REFUSED and lie.value == self.transfers - 1

    def handler_runs(self, runs: bool) -> None:
        """The driver's interrupt handler begins, or is done."""
        if runs != self.is_handled:
            self.is_handled = runs
            self._same, self._same_outside = self._same_outside, self._same
            if runs:
                self._same.clear()

    def answer(self, register: RegisterAt, size: int, otherwise: int | None = None, number: int = 0) -> int:
        """What it says where a register of `size` bytes is read. `otherwise` is what stands there when nothing is
        known; `number` is the read's number on the bus."""
        visit = self._visits.get(register, 0)
        if visit or len(self._visits) < _MOST_KEPT:
            self._visits[register] = visit + 1
        value = self._rest(register, size) if otherwise is None else otherwise
        for step in self.policy.known.get(register, ()):
            if step.since <= visit:
                value = value & ~step.mask | step.value & step.mask
        if self.lie is not None and register.bar not in (HEADER, ROM):
            value = self.lie.told(register, self._answers, value)
        self._answers += 1
        if register.bar not in (CONFIGURATION, HEADER):
            value = self._impatient(register, Read(number, register, visit, size, value))
        value &= (1 << 8 * size) - 1
        if len(self.reads) < _MOST_READS:
            self.reads.append(Read(number, register, visit, size, value))
        return value

    def _impatient(self, register: RegisterAt, read: Read) -> int:
        """Whoever reads the same again and again waits for something else: after a while that comes, by turns; sooner,
        where that has happened before."""
        value, is_memory = read.value, MEMORY <= register.bar < WIRES
        if is_memory and self.expected is None:
            return value
        before, times, reads, last = self._same.get(register, (value, 0, 0, 0))
        times = times + 1 if before == value else 1
        if reads or len(self._same) < _MOST_KEPT:
            self._same[register] = value, times, reads + 1, read.number
        if reads > PATIENCE and self.polled is not None:
            self.polled(reads - PATIENCE)
        patience = _LEAST_PATIENCE if self.is_handled else self._patience.get(register, PATIENCE)
        if times == patience + 1:
            self.waits += 1
            if not self.is_handled:
                self._patience[register] = max(patience // 2, _LEAST_PATIENCE)
        if times <= patience or not times & 1:
            return value
        wanted = self._wanted(register, last, read)
        return wanted if wanted is not None else value if is_memory else ~value

    def _wanted(self, register: RegisterAt, last: int, read: Read) -> int | None:
        """What ends the loop in which a register is polled, which it says from now on."""
        turn = self._learned.get(register, 0)
        if self.expected is None or turn >= _MOST_LEARNED:
            return None
        self._learned[register] = turn + 1
        wanted = self.expected(register, last, read.value, turn)
        if wanted is None or not (changed := (wanted ^ read.value) & (1 << 8 * read.size) - 1):
            return None
        self.policy = self.policy.with_step(register, Step(read.visit, changed, wanted & changed))
        self._same[register] = wanted, 1, self._same.get(register, (0, 0, 0, 0))[2], read.number
        return wanted

    def _rest(self, register: RegisterAt, size: int) -> int:
        if self.policy.rest is Rest.WRITTEN:
            return sum(self._bytes.get((register.bar, register.offset + n), 0) << 8 * n for n in range(size))
        self._turn = not self._turn
        ones = self.policy.rest is Rest.ONES or (self.policy.rest is Rest.TURNS and self._turn)
        return (1 << 8 * size) - 1 if ones else 0

    def written_at(self, bar: int, first: int) -> dict[int, int]:
        """The bytes that were written to a BAR, from `first` on, by their offsets there."""
        return {at - first: byte for (where, at), byte in self._bytes.items() if where == bar and at >= first}

    def keep(self, register: RegisterAt, size: int, value: int) -> None:
        """The driver has written a register."""
        if self._same and not self.is_handled:
            self._same.clear()
        for n in range(size):
            key = register.bar, register.offset + n
            if len(self._bytes) < _MOST_KEPT or key in self._bytes:
                self._bytes[key] = value >> 8 * n & 255
