"""A box's memory as a core file of the kernel, which drgn and crash open elsewhere: `box.save_core("box.vmcore")`.

    ELF header (ET_CORE)
    PT_NOTE     NT_PRSTATUS "CORE": the registers, one for each CPU; "VMCOREINFO": what the kernel says of itself
    PT_LOAD     the kernel's image, at the addresses at which it runs
    PT_LOAD     all RAM, at the addresses of the direct map

The layout is that of /proc/vmcore (Documentation/admin-guide/kdump/kdump.rst, fs/proc/vmcore.c), alignments of 0
included: crash takes a core with others for one of netdump, and does not read its registers. Pages of zeros are holes
of the file.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from functools import partial
from typing import BinaryIO

from kobox.atomic_file import write_files
from kobox.box.booted import BootedKernel
from kobox.box.inspect.whole_vmcoreinfo import whole_vmcoreinfo
from kobox.box.symbol_file.kernel_symbol_file import kernel_start, must_be_wide, symbol_file
from kobox.errors import KoboxError

_HEADER, _PROGRAM, _NOTE = struct.Struct("<16sHHIQQQIHHHHHH"), struct.Struct("<IIQQQQQQ"), struct.Struct("<III")
_CORE, _LOAD, _NOTES, _PRSTATUS = 4, 1, 4, 1
_ALL = 7  # PF_R | PF_W | PF_X
_BEFORE_REGISTERS = 112  # offsetof(struct elf_prstatus, pr_reg) on processors of 64 bits
_PID = 32
_PAGE, _PIECE = 4096, 1 << 16


def save_core(box: BootedKernel, path: str | os.PathLike[str], symbols: str | os.PathLike[str] | None = None) -> None:
    """Write the file; with `symbols` the file that debuggers read beside it, too: both or none.

    Raises `OSError`, `KoboxError` for a kernel that says too little of itself, or that has no BTF.
    """
    must_be_wide(box)
    files: dict[str, bytes | Callable[[BinaryIO], None]] = {os.fspath(path): partial(_write, box)}
    if symbols is not None:
        files[os.fspath(symbols)] = symbol_file(box)
    write_files(files, mode=None)


def _write(box: BootedKernel, file: BinaryIO) -> None:
    machine, symbols = box.machine, box.inspect.symbols
    notes = _registers(box) + _note(b"VMCOREINFO", 0, whole_vmcoreinfo(box.inspect.objects))
    segments = [(symbols.areas().direct_map, 0, machine.ram_size)]
    text, end = kernel_start(box), symbols.of_kernel("_end")
    if text and end is not None and (physical := machine.translate(text)) is not None:
        segments.insert(0, (text, physical, end - text))
    start = _HEADER.size + _PROGRAM.size * (len(segments) + 1)
    data = start + len(notes) + _PAGE - 1 & -_PAGE
    programs = [_PROGRAM.pack(_NOTES, 0, start, 0, 0, len(notes), len(notes), 0)]
    for address, physical, size in segments:
        programs.append(_PROGRAM.pack(_LOAD, _ALL, data + physical, address, physical, size, size, 0))
    ident = b"\x7fELF\2\1\1" + bytes(9)
    header = _HEADER.pack(ident, _CORE, box.arch.elf_machine, 1, 0, 64, 0, 0, 64, 56, len(programs), 0, 0, 0)
    file.write(header + b"".join(programs) + notes)
    _write_ram(file, data, machine.ram)


def _write_ram(file: BinaryIO, at: int, ram: memoryview) -> None:
    """RAM from offset `at` on, with holes for what is zero."""
    zeros = bytes(_PIECE)
    for start in range(0, len(ram), _PIECE):
        piece = bytes(ram[start : start + _PIECE])
        if piece != zeros[: len(piece)]:
            file.seek(at + start)
            file.write(piece)
    file.truncate(at + len(ram))


def _registers(box: BootedKernel) -> bytes:
    """NT_PRSTATUS of the CPU that has its turn; of others what is known is that they exist."""
    notes = b""
    for cpu in range(box.machine.cpus):
        is_current = cpu == box.machine.cpu
        head = bytearray(_BEFORE_REGISTERS)
        struct.pack_into("<I", head, _PID, _running(box) if is_current else 0)
        values = register_set(box) if is_current else bytes(8 * len(box.arch.debugger.core))
        notes += _note(b"CORE", _PRSTATUS, bytes(head) + values + bytes(8))
    return notes


def register_set(box: BootedKernel) -> bytes:
    """The registers of the CPU that has its turn, as NT_PRSTATUS has them (elf_gregset_t)."""
    named = box.machine.registers()._asdict()  # type: ignore[attr-defined]
    values = [named.get(name, 0) if name else 0 for name in box.arch.debugger.core]
    return struct.pack(f"<{len(values)}Q", *values)


def _running(box: BootedKernel) -> int:
    """The process ID of the task that runs; 0 when that is not to be read."""
    from kobox.box.inspect.cpu_state import CpuReader

    try:
        return box.inspect.objects.number(CpuReader(box).current, "task_struct.pid")
    except (KoboxError, ValueError):
        return 0


def _note(name: bytes, kind: int, data: bytes) -> bytes:
    label = name + b"\0"
    return _NOTE.pack(len(label), len(data), kind) + label + bytes(-len(label) % 4) + data + bytes(-len(data) % 4)
