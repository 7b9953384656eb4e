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


class ElfSection(NamedTuple):
    """One section: `data`, or memory of `size` bytes at `address` that the file does not hold. `flags` are SHF_*."""

    name: str
    data: bytes = b""
    address: int = 0
    size: int = 0
    flags: int = 0
    is_note: bool = False


class ElfSymbol(NamedTuple):
    """One symbol: `kind` is FUNCTION or OBJECT."""

    name: bytes
    address: int
    size: int
    kind: int


def executable(machine: int, sections: Sequence[ElfSection], symbols: Iterable[ElfSymbol]) -> bytes:
    """An executable (ET_EXEC) with these sections and symbols; a symbol belongs to the section of memory it lies in.
    Sections of memory are segments too, where they lie."""
    table, strings = _symbol_table(sections, symbols)
    rows = [*sections, ElfSection(".symtab", table), ElfSection(".strtab", strings), ElfSection(".shstrtab")]
    names, places = bytearray(b"\0"), []
    for row in rows:
        places.append(len(names))
        names += row.name.encode() + b"\0"
    rows[-1] = ElfSection(".shstrtab", bytes(names))
    count = sum(1 for row in sections if row.address)
    segments = bytearray()
    body, headers = bytearray(_HEADER.size + count * _PROGRAM.size), [_ROW.pack(*[0] * 10)]
    for row, place in zip(rows, places, strict=True):
        body += bytes(-len(body) % 8)
        if row.address:
            segments += _segment(row, len(body))
        headers.append(_section_header(row, place, len(body), len(rows)))
        body += row.data
    body += bytes(-len(body) % 8)
    counts = 56, count, 64, len(headers), len(headers) - 1
    ident = b"\x7fELF\2\1\1" + bytes(9)
    header = _HEADER.pack(ident, 2, machine, 1, 0, _HEADER.size if segments else 0, len(body), 0, 64, *counts)
    body[: _HEADER.size + len(segments)] = header + segments
    return bytes(body) + b"".join(headers)


def _segment(row: ElfSection, offset: int) -> bytes:
    """PT_LOAD { type, flags, offset, vaddr, paddr, filesz, memsz, align }; SHF_EXECINSTR and SHF_WRITE become PF_*."""
    flags = 4 | (1 if row.flags & 4 else 0) | (2 if row.flags & 1 else 0)
    return _PROGRAM.pack(1, flags, offset, row.address, row.address, len(row.data), row.size or len(row.data), 1)


def _section_header(row: ElfSection, name: int, offset: int, count: int) -> bytes:
    kind, link, info, entry = _PROGBITS, 0, 0, 0
    if row.name == ".symtab":
        kind, link, info, entry = _SYMTAB, count - 1, 1, _SYMBOL.size
    elif row.name in (".strtab", ".shstrtab"):
        kind = _STRTAB
    elif row.is_note:
        kind = _NOTE
    elif row.size and not row.data:
        kind = _NOBITS
    size = len(row.data) or row.size
    return _ROW.pack(name, kind, row.flags, row.address, offset, size, link, info, 4 if row.is_note else 1, entry)


def _symbol_table(sections: Sequence[ElfSection], symbols: Iterable[ElfSymbol]) -> tuple[bytes, bytes]:
    rows, strings = [_SYMBOL.pack(0, 0, 0, 0, 0, 0)], bytearray(b"\0")
    memory = [(row.address, row.address + row.size, n) for n, row in enumerate(sections, 1) if row.address]
    for symbol in symbols:
        section = next((n for start, end, n in memory if start <= symbol.address < end), 0xFFF1)  # SHN_ABS
        rows.append(_SYMBOL.pack(len(strings), 0x10 | symbol.kind, 0, section, symbol.address, symbol.size))
        strings += symbol.name + b"\0"
    return b"".join(rows), bytes(strings)
