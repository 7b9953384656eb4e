"""One function of a PCI device: its configuration space, its interrupts, and its way to memory. What its registers are,
Python models.

Configuration space of a function (PCI Local Bus Specification 3.0, chapter 6):

    0x00 vendor, device    0x04 command, status    0x08 class, revision    0x10 six BARs    0x2C subsystem
    0x30 expansion ROM     0x34 capabilities (`pci_capabilities.py`)       0x3C interrupt line, pin

A function lies at a place (device number, function number) of a `Segment`: bus 0, or the bus behind a bridge.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from kobox.errors import KoboxError
from kobox.machine import pci_capabilities as capability
from kobox.machine.card_memory import CardMemory
from kobox.machine.devices import DeviceWork, Restore
from kobox.machine.pci_capabilities import Express

MAX_VECTORS = 32
CONFIG_SIZE, EXPRESS_CONFIG_SIZE = 256, 4096
ROM_BAR = 6
_HEADER = 0x40
_STATUS_HAS_CAPABILITIES, _STATUS_INTERRUPT = 0x10, 0x08
_COMMAND_WRITABLE = 0x0547  # I/O, memory, bus master, parity, SERR, no INTx
_SEVERAL_FUNCTIONS = 0x80  # in the header type
_STATUS_CLEARED = 0xF900  # errors that were seen
_IO, _MEMORY, _MASTER, _NO_INTX = 1, 2, 4, 0x400
_TABLE_ENTRY = 16
_ROM_ENABLED, _LEAST_ROM = 1, 2048
_RESET_FUNCTION = 0x8000  # in device control of PCI Express
_VIRTUAL_ENABLED, _VIRTUAL_MEMORY = 1, 8
_VITAL_DONE = 0x8000
_OWN_AGAIN = capability.EXPRESS  # without PCI Express, the device's own registers go on where that would stand


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
    def is_ports(self) -> bool:
        """Whether it is of I/O ports."""
        return self.kind is BarKind.PORTS

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
    def configuration_written(self, register: int, size: int, value: int) -> None: ...
    def shared_read(self, address: int, size: int, value: int) -> int: ...
    def rom_read(self, offset: int, size: int) -> int: ...
    def power_written(self, state: int) -> None: ...
    def power_on(self) -> None: ...
    def save(self) -> Restore: ...


class NoModel:
    """A function that has no registers: a bridge."""

    def bar_read(self, bar: int, offset: int, size: int) -> int:
        return 0

    def bar_write(self, bar: int, offset: int, size: int, value: int) -> None:
        return

    def configuration_read(self, register: int, size: int, value: int) -> int:
        return value

    def configuration_written(self, register: int, size: int, value: int) -> None:
        return

    def shared_read(self, address: int, size: int, value: int) -> int:
        return value

    def rom_read(self, offset: int, size: int) -> int:
        return 0

    def power_written(self, state: int) -> None:
        return

    def power_on(self) -> None:
        return

    def save(self) -> Restore:
        return lambda: None


class Wiring(Protocol):
    """What functions are joined to: memory, and interrupts. The bus (`pci.py`) is one."""

    ram: memoryview
    work: DeviceWork
    card_memory: CardMemory

    @property
    def message(self) -> Callable[[int, int], None]: ...
    @property
    def pulse(self) -> Callable[[int], None]: ...
    @property
    def wrote(self) -> Callable[[int, int], None]: ...
    @property
    def reads(self) -> int: ...
    def level(self, function: PciFunction, high: bool) -> None: ...
    def irq_of(self, function: PciFunction) -> int: ...
    def above(self, function: PciFunction) -> PciFunction | None: ...


class ErrorKind(enum.IntEnum):
    """How bad an error is that a device reports: the bits of the root port's error status that say so (AER)."""

    CORRECTABLE = 0x01
    NONFATAL = 0x24
    FATAL = 0x54


