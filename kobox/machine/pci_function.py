"""The PCI bus of the machine: functions whose configuration space is here, and whose registers Python models.

    bus.attach(PciFunction(model, identity, bars))     a device is plugged in; the kernel finds it when it scans the bus

Configuration space of a function (PCI Local Bus Specification 3.0, chapter 6):

    0x00 vendor, device    0x04 command, status    0x08 class, revision    0x10 six BARs    0x2C subsystem
    0x34 capabilities ->  power management (PCI PM 1.2) -> MSI (6.8.1) -> MSI-X (6.8.2), with a BAR for its table
    0x3C interrupt line, pin

There is one bus, number 0, with 32 places for functions; place 0 is the host bridge. Pin A of place n is IRQ 10 or 11,
level triggered, as the ACPI tables say (`acpi.py`). What the CPU does with all that: `native/pci.c`.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from kobox.errors import KoboxError
from kobox.machine.acpi import PCI_IRQS, PCI_PLACES
from kobox.machine.devices import DeviceWork, Restore

MAX_VECTORS = 32
_CONFIG_SIZE = 256
_POWER, _MSI, _MSIX, _CAPABILITIES_END = 0xA0, 0xA8, 0xC0, 0xCC  # where the capabilities stand
_HEADER = 0x40
_STATUS_HAS_CAPABILITIES, _STATUS_INTERRUPT = 0x10, 0x08
_COMMAND_WRITABLE = 0x0547  # I/O, memory, bus master, parity, SERR, no INTx
_IO, _MEMORY, _MASTER, _NO_INTX = 1, 2, 4, 0x400
_TABLE_ENTRY = 16
_PENDING = 0x800  # where the pending bits of MSI-X are, in the BAR of its table


class Space(enum.IntEnum):
    """Where an access goes: `enum pci_space` of native/machine.h."""

    CONFIG = 0
    MEMORY = 1
    PORTS = 2
    DMA = 3  # no access of the kernel's to a device: it reads memory that a device may have written (machine/taint.py)


class BarKind(enum.Enum):
    """What a base address register asks for."""

    MEMORY = 0
    PORTS = 1
    MEMORY_64 = 4


class Bar(NamedTuple):
    """A base address register: `size` in bytes, a power of two."""

    number: int
    size: int
    kind: BarKind = BarKind.MEMORY
    prefetchable: bool = False

    @property
    def flags(self) -> int:
        """The bits below the address, which cannot be written."""
        return self.kind.value | (8 if self.prefetchable else 0)


class PciIdentity(NamedTuple):
    """What a function says it is: PCI IDs, 24 bits of class code, and how it interrupts.

    `vectors` is the number of messages (MSI and MSI-X); 0 leaves it the pin only.
    """

    vendor: int
    device: int
    class_code: int = 0xFF0000
    revision: int = 0
    subsystem: tuple[int, int] = (0, 0)
    vectors: int = 1
    pin: int = 1


class Model(Protocol):
    """What answers behind a function's BARs."""

    def bar_read(self, bar: int, offset: int, size: int) -> int: ...
    def bar_write(self, bar: int, offset: int, size: int, value: int) -> None: ...
    def configuration_read(self, register: int, size: int, value: int) -> int: ...
    def shared_read(self, address: int, size: int, value: int) -> int: ...
    def save(self) -> Restore: ...


class DmaError(KoboxError):
    """A device asked for memory that it cannot reach."""


