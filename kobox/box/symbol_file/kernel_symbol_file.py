"""A file with the symbols and types of a box's kernel, as debuggers read them: a `vmlinux` made of kallsyms and BTF.

A distribution's kernel comes without one; its packages of debug symbols are gigabytes. Ours lacks the lines of the
kernel's code, and local variables.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from kobox.atomic_file import write_file
from kobox.box.booted import BootedKernel
from kobox.box.inspect.whole_vmcoreinfo import whole_vmcoreinfo
from kobox.box.symbol_file.btf_dwarf import dwarf_of
from kobox.box.symbol_file.call_frames import debug_frame
from kobox.box.symbol_file.elf_writer import (
    ALLOCATED,
    CODE,
    FUNCTION,
    OBJECT,
    WRITABLE,
    ElfSection,
    ElfSymbol,
    executable,
)
from kobox.box.symbol_file.variables import VARIABLES
from kobox.errors import KoboxError

_VERSION = 11  # of what is written here
# crash (8.0.2) reads as much of these as their size says, and looks into the array that they end with.
_CRASH_COUNTS = ("pid",)
_INIT_CODE = ("_sinittext", "_einittext")
_PER_CPU = ("__per_cpu_start", "__per_cpu_end")
_PAGE, _BANNER = 4096, 512
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


def must_be_wide(box: BootedKernel) -> None:
    """Raise `KoboxError` for a kernel of 32 bits: debuggers' files are made for those of 64 alone."""
    if box.arch.addresses.word != 8:  # bytes
        raise KoboxError(
            f"debuggers see kernels of 64 bits only, and this one is for {box.arch.title}",
            hint="`kobox trace` and `kobox profile` show what a module does on it.",
        )


def save_symbols(box: BootedKernel, path: str | os.PathLike[str]) -> None:
    """Write what `symbol_file` has to a place of one's own. Raises as `kernel_symbol_file` does."""
    write_file(path, symbol_file(box))


def symbol_file(box: BootedKernel) -> bytes:
    """The file with the kernel's code and data as the box has them now: crash opens none without. Raises
    `KoboxError` when the kernel has no BTF."""
    return _file(box, with_contents=True)


