"""ELF relocatable objects: header, sections and symbols, of any architecture, class and byte order.

    0        e_ident: 7f 'ELF', class (1: 32, 2: 64), data (1: little-, 2: big-endian)
    16       e_type, e_machine, ..., e_shoff, ..., e_shentsize, e_shnum, e_shstrndx
    e_shoff  section headers: name, type, flags, addr, offset, size, link, info, addralign, entsize

Source: System V ABI, chapters 4 and 5 (elf.h). Nothing is read before it is asked for, and only through
`Source.read`, which checks every offset and size that the file claims against the file's real size.
"""

from __future__ import annotations

import os
import struct

from kobox.errors import ModuleFormatError
from kobox.startup import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ET_REL = 1
EM_X86_64, EM_AARCH64 = 62, 183
SHN_UNDEF, SHN_LORESERVE, SHN_ABS, SHN_COMMON, SHN_XINDEX = 0, 0xFF00, 0xFFF1, 0xFFF2, 0xFFFF
SHT_NULL, SHT_SYMTAB, SHT_RELA, SHT_NOBITS, SHT_REL, SHT_SYMTAB_SHNDX = 0, 2, 4, 8, 9, 18
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR, SHF_COMPRESSED = 1, 2, 4, 0x800
ELFCOMPRESS_ZLIB, ELFCOMPRESS_ZSTD = 1, 2
STB_LOCAL, STB_GLOBAL, STB_WEAK = 0, 1, 2
STT_NOTYPE, STT_OBJECT, STT_FUNC, STT_SECTION = 0, 1, 2, 3

MAPPING_SYMBOLS = ("$", ".L", "L0\1")
"""How symbols begin that name no function or variable: marks of code and data, and the compiler's labels
(include/linux/module_symbol.h, is_mapping_symbol())."""

# e_machine of every architecture that Linux has modules for (include/uapi/linux/elf-em.h), by its `uname -m` family.
MACHINES = {
    2: "sparc",
    3: "i386",
    4: "m68k",
    8: "mips",
    15: "parisc",
    20: "ppc",
    21: "ppc64",
    22: "s390x",
    40: "arm",
    42: "sh",
    43: "sparc64",
    50: "ia64",
    62: "x86_64",
    92: "openrisc",
    93: "arc",
    94: "xtensa",
    113: "nios2",
    164: "hexagon",
    183: "aarch64",
    189: "microblaze",
    195: "arcv2",
    243: "riscv",
    252: "csky",
    258: "loongarch",
    0x9026: "alpha",
}
RISCV = 243
WIDE = frozenset(("x86_64", "aarch64", "ppc64", "s390x", "loongarch"))
"""Names of MACHINES whose modules have 64 bits, but for rare ABIs."""

EITHER_ORDER = frozenset(
    ("aarch64", "arm", "mips", "ppc64", "riscv64", "riscv32", "sh", "arc", "arcv2", "xtensa", "csky")
)
"""Names of MACHINES that say nothing of the byte order."""


class Section(NamedTuple):
    """One section header; `name_offset` and the rest are the ELF fields, all integers."""

    name_offset: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry_size: int


class Symbol(NamedTuple):
    """One symbol. `section` is an index into `Elf.sections`, or `SHN_UNDEF`, `SHN_ABS`."""

    name: bytes
    value: int
    size: int
    type: int
    binding: int
    section: int


class Relocation(NamedTuple):
    """One relocation: at `offset` of the section that its table is for. `symbol` is None where none is named."""

    offset: int
    type: int
    symbol: Symbol | None
    addend: int


class Source(Protocol):
    """Where an ELF object's bytes come from."""

    path: str
    size: int

    def read(self, offset: int, size: int) -> bytes:
        """Exactly `size` bytes; `ModuleFormatError` when the file does not have them."""


class BytesSource:
    """An object that is in memory."""

    __slots__ = ("data", "path", "size")

    def __init__(self, data: bytes, path: str = "") -> None:
        self.data = data
        self.path = path
        self.size = len(data)

    def read(self, offset: int, size: int) -> bytes:
        """Exactly `size` bytes; `ModuleFormatError` when the file does not have them."""
        if offset + size > self.size:
            raise beyond(self, offset, size)
        return self.data[offset : offset + size]


class FileSource:
    """An object in a file, of which only what is asked for is read. Raises `OSError`."""

    __slots__ = ("_fd", "path", "size")

    def __init__(self, path: str) -> None:
        self._fd = -1
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.path = path
        self.size = os.fstat(self._fd).st_size

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def read(self, offset: int, size: int) -> bytes:
        """Exactly `size` bytes; `ModuleFormatError` when the file does not have them."""
        if offset + size > self.size:
            raise beyond(self, offset, size)
        data = os.pread(self._fd, size, offset)
        if len(data) != size:  # it has become shorter
            raise beyond(self, offset, size)
        return data


