"""Debugging information of a module file: which line of which function an instruction is, and where variables lie.

    debug = DebugInfo(ModuleFile("hello.ko"))
    for place in debug.lines(section, 0x42):            # innermost first; all but the last are inlined
        print(place.function, place.file, place.line)

A module is an object that is not linked: its sections all begin at 0, and its debugging information has relocations
against them. Here every section with memory gets a range of its own, so that one number tells section and offset:

    0000 0007  0000 0042        section 7, offset 0x42

.debug_info has some relocations for each line of each header: they are applied to the compile unit that is asked for,
and only that one is read. Which one it is stands in .debug_aranges, where the compiler writes one, or else in the
first entry of each unit. Sources: DWARF 5 and 4; System V ABI, relocations of x86-64 and AArch64.
"""

from __future__ import annotations

import io
import os
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from kobox.errors import ModuleFormatError
from kobox.ko import elf

if TYPE_CHECKING:
    from kobox.ko.modulefile import ModuleFile

_SECTION = 32  # bits of an address that are the offset in its section
_OFFSET = (1 << _SECTION) - 1
_SHF_COMPRESSED = 0x800
_SHT_RELA = 4
# Bytes that a relocation of debugging information fills, by machine and its type: S + A, absolute.
_WIDTHS = {62: {1: 8, 10: 4, 11: 4}, 183: {257: 8, 258: 4}}
_RANGE_LIST = 16 << 10  # more bytes than any function's range list has
_CALL_FRAME_CFA, _FBREG = 0x9C, 0x91  # DW_OP_*
_READ = (
    *(".debug_info", ".debug_aranges", ".debug_abbrev", ".debug_str", ".debug_loc", ".debug_ranges", ".debug_line"),
    *(".debug_addr", ".debug_str_offsets", ".debug_line_str", ".debug_loclists", ".debug_rnglists", ".debug_types"),
)
_NOT_READ = (
    *("debug_frame_sec", "eh_frame_sec", "debug_pubtypes_sec", "debug_pubnames_sec", "debug_sup_sec"),
    "gnu_debugaltlink_sec",
)
_STT_OBJECT, _STT_FUNC = 1, 2
_RESERVED = 0xFF00  # SHN_LORESERVE: numbers from here on are no sections
_MODPOST_UNITS = (".mod.c", "module-common.c")
_Read = TypeVar("_Read")


class Place(NamedTuple):
    """A line of source. `file` is relative to the module's directory, or for kernel headers to the kernel's; `path` is
    as the compiler saw it; `inlined` when the function's code is part of the next place's."""

    function: str
    file: str
    line: int
    path: str = ""
    inlined: bool = False


class Row(NamedTuple):
    """A stretch of code that comes from one line."""

    section: int
    start: int
    end: int
    path: str
    line: int