class PciFunction:
    """One function on the bus. `place` is its device number there, -1 while it is not plugged in."""

    def __init__(self, model: Model, identity: PciIdentity, bars: Sequence[Bar]) -> None:
        self.model = model
        self.identity = identity
        self.place = -1
        self._bus: PciBus | None = None
        self._config, self._writable = bytearray(_CONFIG_SIZE), bytearray(_CONFIG_SIZE)
        self._bars = {bar.number: bar for bar in bars}
        self._table_bar = self._add_table_bar()
        self._table = bytearray(_TABLE_ENTRY * identity.vectors)
        self._pending = 0
        self._level = False
        _check(self._bars.values())
        self._fill()

    # -- configuration space -----------------------------------------------------------------------------------

    def _add_table_bar(self) -> int:
        """The number of a BAR for the table of MSI-X, -1 when none is left for it."""
        taken = {n for bar in self._bars.values() for n in _numbers(bar)}
        free = next((n for n in (4, 5, 3, 2, 1, 0) if n not in taken), -1)
        if free < 0 or not self.identity.vectors:
            return -1
        self._bars[free] = Bar(free, 0x1000)
        return free

    def _fill(self) -> None:
        who, config, writable = self.identity, self._config, self._writable
        struct.pack_into("<HHHH", config, 0, who.vendor, who.device, 0, _STATUS_HAS_CAPABILITIES)
        struct.pack_into("<I", config, 8, who.class_code << 8 | who.revision)
        struct.pack_into("<HH", config, 0x2C, *who.subsystem)
        config[0x34], config[0x3D] = _POWER, who.pin
        struct.pack_into("<H", writable, 4, _COMMAND_WRITABLE)
        writable[0x0C] = writable[0x0D] = writable[0x3C] = 0xFF
        for bar in self._bars.values():
            at, mask = 0x10 + 4 * bar.number, -bar.size & (1 << 64) - 1
            struct.pack_into("<I", config, at, bar.flags)
            struct.pack_into("<I", writable, at, mask & 0xFFFFFFFC)
            if bar.kind is BarKind.MEMORY_64:
                struct.pack_into("<I", writable, at + 4, mask >> 32)
        struct.pack_into(
            "<BBHH", config, _POWER, 0x01, _MSI if who.vectors else 0, 0x0003, 0x0008
        )  # D0, D3; no soft reset
        struct.pack_into("<H", writable, _POWER + 4, 0x0003)
        if who.vectors:
            shift = (who.vectors - 1).bit_length()
            more = _MSIX if self._table_bar >= 0 else 0
            struct.pack_into("<BBH", config, _MSI, 0x05, more, 0x0080 | shift << 1)  # 64-bit address
            struct.pack_into("<HIIH", writable, _MSI + 2, 0x0071, 0xFFFFFFFC, 0xFFFFFFFF, 0xFFFF)
        if self._table_bar >= 0:
            struct.pack_into(
                "<BBHII", config, _MSIX, 0x11, 0, who.vectors - 1, self._table_bar, _PENDING | self._table_bar
            )
            struct.pack_into("<H", writable, _MSIX + 2, 0xC000)

    def config_read(self, register: int, size: int) -> int:
        """The kernel reads configuration space; what is neither header nor capability is the model's."""
        value = int.from_bytes(self._config[register : register + size], "little")
        answer = self.model.configuration_read(register, size, value)
        return answer if _is_own(register) else value

    def config_write(self, register: int, size: int, value: int) -> None:
        """The kernel writes configuration space; bits that are not writable stay."""
        for n, byte in enumerate(value.to_bytes(8, "little")[:size]):
            mask = self._writable[register + n]
            self._config[register + n] = self._config[register + n] & ~mask | byte & mask
        self._send_pending()
        self._drive_line()

    @property
    def command(self) -> int:
        """The command register."""
        return self._config[4] | self._config[5] << 8

    @property
    def bus_master(self) -> bool:
        """Whether the driver has let it reach memory (pci_set_master())."""
        return bool(self.command & _MASTER)

    @property
    def reads_on_bus(self) -> int:
        """How many reads of devices there were on its bus: the number of the one that is being answered."""
        return self._bus.reads if self._bus is not None else 0

    # -- registers ---------------------------------------------------------------------------------------------

    def base(self, bar: Bar) -> int:
        """Where a BAR was put; 0 when nowhere."""
        at = 0x10 + 4 * bar.number
        (value,) = struct.unpack_from("<I", self._config, at)
        if bar.kind is BarKind.PORTS:
            return int(value) & ~3
        if bar.kind is BarKind.MEMORY_64:
            value |= struct.unpack_from("<I", self._config, at + 4)[0] << 32
        return int(value) & ~15

    def find(self, space: Space, address: int) -> tuple[Bar, int] | None:
        """The BAR that an address belongs to, and the offset in it; None when it is none of this function's."""
        if not self.command & (_IO if space is Space.PORTS else _MEMORY):
            return None
        for bar in self._bars.values():
            offset = address - self.base(bar)
            if (bar.kind is BarKind.PORTS) == (space is Space.PORTS) and 0 <= offset < bar.size:
                return bar, offset
        return None

    def read(self, bar: Bar, offset: int, size: int) -> int:
        """The kernel reads a register."""
        if bar.number == self._table_bar:
            area = bytes(self._table).ljust(_PENDING, b"\0") + self._pending.to_bytes(8, "little")
            return int.from_bytes(area[offset : offset + size], "little")
        return self.model.bar_read(bar.number, offset, size)

    def write(self, bar: Bar, offset: int, size: int, value: int) -> None:
        """The kernel writes a register."""
        if bar.number != self._table_bar:
            self.model.bar_write(bar.number, offset, size, value)
        elif offset + size <= len(self._table):
            self._table[offset : offset + size] = value.to_bytes(8, "little")[:size]
            self._send_pending()

    # -- interrupts --------------------------------------------------------------------------------------------

    def interrupt(self, vector: int = 0) -> None:
        """Ask for an interrupt in the way that the driver has chosen: MSI-X, MSI, or a pulse on the wire."""
        if self._bus is None:
            return
        if self._msix_on:
            self._pending |= 1 << vector % self.identity.vectors
            self._send_pending()
        elif self._msi_on:
            control, low, high, data = struct.unpack_from("<HIIH", self._config, _MSI + 2)
            enabled = 1 << (control >> 4 & 7)
            self._bus.message(high << 32 | low, data + vector % enabled)
        elif not self.command & _NO_INTX and self.identity.pin:
            self._bus.pulse(self._irq)

    def set_level(self, high: bool) -> None:
        """Hold the interrupt wire high or low, as a device with a status register does; no message is sent."""
        self._level = high
        self._drive_line()

    def _drive_line(self) -> None:
        if self._bus is not None:
            wired = not (self._msi_on or self._msix_on or self.command & _NO_INTX)
            self._bus.level(self, self._level and wired)
            self._config[6] = self._config[6] & ~_STATUS_INTERRUPT | (_STATUS_INTERRUPT if self._level else 0)

    @property
    def uses_messages(self) -> bool:
        """Whether the driver has turned MSI-X or MSI on."""
        return self._msi_on or self._msix_on

    @property
    def _irq(self) -> int:
        return PCI_IRQS[self.place % len(PCI_IRQS)]

    @property
    def _msi_on(self) -> bool:
        return bool(self.identity.vectors and self._config[_MSI + 2] & 1)

    @property
    def _msix_on(self) -> bool:
        return self._table_bar >= 0 and bool(self._config[_MSIX + 3] & 0x80)

    def _send_pending(self) -> None:
        """Send the messages of MSI-X that wait, but for those that are masked."""
        if self._bus is None or not self._pending or not self._msix_on or self._config[_MSIX + 3] & 0x40:
            return
        for vector in range(self.identity.vectors):
            address, data, masked = struct.unpack_from("<QII", self._table, _TABLE_ENTRY * vector)
            if self._pending >> vector & 1 and not masked & 1:
                self._pending &= ~(1 << vector)
                self._bus.message(address, data)

    # -- memory ------------------------------------------------------------------------------------------------

    def dma_read(self, address: int, size: int) -> bytes:
        """Read the box's memory. Raises `DmaError`."""
        bus = self._reach(address, size)
        bus.work.moved(size)
        return bytes(bus.ram[address : address + size])

    def dma_write(self, address: int, data: bytes) -> None:
        """Write the box's memory. Raises `DmaError`."""
        bus = self._reach(address, len(data))
        bus.work.moved(len(data))
        bus.ram[address : address + len(data)] = data
        bus.wrote(address, len(data))

    def _reach(self, address: int, size: int) -> PciBus:
        if self._bus is None:
            raise DmaError("DMA by a device that is not plugged in")
        if not self.bus_master:
            raise DmaError(
                f"DMA of {size} bytes at {address:#x}: the driver has not made the device a bus master",
                hint="pci_set_master() is missing in the driver, or the device began too early.",
            )
        if size < 0 or not 0 <= address <= len(self._bus.ram) - size:
            raise DmaError(
                f"DMA of {size} bytes at {address:#x}: the box has RAM up to {len(self._bus.ram):#x}",
                hint="The driver gave the device a wrong address, or the model read it wrongly.",
            )
        return self._bus

    # -- state -------------------------------------------------------------------------------------------------

    def plugged(self, bus: PciBus | None, place: int) -> None:
        """It is in the bus now, or (None) was taken out: then its registers are as after power on."""
        self._bus, self.place = bus, place
        if bus is None:
            self._config[:] = bytes(_CONFIG_SIZE)
            self._table[:] = bytes(len(self._table))
            self._pending, self._level = 0, False
            self._fill()

    def save(self) -> Restore:
        """For a checkpoint: a function that gives configuration, table and model the state back that they have now."""
        config, table, pending, level = bytes(self._config), bytes(self._table), self._pending, self._level
        model = self.model.save()

        def restore() -> None:
            self._config[:], self._table[:], self._pending, self._level = config, table, pending, level
            model()

        return restore


