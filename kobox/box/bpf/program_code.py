"""The code of a program that is loaded, as the kernel has it: translated instructions, machine code, lines of source.

    struct bpf_prog_info -> xlated_prog_insns, jited_ksyms, jited_func_lens, func_info, line_info, jited_line_info

Source: include/uapi/linux/bpf.h, bpf_prog_get_info_by_fd() in kernel/bpf/syscall.c.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from contextlib import ExitStack
from dataclasses import dataclass

from kobox.box.bpf.bpf_call import BpfCalls, BpfCommand
from kobox.box.inspect.btf import Btf
from kobox.bpf.instructions import BpfInstruction, instructions
from kobox.errors import KoboxError

PROGRAM_INFO_SIZE = 232  # struct bpf_prog_info as of 6.1; later kernels added nothing
_LINE = struct.Struct("<IIII")  # struct bpf_line_info
_MOST_BYTES = 64 << 20
# Array of the structure -> (offset of its count, of its pointer, of the size of a row or 0, that size).
_ARRAYS = {
    "translated": (20, 32, 0, 1),
    "symbols": (104, 112, 0, 8),
    "lengths": (108, 120, 0, 4),
    "lines": (148, 152, 172, 16),
    "machine lines": (168, 160, 176, 8),
    "functions": (144, 136, 132, 8),
}


@dataclass(frozen=True, slots=True)
class BpfLine:
    """Where a line of the source begins: at instruction `index`, `address` in the machine code (0: not known)."""

    index: int
    address: int
    file: str
    number: int
    text: str

    @property
    def place(self) -> str:
        """ "guard.bpf.c:12", or "" where the object says nothing."""
        return f"{self.file.rpartition('/')[2]}:{self.number}" if self.file else ""


@dataclass(frozen=True, slots=True)
class CodeFunction:
    """A function of a program: its first instruction, its machine code."""

    name: str
    index: int
    address: int
    code: bytes


@dataclass(frozen=True, slots=True)
class ProgramCode:
    """All code of one program. `functions` begins with the program itself; `lines` are in the order of the code."""

    instructions: tuple[BpfInstruction, ...]
    functions: tuple[CodeFunction, ...]
    lines: tuple[BpfLine, ...]

    def line_of(self, index: int) -> BpfLine | None:
        """The line of the source that an instruction stands for."""
        at = bisect_right(self.lines, index, key=lambda line: line.index)
        return self.lines[at - 1] if at else None

    def line_at(self, address: int) -> BpfLine | None:
        """The line of the source that an address of the machine code stands for."""
        found = [line for line in self.lines if line.address and line.address <= address]
        return max(found, key=lambda line: line.address, default=None)


def program_code(calls: BpfCalls, number: int) -> ProgramCode:
    """The code of the program with this ID. Raises `OSError`, `KoboxError` for what no kernel says of itself."""
    arrays, info = _read(calls, number)
    (btf_number,) = struct.unpack_from("<I", info, 128)
    btf = Btf(calls.btf(btf_number)) if btf_number else None
    symbols = struct.unpack(f"<{len(arrays['symbols']) // 8}Q", arrays["symbols"])
    lengths = struct.unpack(f"<{len(arrays['lengths']) // 4}I", arrays["lengths"])
    rows = _rows(arrays["functions"], info, 132)
    functions = []
    for n, (address, length) in enumerate(zip(symbols, lengths, strict=False)):
        index, kind = struct.unpack_from("<II", rows[n]) if n < len(rows) else (0, 0)
        code = calls.box.machine.read(address, length) if address else b""
        functions.append(CodeFunction(btf.name(kind) if btf else "", index, address, code))
    return ProgramCode(tuple(instructions(arrays["translated"])), tuple(functions), _lines(btf, arrays, info))


def _lines(btf: Btf | None, arrays: dict[str, bytes], info: bytes) -> tuple[BpfLine, ...]:
    addresses = [int.from_bytes(row[:8], "little") for row in _rows(arrays["machine lines"], info, 176)]
    text = btf.string if btf else lambda offset: ""
    found = []
    for n, row in enumerate(_rows(arrays["lines"], info, 172)):
        index, file, line, place = _LINE.unpack_from(row)
        address = addresses[n] if n < len(addresses) else 0
        found.append(BpfLine(index, address, text(file), place >> 10, text(line).strip()))
    return tuple(found)


def _read(calls: BpfCalls, number: int) -> tuple[dict[str, bytes], bytes]:
    """The arrays of struct bpf_prog_info by name, and the structure."""
    with calls.descriptor(BpfCommand.PROGRAM_BY_ID, number) as fd:
        info = calls.info(fd, PROGRAM_INFO_SIZE)
        wanted = bytearray(PROGRAM_INFO_SIZE)
        sizes = {}
        for name, (count_at, _, row_at, row) in _ARRAYS.items():
            count = struct.unpack_from("<I", info, count_at)[0]
            if row_at:
                row = struct.unpack_from("<I", info, row_at)[0]
                struct.pack_into("<I", wanted, row_at, row)
            sizes[name] = count * row
            struct.pack_into("<I", wanted, count_at, count)
        if sum(sizes.values()) > _MOST_BYTES:
            raise KoboxError("the kernel says that a program has more than 64 MiB of code")
        with ExitStack() as stack:
            places = {}
            for name, (_, pointer_at, _, _) in _ARRAYS.items():
                places[name] = stack.enter_context(calls.memory(bytes(sizes[name])))
                struct.pack_into("<Q", wanted, pointer_at, places[name] if sizes[name] else 0)
            info = calls.info(fd, PROGRAM_INFO_SIZE, bytes(wanted))
            return {name: calls.read(place, sizes[name]) for name, place in places.items()}, info


def _rows(data: bytes, info: bytes, size_at: int) -> list[bytes]:
    size = struct.unpack_from("<I", info, size_at)[0]
    return [data[at : at + size] for at in range(0, len(data) - size + 1, size)] if size >= 8 else []
