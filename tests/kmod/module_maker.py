"""Makes small module files: an ELF object with just the sections that a tool asks about."""

from __future__ import annotations

import struct
from collections.abc import Sequence

EMPTY = b"\0"


def make_module(
    *,
    info: Sequence[str] = ("license=GPL",),
    exports: Sequence[str] = (),
    needs: Sequence[str] = (),
    versions_ext: Sequence[tuple[str, int]] = (),
) -> bytes:
    """A 64-bit little-endian module with these modinfo strings, exported symbols (CRC 1, 2, ...) and imports.

    `versions_ext` are the imports' CRCs in the extended form.
    """
    strings = bytearray(EMPTY)
    symbols = [struct.pack("<IBBHQQ", 0, 0, 0, 0, 0, 0)]

    def symbol(name: str, binding: int, section: int, value: int) -> None:
        symbols.append(struct.pack("<IBBHQQ", len(strings), binding << 4, 0, section, value, 0))
        strings.extend(name.encode() + b"\0")

    for number, name in enumerate(exports, 1):
        symbol(f"__crc_{name}", 0, 0xFFF1, number)
    first_global = len(symbols)
    for name in needs:
        symbol(name, 1, 0, 0)
    sections = [
        (b".modinfo", 1, b"".join(text.encode() + b"\0" for text in info), 0, 0, 0),
        (b".symtab", 2, b"".join(symbols), 3, first_global, 24),
        (b".strtab", 3, bytes(strings), 0, 0, 0),
    ]
    if exports:
        sections.append((b"__ksymtab", 1, b"", 0, 0, 0))
    if versions_ext:
        names = b"".join(name.encode() + b"\0" for name, _ in versions_ext)
        crcs = b"".join(struct.pack("<I", crc) for _, crc in versions_ext)
        sections += [(b"__version_ext_names", 1, names, 0, 0, 0), (b"__version_ext_crcs", 1, crcs, 0, 0, 0)]
    return _assemble(sections)


def _assemble(sections: list[tuple[bytes, int, bytes, int, int, int]]) -> bytes:
    names = bytearray(EMPTY)
    headers = [struct.pack("<IIQQQQIIQQ", *([0] * 10))]
    body = bytearray()
    every = [*sections, (b".shstrtab", 3, b"", 0, 0, 0)]
    offsets = []
    for name, *_ in every:
        offsets.append(len(names))
        names.extend(name + b"\0")
    for (name, kind, content, link, info, entry), offset in zip(every, offsets, strict=True):
        data = bytes(names) if name == b".shstrtab" else content
        headers.append(struct.pack("<IIQQQQIIQQ", offset, kind, 0, 0, 64 + len(body), len(data), link, info, 1, entry))
        body.extend(data)
    ident = b"\x7fELF\2\1\1" + bytes(9)
    table = 64 + len(body)
    header = ident + struct.pack(
        "<HHIQQQIHHHHHH", 1, 62, 1, 0, 0, table, 0, 64, 0, 0, 64, len(headers), len(headers) - 1
    )
    return header + bytes(body) + b"".join(headers)
