"""A module's image that a kernel cannot check: how `--force` works without finit_module(2), before Linux 3.8.

Since then the flags of that call say which check is left out. Before, tools changed the image: a kernel only sees
sections with SHF_ALLOC, and takes a module without version magic for one that is forced (kernel/module.c).
"""

from __future__ import annotations

import struct

from kobox.ko.elf import SHF_ALLOC, BytesSource, Elf


def without_checks(image: bytes, *, versions: bool, vermagic: bool, path: str = "") -> bytes:
    """The image without `versions` of symbols, without `vermagic`, or without both.

    Raises `ModuleFormatError` when it is no module.
    """
    module = Elf(BytesSource(image, path))
    changed = bytearray(image)
    number = module.find(b"__versions") if versions else 0
    if number:
        at, size = module.flags_place(number)
        form = f"{module.layout.order}{'Q' if size == 8 else 'I'}"
        struct.pack_into(form, changed, at, module.section_at(number).flags & ~SHF_ALLOC)
    info = module.find(b".modinfo") if vermagic else 0
    if info:
        section = module.section_at(info)
        _blank(changed, section.offset, section.offset + section.size)
    return bytes(changed)


def _blank(image: bytearray, start: int, end: int) -> None:
    """Put NUL in place of every `vermagic=` string between two offsets."""
    while start < end:
        stop = image.find(b"\0", start, end)
        stop = end if stop < 0 else stop
        if image.startswith(b"vermagic=", start):
            image[start:stop] = bytes(stop - start)
        start = stop + 1