@dataclass(frozen=True, slots=True)
class Function:
    """A function with code of its own: where it begins in which section, its bytes, and where it is defined."""

    name: str
    section: int
    offset: int
    size: int
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Local:
    """A variable in a function's frame: it lies at the canonical frame address (what the stack pointer is after the
    return) plus `offset`, `size` bytes long. `function` is another's name when it came by inlining. `ranges` are the
    (start, end) offsets in the section where it lives; () for all of the function."""

    name: str
    offset: int
    size: int
    function: str
    ranges: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable with a place of its own, also one that is local to a function: from the symbol table."""

    name: str
    section: int
    offset: int
    size: int


class DebugInfo:
    """The debugging information of one module file. Everything is read when it is first asked for.

    Without any, `available` is False, `lines` gives nothing, and functions and variables are the symbol table's.
    Damaged information raises `ModuleFormatError`.
    """

    def __init__(self, file: ModuleFile) -> None:
        self._elf = file.elf
        self._path = file.path
        self._count = len(file.elf.sections)
        self._units: dict[int, _Unit] = {}

    @cached_property
    def available(self) -> bool:
        """Whether there is line information that can be read here: the module was built with -g, and for a machine
        whose relocations are known."""
        return bool(self._elf.find(b".debug_info") and self._elf.find(b".debug_line")) and self._elf.machine in _WIDTHS

    def lines(self, section: int, offset: int) -> tuple[Place, ...]:
        """Where an instruction comes from: the function and line itself first, then the calls that were inlined, as
        the compiler knows them, the function whose code it is last. () when that is not known."""
        unit = self._unit_at(section, offset)
        return () if unit is None else unit.lines(section << _SECTION | offset)

    def function_at(self, section: int, offset: int) -> Function | None:
        """The function whose code an instruction is."""
        functions = self._functions_by_section.get(section, [])
        n = bisect_right(functions, offset, key=lambda function: function.offset) - 1
        if n < 0 or offset >= functions[n].offset + max(functions[n].size, 1):
            return None
        return functions[n]

    def locals(self, section: int, offset: int) -> tuple[Local, ...]:
        """The variables in the frame of the function that an instruction belongs to, those of inlined functions too.
        Variables in registers and such as move about are not among them."""
        unit = self._unit_at(section, offset)
        return () if unit is None else unit.locals(section << _SECTION | offset)

    def rows(self) -> Iterator[Row]:
        """All code of the module with its lines, unit by unit, in no order."""
        for unit in self._all_units():
            yield from unit.rows()

    @cached_property
    def functions(self) -> tuple[Function, ...]:
        """All functions of the symbol table, by section and offset; of several at one place the first, which is the
        local one (`init_module` is another name). Padding before functions (`__pfx_`) is none."""
        found: dict[tuple[int, int], Function] = {}
        for symbol in self._elf.symbols():
            if symbol.type == _STT_FUNC and 0 < symbol.section < _RESERVED and not symbol.name.startswith(b"__pfx_"):
                key = symbol.section, symbol.value
                if key not in found or (not found[key].size and symbol.size):
                    found[key] = Function(symbol.name.decode(errors="replace"), *key, symbol.size)
        return tuple(found[key] for key in sorted(found))

    @cached_property
    def variables(self) -> tuple[Variable, ...]:
        """All variables of the symbol table, by section and offset."""
        found = [
            Variable(symbol.name.decode(errors="replace"), symbol.section, symbol.value, symbol.size)
            for symbol in self._elf.symbols()
            if symbol.type == _STT_OBJECT and 0 < symbol.section < _RESERVED
        ]
        return tuple(sorted(found, key=lambda variable: (variable.section, variable.offset)))

    def definition(self, section: int, offset: int) -> Place | None:
        """Where the function that an instruction belongs to is defined."""
        unit = self._unit_at(section, offset)
        return None if unit is None else unit.definition(section << _SECTION | offset)

    @cached_property
    def root(self) -> str:
        """The directory that the module was built from, "" when that is not known: modpost's own unit lies there."""
        names = [self._unit(start).name for start in self._starts[-2:]] if self.available else []
        return next((os.path.dirname(name) for name in names if name.endswith(_MODPOST_UNITS)), "")

    def shown(self, path: str) -> str:
        """A source file's name for people: relative to the module's directory, a header's to the kernel's."""
        for base in (self.root, os.path.dirname(os.path.abspath(self._path)) if self._path else ""):
            if base and path.startswith(base + "/"):
                return path[len(base) + 1 :]
        starts = [at for at in (path.find("/include/"), path.find("/arch/")) if at >= 0]
        return path[min(starts) + 1 :] if starts else path

    # -- sections ----------------------------------------------------------------------------------------------

    @cached_property
    def _functions_by_section(self) -> dict[int, list[Function]]:
        found: dict[int, list[Function]] = {}
        for function in self.functions:
            found.setdefault(function.section, []).append(function)
        return found

    @cached_property
    def _sections(self) -> dict[str, _DebugSection]:
        """The debugging sections, by name."""
        relocations = {}
        for number in range(1, self._count):
            header = self._elf.section_at(number)
            if header.type == _SHT_RELA:
                relocations[header.info] = number
        found = {}
        for number in range(1, self._count):
            name = self._elf.section_name(number).decode(errors="replace")
            if name.startswith(".debug_"):
                found[name] = _DebugSection(self, number, relocations.get(number, 0))
                if name in (".debug_str_offsets", ".debug_addr"):  # small, and only clang's
                    found[name].relocate_all()
        return found

    @cached_property
    def _bases(self) -> list[int]:
        """What each symbol's value is, in the numbers that stand for addresses here."""
        table, _, _ = self._elf.symbol_table()
        bases = []
        for fields in self._elf.layout.symbol.iter_unpack(table):
            index, value = fields[3], fields[4]
            known = 0 < index < min(self._count, _RESERVED)
            has_memory = known and self._elf.section_at(index).flags & elf.SHF_ALLOC
            bases.append((index << _SECTION) + value if has_memory else value)
        return bases

    @cached_property
    def _dwarf(self) -> Any:
        """pyelftools' view of the sections; what it reads must have been relocated before."""
        from elftools.dwarf.dwarfinfo import DebugSectionDescriptor, DwarfConfig, DWARFInfo

        def described(name: str) -> Any:
            section = self._sections.get(name)
            if section is None:
                return None
            return DebugSectionDescriptor(section.stream, name, 0, section.size, 0)

        sections = {f"{name[1:]}_sec": described(name) for name in _READ}
        sections |= dict.fromkeys(_NOT_READ)
        config = DwarfConfig(self._elf.byte_order == "little", "x64", 8)
        return DWARFInfo(config=config, **sections)

    # -- units -------------------------------------------------------------------------------------------------

    @cached_property
    def _starts(self) -> list[int]:
        """Where in .debug_info the units begin."""
        data, order, at, found = self._sections[".debug_info"].data, self._elf.layout.order, 0, []
        while at + 12 <= len(data):
            found.append(at)
            (length,) = struct.unpack_from(f"{order}I", data, at)
            size = 4 + length
            if length == 0xFFFFFFFF:
                size = 12 + struct.unpack_from(f"{order}Q", data, at + 4)[0]
            at += size
        return found

    def _unit(self, start: int) -> _Unit:
        if start not in self._units:
            starts = self._starts
            n = bisect_right(starts, start)
            end = starts[n] if n < len(starts) else self._sections[".debug_info"].size
            self._units[start] = _Unit(self, start, end)
        return self._units[start]

    def _unit_at(self, section: int, offset: int) -> _Unit | None:
        if not self.available:
            return None
        address = section << _SECTION | offset
        n = bisect_right(self._ranges, address, key=lambda row: row[0]) - 1
        if n < 0 or address >= self._ranges[n][1]:
            return None
        return self._unit(self._ranges[n][2])

    def _all_units(self) -> Iterator[_Unit]:
        if self.available:
            for start in self._starts:
                unit = self._unit(start)
                if not unit.name.endswith(_MODPOST_UNITS):
                    yield unit

    @cached_property
    def _ranges(self) -> list[tuple[int, int, int]]:
        """(start, end, unit) of all code, in order."""
        found = list(self._aranges())
        listed = {unit for _, _, unit in found}
        for start in self._starts:
            if start not in listed:
                found.extend((low, high, start) for low, high in self._unit(start).ranges())
        return sorted(row for row in found if row[0] >> _SECTION)

    def _aranges(self) -> Iterator[tuple[int, int, int]]:
        section = self._sections.get(".debug_aranges")
        if section is None:
            return
        section.relocate_all()
        data, order, at = section.data, self._elf.layout.order, 0
        while at + 12 <= len(data):
            length, _, unit, width, _ = struct.unpack_from(f"{order}IHIBB", data, at)
            end = at + 4 + length
            at += 16  # pairs are aligned to their own size, from where the table begins
            while width == 8 and at + 16 <= end:
                start, size = struct.unpack_from(f"{order}QQ", data, at)
                at += 16
                if start >> _SECTION:
                    yield start, start + size, unit
            at = end


