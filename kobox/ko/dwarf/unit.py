"""One compile unit of debugging information: its functions, lines and variables."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from kobox.errors import ModuleFormatError
from kobox.ko.ctype import Prototype
from kobox.ko.dwarf import line_header
from kobox.ko.dwarf.live import LiveVariable
from kobox.ko.dwarf.places import Function, InlinedCall, Local, Place, Row
from kobox.ko.dwarf.sections import OFFSET_MASK, SECTION_SHIFT, DebugSections
from kobox.ko.dwarf.types import TypeReader
from kobox.leb128 import read_sleb, sleb

if TYPE_CHECKING:
    from elftools.dwarf.compileunit import CompileUnit
    from elftools.dwarf.die import DIE
    from elftools.dwarf.lineprogram import LineProgram

_RANGE_LIST = 16 << 10  # more bytes than any function's range list has
_LOCATION_LIST = 16 << 10  # and than any variable's location list
_CALL_FRAME_CFA, _FBREG = 0x9C, 0x91  # DW_OP_*
_LOCAL_REFERENCES = ("DW_FORM_ref1", "DW_FORM_ref2", "DW_FORM_ref4", "DW_FORM_ref8", "DW_FORM_ref_udata")
_RUST = 0x1C  # DW_LANG_Rust
_WITH_FUNCTIONS = ("DW_TAG_namespace", "DW_TAG_structure_type", "DW_TAG_union_type", "DW_TAG_enumeration_type")
_DEEPEST = 200  # nesting of blocks and inlined calls


class Units:
    """The compile units of one module, each read when it is first asked for.

    `function_at` finds a function in the symbol table; `shown` shortens a source file's path for people.
    """

    def __init__(
        self,
        sections: DebugSections,
        function_at: Callable[[int, int], Function | None],
        shown: Callable[[str], str],
    ) -> None:
        self.sections = sections
        self.function_at = function_at
        self.shown = shown
        self._known: dict[int, Unit] = {}

    def __getitem__(self, start: int) -> Unit:
        """The unit that begins at this offset of .debug_info."""
        if start not in self._known:
            starts = self.sections.unit_starts
            n = bisect_right(starts, start)
            end = starts[n] if n < len(starts) else self.sections[".debug_info"].size
            self._known[start] = Unit(self, start, end)
        return self._known[start]

    def around(self, offset: int) -> Unit:
        """The unit that has the entry at this offset of .debug_info."""
        starts = self.sections.unit_starts
        return self[starts[bisect_right(starts, offset) - 1]]


class Unit:
    """One compile unit, from `start` to `end` of .debug_info."""

    def __init__(self, units: Units, start: int, end: int) -> None:
        self._units = units
        self._sections = units.sections
        self._start = start
        self._end = end
        self._frames: dict[int, tuple[Local, ...]] = {}
        self._sizes: dict[int, int] = {}
        self._blocks: dict[int, list[tuple[list[tuple[int, int]], DIE]]] = {}

    @cached_property
    def unit(self) -> CompileUnit:
        """pyelftools' view of the unit."""
        self._sections[".debug_info"].relocate(self._start, self._end)
        return self._sections.dwarf.get_CU_at(self._start)

    @cached_property
    def _top(self) -> DIE:
        return self.unit.get_top_DIE()

    @cached_property
    def name(self) -> str:
        """The source file's path."""
        return os.path.join(self.compiled_in, _text(self._top, "DW_AT_name"))

    @cached_property
    def compiled_in(self) -> str:
        """The compiler's working directory: the kernel's build tree."""
        return _text(self._top, "DW_AT_comp_dir")

    def ranges(self) -> list[tuple[int, int]]:
        """The (start, end) addresses of the unit's code, by its first entry."""
        return self._ranges_of(self._top)

    def lines(self, address: int) -> tuple[Place, ...]:
        """See `DebugInfo.lines`."""
        path, line, column = self._line_at(address)
        function = self._function_at(address)
        if function is None:  # gcc leaves some functions out of its description; the symbol table has them
            symbol = self._units.function_at(address >> SECTION_SHIFT, address & OFFSET_MASK)
            name = symbol.name if symbol else ""
            return (Place(name, self._units.shown(path), line, path, column=column),) if line else ()
        found = []
        for entry in reversed(self._inlined_at(function, address)):
            found.append(Place(self._name_of(entry), self._units.shown(path), line, path, True, column))
            path = self._files.get(_number(entry, "DW_AT_call_file"), "")
            line, column = _number(entry, "DW_AT_call_line"), _number(entry, "DW_AT_call_column")
        found.append(Place(self._name_of(function), self._units.shown(path), line, path, column=column))
        return tuple(found)

    def inlined_in(self, address: int) -> frozenset[str]:
        """See `DebugInfo.inlined_in`."""
        function = self._function_at(address)
        found, stack = set(), [] if function is None else [(function, 0)]
        while stack:
            entry, depth = stack.pop()
            for ranges, child in self._blocks_in(entry) if depth < _DEEPEST else ():
                if child.tag == "DW_TAG_inlined_subroutine" and any(low < high for low, high in ranges):
                    found.add(self._name_of(child))
                stack.append((child, depth + 1))
        return frozenset(found)

    def has_function(self, address: int) -> bool:
        """Whether a function is described that has this address."""
        return self._function_at(address) is not None

    def definition(self, address: int) -> Place | None:
        """The line where the function at this address is defined."""
        function = self._function_at(address)
        if function is None:
            return None
        origin = self._origin(function)
        path = self._files.get(_number(origin, "DW_AT_decl_file"), "")
        return Place(self._name_of(function), self._units.shown(path), _number(origin, "DW_AT_decl_line"), path)

    def rows(self) -> Iterator[Row]:
        """See `DebugInfo.rows`."""
        for start, end, file, line, _ in self._rows:
            if line:
                path = self._files.get(file, "")
                yield Row(start >> SECTION_SHIFT, start & OFFSET_MASK, end & OFFSET_MASK, path, line)

    def statements(self) -> Iterator[Row]:
        """See `DebugInfo.statements`."""
        for entry in self._program.get_entries() if self._program is not None else ():
            state = entry.state
            if state is not None and not state.end_sequence and state.line:
                section, offset = state.address >> SECTION_SHIFT, state.address & OFFSET_MASK
                yield Row(section, offset, offset, self._files.get(state.file, ""), state.line)

    def inlined_calls(self, names: frozenset[str]) -> Iterator[InlinedCall]:
        """See `DebugInfo.inlined_calls`."""
        known: dict[int, str] = {}  # names by where the inline function is described
        stack = [self._children(function) for function in {row[2].offset: row[2] for row in self._functions}.values()]
        while stack:
            child = next(stack[-1], None)
            if child is None:
                stack.pop()
            elif child.tag in ("DW_TAG_lexical_block", "DW_TAG_inlined_subroutine"):
                if child.tag == "DW_TAG_inlined_subroutine":
                    origin = _number(child, "DW_AT_abstract_origin")
                    if origin not in known:
                        known[origin] = self._name_of(child)
                    if known[origin] in names:
                        yield from self._beginnings(child, known[origin])
                if len(stack) < _DEEPEST:
                    stack.append(self._children(child))

    def _beginnings(self, call: DIE, name: str) -> Iterator[InlinedCall]:
        """Where an inlined call begins: where it is entered, and where each piece of it does."""
        entry = call.attributes.get("DW_AT_entry_pc")
        found = {low for low, _ in self._ranges_of(call)}
        if entry is not None and entry.form.startswith("DW_FORM_addr"):
            found.add(entry.value)
        path, line = self._files.get(_number(call, "DW_AT_call_file"), ""), _number(call, "DW_AT_call_line")
        for address in sorted(found):
            yield InlinedCall(name, address >> SECTION_SHIFT, address & OFFSET_MASK, path, line)

    def locals(self, address: int) -> tuple[Local, ...]:
        """See `DebugInfo.locals`."""
        function = self._function_at(address)
        if function is None:
            return ()
        if function.offset not in self._frames:
            self._frames[function.offset] = tuple(self._locals_of(function))
        return self._frames[function.offset]

    def prototype(self, address: int) -> Prototype | None:
        """See `DebugInfo.prototype`."""
        function = self._function_at(address)
        return None if function is None else self._types.prototype(self._origin(function))

    @cached_property
    def _types(self) -> TypeReader:
        return TypeReader(self._follow, self._children)

    def live(self, address: int) -> tuple[LiveVariable, ...]:
        """See `DebugInfo.live`."""
        function = self._function_at(address)
        return () if function is None else tuple(self._live_in(function, address))

    def _live_in(self, function: DIE, address: int) -> Iterator[LiveVariable]:
        """The variables of a function, and of the blocks and inlined calls around an address; the innermost last."""
        block: DIE | None = function
        owner = self._name_of(function)
        for _ in range(_DEEPEST):
            if block is None:
                return
            if block.tag == "DW_TAG_inlined_subroutine":
                owner = self._name_of(block)
            for child in self._children(block):
                if child.tag in ("DW_TAG_variable", "DW_TAG_formal_parameter"):
                    expression = self._expression(child, address)
                    if expression:
                        origin = self._origin(child)
                        place = self._start, child.offset
                        yield LiveVariable(
                            _text(origin, "DW_AT_name"), self._types.type_of(origin), owner, expression, place
                        )
            block = self._block_at(block, address)

    def _expression(self, entry: DIE, address: int) -> bytes:
        """Where a variable is at an address, as DWARF's expression; b"" when it is nowhere."""
        constant = entry.attributes.get("DW_AT_const_value")
        if constant is not None and isinstance(constant.value, int):
            return b"\x11" + sleb(constant.value) + b"\x9f"  # DW_OP_consts, DW_OP_stack_value
        place = entry.attributes.get("DW_AT_location")
        if place is None:
            return b""
        if place.form in ("DW_FORM_exprloc", "DW_FORM_block1", "DW_FORM_block"):
            return bytes(place.value)
        return self._listed(entry, place.value, address)

    def _listed(self, entry: DIE, offset: int, address: int) -> bytes:
        from elftools.dwarf.locationlists import BaseAddressEntry, LocationEntry

        section = self._sections[".debug_loclists" if self.unit["version"] >= 5 else ".debug_loc"]
        section.relocate(offset, offset + _LOCATION_LIST)
        lists = self._sections.dwarf.location_lists()
        low = self._top.attributes.get("DW_AT_low_pc")
        base = low.value if low else 0
        for row in lists.get_location_list_at_offset(offset, entry) if lists is not None else ():
            if isinstance(row, BaseAddressEntry):
                base = row.base_address
            elif isinstance(row, LocationEntry):
                shift = 0 if row.is_absolute else base
                if row.begin_offset + shift <= address < row.end_offset + shift:
                    return bytes(row.loc_expr)
        return b""

    def member_at(self, entry: int, offset: int) -> str:
        """See `DebugInfo.member_at`."""
        return self._types.member_at(self._origin(self.unit.get_DIE_from_refaddr(entry)), offset)

    @cached_property
    def globals(self) -> dict[str, DIE]:
        """The variables of the file's own level, by their names."""
        return {
            _text(child, "DW_AT_name"): child
            for child in self._children(self._top)
            if child.tag == "DW_TAG_variable" and "DW_AT_declaration" not in child.attributes
        }

    def member_of(self, name: str, offset: int) -> str:
        """The member of a variable of the file's own level at an offset: "list.next", "[2].lock"; "" for none."""
        return self._types.member_of(self.globals[name], offset)

    # -- entries -----------------------------------------------------------------------------------------------

    def _children(self, entry: DIE) -> Iterator[DIE]:
        """The entries inside an entry.

        pyelftools follows DW_AT_sibling wherever it leads, for ever if that is backwards. Here it must lead forwards.
        """
        if not entry.has_children:
            return
        at = entry.offset + entry.size
        while True:
            child = self.unit.get_DIE_from_refaddr(at)
            if child.tag is None:
                return
            yield child
            at = self._behind(child)

    def _behind(self, entry: DIE) -> int:
        """The offset behind an entry and all inside it."""
        end = entry.offset + entry.size
        if not entry.has_children:
            return end
        sibling = entry.attributes.get("DW_AT_sibling")
        if sibling is not None and sibling.form in _LOCAL_REFERENCES:
            at = self._start + int(sibling.value)
            if at < end:
                message = f"the sibling of the entry at {entry.offset:#x} of .debug_info stands before it"
                raise ModuleFormatError(message, path=self._sections.path)
            return at
        depth = 1
        while depth:
            inner = self.unit.get_DIE_from_refaddr(end)
            end += inner.size
            depth += 1 if inner.has_children else -1 if inner.tag is None else 0
        return end

    def _name_of(self, entry: DIE) -> str:
        return _text(self._origin(entry), "DW_AT_name")

    def _origin(self, entry: DIE) -> DIE:
        """The entry that has the name: a function with code of its own may refer to its declaration."""
        for _ in range(8):
            link = next((a for a in ("DW_AT_abstract_origin", "DW_AT_specification") if a in entry.attributes), None)
            if link is None or "DW_AT_name" in entry.attributes:
                break
            entry = self._follow(entry, link)
        return entry

    def _follow(self, entry: DIE, attribute: str) -> DIE:
        """The entry that an attribute refers to; it may stand in another unit (with link-time optimisation)."""
        value = entry.attributes[attribute]
        if value.form == "DW_FORM_ref_addr":
            return self._units.around(value.value).unit.get_DIE_from_refaddr(value.value)
        return entry.get_DIE_from_attribute(attribute)

    # -- functions ---------------------------------------------------------------------------------------------

    @cached_property
    def _functions(self) -> list[tuple[int, int, DIE]]:
        """(start, end, entry) of all functions with code, in order."""
        found: list[tuple[int, int, DIE]] = []
        for entry in self._nested(self._top) if self._is_rust else self._children(self._top):
            if entry.tag == "DW_TAG_subprogram" and (
                "DW_AT_low_pc" in entry.attributes or "DW_AT_ranges" in entry.attributes
            ):
                found.extend((low, high, entry) for low, high in self._ranges_of(entry))
        return sorted(found, key=lambda row: row[:2])

    @cached_property
    def _is_rust(self) -> bool:
        language = self._top.attributes.get("DW_AT_language")
        return language is not None and language.value == _RUST

    def _nested(self, entry: DIE, depth: int = 0) -> Iterator[DIE]:
        """What is in an entry; of namespaces and types, in which Rust has its functions, what is in those."""
        for child in self._children(entry):
            yield child
            if child.tag in _WITH_FUNCTIONS and depth < _DEEPEST:
                yield from self._nested(child, depth + 1)

    def _function_at(self, address: int) -> DIE | None:
        n = bisect_right(self._functions, address, key=lambda row: row[0]) - 1
        return self._functions[n][2] if n >= 0 and address < self._functions[n][1] else None

    def _inlined_at(self, function: DIE, address: int) -> list[DIE]:
        """The inlined calls around an address, the outermost first."""
        found: list[DIE] = []
        block = self._block_at(function, address)
        while block is not None and len(found) < _DEEPEST:
            if block.tag == "DW_TAG_inlined_subroutine":
                found.append(block)
            block = self._block_at(block, address)
        return found

    def _block_at(self, entry: DIE, address: int) -> DIE | None:
        """The block or inlined call right inside an entry that has this address."""
        for ranges, child in self._blocks_in(entry):
            if any(low <= address < high for low, high in ranges):
                return child
        return None

    def _blocks_in(self, entry: DIE) -> list[tuple[list[tuple[int, int]], DIE]]:
        """The blocks and inlined calls right inside an entry, with their (start, end) addresses."""
        if entry.offset not in self._blocks:
            self._blocks[entry.offset] = [
                (self._ranges_of(child), child)
                for child in self._children(entry)
                if child.tag in ("DW_TAG_inlined_subroutine", "DW_TAG_lexical_block")
            ]
        return self._blocks[entry.offset]

    def _ranges_of(self, entry: DIE) -> list[tuple[int, int]]:
        attributes = entry.attributes
        if "DW_AT_ranges" in attributes:
            return self._range_list(attributes["DW_AT_ranges"].form, attributes["DW_AT_ranges"].value)
        if "DW_AT_low_pc" not in attributes or "DW_AT_high_pc" not in attributes:
            return []
        low, high = attributes["DW_AT_low_pc"].value, attributes["DW_AT_high_pc"]
        return [(low, high.value if high.form.startswith("DW_FORM_addr") else low + high.value)]

    def _range_list(self, form: str, offset: int) -> list[tuple[int, int]]:
        section = self._sections[".debug_rnglists" if self.unit["version"] >= 5 else ".debug_ranges"]
        if form == "DW_FORM_rnglistx":
            section.relocate_all()
        else:
            section.relocate(offset, offset + _RANGE_LIST)
        from elftools.dwarf.ranges import BaseAddressEntry, RangeEntry

        lists = self._sections.dwarf.range_lists()
        if lists is None:
            return []
        low = self._top.attributes.get("DW_AT_low_pc")
        base, found = low.value if low else 0, []
        for entry in lists.get_range_list_at_offset(offset, self.unit):
            if isinstance(entry, RangeEntry):
                shift = 0 if entry.is_absolute else base
                found.append((entry.begin_offset + shift, entry.end_offset + shift))
            elif isinstance(entry, BaseAddressEntry):
                base = entry.base_address
        return found

    # -- lines -------------------------------------------------------------------------------------------------

    @cached_property
    def _program(self) -> LineProgram | None:
        if "DW_AT_stmt_list" not in self._top.attributes:
            return None
        offset = _number(self._top, "DW_AT_stmt_list")
        section = self._sections[".debug_line"]
        size = line_header.check(section.data, self._sections.elf.layout.order, offset)
        section.relocate(offset, offset + size)
        return self._sections.dwarf.line_program_for_CU(self.unit)

    @cached_property
    def _files(self) -> dict[int, str]:
        """Paths by the numbers that lines and calls have for them."""
        if self._program is None:
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
    def _rows(self) -> list[tuple[int, int, int, int, int]]:
        """(start, end, file, line, column) in order."""
        found: list[tuple[int, int, int, int, int]] = []
        last = None
        for entry in self._program.get_entries() if self._program is not None else ():
            state = entry.state
            if state is None:
                continue
            if last is not None and state.address > last[0]:
                found.append((last[0], state.address, *last[1:]))
            last = None if state.end_sequence else (state.address, state.file, state.line, state.column)
        return sorted(found)

    def _line_at(self, address: int) -> tuple[str, int, int]:
        """File, line and column of the code at an address."""
        rows = self._rows
        n = bisect_right(rows, address, key=lambda row: row[0]) - 1
        if n < 0 or address >= rows[n][1]:
            return "", 0, 0
        while n and not rows[n][3] and rows[n - 1][1] == rows[n][0]:
            n -= 1  # line 0: code of no line, made for what stands before
        return self._files.get(rows[n][2], ""), *rows[n][3:]

    # -- variables ---------------------------------------------------------------------------------------------

    def _locals_of(self, function: DIE) -> Iterator[Local]:
        base = function.attributes.get("DW_AT_frame_base")
        if base is None or list(base.value) != [_CALL_FRAME_CFA]:
            return
        stack: list[tuple[Iterator[DIE], str, tuple[tuple[int, int], ...]]]
        stack = [(self._children(function), self._name_of(function), ())]
        while stack:
            children, owner, ranges = stack[-1]
            child = next(children, None)
            if child is None:
                stack.pop()
            elif child.tag in ("DW_TAG_variable", "DW_TAG_formal_parameter"):
                if local := self._local(child, owner, ranges):
                    yield local
            elif child.tag in ("DW_TAG_lexical_block", "DW_TAG_inlined_subroutine") and len(stack) < _DEEPEST:
                inner = tuple((low & OFFSET_MASK, high & OFFSET_MASK) for low, high in self._ranges_of(child))
                inlined = child.tag == "DW_TAG_inlined_subroutine"
                stack.append((self._children(child), self._name_of(child) if inlined else owner, inner or ranges))

    def _local(self, entry: DIE, owner: str, ranges: tuple[tuple[int, int], ...]) -> Local | None:
        """A variable at a fixed place of the frame, None for any other."""
        place = entry.attributes.get("DW_AT_location")
        if place is None or place.form != "DW_FORM_exprloc" or not place.value or place.value[0] != _FBREG:
            return None
        offset, length = read_sleb(place.value, 1)
        if length != len(place.value):
            return None
        origin = self._origin(entry)
        return Local(_text(origin, "DW_AT_name"), offset, self._size_of(origin), owner, ranges)

    def _size_of(self, entry: DIE) -> int:
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
                for part in self._children(entry):
                    if part.tag == "DW_TAG_subrange_type":
                        size *= _length(part)
            self._sizes[key] = size
        return self._sizes[key]


def _length(part: DIE) -> int:
    """How many elements a dimension of an array has; 0 when the module only knows while it runs."""
    for name, more in (("DW_AT_count", 0), ("DW_AT_upper_bound", 1)):
        value = part.attributes.get(name)
        if value is not None:
            return value.value + more if isinstance(value.value, int) and value.value < 1 << 48 else 0
    return 0


def _text(entry: DIE, name: str) -> str:
    value = entry.attributes.get(name)
    return "" if value is None else _decoded(value.value)


def _decoded(value: object) -> str:
    return value.decode(errors="surrogateescape") if isinstance(value, bytes) else str(value)


def _number(entry: DIE, name: str) -> int:
    value = entry.attributes.get(name)
    return value.value if value is not None and isinstance(value.value, int) else 0
