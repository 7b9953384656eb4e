"""A file with the symbols and types of a box's kernel, as debuggers read them: a `vmlinux` made of kallsyms and BTF.

A distribution's kernel comes without one; its packages of debug symbols are gigabytes. Ours lacks the lines of the
kernel's code, and local variables.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from kobox.atomic_file import write_file
from kobox.box.box import Box
from kobox.debug.btf_dwarf import dwarf_of
from kobox.debug.call_frames import debug_frame
from kobox.debug.elf_writer import FUNCTION, OBJECT, ElfSection, ElfSymbol, executable

_VERSION = 2  # of what is written here
_ALLOC, _WRITE, _CODE = 2, 1, 4
# Variables that debuggers and their scripts ask for by name, and what they are (include/linux/sched/task.h and others).
_VARIABLES = {
    "init_task": "task_struct",
    "init_mm": "mm_struct",
    "init_pid_ns": "pid_namespace",
    "init_net": "net",
    "init_nsproxy": "nsproxy",
    "init_uts_ns": "uts_namespace",
    "modules": "list_head",
    "slab_caches": "list_head",
    "super_blocks": "list_head",
    "net_namespace_list": "list_head",
    "vmap_area_list": "list_head",
    "workqueues": "list_head",
    "cgrp_dfl_root": "cgroup_root",
    "mod_tree": "mod_tree_root",
}


def kernel_symbol_file(box: Box, directory: Path) -> Path:
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


def _file(box: Box) -> bytes:
    symbols, arch = box.inspect.symbols, box.arch
    rows = list(symbols.of_the_kernel())
    variables = {
        name: (address, structure) for name, structure in _VARIABLES.items() if (address := symbols.of_kernel(name))
    }
    dwarf = dwarf_of(symbols.btf.data, variables)
    sections = [*_memory(box), ElfSection(".init.text", b"\0", 0, 0, _ALLOC | _CODE)]
    if build_id := box.inspect.facts.facts.get("BUILD-ID"):
        note = struct.pack("<III4s", 4, len(build_id) // 2, 3, b"GNU\0") + bytes.fromhex(build_id)
        sections.append(ElfSection(".note.gnu.build-id", note, is_note=True))
    sections += [ElfSection(name, data) for name, data in dwarf.items()]
    if arch.debugger.frame_rules is not None:
        sections.append(ElfSection(".debug_frame", _frames(box, rows)))
    return executable(arch.elf_machine, sections, _elf_symbols(rows))


def _frames(box: Box, rows: list[tuple[int, bytes]]) -> bytes:
    target, end = box.arch.debugger, box.inspect.symbols.of_kernel("_etext") or 0
    assert target.frame_rules is not None
    functions = sorted({address for address, name in rows if name[:1] in b"tTwW" and address < end})
    return debug_frame(target.frame_rules(box.inspect.kernel_view), functions, end, target.return_column)


def _memory(box: Box) -> list[ElfSection]:
    """The kernel's code, and all else of it, as sections that the file does not hold."""
    places = {name: box.inspect.symbols.of_kernel(name) for name in ("_text", "_etext", "_end")}
    start, code, end = (address or 0 for address in places.values())
    if not start < code < end:
        return []
    return [
        ElfSection(".text", b"", start, code - start, _ALLOC | _CODE),
        ElfSection(".data", b"", code, end - code, _ALLOC | _WRITE),
    ]


def _elf_symbols(rows: list[tuple[int, bytes]]) -> Iterator[ElfSymbol]:
    for (address, name), (after, _) in pairwise([*rows, (rows[-1][0] + 1, b"")]):
        kind = FUNCTION if name[:1] in b"tTwW" else OBJECT
        yield ElfSymbol(name[1:], address, min(after - address, 1 << 24), kind)
