"""PCI devices that Python plays: a class with IDs, BARs and registers, and what happens when the driver touches them.

    driver                               box                                    model
    ioread32(regs + 0x04)     ->  configuration, BARs (machine/pci.py)  ->  reading(value), then its value
    iowrite32(1, regs)        ->                                        ->  control = 1, then written(control)
    interrupt handler         <-  MSI-X, MSI or the wire                <-  interrupt()
    memory                    <-  bus master, inside RAM                <-  dma.read(), dma.write()

A model runs in the middle of the driver's instruction: it must not call the box.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import index
from typing import TYPE_CHECKING, ClassVar

from kobox.devices.errors import DeviceModelError
from kobox.devices.model import NO_STATE, HardwareModel
from kobox.devices.register import RegisterValue, check_overlaps, declared
from kobox.devices.state import save_state
from kobox.errors import KoboxError
from kobox.machine.pci import MAX_VECTORS, Bar, BarKind, PciFunction, PciIdentity

if TYPE_CHECKING:
    from collections.abc import Callable


class BarDeclaration:
    """A base address register as a class declares it (`PciDevice.memory` and its kin)."""

    def __init__(self, size: int, kind: BarKind, prefetchable: bool) -> None:
        self.size, self.kind, self.prefetchable = size, kind, prefetchable
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name


class Dma:
    """The box's memory as a device reaches it: physical addresses, only as a bus master, only RAM (`DmaError`)."""

    def __init__(self, function: PciFunction) -> None:
        self._function = function

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes at a bus address."""
        return self._function.dma_read(address, size)

    def write(self, address: int, data: bytes) -> None:
        """Bytes to a bus address."""
        self._function.dma_write(address, data)


class PciDevice(HardwareModel):
    """A PCI device: subclass it, declare BARs and registers, and say what happens in `written` and `reading`.

    `class_code` has 24 bits (class, subclass, programming interface). `vectors` is how many interrupts it has
    by MSI and MSI-X; 0 leaves it the wire. Plug one in with `box.plug`.
    """

    bus: ClassVar[str] = "PCI"
    vendor_id: ClassVar[int] = 0x1AF4
    device_id: ClassVar[int] = 0x10F0
    subsystem: ClassVar[tuple[int, int]] = (0, 0)
    class_code: ClassVar[int] = 0xFF0000
    revision: ClassVar[int] = 0
    vectors: ClassVar[int] = 1

    _function: PciFunction | None = None
    _held: dict[str, RegisterValue] | None = None
    _unplug: Callable[[], None] | None = None
    _look: Callable[[], str | None] | None = None
    address: str = ""

    # -- what a class declares -----------------------------------------------------------------------------------

    @staticmethod
    def memory(size: int, *, prefetchable: bool = False, wide: bool = False) -> BarDeclaration:
        """A BAR of memory, `size` bytes (a power of two); `wide`: of 64 bits, which takes two of the six."""
        return BarDeclaration(size, BarKind.MEMORY_64 if wide else BarKind.MEMORY, prefetchable)

    @staticmethod
    def ports(size: int) -> BarDeclaration:
        """A BAR of I/O ports, at most 256."""
        return BarDeclaration(size, BarKind.PORTS, False)

    # -- what a subclass says ------------------------------------------------------------------------------------

    def reading(self, register: RegisterValue) -> None:
        """The driver reads a register: set its value here if it is to be another."""

    def written(self, register: RegisterValue) -> None:
        """The driver has written a register, which has its new value."""

    def read_memory(self, bar: int, offset: int, size: int) -> int:
        """The driver reads where no register is declared."""
        return 0

    def write_memory(self, bar: int, offset: int, size: int, value: int) -> None:
        """The driver writes where no register is declared."""

    def read_configuration(self, register: int, size: int, value: int) -> int:
        """The driver reads configuration space where PCI defines nothing: 0x40 to 0x9F and from
        0xCC on; `value` is what stands there."""
        return value

    def reset(self) -> None:
        """Power on: registers have their reset values already."""

    # -- what it can do ------------------------------------------------------------------------------------------

    @property
    def registers(self) -> Mapping[str, RegisterValue]:
        """The device's registers by name."""
        if self._held is None:
            found = declared(type(self))
            check_overlaps(found)
            self._held = {register.name: RegisterValue(register) for register in found}
        return self._held

    def interrupt(self, vector: int = 0) -> None:
        """Interrupt the driver by whatever it has chosen: MSI-X, MSI, or the wire, which is pulsed."""
        self.function.interrupt(vector)

    def signal(self, high: bool, vector: int = 0) -> None:
        """What a device with a status register does when that changes: `high`, a message if the driver has chosen
        MSI-X or MSI, else the wire is held high; not `high`, the wire is let go."""
        if high and self.function.uses_messages:
            self.function.interrupt(vector)
        self.function.set_level(high)

    def set_interrupt_level(self, high: bool) -> None:
        """Hold the interrupt wire high or low, as long as the driver uses it (INTx)."""
        self.function.set_level(high)

    @property
    def dma(self) -> Dma:
        """The box's memory."""
        return Dma(self.function)

    # -- in a box ------------------------------------------------------------------------------------------------

    @property
    def plugged(self) -> bool:
        """Whether it is in a box now."""
        return self._function is not None and self._function.place >= 0

    @property
    def sysfs(self) -> Sequence[str]:
        return (f"/sys/bus/pci/devices/{self.address}",) if self.plugged else ()

    @property
    def driver(self) -> str | None:
        """The name of the driver that has it, as in /sys/bus/pci/drivers; None while none has."""
        return self._look() if self._look is not None and self.plugged else None

    @property
    def modalias(self) -> str:
        """Its alias, as modules name theirs: pci:v00001234d…"""
        vendor, device = self.subsystem
        base, sub, interface = self.class_code >> 16, self.class_code >> 8 & 255, self.class_code & 255
        return (
            f"pci:v{self.vendor_id:08X}d{self.device_id:08X}sv{vendor:08X}sd{device:08X}"
            f"bc{base:02X}sc{sub:02X}i{interface:02X}"
        )

    def unplug(self) -> None:
        """Take it out by surprise: reads give ones from now on, and then the kernel is told."""
        if self._unplug is None or not self.plugged:
            raise KoboxError(f"{type(self).__name__} is not plugged in")
        self._unplug()

    # -- for the bus ---------------------------------------------------------------------------------------------

    @property
    def function(self) -> PciFunction:
        """Its function on the bus (`kobox.machine.pci`)."""
        if self._function is None:
            if not 0 <= self.vectors <= MAX_VECTORS:
                raise KoboxError(f"{type(self).__name__}.vectors is {self.vectors}; 0 to {MAX_VECTORS} are possible")
            self._bars = _bars(type(self))
            identity = PciIdentity(
                self.vendor_id, self.device_id, self.class_code, self.revision, self.subsystem, self.vectors
            )
            self._registers_at = {
                (self._bars[register.bar].number, register.offset): self.registers[register.name]
                for register in declared(type(self))
                if isinstance(register.bar, BarDeclaration)
            }
            self._function = PciFunction(self, identity, list(self._bars.values()))
        return self._function

    def power_on(self) -> None:
        """Registers get their reset values, then `reset` is called."""
        for held in self.registers.values():
            held.value = held.layout.reset
        self.reset()

    def bar_read(self, bar: int, offset: int, size: int) -> int:
        """The driver reads `size` bytes of a BAR: registers where they are declared, `read_memory` elsewhere."""
        try:
            held = self._registers_at.get((bar, offset))
            if held is not None and held.layout.size == size:
                self.reading(held)
                return held.value
            parts = self._overlapping(bar, offset, size)
            if not parts:
                return index(self.read_memory(bar, offset, size)) & (1 << 8 * size) - 1
            value = 0
            for part in parts:
                self.reading(part)
                shift = 8 * (part.layout.offset - offset)
                value |= part.value << shift if shift >= 0 else part.value >> -shift
            return value & (1 << 8 * size) - 1
        except KoboxError:
            raise
        except Exception as error:
            raise DeviceModelError(type(self).__name__, error) from error

    def bar_write(self, bar: int, offset: int, size: int, value: int) -> None:
        """The driver writes `size` bytes of a BAR."""
        try:
            parts = self._overlapping(bar, offset, size)
            if not parts:
                self.write_memory(bar, offset, size, value)
            for part in parts:
                register = part.layout
                shift, mask = 8 * (register.offset - offset), (1 << 8 * size) - 1
                new = value >> shift if shift >= 0 else value << -shift
                covered = mask >> shift if shift >= 0 else mask << -shift
                keep = part.value & ~covered & ~register.clear_on_write
                part.write(new & covered | keep)
                self.written(part)
        except KoboxError:
            raise
        except Exception as error:
            raise DeviceModelError(type(self).__name__, error) from error

    def configuration_read(self, register: int, size: int, value: int) -> int:
        """The driver reads configuration space where PCI defines nothing."""
        try:
            return index(self.read_configuration(register, size, value)) & (1 << 8 * size) - 1
        except KoboxError:
            raise
        except Exception as error:
            raise DeviceModelError(type(self).__name__, error) from error

    def shared_read(self, address: int, size: int, value: int) -> int:
        """The driver reads memory that the device may have written, at a bus address; only phantoms are asked."""
        return value

    def _overlapping(self, bar: int, offset: int, size: int) -> list[RegisterValue]:
        held = self._registers_at.get((bar, offset))
        if held is not None and held.layout.size == size:
            return [held]
        return [
            held
            for (where, at), held in sorted(self._registers_at.items(), key=lambda item: item[0])
            if where == bar and at < offset + size and offset < at + held.layout.size
        ]

    def save(self) -> Callable[[], None]:
        """For a checkpoint: a function that gives the registers and the object's attributes back as they are now."""
        values = {name: held.value for name, held in self.registers.items()}
        own = save_state(self, _OURS)

        def restore() -> None:
            for name, value in values.items():
                self.registers[name].value = value
            own()

        return restore


# What an object holds that is no state of the device.
_OURS = {"_function", "_held", "_unplug", "_look", "_bars", "_registers_at", "address", *NO_STATE}


def _bars(device: type) -> dict[object, Bar]:
    """The BARs that a class declares: by `barN` for its name, or the next that is free."""
    found: dict[str, BarDeclaration] = {}
    for base in reversed(device.__mro__):
        found.update((name, value) for name, value in vars(base).items() if isinstance(value, BarDeclaration))
    bars: dict[object, Bar] = {}
    taken: set[int] = set()
    for name, bar in sorted(found.items(), key=lambda item: not _number_in(item[0])):
        width = 2 if bar.kind is BarKind.MEMORY_64 else 1
        free = next((n for n in range(6) if not taken & set(range(n, n + width))), 0)
        number = int(name[3:]) if _number_in(name) else free
        taken.update(range(number, number + width))
        bars[bar] = Bar(number, bar.size, bar.kind, bar.prefetchable)
    return bars


def _number_in(name: str) -> bool:
    return name.startswith("bar") and name[3:].isdigit()