class PciFeatures(NamedTuple):
    """What a function has beside IDs and BARs: a link of PCI Express, an expansion ROM of so many bytes, vital product
    data, a serial number, the virtual functions that it can show; what stands in its command register when the kernel
    finds it; capabilities of its own."""

    express: Express | None = None
    rom: int = 0
    vital: bytes = b""
    serial: int | None = None
    virtual: Sequence[PciFunction] = ()
    command: int = 0
    own: Sequence[capability.Capability] = ()


class Found(NamedTuple):
    """Whose register an address is: the function, its BAR, the offset there."""

    function: PciFunction
    bar: Bar
    offset: int


class DmaError(KoboxError):
    """A device asked for memory that it cannot reach."""


class PciFunction:
    """One function. `place` is its device number on the segment, -1 while it is not plugged in."""

    def __init__(
        self, model: Model, identity: PciIdentity, bars: Sequence[Bar], features: PciFeatures | None = None
    ) -> None:
        self.model = model
        self.identity = identity
        self.features = features or PciFeatures()
        self.place, self.number = -1, 0
        self.segment: Segment | None = None
        self.is_multifunction = False
        self.virtual_offset = 0  # from it to its first virtual function
        self._wiring: Wiring | None = None
        size = EXPRESS_CONFIG_SIZE if self.features.express else CONFIG_SIZE
        self._config, self._writable, self._cleared = (bytearray(size) for _ in range(3))
        self._bars = {bar.number: bar for bar in bars}
        self._table_bar = self._add_table_bar()
        self._table = bytearray(_TABLE_ENTRY * identity.vectors)
        self._pending = 0
        self._level = False
        self._check()
        for index, function in enumerate(self.features.virtual):
            function.belongs_to(self, index)
        self._fill()

    def belongs_to(self, owner: PciFunction, index: int) -> None:
        """It is virtual function number `index` of another function."""
        raise KoboxError("only a virtual function belongs to another one")

    def _check(self) -> None:
        """Raise `KoboxError` for what no function can have."""
        _check_bars(self._bars.values())
        express, virtual = self.features.express, self.features.virtual
        if express is not None:
            express.check()
        elif virtual or self.features.serial is not None:
            raise KoboxError(
                "virtual functions and a serial number are in the capabilities of PCI Express",
                hint="Give the class `express = Express()`.",
            )
        if len(virtual) > capability.MOST_VIRTUAL:
            raise KoboxError(f"{len(virtual)} virtual functions: {capability.MOST_VIRTUAL} are the most")
        if any(bar.kind is BarKind.PORTS or bar.size < 4096 for function in virtual for bar in function.bars):
            raise KoboxError("the BARs of a virtual function are memory, each of at least 4096 bytes")

    # -- configuration space -----------------------------------------------------------------------------------

    @property
    def bars(self) -> Sequence[Bar]:
        """Its BARs, with the one for the table of MSI-X."""
        return tuple(self._bars.values())

    def _add_table_bar(self) -> int:
        """The number of a BAR for the table of MSI-X, -1 when none is left for it."""
        taken = {n for bar in self._bars.values() for n in _numbers(bar)}
        free = next((n for n in (4, 5, 3, 2, 1, 0) if n not in taken), -1)
        if free < 0 or not self.identity.vectors:
            return -1
        self._bars[free] = Bar(free, 0x1000)
        return free

    def _fill(self) -> None:
        """Configuration space as it is after power on."""
        who, config, writable = self.identity, self._config, self._writable
        command = self.features.command & _COMMAND_WRITABLE
        struct.pack_into("<HHHH", config, 0, who.vendor, who.device, command, _STATUS_HAS_CAPABILITIES)
        struct.pack_into("<I", config, 8, who.class_code << 8 | who.revision)
        struct.pack_into("<HH", config, 0x2C, *who.subsystem)
        config[0x0E], config[0x3D] = _SEVERAL_FUNCTIONS if self.is_multifunction else 0, who.pin
        struct.pack_into("<H", writable, 4, _COMMAND_WRITABLE)
        struct.pack_into("<H", self._cleared, 6, _STATUS_CLEARED)
        writable[0x0C] = writable[0x0D] = writable[0x3C] = 0xFF
        for start, end in self._own_registers:
            writable[start:end] = b"\xff" * (end - start)
        _enter_bars(self._bars.values(), config, writable, 0x10)
        if self.features.rom:
            struct.pack_into("<I", writable, 0x30, (-self._rom_bar.size & 0xFFFFF800) | _ROM_ENABLED)
        capability.enter(config, writable, self._cleared, self._capabilities())

    def _capabilities(self) -> list[capability.Capability]:
        who, has = self.identity, self.features
        found = [capability.power()]
        if who.vectors:
            found.append(capability.msi(who.vectors))
        if self._table_bar >= 0:
            found.append(capability.msix(who.vectors, self._table_bar))
        if has.vital:
            found.append(capability.vital())
        if has.express is not None:
            found += [capability.express(has.express, is_bridge=self._is_bridge), capability.errors()]
        if has.serial is not None:
            found.append(capability.serial(has.serial))
        if has.virtual:
            bars, masks = bytearray(24), bytearray(24)
            _enter_bars(has.virtual[0].bars, bars, masks, 0)
            device = has.virtual[0].identity.device
            found.append(capability.virtual(len(has.virtual), device, bytes(bars), bytes(masks)))
        return [*found, *has.own]

    _is_bridge = False

    @property
    def _own_registers(self) -> Sequence[tuple[int, int]]:
        """The registers of configuration space that PCI does not define: they are the device's own."""
        after = (capability.EXTENDED_END, EXPRESS_CONFIG_SIZE) if self.features.express else (_OWN_AGAIN, CONFIG_SIZE)
        return (_HEADER, capability.POWER), after

    def config_read(self, register: int, size: int) -> int:
        """The kernel reads configuration space; what is neither header nor capability is the model's."""
        if register + size > len(self._config):
            return (1 << 8 * size) - 1
        value = int.from_bytes(self._config[register : register + size], "little")
        answer = self.model.configuration_read(register, size, value)
        return answer if self.is_own(register) else value

    def is_own(self, register: int) -> bool:
        """Whether a register of configuration space is one that PCI does not define."""
        if any(one.at <= register < one.at + capability.header_size(one.at) for one in self.features.own):
            return False
        return any(start <= register < end for start, end in self._own_registers)

    def config_write(self, register: int, size: int, value: int) -> None:
        """The kernel writes configuration space; bits that are not writable stay."""
        if register + size > len(self._config):
            return
        power = self.power_state
        for at, byte in enumerate(value.to_bytes(8, "little")[:size], register):
            mask = self._writable[at]
            self._config[at] = (self._config[at] & ~mask | byte & mask) & ~(byte & self._cleared[at])
        if self.is_own(register):
            self.model.configuration_written(register, size, value)
        if self.features.vital and register <= capability.VITAL + 3 < register + size:
            self._read_vital()
        if self.power_state != power:
            self.model.power_written(self.power_state)
        if self.features.express is not None and register <= capability.DEVICE_CONTROL + 1 < register + size:
            at = 8 * (capability.DEVICE_CONTROL - register)
            if (value >> at if at >= 0 else value << -at) & _RESET_FUNCTION and self.features.express.resets:
                self.reset()
        self._send_pending()
        self._drive_line()

    def _read_vital(self) -> None:
        """The address of vital product data was written: the data is there, or (with the flag set) was written."""
        (address,) = struct.unpack_from("<H", self._config, capability.VITAL + 2)
        if not address & _VITAL_DONE:
            data = self.features.vital[address : address + 4].ljust(4, b"\0")
            self._config[capability.VITAL + 4 : capability.VITAL + 8] = data
        struct.pack_into("<H", self._config, capability.VITAL + 2, address ^ _VITAL_DONE)

    def reset(self) -> None:
        """Function level reset, or a reset of its bus: all is as after power on."""
        self._clear()
        self.model.power_on()
        self._drive_line()

    def _clear(self) -> None:
        for area in (self._config, self._writable, self._cleared, self._table):
            area[:] = bytes(len(area))
        self._pending, self._level = 0, False
        self._fill()
        self._enter_place()

    @property
    def command(self) -> int:
        """The command register."""
        return self._config[4] | self._config[5] << 8

    @property
    def bus_master(self) -> bool:
        """Whether the driver has let it reach memory (pci_set_master())."""
        return bool(self.command & _MASTER)

    @property
    def power_state(self) -> int:
        """0 for D0 … 3 for D3hot."""
        return self._config[capability.POWER_CONTROL] & 3

    @property
    def reads_on_bus(self) -> int:
        """How many reads of devices there were on its bus: the number of the one that is being answered."""
        return self._wiring.reads if self._wiring is not None else 0

    def keep_memory(self, number: int, offset: int, size: int, content: Mapping[int, int]) -> bool:
        """Some of a BAR is memory from now on, for which the model is not asked any more: zeros but for `content`, by
        offsets in it. False when there is no room for that. It is registers again after `PciBus.load`, and when
        it is taken out."""
        bar = self._bars.get(number)
        if bar is None or self._wiring is None or bar.kind is BarKind.PORTS:
            return False
        return self._wiring.card_memory.put(self.base(bar) + offset, content, size, self)

    def set_link(self, speed: int, width: int) -> None:
        """Another speed and width of the link of PCI Express. Raises `KoboxError` when it has none, or there is no
        such."""
        if self.features.express is None:
            raise KoboxError("a function without PCI Express has no link", hint="Give the class `express = Express()`.")
        Express(speed, width).check()
        struct.pack_into("<H", self._config, capability.LINK_STATUS, speed | width << 4)

    # -- registers ---------------------------------------------------------------------------------------------

    def base(self, bar: Bar) -> int:
        """Where a BAR was put; 0 when nowhere."""
        return _base(self._config, 0x30 if bar.number == ROM_BAR else 0x10 + 4 * bar.number, bar)

    @property
    def _rom_bar(self) -> Bar:
        return Bar(ROM_BAR, max(1 << (self.features.rom - 1).bit_length(), _LEAST_ROM))

    def _decodes(self, space: Space) -> bool:
        """Whether it answers in memory, or ports: the driver has enabled it, and it is not asleep."""
        return bool(self.command & (_IO if space is Space.PORTS else _MEMORY)) and not self.power_state

    def find(self, space: Space, address: int) -> Found | None:
        """The BAR that an address belongs to, of it or its virtual functions, and the offset in it; None for none."""
        if self._decodes(space):
            for bar in self._bars.values():
                offset = address - self.base(bar)
                if (bar.kind is BarKind.PORTS) == (space is Space.PORTS) and 0 <= offset < bar.size:
                    return Found(self, bar, offset)
            if self.features.rom and space is Space.MEMORY and self._config[0x30] & _ROM_ENABLED:
                offset = address - self.base(self._rom_bar)
                if 0 <= offset < self._rom_bar.size:
                    return Found(self, self._rom_bar, offset)
        return next((found for one in self.shown_virtual() if (found := one.find(space, address))), None)

    def read(self, bar: Bar, offset: int, size: int) -> int:
        """The kernel reads a register."""
        if bar.number == ROM_BAR:
            return self.model.rom_read(offset, size)
        if bar.number == self._table_bar:
            area = bytes(self._table).ljust(capability.PENDING, b"\0") + self._pending.to_bytes(8, "little")
            return int.from_bytes(area[offset : offset + size], "little")
        return self.model.bar_read(bar.number, offset, size)

    def write(self, bar: Bar, offset: int, size: int, value: int) -> None:
        """The kernel writes a register."""
        if bar.number == ROM_BAR:
            return
        if bar.number != self._table_bar:
            self.model.bar_write(bar.number, offset, size, value)
        elif offset + size <= len(self._table):
            self._table[offset : offset + size] = value.to_bytes(8, "little")[:size]
            self._send_pending()

    def behind(self) -> Iterator[PciFunction]:
        """The functions behind it, when it is a bridge."""
        return iter(())

    def shared_read(self, address: int, size: int, value: int) -> int:
        """The kernel reads memory that a device may have written."""
        return self.model.shared_read(address, size, value)

    # -- virtual functions -------------------------------------------------------------------------------------

    def shown_virtual(self) -> Sequence[PciFunction]:
        """The virtual functions that the driver has enabled."""
        if not self.features.virtual or not self._config[capability.VIRTUAL_CONTROL] & _VIRTUAL_ENABLED:
            return ()
        (count,) = struct.unpack_from("<H", self._config, capability.VIRTUAL_COUNT)
        return self.features.virtual[:count]

    def virtual_base(self, bar: Bar) -> int | None:
        """Where the first virtual function has a BAR; None while they have no memory."""
        if not self._config[capability.VIRTUAL_CONTROL] & _VIRTUAL_MEMORY:
            return None
        return _base(self._config, capability.VIRTUAL_BARS + 4 * bar.number, bar)

    # -- interrupts --------------------------------------------------------------------------------------------

    def interrupt(self, vector: int = 0) -> None:
        """Ask for an interrupt in the way that the driver has chosen: MSI-X, MSI, or a pulse on the wire."""
        if self._wiring is None or self.power_state:
            return
        if self._msix_on:
            self._pending |= 1 << vector % self.identity.vectors
            self._send_pending()
        elif self._msi_on:
            control, low, high, data = struct.unpack_from("<HIIH", self._config, capability.MSI + 2)
            enabled = 1 << (control >> 4 & 7)
            self._wiring.message(high << 32 | low, data + vector % enabled)
        elif not self.command & _NO_INTX and self.identity.pin:
            self._wiring.pulse(self._wiring.irq_of(self))

    def set_level(self, high: bool) -> None:
        """Hold the interrupt wire high or low, as a device with a status register does; no message is sent."""
        self._level = high
        self._drive_line()

    def _drive_line(self) -> None:
        if self._wiring is not None and self.identity.pin:
            wired = not (self._msi_on or self._msix_on or self.command & _NO_INTX)
            self._wiring.level(self, self._level and wired)
            self._config[6] = self._config[6] & ~_STATUS_INTERRUPT | (_STATUS_INTERRUPT if self._level else 0)

    def report_error(self, kind: ErrorKind, bit: int) -> None:
        """Report an error by advanced error reporting: the root port above it interrupts the kernel.

        Raises `KoboxError` when it is not behind a root port.
        """
        port = self._wiring.above(self) if self._wiring is not None else None
        if self.features.express is None or port is None or port.features.express is None:
            raise KoboxError(
                "a device reports errors to a root port of PCI Express, and there is none above this one",
                hint="Plug it in behind one: box.plug(PciRootPort(device)).",
            )
        is_correctable = kind is ErrorKind.CORRECTABLE
        own = capability.ERROR_STATUS[is_correctable]
        self._set_bits(own, 1 << bit)
        if kind is not ErrorKind.CORRECTABLE:
            severity = capability.ERROR_SEVERITY
            word = int.from_bytes(self._config[severity : severity + 4], "little") & ~(1 << bit)
            struct.pack_into("<I", self._config, severity, word | (kind is ErrorKind.FATAL) << bit)
        bus = max(self.segment.bus, 0) if self.segment is not None else 0
        port.error_received(kind, bus << 8 | self.place << 3 | self.number)

    def error_received(self, kind: ErrorKind, source: int) -> None:
        """It is the root port, and a device below it has reported an error."""
        self._set_bits(capability.ROOT_ERRORS, kind)
        struct.pack_into("<H", self._config, capability.ROOT_SOURCES + 2 * (kind is not ErrorKind.CORRECTABLE), source)
        self.interrupt()

    def _set_bits(self, at: int, bits: int) -> None:
        (word,) = struct.unpack_from("<I", self._config, at)
        struct.pack_into("<I", self._config, at, word | bits)

    @property
    def uses_messages(self) -> bool:
        """Whether the driver has turned MSI-X or MSI on."""
        return self._msi_on or self._msix_on

    @property
    def _msi_on(self) -> bool:
        return bool(self.identity.vectors and self._config[capability.MSI + 2] & 1)

    @property
    def _msix_on(self) -> bool:
        return self._table_bar >= 0 and bool(self._config[capability.MSIX + 3] & 0x80)

    def _send_pending(self) -> None:
        """Send the messages of MSI-X that wait, but for those that are masked."""
        if self._wiring is None or not self._pending or not self._msix_on or self._config[capability.MSIX + 3] & 0x40:
            return
        for vector in range(self.identity.vectors):
            address, data, masked = struct.unpack_from("<QII", self._table, _TABLE_ENTRY * vector)
            if self._pending >> vector & 1 and not masked & 1:
                self._pending &= ~(1 << vector)
                self._wiring.message(address, data)

    # -- memory ------------------------------------------------------------------------------------------------

    def dma_read(self, address: int, size: int) -> bytes:
        """Read the box's memory. Raises `DmaError`."""
        wiring = self._reach(address, size)
        wiring.work.moved(size)
        return bytes(wiring.ram[address : address + size])

    def dma_write(self, address: int, data: bytes) -> None:
        """Write the box's memory. Raises `DmaError`."""
        wiring = self._reach(address, len(data))
        wiring.work.moved(len(data))
        wiring.ram[address : address + len(data)] = data
        wiring.wrote(address, len(data))

    def _reach(self, address: int, size: int) -> Wiring:
        if self._wiring is None:
            raise DmaError("DMA by a device that is not plugged in")
        if not self.bus_master:
            raise DmaError(
                f"DMA of {size} bytes at {address:#x}: the driver has not made the device a bus master",
                hint="pci_set_master() is missing in the driver, or the device began too early.",
            )
        if size < 0 or not 0 <= address <= len(self._wiring.ram) - size:
            raise DmaError(
                f"DMA of {size} bytes at {address:#x}: the box has RAM up to {len(self._wiring.ram):#x}",
                hint="The driver gave the device a wrong address, or the model read it wrongly.",
            )
        return self._wiring

    # -- state -------------------------------------------------------------------------------------------------

    def plugged(self, wiring: Wiring | None, segment: Segment | None, place: int, number: int = 0) -> None:
        """It is in the bus now, or (None) was taken out: then its registers are as after power on."""
        self._wiring, self.segment, self.place, self.number = wiring, segment, place, number
        self._config[0x0E] = self._config[0x0E] & 0x7F | (_SEVERAL_FUNCTIONS if self.is_multifunction else 0)
        for index, function in enumerate(self.features.virtual):
            if segment is None:
                function.plugged(None, None, -1)
            else:
                devfn = place * 8 + number + self.virtual_offset + index
                function.plugged(wiring, segment, devfn >> 3, devfn & 7)
        if wiring is None:
            self._clear()
        self._enter_place()

    def _enter_place(self) -> None:
        """What the capability of virtual functions says of places: upon whom they depend, how far off the first is."""
        if self.features.virtual:
            self._config[capability.VIRTUAL_LINK] = max(self.place, 0) * 8 + self.number
            struct.pack_into("<H", self._config, capability.VIRTUAL_OFFSET, self.virtual_offset)

    def save(self) -> Restore:
        """For a checkpoint: a function that gives configuration, table and model the state back that they have now."""
        config, table, pending, level = bytes(self._config), bytes(self._table), self._pending, self._level
        undo = [self.model.save(), *(function.save() for function in self.features.virtual)]

        def restore() -> None:
            self._config[:], self._table[:], self._pending, self._level = config, table, pending, level
            for one in undo:
                one()

        return restore


