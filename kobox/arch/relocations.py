"""Relocations of modules, as an architecture's module loader applies them (apply_relocate_add(), psABI)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple


class RelocationType(NamedTuple):
    """A type that the module loader applies: its name, and how many bytes it writes."""

    name: str
    width: int


class Relocations(NamedTuple):
    """The relocations of one architecture."""

    loadable: Mapping[int, RelocationType]
    """Those that the module loader has code for, by number."""

    others: Mapping[int, str]
    """Names of others that compilers make."""

    wants_zeros: bool
    """Whether the loader refuses a relocation where the section holds anything but zeros."""

    absolute: frozenset[int]
    """Types that write an address whose upper bits are left out: it has to fit."""

    fits: Callable[[int, int], bool]
    """Whether a value (type, unsigned 64-bit) can be written by one of `absolute`."""

    overflow_log: str
    """What the loader logs when it cannot; `{name}` stands for the module."""

    indexed_operand: frozenset[int]
    """Types of an operand that names a table which the instruction indexes."""

    unknown_log: str = "module: {name}: Unknown rela relocation: {kind}"
    """What the loader logs of a type that it has no code for; `{name}` stands for the module, `{kind}` for the type."""

    selects_bit: Callable[[bytes, int, int], bool] = lambda code, offset, kind: False
    """Whether the field at an offset of some code, relocated so, is the operand of an instruction that reads or changes
    one bit of it, which a register selects. What is added to the symbol is then four too few: the field's own size."""

    def name(self, kind: int) -> str:
        """A type's name, or "type N"."""
        if kind in self.loadable:
            return self.loadable[kind].name
        return self.others.get(kind, f"type {kind}")
