"""What a file is that is no module: recognised by its first bytes (magic(5)), with what to do about it."""

from __future__ import annotations

import struct
from typing import NamedTuple

from kobox.ko import elf

_HEAD = 4096
_ET_REL, _ET_EXEC, _ET_DYN, _ET_CORE = 1, 2, 3, 4


class FileKind(NamedTuple):
    """What a file is, in words, and the next step."""

    text: str
    advice: str


_UNPACK = "Unpack it, and give the .ko file that is in it."
_DOWNLOAD = 'Download the file itself: the link goes to a page about it ("raw", "download").'
_BEGINNINGS = (
    (b"version https://git-lfs.github.com/spec/", "a pointer of Git LFS, not the file itself", "Run `git lfs pull`."),
    (b"!<arch>\ndebian-binary", "a Debian package", "Install it, or unpack it: `dpkg -x FILE DIR`."),
    (b"!<arch>\n", "a library of objects (.a)", "Give the .ko file that Kbuild made."),
    (b"!<thin>\n", "a list of objects (a thin .a)", "Give the .ko file that Kbuild made."),
    (b"\xed\xab\xee\xdb", "an RPM package", "Install it, or unpack it: `rpm2cpio FILE | cpio -id`."),
    (b"PK\x03\x04", "a ZIP archive", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!", "a RAR archive", _UNPACK),
    (b"BZh", "compressed with bzip2, which no kernel and no kmod unpacks", "Unpack it with bunzip2."),
    (b"\x89LZO", "compressed with lzop, which no kernel and no kmod unpacks", "Unpack it with `lzop -d`."),
    (b"\x5d\x00\x00", "compressed as .lzma, which no kernel and no kmod unpacks", "Unpack it with unlzma."),
    (b"LZIP", "compressed with lzip, which no kernel and no kmod unpacks", "Unpack it with `lzip -d`."),
    (b"070701", "a cpio archive (an initramfs)", _UNPACK),
    (b"070707", "a cpio archive", _UNPACK),
    (b"hsqs", "a SquashFS image", "Mount it, and give the .ko file that is in it."),
    (b"\x1f\x8b", "compressed with gzip, twice or not whole", "Unpack it with gunzip."),
    (b"\xfd7zXZ\x00", "compressed with xz, twice or not whole", "Unpack it with unxz."),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd, twice or not whole", "Unpack it with unzstd."),
    (b"MZ", "a program for Windows or EFI", "Give a Linux module (.ko)."),
    (b"BC\xc0\xde", "LLVM bitcode: the object was compiled for link-time optimisation", "Let Kbuild link it."),
    (b"-----BEGIN", "a key or certificate (PEM)", "Give the module."),
    (b"%PDF", "a PDF document", "Give the module."),
)
_TEXTS = (
    ("<!doctype html", "an HTML page, not the file that it offers", _DOWNLOAD),
    ("<html", "an HTML page, not the file that it offers", _DOWNLOAD),
    ("<?xml", "an XML document, often an error of a download server", _DOWNLOAD),
    ("404: not found", "the answer of a server that has no such file", _DOWNLOAD),
    ("not found", "the answer of a server that has no such file", _DOWNLOAD),
    ("#!", "a script", "Give the module (.ko)."),
    ("#include", "C source", "Build it first: `kobox build FILE.c`."),
    ("// spdx", "C source", "Build it first: `kobox build FILE.c`."),
    ("/*", "C source", "Build it first: `kobox build FILE.c`."),
    ("{", "a JSON document, often an error of a download server", _DOWNLOAD),
)


def kind_of(content: bytes) -> FileKind | None:
    """What these bytes are, if they are no ELF relocatable object; None for one, and for nothing known."""
    if not content:
        return FileKind("empty: 0 bytes", "Copy or build it again; is the disk full?")
    if content[:4] == b"\x7fELF":
        return _elf_kind(content)
    for start, text, advice in _BEGINNINGS:
        if content.startswith(start):
            return FileKind(text, advice)
    if content[257:262] == b"ustar":
        return FileKind("a tar archive", _UNPACK)
    if not content[:_HEAD].strip(b"\0"):
        return FileKind("all zeros: it was allocated and never written", "Copy or build it again; is the disk full?")
    return _text_kind(content)


def _text_kind(content: bytes) -> FileKind | None:
    try:
        text = content[:_HEAD].decode().lstrip("\ufeff \t\r\n").lower()
    except UnicodeDecodeError as error:
        if error.start < min(len(content), _HEAD) - 4:
            return None
        text = content[: error.start].decode(errors="ignore").lower()
    for start, kind, advice in _TEXTS:
        if text.startswith(start):
            return FileKind(kind, advice)
    if all(character.isprintable() or character in "\t\r\n" for character in text):
        return FileKind("a text", "Give the module (.ko).")
    return None


def _elf_kind(content: bytes) -> FileKind | None:
    if len(content) < 20:
        return FileKind(f"the first {len(content)} bytes of an ELF file", "Copy or build it again; is the disk full?")
    order = ">" if content[5] == 2 else "<"
    kind, machine = struct.unpack_from(order + "HH", content, 16)
    name = elf.MACHINES.get(machine, f"machine {machine}")
    if kind == _ET_REL:
        return None
    what = {_ET_EXEC: "a program", _ET_DYN: "a program or shared library", _ET_CORE: "a core dump"}.get(
        kind, "an ELF file"
    )
    return FileKind(f"{what} for {name}, and a module is a relocatable object", "Give the .ko file that Kbuild made.")
