"""What a module takes from others: its undefined symbols, and the CRCs that they must have.

__versions             struct modversion_info (include/linux/module.h), 64 bytes: unsigned long crc, char name[]
__version_ext_crcs     u32 each, and beside it
__version_ext_names    NUL-terminated names of any length (since 6.14)
"""

from __future__ import annotations

import struct

from kobox.errors import ModuleFormatError
from kobox.ko import elf

VERSION_SIZE = 64


def versions(module: elf.Elf) -> dict[str, int]:
    """Symbol to CRC, from the extended pair of sections if there is one, else from `__versions`."""
    names = module.section_data(b"__version_ext_names")
    if names:
        crcs = module.section_data(b"__version_ext_crcs")
        texts = names.decode("utf-8", "surrogateescape").split("\0")[:-1]
        if len(crcs) != 4 * len(texts):
            raise ModuleFormatError(
                f"{len(texts)} names in __version_ext_names for {len(crcs) // 4} CRCs", path=module.path
            )
        return dict(zip(texts, struct.unpack(f"{module.layout.order}{len(texts)}I", crcs), strict=True))
    data = module.section_data(b"__versions")
    if len(data) % VERSION_SIZE:
        raise ModuleFormatError(f"__versions is no multiple of {VERSION_SIZE} bytes", path=module.path)
    long_size = module.layout.long_size
    form = f"{module.layout.order}{'Q' if long_size == 8 else 'I'}{VERSION_SIZE - long_size}s"
    return {
        name.split(b"\0", 1)[0].decode("utf-8", "surrogateescape"): crc & 0xFFFFFFFF
        for crc, name in struct.iter_unpack(form, data)
    }


def undefined(module: elf.Elf) -> list[tuple[str, bool]]:
    """(name, whether it is weak) of every undefined global symbol, in the symbol table's order."""
    table, strings, first_global = module.symbol_table()
    symbol = module.layout.symbol
    wide = module.layout.long_size == 8
    table = table[max(first_global, 1) * symbol.size :]
    find, size = strings.find, len(strings)
    found = []
    for fields in symbol.iter_unpack(table):
        start, info, index = (fields[0], fields[1], fields[3]) if wide else (fields[0], fields[3], fields[5])
        # STT_REGISTER (13) are SPARC's application registers, not symbols.
        if index == elf.SHN_UNDEF and info >> 4 in (elf.STB_GLOBAL, elf.STB_WEAK) and info & 15 != 13:
            end = find(b"\0", start)
            if end < 0:
                raise ModuleFormatError(f"a symbol's name at {start:#x} of {size:#x} has no end", path=module.path)
            found.append((strings[start:end].decode("utf-8", "surrogateescape"), info >> 4 == elf.STB_WEAK))
    return found
