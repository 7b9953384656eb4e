"""A file with the symbols and types of a box's kernel, as debuggers read them: a `vmlinux` made of kallsyms and BTF.

A distribution's kernel comes without one; its packages of debug symbols are gigabytes. Ours lacks the lines of the
kernel's code, and local variables.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from kobox.atomic_file import write_file
from kobox.box.booted import BootedKernel
from kobox.box.inspect.whole_vmcoreinfo import whole_vmcoreinfo
from kobox.box.symbol_file.btf_dwarf import dwarf_of
from kobox.box.symbol_file.call_frames import debug_frame
from kobox.box.symbol_file.elf_writer import FUNCTION, OBJECT, ElfSection, ElfSymbol, executable
from kobox.box.symbol_file.variables import VARIABLES
from kobox.errors import KoboxError

_VERSION = 8  # of what is written here
_ALLOC, _WRITE, _CODE = 2, 1, 4
_DATA = 64 << 20  # bytes that no kernel's data exceeds


def kernel_symbol_file(box: BootedKernel, directory: Path) -> Path:
    """The path of the file for a box's kernel in `directory`, made if it is not there: that takes some seconds.

    Raises `KoboxError` when the kernel has no BTF, `OSError`.
    """
    symbols = box.inspect.symbols
    digest = hashlib.sha256(repr((_VERSION, box.arch.name)).encode() + symbols.btf.data)
    for address, name in symbols.of_the_kernel():
        digest.update(address.to_bytes(8, "little") + name)
    path = directory / f"vmlinux-{box.release}-{digest.hexdigest()[:16]}"
    if not path.exists():
        directory.mkdir(parents=True, exist_ok=True)
        write_file(path, _file(box))
    return path


def save_symbols(box: BootedKernel, path: str | os.PathLike[str]) -> None:
    """Write the file to a place of one's own. Raises as `kernel_symbol_file` does."""
    write_file(path, _file(box))


def _file(box: BootedKernel) -> bytes:
    symbols, arch = box.inspect.symbols, box.arch
    rows = list(symbols.of_the_kernel())
    variables = {
        name: (address, kind)
        for name, kind in {**VARIABLES, **arch.debugger.variables}.items()
        if (address := symbols.of_kernel(name))
    }
    dwarf = dwarf_of(symbols.btf.data, variables, symbols.of_kernel)
    sections = [*_memory(box), ElfSection(".init.text", b"\0", 0, 0, _ALLOC | _CODE)]
    if build_id := _build_id(box):
        note = struct.pack("<III4s", 4, len(build_id) // 2, 3, b"GNU\0") + bytes.fromhex(build_id)
        sections.append(ElfSection(".note.gnu.build-id", note, is_note=True))
    sections += [ElfSection(name, data) for name, data in dwarf.items()]
    if arch.debugger.frame_rules is not None:
        sections.append(ElfSection(".debug_frame", _frames(box, rows)))
    return executable(arch.elf_machine, sections, _elf_symbols(rows))


def _build_id(box: BootedKernel) -> str:
    """As hex; "" for a kernel that does not say (before 5.11)."""
    try:
        text = whole_vmcoreinfo(box.inspect.objects).decode(errors="replace")
    except KoboxError:
        return ""
    return next((line[9:] for line in text.splitlines() if re.fullmatch(r"BUILD-ID=([0-9a-f]{2}){1,64}", line)), "")


def _frames(box: BootedKernel, rows: list[tuple[int, bytes]]) -> bytes:
    target, end = box.arch.debugger, box.inspect.symbols.of_kernel("_etext") or 0
    assert target.frame_rules is not None
    functions = sorted({address for address, name in rows if name[:1] in b"tTwW" and address < end})
    return debug_frame(target.frame_rules(box.inspect.kernel_view), functions, end, target.return_column)


def _memory(box: BootedKernel) -> list[ElfSection]:
    """The kernel's code, and all else of it, as sections that the file does not hold."""
    places = {name: box.inspect.symbols.of_kernel(name) for name in ("_text", "_etext", "_end")}
    start, code, end = (address or 0 for address in places.values())
    end = end or code + _DATA  # variables are not in the symbol table of every kernel
    if not start < code < end:
        return []
    return [
        ElfSection(name, b"", at, size, flags)
        for name, at, size, flags in (
            (".text", start, code - start, _ALLOC | _CODE),
            (".data", code, end - code, _ALLOC | _WRITE),
        )
    ]


def _elf_symbols(rows: list[tuple[int, bytes]]) -> Iterator[ElfSymbol]:
    for (address, name), (after, _) in pairwise([*rows, (rows[-1][0] + 1, b"")]):
        kind = FUNCTION if name[:1] in b"tTwW" else OBJECT
        yield ElfSymbol(name[1:], address, min(after - address, 1 << 24), kind)
