"""The build ID: what the linker computed from an object's content, so that two builds can be told apart.

    u32 size of the name, u32 size of the descriptor, u32 type (3: NT_GNU_BUILD_ID), "GNU\\0", the ID

A kernel shows the same note of a loaded module in /sys/module/MODULE/notes/.note.gnu.build-id (elf(5), ld(1)).
"""

from __future__ import annotations

import struct

from kobox.ko import elf

_BUILD_ID = 3
_NAME = b"GNU\0"


def build_id(module: elf.Elf) -> bytes:
    """The ID's bytes, b"" when there is none. Raises `ModuleFormatError` for a section that the file does not have."""
    note = module.section_data(b".note.gnu.build-id")
    if len(note) < 12:
        return b""
    name_size, size, kind = struct.unpack_from(f"{module.layout.order}III", note)
    found = note[16 : 16 + size]
    if kind != _BUILD_ID or name_size != 4 or note[12:16] != _NAME or len(found) != size:
        return b""
    return found
