"""BTF, the kernel's own type information: member offsets, sizes, and the parameters of functions.

    header { u16 magic 0xEB9F; u8 version, flags; u32 hdr_len, type_off, type_len, str_off, str_len }
    type   { u32 name_off; u32 info (vlen 0-15, kind 24-28, kind_flag 31); u32 size_or_type } + what its kind adds

Source: Documentation/bpf/btf.rst. Types are numbered from 1; 0 is void.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from kobox.errors import KoboxError
from kobox.ko.ctype import UNKNOWN, VOID, CType, FunctionParameter, Kind, Prototype

_INT, _PTR, _ARRAY, _STRUCT, _UNION, _ENUM, _FWD, _TYPEDEF, _VOLATILE, _CONST, _RESTRICT = range(1, 12)
_FUNC, _FUNC_PROTO, _VAR, _DATASEC, _FLOAT, _DECL_TAG, _TYPE_TAG, _ENUM64 = range(12, 20)
# Bytes that follow a type's twelve: a fixed part, and a part for each of `vlen` elements.
_FIXED = {_INT: 4, _ARRAY: 12, _VAR: 4, _DECL_TAG: 4}
_DEEPEST = 32  # type definitions of type definitions, arrays of arrays
_EACH = {_STRUCT: 12, _UNION: 12, _ENUM: 8, _FUNC_PROTO: 8, _DATASEC: 12, _ENUM64: 12}


class BtfKind(Enum):
    """What a value of a type is, for reading it."""

    OTHER = 0
    SIGNED = 1
    UNSIGNED = 2  # enumerations and pointers too
    BOOLEAN = 3
    FLOAT = 4
    ARRAY = 5
    STRUCTURE = 6  # or union
    SECTION = 7  # the variables of a section: BTF_KIND_DATASEC


class BtfError(KoboxError):
    """The BTF data is damaged, or lacks what was asked of it."""


@dataclass(frozen=True, slots=True)
class BtfParameter:
    """A function's parameter: its name ("" when the prototype has none) and its type as C writes it."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class BtfMember:
    """A member of a structure, or a variable of a section. `offset` is in bits, `type` the number of its type, `bits`
    the width of a bit field and 0 for others; `name` is "" for an unnamed structure or union."""

    name: str
    type: int
    offset: int
    bits: int = 0


