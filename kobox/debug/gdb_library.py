"""A module's file as gdb reads and places it.

gdb gives every section of a relocatable file an address of its own before it relocates the debugging information, but
not when one of them has an address already (gdb/symfile.c, default_symfile_offsets); `ld -r` gives
__patchable_function_entries one on arm64. Then all lines and variables lie in the first section. So such a file is
copied without addresses. A compressed file is copied as it is unpacked.
"""

from __future__ import annotations

import struct
from pathlib import Path

from kobox.atomic_file import write_file
from kobox.ko.elf import SHF_ALLOC
from kobox.ko.modulefile import ModuleFile

_TABLE_AT = {64: (0x28, "Q"), 32: (0x20, "I")}  # e_shoff by the file's bits
_ADDRESS_AT = {64: (0x10, "Q"), 32: (0x0C, "I")}  # sh_addr in a row of the table


def gdb_library(file: ModuleFile, directory: Path) -> str:
    """The path of the file, or of a copy in `directory` that gdb can read and place. Raises `OSError`."""
    elf, source = file.elf, file.elf.source
    placed = [n for n, section in enumerate(elf.sections) if section.flags & SHF_ALLOC and section.address]
    if not placed and _is_elf(str(file.path)):
        return str(file.path)
    image, order = bytearray(source.read(0, source.size)), elf.layout.order
    at, kind = _TABLE_AT[elf.bits]
    (table,) = struct.unpack_from(order + kind, image, at)
    at, kind = _ADDRESS_AT[elf.bits]
    for number in placed:
        struct.pack_into(order + kind, image, table + number * elf.layout.section.size + at, 0)
    path = directory / f"{file.name}.ko"
    write_file(path, image, flush=False)
    return str(path)


def _is_elf(path: str) -> bool:
    try:
        with open(path, "rb") as opened:
            return opened.read(4) == b"\x7fELF"
    except OSError:
        return False