class _DebugSection:
    """A debugging section in memory, relocated piece by piece, as it is wanted."""

    def __init__(self, info: DebugInfo, number: int, relocations: int) -> None:
        self._info = info
        self._elf = info._elf
        self._relocations = relocations
        header = self._elf.section_at(number)
        content = self._elf.data(number)
        if header.flags & _SHF_COMPRESSED:
            content = self._decompressed(content)
        self.size = len(content)
        self.stream = io.BytesIO(content)
        self.data = self.stream.getbuffer()

    def _decompressed(self, content: bytes) -> bytes:
        kind, _, size, _ = struct.unpack_from(self._elf.layout.order + "IIQQ", content)
        if kind == 1:
            import zlib

            return zlib.decompress(content[24:], bufsize=size)
        import zstandard

        return zstandard.ZstdDecompressor().decompress(content[24:], max_output_size=size)

    @cached_property
    def _table(self) -> bytes:
        return self._elf.data(self._relocations) if self._relocations else b""

    def relocate_all(self) -> None:
        """Apply all relocations."""
        self.relocate(0, self.size)

    def relocate(self, start: int, end: int) -> None:
        """Apply the relocations between two offsets. To do so again changes nothing: each says the whole value."""
        order, bases, widths = self._elf.layout.order, self._info._bases, _WIDTHS[self._elf.machine]
        table = self._table
        # The linker writes them in order; the first word of each three is the offset.
        offsets = (
            memoryview(table).cast("Q")[::3] if order == "<" else [row[0] for row in struct.iter_unpack(">QQQ", table)]
        )
        first, last = bisect_left(offsets, start), bisect_left(offsets, end)
        wide, narrow, data, size = struct.Struct(order + "Q"), struct.Struct(order + "I"), self.data, self.size
        for offset, info, addend in struct.iter_unpack(order + "QQq", table[24 * first : 24 * last]):
            width = widths.get(info & 0xFFFFFFFF)
            if width is None or offset + width > size or info >> 32 >= len(bases):
                continue
            value = bases[info >> 32] + addend
            if width == 8:
                wide.pack_into(data, offset, value & 0xFFFFFFFFFFFFFFFF)
            else:
                narrow.pack_into(data, offset, value & 0xFFFFFFFF)