class VirtualFunction(PciFunction):
    """A function that another one shows when its driver wants that (SR-IOV). Its BARs are where that one's registers
    say, and it has no vendor and no device ID of its own."""

    _owner: PciFunction | None = None
    _index = 0

    def belongs_to(self, owner: PciFunction, index: int) -> None:
        self._owner, self._index = owner, index

    def _fill(self) -> None:
        super()._fill()
        struct.pack_into("<HH", self._config, 0, 0xFFFF, 0xFFFF)
        self._config[0x3D] = 0
        self._config[0x10:0x28] = self._writable[0x10:0x28] = bytes(0x18)
        struct.pack_into("<H", self._writable, 4, _MASTER)

    def base(self, bar: Bar) -> int:
        first = self._owner.virtual_base(bar) if self._owner is not None else None
        return first + self._index * bar.size if first else 0

    def _decodes(self, space: Space) -> bool:
        return space is Space.MEMORY and not self.power_state

    def find(self, space: Space, address: int) -> Found | None:
        return super().find(space, address) if self._owner and self._owner.virtual_base(self.bars[0]) else None


class Segment:
    """A bus: functions by their places. `bus` gives its number; -1 while it has none."""

    def __init__(self, bus: Callable[[], int]) -> None:
        self._bus = bus
        self.functions: dict[int, PciFunction] = {}
        """Device number times 8 plus function number -> function, without virtual ones."""

    @property
    def bus(self) -> int:
        """Its number, as the kernel has chosen it; -1 while it has none."""
        return self._bus()

    def next_place(self, places: Iterable[int]) -> int | None:
        """The first of these device numbers that is free; None for none."""
        taken = {devfn >> 3 for devfn in self.functions}
        taken |= {virtual.place for function in self.functions.values() for virtual in function.features.virtual}
        return next((place for place in places if place not in taken), None)

    def at(self, devfn: int) -> PciFunction | None:
        """The function at a place, a virtual one too."""
        if (found := self.functions.get(devfn)) is not None:
            return found
        shown = (one for function in self.functions.values() for one in function.shown_virtual())
        return next((one for one in shown if one.place * 8 + one.number == devfn), None)

    def walk(self) -> Iterator[PciFunction]:
        """All functions, those behind bridges too, virtual ones too."""
        for function in self.functions.values():
            yield function
            yield from function.features.virtual
            yield from function.behind()


