"""Registers of a hardware model, declared in its class and held by each of its objects.

control = Register(bar0, 0x00, bits={"run": 0, "mode": (4, 7)})     in the class: where it is and what it is made of
self.control                                                        in an object: a `RegisterValue`
self.control.value, self.control.run, self.control.mode             all of it, a bit, a field of bits
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, overload

from kobox.errors import KoboxError

SIZES = (1, 2, 4, 8)


class BarLike(Protocol):
    """What a register must know of where it lies: how many bytes there are."""

    @property
    def size(self) -> int: ...


@dataclass(frozen=True, slots=True)
class RegisterLayout:
    """What a register is: its place, its bits as (first bit, mask), and what the driver's writes do to it."""

    name: str
    bar: BarLike
    offset: int
    size: int
    fields: Mapping[str, tuple[int, int]]
    read_only: bool
    clear_on_write: int
    reset: int


class Register:
    """A register at `offset` of a BAR, `size` bytes wide, little-endian.

    `bits` names a bit by its number, or a field by its first and last bit. The driver's writes change what is neither
    `read_only` (the whole register) nor in `clear_on_write`, a mask of bits that are cleared by writing ones.
    `reset` is the value after power on. Raises `KoboxError` when it does not fit its BAR.
    """

    def __init__(
        self,
        bar: BarLike,
        offset: int,
        *,
        size: int = 4,
        bits: Mapping[str, int | tuple[int, int]] | None = None,
        read_only: bool = False,
        clear_on_write: int = 0,
        reset: int = 0,
    ) -> None:
        if size not in SIZES:
            raise KoboxError(f"a register of {size} bytes; 1, 2, 4 and 8 are possible")
        if not 0 <= offset <= bar.size - size:
            raise KoboxError(f"a register at offset {offset:#x}, of {size} bytes: the BAR has {bar.size:#x}")
        fields = {name: _field(name, bit, size) for name, bit in (bits or {}).items()}
        self.layout = RegisterLayout("", bar, offset, size, fields, read_only, clear_on_write, reset)

    def __set_name__(self, owner: type, name: str) -> None:
        self.layout = replace(self.layout, name=name)

    @overload
    def __get__(self, device: None, owner: type) -> Register: ...
    @overload
    def __get__(self, device: HasRegisters, owner: type) -> RegisterValue: ...
    def __get__(self, device: HasRegisters | None, owner: type) -> Register | RegisterValue:
        return self if device is None else device.registers[self.layout.name]

    def __set__(self, device: HasRegisters, value: int) -> None:
        device.registers[self.layout.name].value = value


class HasRegisters(Protocol):
    """A model whose class declares registers."""

    @property
    def registers(self) -> Mapping[str, RegisterValue]: ...


class RegisterValue:
    """What a register of one device holds: `value`, and its bits and fields by their names."""

    __slots__ = ("_value", "layout")
    layout: RegisterLayout
    _value: int

    def __init__(self, layout: RegisterLayout) -> None:
        object.__setattr__(self, "layout", layout)
        object.__setattr__(self, "_value", layout.reset)

    @property
    def name(self) -> str:
        """The register's name in the class."""
        return self.layout.name

    @property
    def value(self) -> int:
        """All of it, unsigned."""
        return self._value

    @value.setter
    def value(self, value: int) -> None:
        object.__setattr__(self, "_value", value & (1 << 8 * self.layout.size) - 1)

    def write(self, value: int) -> None:
        """The driver writes it: what is read only stays, what is cleared by ones is."""
        if self.layout.read_only:
            return
        clear = self.layout.clear_on_write
        self.value = value & ~clear | self._value & clear & ~value

    def __getattr__(self, name: str) -> int:
        try:
            low, mask = self.layout.fields[name]
        except KeyError:
            raise AttributeError(f"register {self.name!r} has no bits called {name!r}") from None
        return self._value >> low & mask

    def __setattr__(self, name: str, value: int) -> None:
        if name == "value":
            object.__setattr__(self, name, value)
            return
        try:
            low, mask = self.layout.fields[name]
        except KeyError:
            raise AttributeError(f"register {self.name!r} has no bits called {name!r}") from None
        self.value = self._value & ~(mask << low) | (int(value) & mask) << low

    def __int__(self) -> int:
        return self._value

    __index__ = __int__

    def __repr__(self) -> str:
        return f"<{self.name} {self._value:#x}>"


def declared(device: type) -> list[RegisterLayout]:
    """The registers that a class and its bases declare, each once."""
    found: dict[str, object] = {}
    for base in reversed(device.__mro__):
        found.update(vars(base))
    return [value.layout for value in found.values() if isinstance(value, Register)]


def check_overlaps(registers: Iterable[RegisterLayout]) -> None:
    """Raise `KoboxError` where two registers share a byte."""
    taken: dict[tuple[int, int], str] = {}
    for register in registers:
        for byte in range(register.offset, register.offset + register.size):
            other = taken.setdefault((id(register.bar), byte), register.name)
            if other != register.name:
                raise KoboxError(f"registers {other!r} and {register.name!r} overlap at offset {byte:#x}")


def _field(name: str, bit: int | tuple[int, int], size: int) -> tuple[int, int]:
    low, high = (bit, bit) if isinstance(bit, int) else bit
    if not 0 <= low <= high < 8 * size:
        raise KoboxError(f"bits {low} to {high} ({name}): the register has {8 * size}")
    if name in ("value", "name", "layout", "write"):
        raise KoboxError(f"bits cannot be called {name!r}: a register has that already")
    return low, (1 << high - low + 1) - 1