class _Unit:
    """One compile unit: its functions, lines and variables."""

    def __init__(self, info: DebugInfo, start: int, end: int) -> None:
        self._info = info
        self._start = start
        self._end = end
        self._frames: dict[int, tuple[Local, ...]] = {}
        self._sizes: dict[int, int] = {}

    @cached_property
    def _unit(self) -> Any:
        self._info._sections[".debug_info"].relocate(self._start, self._end)
        return _checked(self._info, lambda: self._info._dwarf.get_CU_at(self._start))

    @cached_property
    def _top(self) -> Any:
        return _checked(self._info, self._unit.get_top_DIE)

    @cached_property
    def name(self) -> str:
        """The source file's path."""
        return os.path.join(self.compiled_in, _text(self._top, "DW_AT_name"))

    @cached_property
    def compiled_in(self) -> str:
        """The compiler's working directory: the kernel's build tree."""
        return _text(self._top, "DW_AT_comp_dir")

    def ranges(self) -> list[tuple[int, int]]:
        """The unit's code, by its first entry."""
        return self._ranges_of(self._top)

    def lines(self, address: int) -> tuple[Place, ...]:
        """See `DebugInfo.lines`."""
        path, line = self._line_at(address)
        function = self._function_at(address)
        if function is None:  # the compiler has forgotten to describe it, as gcc does with some; the linker has not
            symbol = self._info.function_at(address >> _SECTION, address & _OFFSET)
            return (Place(symbol.name if symbol else "", self._shown(path), line, path),) if line else ()
        found = []
        for entry in reversed(self._inlined_at(function, address)):
            found.append(Place(self._name_of(entry), self._shown(path), line, path, True))
            path = self._files.get(_number(entry, "DW_AT_call_file"), "")
            line = _number(entry, "DW_AT_call_line")
        found.append(Place(self._name_of(function), self._shown(path), line, path))
        return tuple(found)

    def definition(self, address: int) -> Place | None:
        """Where the function is defined."""
        function = self._function_at(address)
        if function is None:
            return None
        origin = self._origin(function)
        path = self._files.get(_number(origin, "DW_AT_decl_file"), "")
        return Place(self._name_of(function), self._shown(path), _number(origin, "DW_AT_decl_line"), path)

    def rows(self) -> Iterator[Row]:
        """See `DebugInfo.rows`."""
        for start, end, file, line in self._rows:
            if line:
                yield Row(start >> _SECTION, start & _OFFSET, end & _OFFSET, self._files.get(file, ""), line)

    def locals(self, address: int) -> tuple[Local, ...]:
        """See `DebugInfo.locals`."""
        function = self._function_at(address)
        if function is None:
            return ()
        if function.offset not in self._frames:
            self._frames[function.offset] = tuple(self._locals_of(function))
        return self._frames[function.offset]

    # -- functions ---------------------------------------------------------------------------------------------

    @cached_property
    def _functions(self) -> list[tuple[int, int, Any]]:
        """(start, end, entry) of all functions with code, in order."""

        def read() -> list[tuple[int, int, Any]]:
            found: list[tuple[int, int, Any]] = []
            for entry in self._top.iter_children():
                if entry.tag == "DW_TAG_subprogram" and (
                    "DW_AT_low_pc" in entry.attributes or "DW_AT_ranges" in entry.attributes
                ):
                    found.extend((low, high, entry) for low, high in self._ranges_of(entry))
            return sorted(found, key=lambda row: row[:2])

        return _checked(self._info, read)

    def _function_at(self, address: int) -> Any:
        n = bisect_right(self._functions, address, key=lambda row: row[0]) - 1
        return self._functions[n][2] if n >= 0 and address < self._functions[n][1] else None

    def _inlined_at(self, function: Any, address: int) -> list[Any]:
        """The inlined calls around an address, the outermost first."""

        def look(entry: Any) -> None:
            for child in entry.iter_children():
                if child.tag not in ("DW_TAG_inlined_subroutine", "DW_TAG_lexical_block"):
                    continue
                if any(low <= address < high for low, high in self._ranges_of(child)):
                    if child.tag == "DW_TAG_inlined_subroutine":
                        found.append(child)
                    look(child)
                    return

        found: list[Any] = []
        _checked(self._info, lambda: look(function))
        return found

    def _name_of(self, entry: Any) -> str:
        return _text(self._origin(entry), "DW_AT_name")

    def _origin(self, entry: Any) -> Any:
        """The entry that has the name: a function with code of its own may refer to its declaration."""
        for _ in range(8):
            link = next((a for a in ("DW_AT_abstract_origin", "DW_AT_specification") if a in entry.attributes), None)
            if link is None or "DW_AT_name" in entry.attributes:
                break
            entry = self._follow(entry, link)
        return entry

    def _follow(self, entry: Any, attribute: str) -> Any:
        """The entry that an attribute refers to; it may stand in another unit (with link-time optimisation)."""
        value = entry.attributes[attribute]
        if value.form == "DW_FORM_ref_addr":
            starts = self._info._starts
            other = self._info._unit(starts[bisect_right(starts, value.value) - 1])
            return _checked(self._info, lambda: other._unit.get_DIE_from_refaddr(value.value))
        return _checked(self._info, lambda: entry.get_DIE_from_attribute(attribute))

    def _ranges_of(self, entry: Any) -> list[tuple[int, int]]:
        attributes = entry.attributes
        if "DW_AT_ranges" in attributes:
            return _checked(self._info, lambda: self._range_list(attributes["DW_AT_ranges"]))
        if "DW_AT_low_pc" not in attributes or "DW_AT_high_pc" not in attributes:
            return []
        low, high = attributes["DW_AT_low_pc"].value, attributes["DW_AT_high_pc"]
        return [(low, high.value if high.form.startswith("DW_FORM_addr") else low + high.value)]

    def _range_list(self, attribute: Any) -> list[tuple[int, int]]:
        name = ".debug_rnglists" if self._unit["version"] >= 5 else ".debug_ranges"
        section = self._info._sections[name]
        if attribute.form == "DW_FORM_rnglistx":
            section.relocate_all()
        else:
            section.relocate(attribute.value, attribute.value + _RANGE_LIST)
        lists = self._info._dwarf.range_lists()
        entries = lists.get_range_list_at_offset(attribute.value, self._unit)
        low = self._top.attributes.get("DW_AT_low_pc")
        base, found = low.value if low else 0, []
        for entry in entries:
            if hasattr(entry, "base_address"):
                base = entry.base_address
            else:
                shift = 0 if getattr(entry, "is_absolute", False) else base
                found.append((entry.begin_offset + shift, entry.end_offset + shift))
        return found

    # -- lines -------------------------------------------------------------------------------------------------

    @cached_property
    def _program(self) -> Any:
        offset = _number(self._top, "DW_AT_stmt_list")
        section = self._info._sections[".debug_line"]
        (length,) = struct.unpack_from(self._info._elf.layout.order + "I", section.data, offset)
        section.relocate(offset, offset + 4 + length)
        return _checked(self._info, lambda: self._info._dwarf.line_program_for_CU(self._unit))

    @cached_property
    def _files(self) -> dict[int, str]:
        """Paths by the numbers that lines and calls name them by."""
        if "DW_AT_stmt_list" not in self._top.attributes or self._program is None:
            return {}
        header = self._program.header
        old = header["version"] < 5  # numbers begin at 1, and directory 0 is the compiler's own
        directories = [_decoded(name) for name in header["include_directory"]]
        if old:
            directories.insert(0, self.compiled_in)
        found = {}
        for number, entry in enumerate(header["file_entry"], old):
            directory = directories[entry.dir_index] if entry.dir_index < len(directories) else ""
            found[number] = os.path.normpath(os.path.join(self.compiled_in, directory, _decoded(entry.name)))
        return found

    @cached_property
    def _rows(self) -> list[tuple[int, int, int, int]]:
        """(start, end, file, line) in order."""

        def read() -> list[tuple[int, int, int, int]]:
            found: list[tuple[int, int, int, int]] = []
            last = None
            for entry in self._program.get_entries() if self._program is not None else ():
                state = entry.state
                if state is None:
                    continue
                if last is not None and state.address > last[0]:
                    found.append((last[0], state.address, last[1], last[2]))
                last = None if state.end_sequence else (state.address, state.file, state.line)
            return sorted(found)

        return _checked(self._info, read) if "DW_AT_stmt_list" in self._top.attributes else []

    def _line_at(self, address: int) -> tuple[str, int]:
        rows = self._rows
        n = bisect_right(rows, address, key=lambda row: row[0]) - 1
        if n < 0 or address >= rows[n][1]:
            return "", 0
        while n and not rows[n][3] and rows[n - 1][1] == rows[n][0]:
            n -= 1  # line 0: code of no line, made for what stands before
        return self._files.get(rows[n][2], ""), rows[n][3]

    def _shown(self, path: str) -> str:
        return self._info.shown(path)

    # -- variables ---------------------------------------------------------------------------------------------

    def _locals_of(self, function: Any) -> Iterator[Local]:
        base = function.attributes.get("DW_AT_frame_base")
        if base is None or list(base.value) != [_CALL_FRAME_CFA]:
            return

        def look(entry: Any, owner: str, ranges: tuple[tuple[int, int], ...]) -> Iterator[Local]:
            for child in entry.iter_children():
                if child.tag in ("DW_TAG_variable", "DW_TAG_formal_parameter"):
                    place = child.attributes.get("DW_AT_location")
                    if place is None or place.form != "DW_FORM_exprloc" or not place.value or place.value[0] != _FBREG:
                        continue
                    offset, length = _sleb(place.value, 1)
                    if length == len(place.value):
                        origin = self._origin(child)
                        yield Local(_text(origin, "DW_AT_name"), offset, self._size_of(origin), owner, ranges)
                elif child.tag in ("DW_TAG_lexical_block", "DW_TAG_inlined_subroutine"):
                    inner = tuple((low & _OFFSET, high & _OFFSET) for low, high in self._ranges_of(child)) or ranges
                    inlined = child.tag == "DW_TAG_inlined_subroutine"
                    yield from look(child, self._name_of(child) if inlined else owner, inner)

        yield from look(function, self._name_of(function), ())

    def _size_of(self, entry: Any) -> int:
        """The bytes of a type, or of what has one; 0 when that is not known."""
        if "DW_AT_byte_size" in entry.attributes:
            return _number(entry, "DW_AT_byte_size")
        if "DW_AT_type" not in entry.attributes:
            return 0
        key = entry.offset
        if key not in self._sizes:
            self._sizes[key] = 0  # against a type that is made of itself
            size = self._size_of(self._follow(entry, "DW_AT_type"))
            if entry.tag == "DW_TAG_array_type":
                for part in entry.iter_children():
                    if part.tag == "DW_TAG_subrange_type":
                        size *= _length(part)
            self._sizes[key] = size
        return self._sizes[key]