def _enter_bars(bars: Iterable[Bar], config: bytearray, writable: bytearray, first: int) -> None:
    """Base address registers from `first` on: what they say of themselves, and which bits hold an address."""
    for bar in bars:
        at, mask = first + 4 * bar.number, -bar.size & (1 << 64) - 1
        struct.pack_into("<I", config, at, bar.flags)
        struct.pack_into("<I", writable, at, mask & 0xFFFFFFFC)
        if bar.kind is BarKind.MEMORY_64:
            struct.pack_into("<I", writable, at + 4, mask >> 32)


def _base(config: bytearray, at: int, bar: Bar) -> int:
    """The address in a base address register."""
    (value,) = struct.unpack_from("<I", config, at)
    if bar.number == ROM_BAR:
        return int(value) & 0xFFFFF800
    if bar.kind is BarKind.PORTS:
        return int(value) & ~3
    if bar.kind is BarKind.MEMORY_64:
        value |= struct.unpack_from("<I", config, at + 4)[0] << 32
    return int(value) & ~15


def _numbers(bar: Bar) -> range:
    return range(bar.number, bar.number + (2 if bar.kind is BarKind.MEMORY_64 else 1))


def _check_bars(bars: Iterable[Bar]) -> None:
    taken: set[int] = set()
    for bar in bars:
        most, least = (256, 4) if bar.kind is BarKind.PORTS else (1 << 32, 16)
        if bar.size & bar.size - 1 or not least <= bar.size <= most:
            raise KoboxError(f"BAR {bar.number}: {bar.size} bytes; a power of two from {least} to {most} is needed")
        if taken & set(_numbers(bar)) or _numbers(bar)[-1] > 5:
            raise KoboxError(f"BAR {bar.number}: a function has six, and one of 64 bits takes two")
        taken.update(_numbers(bar))