def beyond(source: Source, offset: int, size: int) -> ModuleFormatError:
    """The error for something that is said to lie where the file has ended."""
    return ModuleFormatError(
        f"{size} bytes are said to be here, but the file ends at {source.size:#x}",
        path=source.path,
        offset=offset,
        hint="The file is cut short or damaged; build or install it again.",
    )


class Layout:
    """The struct formats of one ELF class and byte order."""

    __slots__ = ("header", "long_size", "order", "section", "symbol")

    def __init__(self, bits: int, order: str) -> None:
        self.order = order
        self.long_size = bits // 8
        if bits == 64:
            self.header = struct.Struct(order + "16xHHIQQQIHHHHHH")
            self.section = struct.Struct(order + "IIQQQQIIQQ")
            self.symbol = struct.Struct(order + "IBBHQQ")
        else:
            self.header = struct.Struct(order + "16xHHIIIIIHHHHHH")
            self.section = struct.Struct(order + "IIIIIIIIII")
            self.symbol = struct.Struct(order + "IIIBBH")


_LAYOUTS: dict[bytes, Layout] = {
    bytes((kind, data)): Layout(bits, order)
    for kind, bits in ((1, 32), (2, 64))
    for data, order in ((1, "<"), (2, ">"))
}


class Elf:
    """The sections and symbols of one relocatable ELF object.

    Raises `ModuleFormatError`, with the offset, wherever the file is not what it claims.
    """

    __slots__ = ("_headers", "_name_offsets", "_names", "_table", "flags", "layout", "machine", "path", "source")

    def __init__(self, source: Source) -> None:
        self.source = source
        self.path = path = source.path
        if source.size < 52:
            raise ModuleFormatError(_not_elf(source), path=path, offset=0)
        head = source.read(0, min(64, source.size))
        if not head.startswith(b"\x7fELF"):
            raise ModuleFormatError(_not_elf(source), path=path, offset=0)
        layout = _LAYOUTS.get(head[4:6])
        if layout is None:
            raise ModuleFormatError(f"unknown ELF class {head[4]} or byte order {head[5]}", path=path, offset=4)
        if len(head) < layout.header.size:
            raise beyond(source, 0, layout.header.size)
        self.layout = layout
        kind, self.machine, _, _, _, shoff, self.flags, _, _, _, entry, count, names = layout.header.unpack_from(head)
        if kind != ET_REL:
            raise ModuleFormatError(
                f"ELF type {kind} is not a relocatable object, as modules are", path=path, offset=16
            )
        self._table = shoff
        self._headers = self._read_headers(shoff, entry, count)
        self._name_offsets = [header[0] for header in self._headers]
        if names == SHN_XINDEX:
            names = self._headers[0][6]
        if names >= len(self._headers):
            raise ModuleFormatError(
                f"the section of section names is number {names} of {len(self._headers)}", path=path, offset=shoff
            )
        self._names = self.data(names)

    def _read_headers(self, shoff: int, entry: int, count: int) -> list[tuple[int, ...]]:
        section = self.layout.section
        if entry != section.size:
            raise ModuleFormatError(f"section headers of {entry} bytes, not {section.size}", path=self.path, offset=46)
        if count == 0 and shoff:
            # More than 0xff00 sections: their count is the size of section 0.
            count = section.unpack(self.source.read(shoff, entry))[5]
        if count == 0:
            raise ModuleFormatError("no sections", path=self.path, offset=shoff)
        return list(section.iter_unpack(self.source.read(shoff, count * entry)))

    @property
    def bits(self) -> int:
        """32 or 64."""
        return self.layout.long_size * 8

    @property
    def byte_order(self) -> str:
        """`little` or `big`."""
        return "little" if self.layout.order == "<" else "big"

    @property
    def architecture(self) -> str:
        """The machine's name as `uname -m` has it (without its level), or `machine N` when it is unknown."""
        if self.machine == RISCV:  # the class of the file tells the two apart
            return f"riscv{self.bits}"
        return MACHINES.get(self.machine, f"machine {self.machine}")

    @property
    def sections(self) -> list[Section]:
        """All section headers, number 0 (which is no section) included."""
        return [Section._make(header) for header in self._headers]

    @property
    def section_count(self) -> int:
        """How many section headers there are, number 0 included."""
        return len(self._headers)

    def flags_place(self, index: int) -> tuple[int, int]:
        """(the offset in the file, the size in bytes) of the flags in a section header."""
        size = self.layout.long_size
        return self._table + index * self.layout.section.size + 8, size

    def section_name(self, index: int) -> bytes:
        """The name of a section."""
        start = self._headers[index][0]
        end = self._names.find(b"\0", start)
        if start >= len(self._names) or end < 0:
            raise ModuleFormatError(f"the name of section {index} has no end", path=self.path, offset=start)
        return self._names[start:end]

    def find(self, name: bytes) -> int:
        """The number of the first section of that name, or 0 when there is none."""
        names, offsets, found, at = self._names, self._name_offsets, 0, -1
        wanted = name + b"\0"
        # Names may share their tails (".text" lies inside ".rela.text"), so each place is tried.
        while (at := names.find(wanted, at + 1)) >= 0:
            if at in offsets:
                index = offsets.index(at)
                if index and (not found or index < found):
                    found = index
        return found

    def has_section_like(self, part: bytes) -> bool:
        """Whether any section's name may hold these bytes; False is certain."""
        return part in self._names

    def data(self, index: int) -> bytes:
        """The content of a section; b"" when it has none in the file (NOBITS)."""
        header = self._headers[index]
        if header[1] == SHT_NOBITS:
            return b""
        return self.source.read(header[4], header[5])

    def section_data(self, name: bytes) -> bytes:
        """The content of the first section of that name, b"" when there is no such section."""
        index = self.find(name)
        return self.data(index) if index else b""

    def section_at(self, index: int) -> Section:
        """One section header. Raises `ModuleFormatError` for a number that no section has."""
        if index >= len(self._headers):
            raise ModuleFormatError(f"section {index} of {len(self._headers)} is asked for", path=self.path)
        return Section._make(self._headers[index])

    def symbol_table(self) -> tuple[bytes, bytes, int]:
        """(symbols, their strings, the number of the first that is not local); empty without a symbol table."""
        index = self.find(b".symtab")
        if not index:
            return b"", b"", 0
        section = self.section_at(index)
        if section.link >= len(self._headers):
            raise ModuleFormatError(f"strings of .symtab are said to be in section {section.link}", path=self.path)
        table = self.data(index)
        size = self.layout.symbol.size
        if len(table) % size:
            raise ModuleFormatError(f".symtab is no multiple of {size} bytes", path=self.path, offset=section.offset)
        return table, self.data(section.link), min(section.info, len(table) // size)

    def symbols(self) -> Iterator[Symbol]:
        """All symbols, without number 0, which the format reserves."""
        table, strings, _ = self.symbol_table()
        wide = self.layout.long_size == 8
        extended = self._extended_indexes()
        for number, fields in enumerate(self.layout.symbol.iter_unpack(table)):
            if number == 0:
                continue
            if wide:
                start, info, _, index, value, size = fields
            else:
                start, value, size, info, _, index = fields
            if index == SHN_XINDEX and number < len(extended):
                index = extended[number]
            yield Symbol(self.string(strings, start), value, size, info & 15, info >> 4, index)

    def relocations(self, number: int, symbols: Sequence[Symbol]) -> Iterator[Relocation]:
        """The relocations in section `number`, a table of type SHT_RELA or SHT_REL; `symbols` are all of them. What a
        table without addends adds stands in the place itself: here it is 0.

        Raises `ModuleFormatError` for one whose symbol or place is not there.
        """
        table = self.section_at(number)
        room, data = self.section_at(table.info).size, self.data(number)
        word, shift = ("Q", 32) if self.bits == 64 else ("I", 8)
        added = word.lower() if table.type == SHT_RELA else ""
        entry = struct.Struct(f"{self.layout.order}{word}{word}{added}")
        if len(data) % entry.size:
            message = f"a table of relocations is no multiple of {entry.size} bytes"
            raise ModuleFormatError(message, path=self.path, offset=table.offset)
        for row, (offset, info, *addends) in enumerate(entry.iter_unpack(data)):
            at = info >> shift
            if at > len(symbols) or offset >= room:
                what = f"symbol {at} of {len(symbols)}" if at > len(symbols) else f"byte {offset:#x} of {room:#x}"
                raise ModuleFormatError(
                    f"a relocation is for {what}", path=self.path, offset=table.offset + row * entry.size
                )
            yield Relocation(offset, info & (1 << shift) - 1, symbols[at - 1] if at else None, sum(addends))

    def string(self, strings: bytes, start: int) -> bytes:
        """One string of a string table."""
        end = strings.find(b"\0", start)
        if end < 0:
            raise ModuleFormatError(
                f"string {start:#x} of a table of {len(strings):#x} bytes has no end", path=self.path
            )
        return strings[start:end]

    def _extended_indexes(self) -> tuple[int, ...]:
        for number, header in enumerate(self._headers):
            if header[1] == SHT_SYMTAB_SHNDX:
                data = self.data(number)
                return struct.unpack(f"{self.layout.order}{len(data) // 4}I", data[: len(data) // 4 * 4])
        return ()


def _not_elf(source: Source) -> str:
    return "the file is empty" if source.size == 0 else "not an ELF object (nor a compressed one)"
