"""The debugging sections of a module, decompressed and relocated piece by piece.

A module is an object that is not linked: its sections all begin at 0, and its debugging information has relocations
against them. Here every section with memory gets a range of its own, so that one number is both section and offset:

    0000 0007  0000 0042        section 7, offset 0x42

.debug_info has some relocations for each line of each header, so only those of the compile unit that is read are
applied. Sources: DWARF 5 and 4; System V ABI, relocations of x86-64 and AArch64 and section
compression.
"""

from __future__ import annotations

import io
import struct
from bisect import bisect_left
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from kobox.errors import ModuleFormatError
from kobox.ko import compression, elf

if TYPE_CHECKING:
    from elftools.dwarf.dwarfinfo import DWARFInfo

SECTION_SHIFT = 32  # bits of an address that are the offset in its section
OFFSET_MASK = (1 << SECTION_SHIFT) - 1
# Bytes that a relocation of debugging information fills, by machine and its type: S + A, absolute.
RELOCATION_WIDTHS = {elf.EM_X86_64: {1: 8, 10: 4, 11: 4}, elf.EM_AARCH64: {257: 8, 258: 4}}
_READ = (
    *(".debug_info", ".debug_aranges", ".debug_abbrev", ".debug_str", ".debug_loc", ".debug_ranges", ".debug_line"),
    *(".debug_addr", ".debug_str_offsets", ".debug_line_str", ".debug_loclists", ".debug_rnglists", ".debug_types"),
)
_NOT_READ = (
    *("debug_frame_sec", "eh_frame_sec", "debug_pubtypes_sec", "debug_pubnames_sec", "debug_sup_sec"),
    "gnu_debugaltlink_sec",
)
_SMALLEST_UNIT = 7  # bytes behind its length: version, abbreviations, address size (DWARF 4, 7.5.1.1)
_Read = TypeVar("_Read")


def checked(path: str, read: Callable[[], _Read]) -> _Read:
    """What `read` gives. Whatever pyelftools raises on damaged information becomes `ModuleFormatError`."""
    try:
        return read()
    except ModuleFormatError:
        raise
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise ModuleFormatError(
            f"its debugging information cannot be read: {reason}",
            path=path,
            hint="Build the module again, or remove the debugging information with `strip --strip-debug`.",
        ) from error


class DebugSections:
    """All debugging sections of one object, by name; each is read when it is first asked for.

    Together they unpack to no more than `compression.limit_for` allows for the file.
    """

    def __init__(self, module: elf.Elf) -> None:
        self.elf = module
        self.path = module.path
        self._budget = compression.limit_for(module.source.size)
        self._loaded: dict[str, DebugSection] = {}

    def __getitem__(self, name: str) -> DebugSection:
        """A section. Raises `ModuleFormatError` when there is none of that name."""
        if name not in self._numbers:
            raise ModuleFormatError(f"it has debugging information, but no section {name}", path=self.path)
        if name not in self._loaded:
            number, relocations = self._numbers[name]
            section = self._loaded[name] = DebugSection(self, number, relocations, self._budget)
            if self.elf.section_at(number).flags & elf.SHF_COMPRESSED:
                self._budget -= section.size
            if name in (".debug_str_offsets", ".debug_addr"):  # small, and only clang's
                section.relocate_all()
        return self._loaded[name]

    def __contains__(self, name: str) -> bool:
        return name in self._numbers

    @cached_property
    def _numbers(self) -> dict[str, tuple[int, int]]:
        """(number, number of its relocations or 0) of each debugging section."""
        if self.elf.bits != 64:  # an address and the number of its section do not fit into 32 bits
            return {}
        relocations = {}
        count = self.elf.section_count
        for number in range(1, count):
            header = self.elf.section_at(number)
            if header.type == elf.SHT_RELA:
                relocations[header.info] = number
        found = {}
        for number in range(1, count):
            name = self.elf.section_name(number).decode(errors="replace")
            if name.startswith(".debug_"):
                found[name] = (number, relocations.get(number, 0))
        return found

    @cached_property
    def bases(self) -> list[int]:
        """The value of each symbol, as an address (see above)."""
        table, _, _ = self.elf.symbol_table()
        count = min(self.elf.section_count, elf.SHN_LORESERVE)
        allocated = [bool(self.elf.section_at(number).flags & elf.SHF_ALLOC) for number in range(count)]
        return [
            (index << SECTION_SHIFT) + value if 0 < index < count and allocated[index] else value
            for _, _, _, index, value, _ in self.elf.layout.symbol.iter_unpack(table)
        ]

    @cached_property
    def dwarf(self) -> DWARFInfo:
        """pyelftools' view of the sections; what it reads must have been relocated before."""
        from elftools.dwarf.dwarfinfo import DebugSectionDescriptor, DwarfConfig, DWARFInfo

        def described(name: str) -> DebugSectionDescriptor | None:
            if name not in self:
                return None
            section = self[name]
            return DebugSectionDescriptor(section.stream, name, 0, section.size, 0)

        sections = {f"{name[1:]}_sec": described(name) for name in _READ}
        sections |= dict.fromkeys(_NOT_READ)
        config = DwarfConfig(self.elf.byte_order == "little", "x64", 8)
        return DWARFInfo(config=config, **sections)

    @cached_property
    def unit_starts(self) -> list[int]:
        """The offsets in .debug_info at which the units begin. Raises `ModuleFormatError`."""
        data, order, at, found = self[".debug_info"].data, self.elf.layout.order, 0, []
        while at + 12 <= len(data):
            found.append(at)
            (length,) = struct.unpack_from(f"{order}I", data, at)
            size = 4 + length
            if length == 0xFFFFFFFF:
                (length,) = struct.unpack_from(f"{order}Q", data, at + 4)
                size = 12 + length
            if length < _SMALLEST_UNIT:
                raise ModuleFormatError(
                    f"the unit at {at:#x} of .debug_info is said to have {length} bytes", path=self.path
                )
            at += size
        return found


