"""Where the sections of a module's file lie in a box: between addresses there and offsets here.

The kernel keeps the whole symbol table until the module's init has returned (kernel/module/kallsyms.c, add_kallsyms),
in the file's order and relocated: a symbol's address there less its value in the file is where its section begins.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from dataclasses import dataclass

from kobox.box.box import Box
from kobox.box.inspect.symbols import LoadedAt
from kobox.ko.elf import SHF_ALLOC
from kobox.ko.modulefile import ModuleFile

_RESERVED = 0xFF00  # SHN_LORESERVE
_SYMBOL = struct.Struct("<IBBHQQ")


@dataclass(frozen=True, slots=True)
class Placement:
    """One module in one box, as it was when it was linked: it explains addresses also when the module is gone.

    `starts` are the addresses of the sections by their numbers; those without any symbol are not known.
    """

    module: LoadedAt
    starts: dict[int, int]
    _rows: tuple[tuple[int, int, int], ...]  # (start, end, section) in order of address

    @classmethod
    def of(cls, box: Box, module: LoadedAt, file: ModuleFile) -> Placement:
        """To be asked when the module was linked and its init has not returned."""
        starts, is_kernel = _starts(box, module, file), box.arch.addresses.is_kernel
        rows = [(start, start + file.elf.section_at(number).size, number) for number, start in starts.items()]
        return cls(module, starts, tuple(sorted(row for row in rows if row[1] > row[0] and is_kernel(row[0]))))

    def find(self, address: int) -> tuple[int, int] | None:
        """(section, offset) of an address; None outside of the module."""
        n = bisect_right(self._rows, address, key=lambda row: row[0]) - 1
        if n < 0 or address >= self._rows[n][1]:
            return None
        return self._rows[n][2], address - self._rows[n][0]


def _starts(box: Box, module: LoadedAt, file: ModuleFile) -> dict[int, int]:
    btf, read = box.inspect.symbols.btf, box.machine.read
    table, _, _ = file.elf.symbol_table()
    tables = int.from_bytes(read(module.address + btf.offset("module", "kallsyms"), 8), "little")
    count = int.from_bytes(read(tables + btf.offset("mod_kallsyms", "num_symtab"), 4), "little")
    if count * _SYMBOL.size != len(table):  # its init has returned, or the kernel has no CONFIG_KALLSYMS_ALL
        return {}
    symtab = int.from_bytes(read(tables + btf.offset("mod_kallsyms", "symtab"), 8), "little")
    there = read(symtab, len(table))
    starts: dict[int, int] = {}
    for mine, its in zip(_SYMBOL.iter_unpack(table), _SYMBOL.iter_unpack(there), strict=True):
        section = mine[3]
        if 0 < section < _RESERVED and section not in starts and file.elf.section_at(section).flags & SHF_ALLOC:
            starts[section] = its[4] - mine[4] & 0xFFFFFFFFFFFFFFFF
    return starts
