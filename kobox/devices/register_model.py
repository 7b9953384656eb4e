"""Devices with registers, whatever bus they are on: declared registers, and what happens when the driver touches them.

class Counter(PciDevice):                       or PlatformDevice
    bar0 = PciDevice.memory(0x1000)             a window of registers
    control = Register(bar0, 0x00)

read  -> reading(register), then its value      read_memory() where no register is declared
write -> its new value, then written(register)  write_memory()
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import index
from typing import ClassVar

from kobox.devices.errors import DeviceModelError
from kobox.devices.model import NO_STATE, HardwareModel
from kobox.devices.register import RegisterValue, check_overlaps, declared
from kobox.devices.state import save_state
from kobox.errors import KoboxError
from kobox.machine.pci_function import Bar, BarKind


class BarDeclaration:
    """A base address register as a class declares it (`PciDevice.memory` and its kin)."""

    def __init__(self, size: int, kind: BarKind, prefetchable: bool) -> None:
        self.size, self.kind, self.prefetchable = size, kind, prefetchable
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name


class RegisterModel(HardwareModel):
    """A device with windows of registers."""

    no_state: ClassVar[frozenset[str]] = frozenset(
        {
            "_function",
            "_held",
            "_unplug",
            "_look",
            "_windows",
            "_registers_at",
            "_others",
            "_virtual",
            "_behind",
            "_owner",
            "address",
        }
        | NO_STATE
    )
    """What an object holds that is no state of the device."""

    _held: dict[str, RegisterValue] | None = None
    _windows: dict[object, Bar] | None = None
    _registers_at: dict[tuple[int, int], RegisterValue] | None = None

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

    def reset(self) -> None:
        """Power on: registers have their reset values already."""

    @property
    def registers(self) -> Mapping[str, RegisterValue]:
        """The device's registers by name."""
        if self._held is None:
            found = declared(type(self))
            check_overlaps(found)
            self._held = {register.name: RegisterValue(register) for register in found}
        return self._held

    @property
    def windows(self) -> dict[object, Bar]:
        """The windows that its class declares."""
        if self._windows is None:
            self._windows = _bars(type(self))
            for register in declared(type(self)):
                if isinstance(register.bar, BarDeclaration) and register.bar not in self._windows:
                    raise KoboxError(
                        f"{type(self).__name__}.{register.name} is in a window that the class does not have",
                        hint=f"{register.bar.name} was declared again: declare its registers again, too.",
                    )
        return self._windows

    @property
    def _by_place(self) -> dict[tuple[int, int], RegisterValue]:
        """The registers by window and offset."""
        if self._registers_at is None:
            self._registers_at = {
                (self.windows[register.bar].number, register.offset): self.registers[register.name]
                for register in declared(type(self))
                if isinstance(register.bar, BarDeclaration)
            }
        return self._registers_at

    def power_on(self) -> None:
        """Registers get their reset values, then `reset` is called."""
        for held in self.registers.values():
            held.value = held.layout.reset
        self.reset()

    def bar_read(self, bar: int, offset: int, size: int) -> int:
        """The driver reads `size` bytes of a BAR: registers where they are declared, `read_memory` elsewhere."""
        try:
            held = self._by_place.get((bar, offset))
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

    def _overlapping(self, bar: int, offset: int, size: int) -> list[RegisterValue]:
        held = self._by_place.get((bar, offset))
        if held is not None and held.layout.size == size:
            return [held]
        return [
            held
            for (where, at), held in sorted(self._by_place.items(), key=lambda item: item[0])
            if where == bar and at < offset + size and offset < at + held.layout.size
        ]

    def save(self) -> Callable[[], None]:
        """For a checkpoint: a function that gives the registers and the object's attributes back as they are now."""
        values = {name: held.value for name, held in self.registers.items()}
        own = save_state(self, self.no_state)

        def restore() -> None:
            for name, value in values.items():
                self.registers[name].value = value
            own()

        return restore


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
