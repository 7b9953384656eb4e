"""Call sites: where a module's code calls functions of the kernel, as its relocations tell (`kobox.arch.code`)."""

from __future__ import annotations

import bisect
from dataclasses import dataclass

from kobox.arch.registry import architecture
from kobox.arch.unwind import Unwinder
from kobox.checks.module.layout import Placement
from kobox.ko.elf import SHF_ALLOC, SHF_EXECINSTR, SHN_UNDEF, SHT_REL, SHT_RELA, STB_LOCAL, Elf

_FUNCTION = 2


@dataclass(frozen=True, slots=True)
class CallSite:
    """One instruction of `length` bytes that calls `function`: at `offset` of `section`, which is `place`
    ("hello_init+0x1f") of the module. `tail`: it is a jump, and the function returns to the caller's caller. Of a call
    through a pointer `register` has that, and `function` is ""."""

    function: str
    section: str
    offset: int
    place: str
    tail: bool = False
    length: int = 0
    register: str = ""


def code_sections(elf: Elf) -> dict[str, int]:
    """The sections that hold code which is loaded: name to number."""
    return {
        elf.section_name(n).decode(errors="replace"): n
        for n, section in enumerate(elf.sections)
        if section.flags & SHF_ALLOC and section.flags & SHF_EXECINSTR and section.size
    }


def call_sites(elf: Elf) -> list[CallSite]:
    """All calls of functions outside the module, and those through pointers, in order of section and offset."""
    reader, code = architecture(elf.architecture).code, code_sections(elf)
    numbers = {number: name for name, number in code.items()}
    symbols = list(elf.symbols())
    sites = []
    for n, section in enumerate(elf.sections):
        if section.type not in (SHT_RELA, SHT_REL) or section.info not in numbers:
            continue
        functions = Functions(elf, section.info)
        data = elf.data(section.info)
        for offset, kind, symbol, addend in elf.relocations(n, symbols):
            if symbol is None or symbol.section != SHN_UNDEF:
                continue
            call = reader.call_at(data, offset, kind, addend, symbol.name.decode(errors="replace"))
            if call is not None:
                place = functions.place(call.offset)
                sites.append(
                    CallSite(
                        call.function, numbers[section.info], call.offset, place, call.tail, call.length, call.register
                    )
                )
    return sorted(sites, key=lambda site: (site.section, site.offset))


class Functions:
    """The functions of one section, by where they lie."""

    def __init__(self, elf: Elf, section: int) -> None:
        found: dict[int, tuple[bool, int, str]] = {}
        for symbol in elf.symbols():
            if symbol.type == _FUNCTION and symbol.section == section:
                # Of two names the local one: init_module and cleanup_module are modpost's.
                row = (symbol.binding == STB_LOCAL, symbol.size, symbol.name.decode(errors="replace"))
                found[symbol.value] = max(row, found.get(symbol.value, row))
        rows = [(value, size, name) for value, (_, size, name) in sorted(found.items())]
        self._starts = [row[0] for row in rows]
        self.rows = rows  # (offset, size, name)
        self._section = elf.section_name(section).decode(errors="replace")

    def at(self, offset: int) -> tuple[str, int]:
        """(name of the function, offset in it); the section's name where there is none."""
        n = bisect.bisect(self._starts, offset) - 1
        if n < 0:
            return self._section, offset
        return self.rows[n][2], offset - self.rows[n][0]

    def place(self, offset: int) -> str:
        """As "function+0x1f"."""
        name, rest = self.at(offset)
        return f"{name}+{rest:#x}"


class CodeMap:
    """The code of one module file: its sections, and the functions in each."""

    def __init__(self, elf: Elf) -> None:
        self.elf = elf
        self.arch = architecture(elf.architecture)
        self.sections = code_sections(elf)
        self.functions = {name: Functions(elf, number) for name, number in self.sections.items()}

    def located(self, placement: Placement) -> LocatedCode:
        """Where this code lies in a box."""
        starts = placement.starts
        return LocatedCode(self, {name: starts[number] for name, number in self.sections.items() if number in starts})


class LocatedCode:
    """The code of a module that is loaded: `starts` are the addresses of its sections."""

    def __init__(self, code: CodeMap, starts: dict[str, int]) -> None:
        self.code = code
        self.starts = starts
        self._rows = sorted(
            (start, start + code.elf.sections[code.sections[name]].size, name) for name, start in starts.items()
        )

    def find(self, address: int) -> tuple[str, int] | None:
        """(section, offset) of an address; None outside of the module's code."""
        for start, end, name in self._rows:
            if start <= address < end:
                return name, address - start
        return None

    def place(self, address: int) -> str:
        """As "function+0x1f"; "" outside of the module's code."""
        found = self.find(address)
        return self.code.functions[found[0]].place(found[1]) if found else ""

    def callers(self, unwinder: Unwinder) -> tuple[str, ...]:
        """Where functions of the module have called on, to come to where the CPU is: return addresses, the outermost
        first."""
        places = [self.place(frame.address) for frame in unwinder.walk()[1:]]
        return tuple(place for place in reversed(places) if place)
