"""A module's own variables: where they end, by its symbol table and by the relocations of its code.

Two things tell an access that is not meant. Between variables of a section lies padding, which nobody may touch. And an
instruction with an index, `table[n]`, names in its relocation the variable that it indexes: what it
touches must lie in that one, also when another follows at once. So does `set_bit(n, map)`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from kobox.arch.registry import architecture
from kobox.checks.module.layout import Placement
from kobox.checks.report.quantities import beside
from kobox.ko.dwarf.places import Variable
from kobox.ko.elf import SHF_ALLOC, SHF_EXECINSTR, SHT_RELA, STT_OBJECT
from kobox.ko.modulefile import ModuleFile

_PADDING = 64
"""A gap that is longer is none of the compiler's."""
_WORD = 8
_FIELD = 4  # bytes of an operand's displacement
_ALIGNMENT = 16


@dataclass(frozen=True, slots=True)
class _Placed:
    name: str
    start: int
    end: int

    def __str__(self) -> str:
        return f"{self.name} ({self.end - self.start} bytes)"


class Variables:
    """The variables of a module that is in memory."""

    def __init__(self, file: ModuleFile) -> None:
        self._file = file
        self._placed: list[_Placed] = []
        self._gaps: list[tuple[int, int]] = []
        self._bounds: list[tuple[_Placed, int]] = []

    def place(self, placement: Placement) -> None:
        """Say where the module lies."""
        self._placed = sorted(
            (
                _Placed(variable.name, start + variable.offset, start + variable.offset + variable.size)
                for variable in self._file.debug.variables
                if variable.size and (start := placement.starts.get(variable.section))
            ),
            key=lambda placed: placed.start,
        )
        self._gaps = list(self._find_gaps(placement))
        self._bounds = sorted(self._find_bounds(placement), key=lambda bound: bound[1])

    def gaps(self) -> list[tuple[int, int]]:
        """(start, size) of the padding between and behind variables."""
        return self._gaps

    def bounds(self) -> list[tuple[int, int, int]]:
        """(start, end, address of the relocated field) for `Watch.bounds`, in the order in which it numbers them."""
        return [(placed.start, placed.end, site) for placed, site in self._bounds]

    def at(self, address: int) -> str:
        """The variable at an address, in words; "" for none."""
        n = bisect_right(self._placed, address, key=lambda placed: placed.start) - 1
        return str(self._placed[n]) if n >= 0 and address < self._placed[n].end else ""

    def end_of(self, address: int) -> int:
        """Where the variable at an address ends; 0 for none."""
        n = bisect_right(self._placed, address, key=lambda placed: placed.start) - 1
        return self._placed[n].end if n >= 0 and address < self._placed[n].end else 0

    def near(self, address: int) -> str:
        """Where an address between variables lies: "2 bytes past the end of name (10 bytes)"."""
        n = bisect_right(self._placed, address, key=lambda placed: placed.start) - 1
        if n < 0:
            return "before the first variable"
        placed = self._placed[n]
        return beside(address, placed.start, placed.end, str(placed))

    def beyond(self, number: int, address: int) -> str:
        """Where an address lies that has left bound `number`."""
        return _outside(self._bounds[number][0], address)

    def beyond_start(self, start: int, address: int) -> str:
        """Where an address lies that has left the variable that starts at `start`; "" when none does."""
        found = next((placed for placed in self._placed if placed.start == start), None)
        return "" if found is None else _outside(found, address)

    # -- reading the file --------------------------------------------------------------------------------------

    def _find_gaps(self, placement: Placement) -> Iterator[tuple[int, int]]:
        by_section: dict[int, list[Variable]] = {}
        for variable in self._file.debug.variables:
            by_section.setdefault(variable.section, []).append(variable)
        for number, variables in by_section.items():
            name = self._file.elf.section_name(number)
            start, size = placement.starts.get(number, 0), self._file.elf.section_at(number).size
            if not start or not name.startswith((b".data", b".bss")) or name.startswith(b".data..percpu"):
                continue
            end = 0
            following = min((other for other in placement.starts.values() if other >= start + size), default=0)
            room = size + _ALIGNMENT - 1 & -_ALIGNMENT  # behind it, to the next multiple of 16: surely nobody's
            room = min(room, following - start) if following else room
            for variable in (*variables, Variable("", number, room, 0)):
                if end and 0 < variable.offset - end <= _PADDING:
                    yield start + end, variable.offset - end
                end = max(end, variable.offset + variable.size)

    def _find_bounds(self, placement: Placement) -> Iterator[tuple[_Placed, int]]:
        starts = {placed.start: placed for placed in self._placed}
        symbols = list(self._file.elf.symbols())
        known = architecture(self._file.elf.architecture).relocations
        for number in range(1, len(self._file.elf.sections)):
            table = self._file.elf.section_at(number)
            code = placement.starts.get(table.info, 0)
            if table.type != SHT_RELA or not code:
                continue
            if not self._file.elf.section_at(table.info).flags & SHF_EXECINSTR:
                continue
            for offset, kind, symbol, addend in self._file.elf.relocations(number, symbols):
                if symbol is None or symbol.section not in placement.starts:
                    continue
                bit = known.selects_bit(self._file.elf.data(table.info), offset, kind)
                if kind not in known.indexed_operand and not bit:
                    continue
                addend += _FIELD if bit else 0
                base = placement.starts[symbol.section] + symbol.value
                if not self._file.elf.section_at(symbol.section).flags & SHF_ALLOC:
                    continue
                # A section and a number name a variable surely only where one begins that is more than a scalar.
                placed = starts.get(base if symbol.type == STT_OBJECT and not bit else base + addend)
                if placed is not None and (bit or placed.end - placed.start > _WORD):
                    yield placed, code + offset


def _outside(placed: _Placed, address: int) -> str:
    return beside(address, placed.start, placed.end, str(placed))