def _length(part: Any) -> int:
    """How many elements a dimension of an array has; 0 when that is not known before it runs."""
    for name, more in (("DW_AT_count", 0), ("DW_AT_upper_bound", 1)):
        value = part.attributes.get(name)
        if value is not None:
            return value.value + more if isinstance(value.value, int) and value.value < 1 << 48 else 0
    return 0


def _text(entry: Any, name: str) -> str:
    value = entry.attributes.get(name)
    return "" if value is None else _decoded(value.value)


def _decoded(value: Any) -> str:
    return value.decode(errors="surrogateescape") if isinstance(value, bytes) else str(value)


def _number(entry: Any, name: str) -> int:
    value = entry.attributes.get(name)
    return value.value if value is not None and isinstance(value.value, int) else 0


def _sleb(data: Any, at: int) -> tuple[int, int]:
    """A signed LEB128 number and where it ends."""
    value = shift = 0
    while at < len(data):
        byte = data[at]
        value |= (byte & 0x7F) << shift
        shift += 7
        at += 1
        if not byte & 0x80:
            return value - (1 << shift) if byte & 0x40 else value, at
    return value, len(data) + 1


def _checked(info: DebugInfo, read: Callable[[], _Read]) -> _Read:
    """What `read` gives; damaged information, at which pyelftools raises whatever it comes to, is said to be so."""
    try:
        return read()
    except ModuleFormatError:
        raise
    except Exception as error:
        raise ModuleFormatError(
            f"its debugging information cannot be read: {error}",
            path=info._path,
            hint="Build it again, or strip it with `strip --strip-debug`: it is then checked without lines.",
        ) from error
