"""Puts type information (BTF) into built modules, so that eBPF programs can attach to their functions by name.

Kbuild does it where the kernel's vmlinux, or its types, lie beside the headers (Debian's since 6.12). Elsewhere the
types in the kernel's own image are all that is needed. pahole is Debian's (`kobox.images.debian.clang`).

A module that offers functions to programs (BTF_KFUNCS_START) lists them in .BTF_ids:

    __BTF_ID__set8__NAME:          how many, flags
    __BTF_ID__func__FUNCTION__N:   number of the type, flags        sorted by number

Source: scripts/Makefile.modfinal (cmd_btf_ko), pahole(1), include/linux/btf_ids.h, tools/bpf/resolve_btfids.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from kobox.atomic_file import write_file
from kobox.errors import BuildError
from kobox.images.debian.clang import BpfTools
from kobox.images.kernel_image import KernelImage, Progress
from kobox.images.store import Store
from kobox.kbuild.bpf_build import kernel_btf
from kobox.ko.modulefile import ModuleFile

# What a module offers to programs as kfuncs: numbers of types, which stand there as zeros until they are resolved.
_OWN_IDS = b".BTF_ids"
_ID = re.compile(rb"__BTF_ID__(struct|union|typedef|func)__(.+)__\d+")
_SET = re.compile(rb"__BTF_ID__(set|set8)__(.+)")
_KINDS = {b"struct": 4, b"union": 5, b"typedef": 8, b"func": 12}
# How many bytes follow a type's 12, by its kind: fixed, and for each of its members (Documentation/bpf/btf.rst).
_FIXED = {1: 4, 3: 12, 14: 4, 17: 4}
_EACH = {4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}


def add_btf(modules: Sequence[Path], kernel: KernelImage, room: Path, progress: Progress | None = None) -> list[Path]:
    """Copies of modules in `room`, with the section .BTF of their types.

    Raises `BuildError` with pahole's words, or where the kernel's image carries no types; `FetchError`, `OSError`.
    """
    pahole = BpfTools(Store(), progress).pahole
    made = []
    with tempfile.NamedTemporaryFile(prefix="kobox-") as base:
        btf = kernel_btf(kernel)
        base.write(btf)
        base.flush()
        for module in modules:
            target = room / module.name
            shutil.copyfile(module, target)
            if ModuleFile(module).elf.find(b".BTF"):  # headers that bring the kernel's types: Kbuild has done it all
                made.append(target)
                continue
            words = [*pahole, "-J", "--btf_base", base.name, str(target)]
            done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
            if done.returncode:
                raise BuildError(f"{module.name}: pahole cannot make its types", output=done.stdout + done.stderr)
            resolve_ids(target, btf)
            made.append(target)
    return made


def resolve_ids(module: Path, base: bytes) -> None:
    """Put the numbers of types into a module's .BTF_ids, if it has that section; `base` is the kernel's BTF.

    Raises `BuildError` for a name that no type has, or a section that is cut off.
    """
    elf = ModuleFile(module).elf
    number = elf.find(_OWN_IDS)
    if not number:
        return
    section, ids = elf.sections[number], bytearray(elf.data(number))
    kernel_names = _Names(base)
    own = _Names(elf.section_data(b".BTF"), kernel_names)
    sets = []
    try:
        for symbol in elf.symbols():
            if symbol.section != number:
                continue
            if found := _ID.fullmatch(symbol.name):
                key = (_KINDS[found[1]], found[2])
                kind = own.numbers.get(key) or kernel_names.numbers.get(key)
                if kind is None:
                    raise BuildError(
                        f"{module.name}: .BTF_ids names {found[1].decode()} {found[2].decode(errors='replace')},"
                        " and neither the module nor the kernel has a type of that name",
                        hint="A function must be neither static nor inlined: mark it __bpf_kfunc.",
                    )
                struct.pack_into("<I", ids, symbol.value, kind)
            elif found := _SET.fullmatch(symbol.name):
                sets.append((symbol.value, symbol.size, found[1] == b"set8"))
        for at, size, has_flags in sets:
            _close_set(ids, at, size, has_flags=has_flags)
    except struct.error:
        raise BuildError(f"{module.name}: its section .BTF_ids is cut off") from None
    whole = bytearray(module.read_bytes())
    whole[section.offset : section.offset + len(ids)] = ids
    write_file(module, bytes(whole), mode=0o644)


def _close_set(ids: bytearray, at: int, size: int, *, has_flags: bool) -> None:
    """Write how many entries a set has, and sort them: the kernel looks them up by halving."""
    row = struct.Struct("<II" if has_flags else "<I")
    rows = sorted(row.iter_unpack(bytes(ids[at + row.size : at + size])))
    struct.pack_into("<I", ids, at, len(rows))
    for n, one in enumerate(rows):
        row.pack_into(ids, at + (n + 1) * row.size, *one)


class _Names:
    """Numbers of the types of one BTF by kind and name; those of a module go on where the kernel's (`base`) end."""

    def __init__(self, data: bytes, base: _Names | None = None) -> None:
        _, _, _, header, types, types_size, strings, strings_size = struct.unpack_from("<HBBIIIII", data)
        self.strings: bytes = (base.strings if base else b"") + data[header + strings : header + strings + strings_size]
        self.count: int = base.count if base else 1
        self.numbers: dict[tuple[int, bytes], int] = {}
        at, end = header + types, header + types + types_size
        while at + 12 <= end:
            name, info, _ = struct.unpack_from("<III", data, at)
            kind, members = info >> 24 & 31, info & 0xFFFF
            if kind in _KINDS.values():
                text = self.strings[name : self.strings.find(b"\0", name)]
                self.numbers.setdefault((kind, text), self.count)
            self.count += 1
            at += 12 + _FIXED.get(kind, 0) + _EACH.get(kind, 0) * members
