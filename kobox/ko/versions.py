"""What a module takes from others: its undefined symbols, and the CRCs that they must have.

    __versions             struct modversion_info, 64 bytes: unsigned long crc, char name[]
    __version_ext_crcs     u32 each, and beside it
    __version_ext_names    NUL-terminated names of any length (since 6.14)

Source: include/linux/module.h, kernel/module/version.c.
"""

from __future__ import annotations

import struct

from kobox.errors import ModuleFormatError
from kobox.ko import elf

VERSION_SIZE = 64
# Of a symbol only where its name begins, its binding and type, and its section, by byte order and size of a long.
_SYMBOL = {
    (order, size): struct.Struct(order + ("IBxH16x" if size == 8 else "I8xBxH")) for order in "<>" for size in (4, 8)
}


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
    layout = module.layout
    fields = _SYMBOL[layout.order, layout.long_size]
    find, size = strings.find, len(strings)
    found = []
    for start, info, index in fields.iter_unpack(table[max(first_global, 1) * layout.symbol.size :]):
        # STT_REGISTER (13) are SPARC's application registers, not symbols. Bindings are global (1) and weak (2).
        if not index and 16 <= info < 48 and info & 15 != 13:
            end = find(b"\0", start)
            if end < 0:
                raise ModuleFormatError(f"a symbol's name at {start:#x} of {size:#x} has no end", path=module.path)
            found.append((strings[start:end].decode("utf-8", "surrogateescape"), info >= 32))
    return found
