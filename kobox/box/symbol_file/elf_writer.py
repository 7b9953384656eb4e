"""Writes ELF files of 64 bits: sections with data, sections of memory without, and a symbol table.

Source: the System V ABI, chapters "Object Files" (gABI), and ELF-64 Object File Format.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_PROGBITS, _SYMTAB, _STRTAB, _NOTE, _NOBITS = 1, 2, 3, 7, 8
_HEADER, _ROW, _SYMBOL = struct.Struct("<16sHHIQQQIHHHHHH"), struct.Struct("<IIQQQQIIQQ"), struct.Struct("<IBBHQQ")
_PROGRAM = struct.Struct("<IIQQQQQQ")
FUNCTION, OBJECT = 2, 1
WRITABLE, ALLOCATED, CODE = 1, 2, 4  # SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR
_ABSOLUTE = 0xFFF1  # SHN_ABS


class ElfSection(NamedTuple):
    """One section: `data`, or memory of `size` bytes at `address`, of which the file holds `data` or nothing. `flags`
    are SHF_*."""

    name: str
    data: bytes = b""
    address: int = 0
    size: int = 0
    flags: int = 0
    is_note: bool = False

    @property
    def is_memory(self) -> bool:
        """Whether it is memory of the running program."""
        return bool(self.size and self.flags & ALLOCATED)


class ElfSymbol(NamedTuple):
    """One symbol: `kind` is FUNCTION or OBJECT; a local one is seen in its own file only."""

    name: bytes
    address: int
    size: int
    kind: int
    is_local: bool = False


def executable(machine: int, sections: Sequence[ElfSection], symbols: Iterable[ElfSymbol]) -> bytes:
    """An executable (ET_EXEC) with these sections and symbols; a symbol belongs to the section of memory it lies in.
    Sections of memory are segments too, where they lie."""
    table, strings, local = _symbol_table(sections, symbols)
    rows = [*sections, ElfSection(".symtab", table), ElfSection(".strtab", strings), ElfSection(".shstrtab")]
    names, places = bytearray(b"\0"), []
    for row in rows:
        places.append(len(names))
        names += row.name.encode() + b"\0"
    rows[-1] = ElfSection(".shstrtab", bytes(names))
    count = sum(1 for row in sections if row.is_memory)
    segments = bytearray()
    body, headers = bytearray(_HEADER.size + count * _PROGRAM.size), [_ROW.pack(*[0] * 10)]
    for row, place in zip(rows, places, strict=True):
        body += bytes(-len(body) % 8)
        if row.is_memory:
            segments += _segment(row, len(body))
        headers.append(_section_header(row, place, len(body), (len(rows), local)))
        body += row.data
    body += bytes(-len(body) % 8)
    counts = 56, count, 64, len(headers), len(headers) - 1
    ident = b"\x7fELF\2\1\1" + bytes(9)
    header = _HEADER.pack(ident, 2, machine, 1, 0, _HEADER.size if segments else 0, len(body), 0, 64, *counts)
    body[: _HEADER.size + len(segments)] = header + segments
    return bytes(body) + b"".join(headers)


def _segment(row: ElfSection, offset: int) -> bytes:
    """PT_LOAD { type, flags, offset, vaddr, paddr, filesz, memsz, align }; SHF_EXECINSTR and SHF_WRITE become PF_*."""
    flags = 4 | (1 if row.flags & CODE else 0) | (2 if row.flags & WRITABLE else 0)
    return _PROGRAM.pack(1, flags, offset, row.address, row.address, len(row.data), row.size or len(row.data), 1)


def _section_header(row: ElfSection, name: int, offset: int, table: tuple[int, int]) -> bytes:
    """One row of the table of sections. `table` is how many sections there are, and how many symbols are local."""
    kind, link, info, entry = _PROGBITS, 0, 0, 0
    if row.name == ".symtab":
        kind, link, info, entry = _SYMTAB, table[0] - 1, table[1], _SYMBOL.size
    elif row.name in (".strtab", ".shstrtab"):
        kind = _STRTAB
    elif row.is_note:
        kind = _NOTE
    elif row.size and not row.data:
        kind = _NOBITS
    size = len(row.data) or row.size
    return _ROW.pack(name, kind, row.flags, row.address, offset, size, link, info, 4 if row.is_note else 1, entry)


def _symbol_table(sections: Sequence[ElfSection], symbols: Iterable[ElfSymbol]) -> tuple[bytes, bytes, int]:
    """(the table, its names, the number of its local symbols, which come first)."""
    rows: tuple[list[bytes], list[bytes]] = [_SYMBOL.pack(0, 0, 0, 0, 0, 0)], []
    strings = bytearray(b"\0")
    memory = [(row.address, row.address + row.size, n) for n, row in enumerate(sections, 1) if row.is_memory]
    for symbol in symbols:
        section = next((n for start, end, n in memory if start <= symbol.address < end), _ABSOLUTE)
        kind = symbol.kind | (0 if symbol.is_local else 0x10)
        row = _SYMBOL.pack(len(strings), kind, 0, section, symbol.address, symbol.size)
        rows[0 if symbol.is_local else 1].append(row)
        strings += symbol.name + b"\0"
    return b"".join(rows[0] + rows[1]), bytes(strings), len(rows[0])