class Btf:
    """The types of one BTF blob, whose pointers have `word` bytes. Raises `BtfError` for other data."""

    def __init__(self, data: bytes, word: int = 8) -> None:
        self._word = word
        if len(data) < 24 or data[:2] != b"\x9f\xeb":
            raise BtfError("no BTF data")
        header, types, types_size, strings, strings_size = struct.unpack_from("<IIIII", data, 4)
        self._data = data
        self._strings = data[header + strings : header + strings + strings_size]
        self._starts = [0]
        self._by_name: dict[tuple[int, int], int] = {}  # (is it a function, name offset) -> number
        self._members: dict[tuple[str, str], tuple[int, int] | None] = {}  # what was asked for before
        self._sizes: dict[str, int] = {}
        self._offsets: dict[str, list[int]] = {}  # of names in the strings: a search takes a millisecond
        at, end, unpack = header + types, header + types + types_size, struct.Struct("<II").unpack_from
        if end > len(data):
            raise BtfError(f"damaged BTF data: types up to {end} in {len(data)} bytes")
        while at < end:
            if at + 8 > len(data):
                raise BtfError(f"damaged BTF data: a type at {at} in {len(data)} bytes")
            name, info = unpack(data, at)
            kind = info >> 24 & 31
            number = len(self._starts)
            if name and kind in (_STRUCT, _UNION, _FUNC, _TYPEDEF, _ENUM):
                self._by_name.setdefault((kind, name), number)
            self._starts.append(at)
            at += 12 + _FIXED.get(kind, 0) + _EACH.get(kind, 0) * (info & 0xFFFF)

    def with_module(self, data: bytes) -> Btf:
        """These types and those of a module, whose section .BTF goes on where the kernel's ends
        (Documentation/bpf/btf.rst, "split BTF"). Raises `BtfError` for other data."""
        if len(data) < 24 or data[:2] != b"\x9f\xeb":
            raise BtfError("no BTF data")
        parts = []
        for blob in (self._data, data):
            header, types, types_size, strings, strings_size = struct.unpack_from("<IIIII", blob, 4)
            if header + max(types + types_size, strings + strings_size) > len(blob):
                raise BtfError("damaged BTF data: it is cut off")
            parts.append(
                (
                    blob[header + types : header + types + types_size],
                    blob[header + strings : header + strings + strings_size],
                )
            )
        types, strings = (b"".join(part) for part in zip(*parts, strict=True))
        head = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
        return Btf(head + types + strings, self._word)

    @property
    def data(self) -> bytes:
        """The whole of it, as the kernel has it."""
        return self._data

    # -- structures --------------------------------------------------------------------------------------------

    def has(self, struct_name: str, member: str) -> bool:
        """Whether a structure has such a member, also inside unnamed structures and unions."""
        return self._known(struct_name, member) is not None

    def offset(self, struct_name: str, member: str) -> int:
        """The offset of a member in bytes. Raises `BtfError` when there is no such structure or member."""
        return self._need(struct_name, member)[0] // 8

    def member(self, struct_name: str, member: str) -> tuple[int, int, str]:
        """(offset in bytes, size in bytes, type as C writes it) of a member. Raises `BtfError`."""
        bits, number = self._need(struct_name, member)
        return bits // 8, self._size(number), self.type_name(self._plain(number))

    def bits(self, struct_name: str, member: str) -> tuple[int, int]:
        """(bit offset, bits) of a member that is a bit field; 0 bits for another member."""
        number = self._find(struct_name, _STRUCT, _UNION)
        if number is None:
            raise BtfError(f"this kernel has no struct {struct_name}")
        found = self._member(number, member, whole=True)
        if found is None:
            raise BtfError(f"struct {struct_name} of this kernel has no member {member}")
        return found[0] & 0xFFFFFF, found[0] >> 24

    def members(self, struct_name: str) -> dict[str, int]:
        """The named members of a structure, name -> offset in bytes; those of unnamed parts are left out.

        Raises `BtfError` when there is no such structure.
        """
        number = self._find(struct_name, _STRUCT, _UNION)
        if number is None:
            raise BtfError(f"this kernel has no struct {struct_name}")
        at, (_, info) = self._starts[number], struct.unpack_from("<II", self._data, self._starts[number])
        rows = struct.iter_unpack("<III", self._data[at + 12 : at + 12 + 12 * (info & 0xFFFF)])
        mask = 0xFFFFFF if info >> 31 else 0xFFFFFFFF
        return {self._string(name): (bits & mask) // 8 for name, _, bits in rows if name}

    def array_length(self, struct_name: str, member: str) -> int:
        """How many elements a member that is an array has."""
        number = self._plain(self._need(struct_name, member)[1])
        _, kind, _, _ = self._type(number)
        if kind != _ARRAY:
            raise BtfError(f"struct {struct_name}.{member} is no array")
        return int(struct.unpack_from("<III", self._data, self._starts[number] + 12)[2])

    def size(self, struct_name: str) -> int:
        """The size of a structure or union in bytes."""
        if struct_name not in self._sizes:
            number = self._find(struct_name, _STRUCT, _UNION)
            if number is None:
                raise BtfError(f"this kernel has no struct {struct_name}")
            self._sizes[struct_name] = self._type(number)[3]
        return self._sizes[struct_name]

    def enumerators(self, enum_name: str) -> dict[str, int]:
        """The constants of an enum, name -> value; none when BTF does not know it."""
        number = self._find(enum_name, _ENUM)
        if number is None:
            return {}
        at, count = self._starts[number] + 12, self._type(number)[2]
        rows = struct.iter_unpack("<Ii", self._data[at : at + 8 * count])
        return {self._string(name): value for name, value in rows}

    # -- variables ---------------------------------------------------------------------------------------------

    def section_variables(self, section: str) -> dict[str, int]:
        """The variables of a section that BTF lists (pahole: only per-CPU ones), name -> offset in the section."""
        for number in range(1, len(self._starts)):
            name, kind, count, _ = self._type(number)
            if kind == _DATASEC and self._string(name) == section:
                at = self._starts[number] + 12
                rows = struct.iter_unpack("<III", self._data[at : at + 12 * count])
                return {self._string(self._type(variable)[0]): offset for variable, offset, _ in rows}
        return {}

    # -- functions ---------------------------------------------------------------------------------------------

    def parameters(self, function: str) -> tuple[BtfParameter, ...] | None:
        """The parameters of a function, or None when BTF does not know it."""
        number = self._find(function, _FUNC)
        if number is None:
            return None
        proto = self._type(number)[3]
        _, _, count, _ = self._type(proto)
        at = self._starts[proto] + 12
        rows = struct.iter_unpack("<II", self._data[at : at + 8 * count])
        return tuple(BtfParameter(self._string(name), self.type_name(kind)) for name, kind in rows)

    def return_type(self, function: str) -> str | None:
        """A function's return type as C writes it, or None when BTF does not know the function."""
        number = self._find(function, _FUNC)
        return None if number is None else self.type_name(self._type(self._type(number)[3])[3])

    def prototype(self, function: str) -> Prototype | None:
        """What a function takes and returns, with what is needed to show values; None when BTF does not know it."""
        number = self._find(function, _FUNC)
        if number is None:
            return None
        _, _, count, result = self._type(self._type(number)[3])
        at = self._starts[self._type(number)[3]] + 12
        rows = list(struct.iter_unpack("<II", self._data[at : at + 8 * count]))
        variadic = bool(rows) and rows[-1] == (0, 0)
        parameters = tuple(
            FunctionParameter(self._string(name), self.c_type(kind)) for name, kind in rows[: count - variadic]
        )
        return Prototype(parameters, self.c_type(result), variadic)

    def c_type(self, number: int) -> CType:
        """A type, as values are shown by it."""
        plain = self._plain(number)
        if plain == 0:
            return VOID
        text = self.type_name(number)
        _, kind, count, size = self._type(plain)
        if kind == _INT:
            (encoding,) = struct.unpack_from("<I", self._data, self._starts[plain] + 12)
            flags = encoding >> 24
            which = Kind.BOOLEAN if flags & 4 else Kind.CHARACTER if size == 1 and text == "char" else Kind.INTEGER
            return CType(which, text, size, bool(flags & 1))
        if kind == _ENUM:
            at = self._starts[plain] + 12
            constants = struct.iter_unpack("<Ii", self._data[at : at + 8 * count])
            return CType(
                Kind.ENUMERATION,
                text,
                size,
                True,
                names=tuple((value, self._string(name)) for name, value in constants),
            )
        return self._pointer(text, self._plain(size)) if kind == _PTR else UNKNOWN

    def _pointer(self, text: str, target: int) -> CType:
        name, kind, _, size = self._type(target) if target else (0, 0, 0, 0)
        if kind in (_STRUCT, _UNION, _FWD):
            return CType(Kind.STRUCTURE, text, structure=self._string(name))
        if kind == _INT and size == 1 and text.replace("const ", "") == "char *":
            return CType(Kind.TEXT, text)
        return CType(Kind.FUNCTION if kind == _FUNC_PROTO else Kind.POINTER, text)

    def type_name(self, number: int, depth: int = 0) -> str:
        """A type as C writes it: "struct file *", "const char *", "size_t". `depth` is how many types lead here."""
        if number == 0:
            return "void"
        if depth > _DEEPEST or not 0 < number < len(self._starts):
            return "?"
        name, kind, _, target = self._type(number)
        if kind == _PTR:
            inner = self.type_name(target, depth + 1)
            return inner + ("*" if inner.endswith("*") else " *")
        prefix = {_CONST: "const ", _VOLATILE: "volatile ", _RESTRICT: ""}.get(kind)
        if prefix is not None:
            return prefix + self.type_name(target, depth + 1)
        if kind == _TYPE_TAG:
            return self.type_name(target, depth + 1)
        if kind == _FUNC_PROTO:
            return "function"
        if kind == _ARRAY:
            element, _, count = struct.unpack_from("<III", self._data, self._starts[number] + 12)
            return f"{self.type_name(element, depth + 1)}[{count}]"
        keyword = {_STRUCT: "struct ", _UNION: "union ", _ENUM: "enum ", _ENUM64: "enum ", _FWD: "struct "}.get(
            kind, ""
        )
        return keyword + (self._string(name) or "(unnamed)")

    # -- values ------------------------------------------------------------------------------------------------

    def number_of(self, name: str) -> int:
        """The number of a structure, union, type definition or enumeration, 0 where there is none of that name."""
        return self._find(name, _STRUCT, _UNION, _TYPEDEF, _ENUM) or 0

    def section_number(self, section: str) -> int:
        """The number of the type that lists a section's variables, 0 where there is none."""
        for number in range(1, len(self._starts)):
            name, kind, _, _ = self._type(number)
            if kind == _DATASEC and self._string(name) == section:
                return number
        return 0

    def plain(self, number: int) -> int:
        """A type without its type definitions and qualifiers. Raises `BtfError` for a number that is none."""
        for _ in range(_DEEPEST):
            if not 0 <= number < len(self._starts):
                raise BtfError(f"damaged BTF data: type {number} of {len(self._starts)}")
            if number == 0 or self._type(number)[1] not in (_TYPEDEF, _CONST, _VOLATILE, _RESTRICT, _TYPE_TAG, _VAR):
                return number
            number = self._type(number)[3]
        raise BtfError("damaged BTF data: a type definition of itself")

    def shape(self, number: int) -> tuple[BtfKind, int, int]:
        """(what a value of this type is, its size in bytes, the number of an array's element). Raises `BtfError`."""
        number = self.plain(number)
        if number == 0:
            return BtfKind.OTHER, 0, 0
        _, kind, _, size = self._type(number)
        if kind == _INT:
            flags = self._words(number, 1)[0] >> 24
            return BtfKind.BOOLEAN if flags & 4 else BtfKind.SIGNED if flags & 1 else BtfKind.UNSIGNED, size, 0
        if kind == _ARRAY:
            element, _, count = self._words(number, 3)
            return BtfKind.ARRAY, self._array_size(element, count), element
        if kind == _PTR:
            return BtfKind.UNSIGNED, self._word, 0
        (info,) = struct.unpack_from("<I", self._data, self._starts[number] + 4)
        signed = BtfKind.SIGNED if info >> 31 else BtfKind.UNSIGNED
        found = {
            _STRUCT: BtfKind.STRUCTURE,
            _UNION: BtfKind.STRUCTURE,
            _DATASEC: BtfKind.SECTION,
            _FLOAT: BtfKind.FLOAT,
            _ENUM: signed,
            _ENUM64: signed,
        }.get(kind, BtfKind.OTHER)
        return found, size if found is not BtfKind.OTHER else 0, 0

    def _array_size(self, element: int, count: int) -> int:
        """The size of an array, which may be one of arrays."""
        for _ in range(_DEEPEST):
            element = self.plain(element)
            if not element or self._type(element)[1] != _ARRAY:
                return self.shape(element)[1] * count
            element, _, inner = self._words(element, 3)
            count *= inner
        raise BtfError("damaged BTF data: an array of itself")

    def layout(self, number: int) -> list[BtfMember]:
        """The members of a structure or union, or the variables of a section, in their order. Raises `BtfError`."""
        number = self.plain(number)
        _, kind, count, _ = self._type(number)
        if kind not in (_STRUCT, _UNION, _DATASEC):
            raise BtfError(f"{self.type_name(number)} has no members")
        (info,) = struct.unpack_from("<I", self._data, self._starts[number] + 4)
        words = self._words(number, 3 * count)
        rows = zip(words[::3], words[1::3], words[2::3], strict=True)
        if kind == _DATASEC:
            return [BtfMember(self._string(self._type(variable)[0]), variable, 8 * at) for variable, at, _ in rows]
        if not info >> 31:
            return [BtfMember(self._string(name), inner, at) for name, inner, at in rows]
        return [BtfMember(self._string(name), inner, at & 0xFFFFFF, at >> 24) for name, inner, at in rows]

    def _words(self, number: int, count: int) -> tuple[int, ...]:
        """The first words behind a type's twelve bytes. Raises `BtfError` where they are not there."""
        at = self._starts[number] + 12
        if at + 4 * count > len(self._data):
            raise BtfError(f"damaged BTF data: type {number} is cut off")
        return struct.unpack_from(f"<{count}I", self._data, at)

    # -- the encoding ------------------------------------------------------------------------------------------

    def _need(self, struct_name: str, member: str) -> tuple[int, int]:
        found = self._known(struct_name, member)
        if found is None and self._find(struct_name, _STRUCT, _UNION) is None:
            raise BtfError(f"this kernel has no struct {struct_name}")
        if found is None:
            raise BtfError(f"struct {struct_name} of this kernel has no member {member}")
        return found

    def _known(self, struct_name: str, member: str) -> tuple[int, int] | None:
        """A member's (bit offset, type); to find one takes a millisecond, and the same ones are asked for again."""
        key = struct_name, member
        if key not in self._members:
            number = self._find(struct_name, _STRUCT, _UNION)
            self._members[key] = None if number is None else self._member(number, member)
        return self._members[key]

    def _find(self, name: str, *kinds: int) -> int | None:
        offset = self._name_offset(name)
        for kind in kinds:
            for at in offset:
                number = self._by_name.get((kind, at))
                if number is not None:
                    return number
        return None

    def _name_offset(self, name: str) -> list[int]:
        """Where a name stands in the string section (a name may also be the tail of another: only whole ones)."""
        if name not in self._offsets:
            needle, found = b"\0" + name.encode() + b"\0", []
            at = self._strings.find(needle)
            while at >= 0:
                found.append(at + 1)
                at = self._strings.find(needle, at + 1)
            self._offsets[name] = found
        return self._offsets[name]

    def _type(self, number: int) -> tuple[int, int, int, int]:
        name, info, size_or_type = struct.unpack_from("<III", self._data, self._starts[number])
        return name, info >> 24 & 31, info & 0xFFFF, size_or_type

    def _size(self, number: int) -> int:
        """The size of a type in bytes."""
        number = self._plain(number)
        _, kind, _, size = self._type(number)
        if kind == _ARRAY:
            element, _, count = struct.unpack_from("<III", self._data, self._starts[number] + 12)
            return self._size(element) * int(count)
        return self._word if kind == _PTR else size

    def _plain(self, number: int) -> int:
        while self._type(number)[1] in (_TYPEDEF, _CONST, _VOLATILE, _RESTRICT, _TYPE_TAG):
            number = self._type(number)[3]
        return number

    def _member(self, number: int, wanted: str, whole: bool = False) -> tuple[int, int] | None:
        """(bit offset, type) of a member; unnamed structures and unions are looked into. `whole`: the offset's upper
        byte is the width of a bit field."""
        at = self._starts[number]
        (info,) = struct.unpack_from("<I", self._data, at + 4)
        for n in range(info & 0xFFFF):
            name, kind, offset = struct.unpack_from("<III", self._data, at + 12 + 12 * n)
            if info >> 31 and not whole:
                offset &= 0xFFFFFF
            text = self._string(name)
            if text == wanted:
                return offset, kind
            if not text:
                inner = self._plain(kind)
                if self._type(inner)[1] in (_STRUCT, _UNION):
                    found = self._member(inner, wanted, whole)
                    if found is not None:
                        return offset + found[0], found[1]
        return None

    def _string(self, offset: int) -> str:
        return self._strings[offset : self._strings.index(0, offset)].decode()

    def string(self, offset: int) -> str:
        """A text of the section's own strings, "" where there is none: offsets of other sections may lie."""
        end = self._strings.find(0, offset) if 0 <= offset < len(self._strings) else -1
        return self._strings[offset:end].decode(errors="replace") if end >= 0 else ""

    def name(self, number: int) -> str:
        """The name of a type or function, "" where it has none."""
        return self.string(self._type(number)[0]) if 0 < number < len(self._starts) else ""

    @cached_property
    def count(self) -> int:
        """How many types there are."""
        return len(self._starts) - 1