class _HostBridge:
    """The function at place 0: it has no registers."""

    def bar_read(self, bar: int, offset: int, size: int) -> int:
        return 0

    def bar_write(self, bar: int, offset: int, size: int, value: int) -> None:
        return

    def configuration_read(self, register: int, size: int, value: int) -> int:
        return value

    def shared_read(self, address: int, size: int, value: int) -> int:
        return value

    def save(self) -> Restore:
        return lambda: None


class PciBus:
    """The bus of one machine. `message` sends an interrupt as MSI does, `pulse` and `line` use the wires."""

    def __init__(
        self,
        ram: memoryview,
        message: Callable[[int, int], None],
        pulse: Callable[[int], None],
        line: Callable[[int, bool], None],
        wrote: Callable[[int, int], None],
        work: DeviceWork,
    ) -> None:
        self.ram = ram
        self.work = work
        self.message = message
        self.pulse = pulse
        self.wrote = wrote
        self._line = line
        self.reads = 0
        """How many reads of devices there were, `Space.DMA` among them (`kobox.machine.taint`)."""
        self._high: dict[int, set[int]] = {irq: set() for irq in PCI_IRQS}  # places that hold a wire high
        bridge = PciFunction(_HostBridge(), PciIdentity(0x1B36, 0x0008, 0x060000, vectors=0, pin=0), ())
        self._functions = {0: bridge}
        bridge.plugged(self, 0)

    @property
    def functions(self) -> dict[int, PciFunction]:
        """Place -> function, without the host bridge."""
        return {place: function for place, function in self._functions.items() if place}

    @property
    def next_place(self) -> int | None:
        """The place that the next function is plugged into; None when the bus is full."""
        return next((n for n in range(PCI_PLACES) if n not in self._functions), None)

    def attach(self, function: PciFunction) -> int:
        """Plug a function in; its place. Raises `KoboxError` when the bus is full."""
        place = self.next_place
        if place is None:
            raise KoboxError(f"all {PCI_PLACES - 1} places of the PCI bus are taken", hint="Unplug a device first.")
        self._functions[place] = function
        function.plugged(self, place)
        return place

    def detach(self, function: PciFunction) -> None:
        """Take a function out: reads of it give ones from now on."""
        if self._functions.get(function.place) is function:
            del self._functions[function.place]
            self.level(function, False)
            function.plugged(None, -1)

    def level(self, function: PciFunction, high: bool) -> None:
        """A function holds its wire high or low; the wire is high as long as any does."""
        irq = PCI_IRQS[function.place % len(PCI_IRQS)]
        before = bool(self._high[irq])
        (self._high[irq].add if high else self._high[irq].discard)(function.place)
        if before != bool(self._high[irq]):
            self._line(irq, not before)

    def access(self, space: int, at: int, size: int, value: int, write: int) -> int:
        """The kernel's access, as `native/pci.c` hands it on; what a read gives."""
        if not write:
            self.reads += 1
        if space == Space.CONFIG:
            return self._config_access(at, size, value, write)
        if space == Space.DMA:
            for function in self._functions.values():
                value = function.model.shared_read(at, size, value)
            return value
        kind = Space(space)
        for function in self._functions.values():
            if found := function.find(kind, at):
                if write:
                    function.write(*found, size, value)
                    return 0
                return function.read(*found, size)
        return -1 & (1 << 8 * size) - 1

    def _config_access(self, at: int, size: int, value: int, write: int) -> int:
        bus, place, number, register = at >> 16, at >> 11 & 31, at >> 8 & 7, at & 255
        function = self._functions.get(place) if bus == number == 0 else None
        if function is None or register + size > _CONFIG_SIZE:
            return -1 & (1 << 8 * size) - 1
        if write:
            function.config_write(register, size, value)
            return 0
        return function.config_read(register, size)

    def save(self) -> dict[int, tuple[PciFunction, Restore]]:
        """What is plugged in, and its state, for a checkpoint."""
        return {place: (function, function.save()) for place, function in self._functions.items()}

    def load(self, state: dict[int, tuple[PciFunction, Restore]]) -> None:
        """Undo `save`: what was taken out since is there again, what was plugged in since is not."""
        for place, function in self.functions.items():
            if place not in state or state[place][0] is not function:
                self.detach(function)
        for high in self._high.values():
            high.clear()  # the levels themselves are the PIC's, which has gone back as well
        for place, (function, restore) in state.items():
            if self._functions.get(place) is not function:
                self._functions[place] = function
                function.plugged(self, place)
            restore()


def _is_own(register: int) -> bool:
    """Whether a register of configuration space is one that PCI does not define: it is the device's own."""
    return _HEADER <= register < _POWER or register >= _CAPABILITIES_END


def _numbers(bar: Bar) -> range:
    return range(bar.number, bar.number + (2 if bar.kind is BarKind.MEMORY_64 else 1))


def _check(bars: Iterable[Bar]) -> None:
    taken: set[int] = set()
    for bar in bars:
        most, least = (256, 4) if bar.kind is BarKind.PORTS else (1 << 32, 16)
        if bar.size & bar.size - 1 or not least <= bar.size <= most:
            raise KoboxError(f"BAR {bar.number}: {bar.size} bytes; a power of two from {least} to {most} is needed")
        if taken & set(_numbers(bar)) or _numbers(bar)[-1] > 5:
            raise KoboxError(f"BAR {bar.number}: a function has six, and one of 64 bits takes two")
        taken.update(_numbers(bar))