def _file(box: BootedKernel, with_contents: bool = False) -> bytes:
    must_be_wide(box)
    symbols, arch = box.inspect.symbols, box.arch
    rows = list(symbols.of_the_kernel())
    variables = {
        name: (address, kind)
        for name, kind in {**VARIABLES, **arch.debugger.variables}.items()
        if (address := symbols.of_kernel(name))
    }
    start, end = (kernel_start(box), *_ends(box, ["_etext"])) if with_contents else (0, 0)
    counted = _CRASH_COUNTS if with_contents else ()
    dwarf = dwarf_of(symbols.btf.data, variables, symbols.of_kernel, (start, end), counted)
    sections = _contents(box) if with_contents else _memory(box)
    if build_id := _build_id(box):
        note = struct.pack("<III4s", 4, len(build_id) // 2, 3, b"GNU\0") + bytes.fromhex(build_id)
        sections.append(ElfSection(".note.gnu.build-id", note, is_note=True))
    sections += [ElfSection(name, data) for name, data in dwarf.items()]
    if arch.debugger.frame_rules is not None:
        sections.append(ElfSection(".debug_frame", _frames(box, rows)))
    return executable(arch.elf_machine, sections, _elf_symbols(box, rows))


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
    rules = target.frame_rules(box.inspect.kernel_view, functions, end)
    return debug_frame(rules, functions, end, target.return_column)


def _memory(box: BootedKernel) -> list[ElfSection]:
    """The kernel's code, and all else of it, as sections that the file does not hold."""
    start, (code, end) = kernel_start(box), _ends(box, ("_etext", "_end"))
    end = end or code + _DATA  # variables are not in the symbol table of every kernel
    if not 0 < start < code < end:
        return []
    return [
        ElfSection(".text", b"", start, code - start, ALLOCATED | CODE),
        ElfSection(".data", b"", code, end - code, ALLOCATED | WRITABLE),
    ]


def _contents(box: BootedKernel) -> list[ElfSection]:
    """The same with what is in it, up to where the data ends; with sections of their own for the variables that each
    CPU has a copy of and for the code that boots: crash asks for all of these."""
    start, (code, data, bss, end) = kernel_start(box), _ends(box, ("_etext", "_sdata", "_edata", "_end"))
    if not 0 < start < code < data < bss < end:
        return _memory(box)
    areas = [
        _Area(".text", start, code, ALLOCATED | CODE, True),
        _Area(".rodata", code, data, ALLOCATED, True),
        _Area(".data", data, bss, ALLOCATED | WRITABLE, True),
        _Area(".bss", bss, end, ALLOCATED | WRITABLE, False),
    ]
    for name, ends, flags in ((".data..percpu", _PER_CPU, WRITABLE), (".init.text", _INIT_CODE, CODE)):
        first, last = _ends(box, ends)
        if first < last:
            areas = _carved(areas, _Area(name, first, last, ALLOCATED | flags, True))
    return [ElfSection(".comment", _banner(box)), *(area.section(box) for area in areas)]


class _Area(NamedTuple):
    """A part of the kernel's memory: what becomes a section of this name, with what is in it or without."""

    name: str
    start: int
    end: int
    flags: int
    is_filled: bool

    def section(self, box: BootedKernel) -> ElfSection:
        data = _there(box, self.start, self.end) if self.is_filled else b""
        return ElfSection(self.name, data, self.start, self.end - self.start, self.flags)


def _carved(areas: list[_Area], part: _Area) -> list[_Area]:
    """The areas, with `part` cut out of the one that it lies in. One that lies in none comes before the last: debuggers
    take the first and the last segment for the ends of the kernel."""
    for n, area in enumerate(areas):
        if area.start <= part.start and part.end <= area.end:
            pieces = (area._replace(end=part.start), part, area._replace(start=part.end))
            return [*areas[:n], *(piece for piece in pieces if piece.start < piece.end), *areas[n + 1 :]]
    return [*areas[:-1], part, areas[-1]]


def _banner(box: BootedKernel) -> bytes:
    """linux_banner (init/version.c): the first text of its kind in the file is the one that crash compares."""
    address = box.inspect.symbols.of_kernel("linux_banner")
    return box.machine.read(address, _BANNER).partition(b"\0")[0] + b"\0" if address else b"\0"


def kernel_start(box: BootedKernel) -> int:
    """Where the kernel's code begins; 0 when its symbols do not say. arm64 kernels have no _text in kallsyms."""
    symbols = box.inspect.symbols
    return symbols.of_kernel("_text") or symbols.of_kernel("_stext") or 0


def _ends(box: BootedKernel, names: Iterable[str]) -> list[int]:
    """The addresses of some symbols; 0 for one that is not there."""
    return [box.inspect.symbols.of_kernel(name) or 0 for name in names]


def _there(box: BootedKernel, start: int, end: int) -> bytes:
    """Memory of the kernel's, with zeros for pages that it has given back after it had booted."""
    pages = bytearray()
    while start < end:
        size = min(end - start, _PAGE - start % _PAGE)
        try:
            pages += box.machine.read(start, size)
        except ValueError:
            pages += bytes(size)
        start += size
    return bytes(pages)


def _elf_symbols(box: BootedKernel, rows: list[tuple[int, bytes]]) -> Iterator[ElfSymbol]:
    first, last = _ends(box, _PER_CPU)
    for (address, name), (after, _) in pairwise([*rows, (rows[-1][0] + 1, b"")]):
        kind = FUNCTION if name[:1] in b"tTwW" else OBJECT
        is_local = name[:1].islower() or first <= address < last  # crash knows per-CPU variables by that
        yield ElfSymbol(name[1:], address, min(after - address, 1 << 24), kind, is_local)
