"""Types of C, as far as values are shown by them: of a function's parameters and of what it returns.

BTF (`kobox.box.inspect.btf`) and DWARF (`kobox.ko.dwarf`) are both read into these.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a value is."""

    VOID = "void"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    CHARACTER = "character"
    ENUMERATION = "enumeration"
    TEXT = "text"  # a pointer to char
    FUNCTION = "function"  # a pointer to a function
    STRUCTURE = "structure"  # a pointer to a structure
    POINTER = "pointer"  # any other
    OTHER = "other"  # a structure by value, a float


@dataclass(frozen=True, slots=True)
class CType:
    """A type: `text` as C writes it, `size` in bytes. `structure` is the name of what a `STRUCTURE` points to; `names`
    are the constants of an enumeration, (value, name)."""

    kind: Kind
    text: str
    size: int = 8
    signed: bool = False
    structure: str = ""
    names: tuple[tuple[int, str], ...] = ()

    @property
    def is_pointer(self) -> bool:
        """Whether a value is an address."""
        return self.kind in (Kind.TEXT, Kind.FUNCTION, Kind.STRUCTURE, Kind.POINTER)

    def number(self, register: int) -> int:
        """The value in a 64-bit register: of a narrower type the rest of the register is left as it was."""
        bits = 8 * (self.size if 0 < self.size <= 8 else 8)
        value = register & (1 << bits) - 1
        return value - (1 << bits) if self.signed and value >> bits - 1 else value


UNKNOWN = CType(Kind.OTHER, "?")
VOID = CType(Kind.VOID, "void", 0)


@dataclass(frozen=True, slots=True)
class FunctionParameter:
    """A parameter of a function: its name, "" when it has none, and its type."""

    name: str
    type: CType


@dataclass(frozen=True, slots=True)
class Prototype:
    """What a function takes and what it returns."""

    parameters: tuple[FunctionParameter, ...]
    result: CType
    variadic: bool = False