class DebugSection:
    """A debugging section in memory, relocated piece by piece, as it is wanted."""

    def __init__(self, sections: DebugSections, number: int, relocations: int, limit: int) -> None:
        self._sections = sections
        self._elf = sections.elf
        self._relocations = relocations
        header = self._elf.section_at(number)
        content = self._elf.data(number)
        if header.flags & elf.SHF_COMPRESSED:
            content = checked(self._elf.path, lambda: self._decompressed(content, limit))
        self.size = len(content)
        self.stream = io.BytesIO(content)
        self.data = self.stream.getbuffer()

    def _decompressed(self, content: bytes, limit: int) -> bytes:
        """What an Elf64_Chdr and the compressed bytes behind it stand for."""
        kind, _, size, _ = struct.unpack_from(self._elf.layout.order + "IIQQ", content)
        if size > limit:
            raise ValueError(f"a section unpacks to {size} bytes; {limit} is the limit for a file of this size")
        return compression.decompress_as("zlib" if kind == elf.ELFCOMPRESS_ZLIB else "zstd", content[24:], size)

    @cached_property
    def _table(self) -> bytes:
        return self._elf.data(self._relocations) if self._relocations else b""

    @cached_property
    def _offsets(self) -> memoryview | list[int]:
        """The offset of each relocation. The compiler writes them in order."""
        table = self._table[: len(self._table) // 24 * 24]
        if self._elf.layout.order == "<":
            return memoryview(table).cast("Q")[::3]
        return [row[0] for row in struct.iter_unpack(">QQQ", table)]

    def relocate_all(self) -> None:
        """Apply all relocations."""
        self.relocate(0, self.size)

    def relocate(self, start: int, end: int) -> None:
        """Apply the relocations between two offsets. Doing so again changes nothing: each has the whole value."""
        order, bases, widths = self._elf.layout.order, self._sections.bases, RELOCATION_WIDTHS[self._elf.machine]
        first, last = bisect_left(self._offsets, start), bisect_left(self._offsets, end)
        wide, narrow, data, size = struct.Struct(order + "Q"), struct.Struct(order + "I"), self.data, self.size
        for offset, info, addend in struct.iter_unpack(order + "QQq", self._table[24 * first : 24 * last]):
            width = widths.get(info & 0xFFFFFFFF)
            if width is None or offset + width > size or info >> 32 >= len(bases):
                continue
            value = bases[info >> 32] + addend
            if width == 8:
                wide.pack_into(data, offset, value & 0xFFFFFFFFFFFFFFFF)
            else:
                narrow.pack_into(data, offset, value & 0xFFFFFFFF)
