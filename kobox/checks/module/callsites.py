"""Call sites: where a module's code calls functions of the kernel, as its relocations tell.

    .rela.text:  offset 0x1f6, R_X86_64_PLT32, __kmalloc - 4
    .text:       1f5: e8 00 00 00 00      call  __kmalloc         -> CallSite("__kmalloc", ".text", 0x1f5, …)
                 e9: a tail call

Every direct call out of a module has a relocation, since nobody knows before loading where the kernel will be (psABI,
x86-64; the module loader's arch/x86/kernel/module.c). So has a call through a pointer, where the kernel is built with
retpolines: it calls __x86_indirect_thunk_REGISTER, whatever the loader makes of that then. Others are not found here.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass

from kobox.arch.unwind import Unwinder
from kobox.checks.module.layout import Placement
from kobox.ko.elf import SHF_ALLOC, SHF_EXECINSTR, SHN_UNDEF, SHT_RELA, STB_LOCAL, Elf

_PC32, _PLT32 = 2, 4
_FUNCTION = 2
_CALL, _JUMP = 0xE8, 0xE9
_LENGTH = 5  # of both instructions
_THUNK = "__x86_indirect_thunk_"  # arch/x86/lib/retpoline.S
_CS = 0x2E  # a prefix that makes such a call as long as another (-mindirect-branch-cs-prefix)


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
    length: int = _LENGTH
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
    code = code_sections(elf)
    numbers = {number: name for name, number in code.items()}
    symbols = list(elf.symbols())
    sites = []
    for n, section in enumerate(elf.sections):
        if section.type != SHT_RELA or section.info not in numbers:
            continue
        functions = Functions(elf, section.info)
        data = elf.data(section.info)
        for offset, kind, symbol, addend in elf.relocations(n, symbols):
            if kind not in (_PC32, _PLT32) or addend != -4 or not offset:
                continue
            if symbol is None or symbol.section != SHN_UNDEF:
                continue
            opcode = data[offset - 1]
            if opcode in (_CALL, _JUMP):
                name, at, length = symbol.name.decode(errors="replace"), offset - 1, _LENGTH
                register = name.removeprefix(_THUNK) if name.startswith(_THUNK) else ""
                if register and at and data[at - 1] == _CS and register[1:].isdigit():
                    at, length = at - 1, length + 1
                name, tail = "" if register else name, opcode == _JUMP
                sites.append(CallSite(name, numbers[section.info], at, functions.place(at), tail, length, register))
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
