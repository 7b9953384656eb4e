"""Debugging information of a module file: which line of which function an instruction is, and where variables lie.

    debug = ModuleFile("hello.ko").debug
    for place in debug.lines(section, 0x42):            # innermost first; all but the last are inlined
        print(place.function, place.file, place.line)

Only the compile unit that is asked for is read. Which one it is stands in .debug_aranges, where the compiler writes
one, or else in the first entry of each unit. Sources: DWARF 5 and 4.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property, partial

from kobox.ko import elf
from kobox.ko.ctype import Prototype
from kobox.ko.dwarf.live import LiveVariable
from kobox.ko.dwarf.places import Function, InlinedCall, Local, Place, Row, Variable
from kobox.ko.dwarf.sections import RELOCATION_WIDTHS, SECTION_SHIFT, DebugSections, checked
from kobox.ko.dwarf.unit import Unit, Units

_PATCHABLE = 8  # bytes of -fpatchable-function-entry, which the compiler leaves out of a function (arm64)
_MODPOST_UNITS = (".mod.c", "module-common.c")


class DebugInfo:
    """The debugging information of one module file. Everything is read when it is first asked for.

    Without any, `available` is False, `lines` gives nothing, and functions and variables are the symbol table's.
    Damaged information raises `ModuleFormatError`.
    """

    def __init__(self, module: elf.Elf) -> None:
        self._elf = module
        self._path = module.path
        self._sections = DebugSections(module)
        self._units = Units(self._sections, self.function_at, self.shown)

    @cached_property
    def available(self) -> bool:
        """Whether there is line information that can be read here: the module was built with -g, and for a machine
        whose relocations are known."""
        has_lines = bool(self._elf.find(b".debug_info") and self._elf.find(b".debug_line"))
        return has_lines and self._elf.machine in RELOCATION_WIDTHS and self._elf.bits == 64

    def lines(self, section: int, offset: int) -> tuple[Place, ...]:
        """Where an instruction comes from: the function and line itself first, then the calls that were inlined, as
        the compiler knows them, the function whose code it is last. () when that is not known."""

        def read() -> tuple[Place, ...]:
            unit, address = self._described(section, offset)
            return () if unit is None else unit.lines(address)

        return checked(self._path, read)

    def inlined_in(self, section: int, offset: int) -> frozenset[str]:
        """The names of the functions that are inlined in the function that an instruction belongs to, at any depth."""

        def read() -> frozenset[str]:
            unit, address = self._described(section, offset)
            return frozenset() if unit is None else unit.inlined_in(address)

        return checked(self._path, read)

    def function_at(self, section: int, offset: int) -> Function | None:
        """The function whose code an instruction is."""
        functions = self._functions_by_section.get(section, [])
        n = bisect_right(functions, offset, key=lambda function: function.offset) - 1
        if n < 0 or offset >= functions[n].offset + max(functions[n].size, 1):
            return None
        return functions[n]

    def locals(self, section: int, offset: int) -> tuple[Local, ...]:
        """The variables in the frame of the function that an instruction belongs to, those of inlined functions too.
        Variables in registers, and those that move about, are not among them."""

        def read() -> tuple[Local, ...]:
            unit = self._unit_at(section, offset)
            return () if unit is None else unit.locals(section << SECTION_SHIFT | offset)

        return checked(self._path, read)

    def rows(self) -> Iterator[Row]:
        """All code of the module with its lines, unit by unit, in no order."""
        starts = checked(self._path, lambda: self._sections.unit_starts) if self.available else []
        for unit in map(self._units.__getitem__, starts):
            yield from checked(self._path, partial(_rows_of, unit))

    def statements(self) -> Iterator[Row]:
        """Where each statement begins, unit by unit, in no order: also one that is no instruction, where the next one
        begins too. The rows have no end."""
        starts = checked(self._path, lambda: self._sections.unit_starts) if self.available else []
        for unit in map(self._units.__getitem__, starts):
            yield from checked(self._path, partial(_statements_of, unit))

    def inlined_calls(self, names: frozenset[str]) -> tuple[InlinedCall, ...]:
        """Where the functions with these names were inlined, also where that left no instruction."""
        if not self.available:
            return ()

        def read() -> tuple[InlinedCall, ...]:
            units = map(self._units.__getitem__, self._sections.unit_starts)
            return tuple(call for unit in units for call in unit.inlined_calls(names))

        return checked(self._path, read)

    @cached_property
    def functions(self) -> tuple[Function, ...]:
        """All functions of the symbol table, by section and offset; of several at one place the first, which is the
        local one (`init_module` is another name). Padding before functions (`__pfx_`) is left out."""
        found: dict[tuple[int, int], Function] = {}
        for symbol in self._elf.symbols():
            is_function = symbol.type == elf.STT_FUNC and 0 < symbol.section < elf.SHN_LORESERVE
            if is_function and not symbol.name.startswith(b"__pfx_"):
                key = symbol.section, symbol.value
                if key not in found or (not found[key].size and symbol.size):
                    found[key] = Function(symbol.name.decode(errors="replace"), *key, symbol.size)
        return tuple(found[key] for key in sorted(found))

    @cached_property
    def variables(self) -> tuple[Variable, ...]:
        """All variables of the symbol table, by section and offset."""
        found = [
            Variable(symbol.name.decode(errors="replace"), symbol.section, symbol.value, symbol.size)
            for symbol in self._elf.symbols()
            if symbol.type == elf.STT_OBJECT and 0 < symbol.section < elf.SHN_LORESERVE
        ]
        return tuple(sorted(found, key=lambda variable: (variable.section, variable.offset)))

    def definition(self, section: int, offset: int) -> Place | None:
        """The line where the function that an instruction belongs to is defined."""

        def read() -> Place | None:
            unit, address = self._described(section, offset)
            return None if unit is None else unit.definition(address)

        return checked(self._path, read)

    def prototype(self, section: int, offset: int) -> Prototype | None:
        """What the function that an instruction belongs to takes and returns."""

        def read() -> Prototype | None:
            unit, address = self._described(section, offset)
            return None if unit is None else unit.prototype(address)

        return checked(self._path, read)

    def live(self, section: int, offset: int) -> tuple[LiveVariable, ...]:
        """The variables that exist at an instruction, and where they are: those of its function, then those of inlined
        ones, the innermost last."""

        def read() -> tuple[LiveVariable, ...]:
            unit = self._unit_at(section, offset)
            return () if unit is None else unit.live(section << SECTION_SHIFT | offset)

        return checked(self._path, read)

    def member_at(self, variable: LiveVariable, offset: int) -> str:
        """The member that lies at an offset of what a pointer points to, as "list.next"; "" when there is none."""
        start, entry = variable.place
        return checked(self._path, lambda: self._units[start].member_at(entry, offset))

    def path_in(self, variable: Variable, offset: int) -> str:
        """What lies at an offset of a variable, as "table[2].lock": its name, the members of its type where they are
        known, or else the number of bytes."""
        unit = self._structures.get(variable.name)
        found = checked(self._path, lambda: unit.member_of(variable.name, offset)) if unit is not None else ""
        if found.startswith("["):
            return f"{variable.name}{found}"
        return f"{variable.name}.{found}" if found else f"{variable.name}+{offset:#x}" if offset else variable.name

    @cached_property
    def _structures(self) -> dict[str, Unit]:
        """The units that define the variables of the files' own level, by their names."""
        starts = self._sections.unit_starts if self.available else []
        return checked(
            self._path, lambda: {name: self._units[start] for start in starts for name in self._units[start].globals}
        )

    @cached_property
    def root(self) -> str:
        """The directory that the module was built from, "" when that is not known: modpost's own unit lies there."""
        if not self.available:
            return ""
        names = checked(self._path, lambda: [self._units[start].name for start in self._sections.unit_starts[-2:]])
        return next((os.path.dirname(name) for name in names if name.endswith(_MODPOST_UNITS)), "")

    def shown(self, path: str) -> str:
        """A source file's name for people: relative to the module's directory, a header's to the kernel's, a
        crate's to its own place."""
        for base in (self.root, os.path.dirname(os.path.abspath(self._path)) if self._path else ""):
            if base and path.startswith(base + "/"):
                return path[len(base) + 1 :]
        parts = ("/include/", "/arch/", "/rust/kernel/", "/rust/pin-init/", "/library/core/")
        starts = [at for at in map(path.find, parts) if at >= 0]
        return path[min(starts) + 1 :] if starts else path

    @cached_property
    def _functions_by_section(self) -> dict[int, list[Function]]:
        found: dict[int, list[Function]] = {}
        for function in self.functions:
            found.setdefault(function.section, []).append(function)
        return found

    def _described(self, section: int, offset: int) -> tuple[Unit | None, int]:
        """The unit of an instruction, and the address that debugging information has for it: what the compiler puts
        before a function, for ftrace, belongs to none."""
        unit = self._unit_at(section, offset)
        if unit is None or not unit.has_function(section << SECTION_SHIFT | offset):
            function = self.function_at(section, offset)
            if function is not None and offset < function.offset + _PATCHABLE:
                behind = function.offset + _PATCHABLE
                return self._unit_at(section, behind), section << SECTION_SHIFT | behind
        return unit, section << SECTION_SHIFT | offset

    def _unit_at(self, section: int, offset: int) -> Unit | None:
        if not self.available:
            return None
        address = section << SECTION_SHIFT | offset
        n = bisect_right(self._ranges, address, key=lambda row: row[0]) - 1
        if n < 0 or address >= self._ranges[n][1]:
            return None
        return self._units[self._ranges[n][2]]

    @cached_property
    def _ranges(self) -> list[tuple[int, int, int]]:
        """(start, end, unit) of all code, in order."""
        starts = self._sections.unit_starts
        known = set(starts)
        found = [row for row in self._aranges() if row[2] in known]
        listed = {unit for _, _, unit in found}
        for start in starts:
            if start not in listed:
                found.extend((low, high, start) for low, high in self._units[start].ranges())
        return sorted(row for row in found if row[0] >> SECTION_SHIFT)

    def _aranges(self) -> Iterator[tuple[int, int, int]]:
        """(start, end, unit) for each row of .debug_aranges (DWARF 5, 6.1.2)."""
        if ".debug_aranges" not in self._sections:
            return
        section = self._sections[".debug_aranges"]
        section.relocate_all()
        data, order, at = section.data, self._elf.layout.order, 0
        while at + 12 <= len(data):
            length, _, unit, width, _ = struct.unpack_from(f"{order}IHIBB", data, at)
            end = at + 4 + length
            at += 16  # pairs are aligned to their own size, from where the table begins
            while width == 8 and at + 16 <= end:
                start, size = struct.unpack_from(f"{order}QQ", data, at)
                at += 16
                if start >> SECTION_SHIFT:
                    yield start, start + size, unit
            at = end


def _rows_of(unit: Unit) -> list[Row]:
    return [] if unit.name.endswith(_MODPOST_UNITS) else list(unit.rows())


def _statements_of(unit: Unit) -> list[Row]:
    return [] if unit.name.endswith(_MODPOST_UNITS) else list(unit.statements())
