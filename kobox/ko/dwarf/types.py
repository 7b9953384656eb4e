"""Types of C out of debugging information (DWARF 5, chapter 5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from kobox.ko.ctype import UNKNOWN, VOID, CType, FunctionParameter, Kind, Prototype

if TYPE_CHECKING:
    from elftools.dwarf.die import DIE

_QUALIFIERS = {
    "DW_TAG_const_type": "const ",
    "DW_TAG_volatile_type": "volatile ",
    "DW_TAG_restrict_type": "",
    "DW_TAG_atomic_type": "_Atomic ",
}
_STRUCTURES = {"DW_TAG_structure_type": "struct ", "DW_TAG_union_type": "union ", "DW_TAG_class_type": "struct "}
_DEEPEST = 64  # qualifiers, names and pointers of one type: a damaged one may be made of itself
_BOOLEAN, _SIGNED, _SIGNED_CHAR = 2, 5, 6  # DW_ATE_*
_MOST_NAMES = 4096


class TypeReader:
    """Reads the types of one unit. `follow(entry, attribute)` gives the entry that an attribute refers to,
    `children(entry)` those inside one."""

    def __init__(self, follow: Callable[[DIE, str], DIE], children: Callable[[DIE], Iterator[DIE]]) -> None:
        self._follow = follow
        self._children = children
        self._known: dict[int, CType] = {}

    def prototype(self, function: DIE) -> Prototype:
        """What a function takes and returns."""
        parameters, variadic = [], False
        for child in self._children(function):
            if child.tag == "DW_TAG_formal_parameter":
                parameters.append(FunctionParameter(_text(child), self.type_of(child)))
            variadic = variadic or child.tag == "DW_TAG_unspecified_parameters"
        return Prototype(tuple(parameters), self.type_of(function), variadic)

    def type_of(self, entry: DIE) -> CType:
        """The type of a variable, or of what a function returns."""
        target = self._target(entry)
        if target is None:
            return VOID
        if target.offset not in self._known:
            self._known[target.offset] = self._read(target)
        return self._known[target.offset]

    def member_at(self, entry: DIE, offset: int) -> str:
        """The member at an offset of what a pointer, the type of an entry, points to: "list.next"; "" for none."""
        pointer = self._plain(self._target(entry))
        if pointer is None or pointer.tag != "DW_TAG_pointer_type":
            return ""
        return self._member(self._plain(self._target(pointer)), offset, 0)

    def member_of(self, entry: DIE, offset: int) -> str:
        """The member at an offset of a variable: "list.next", of an array "[2].lock"; "" for none."""
        kind, index = self._plain(self._target(entry)), ""
        if kind is not None and kind.tag == "DW_TAG_array_type":
            kind = self._plain(self._target(kind))
            size = max(self._size(kind), 1) if kind is not None else 1
            index, offset = f"[{offset // size}]", offset % size
        return ".".join(part for part in (index, self._member(kind, offset, 0)) if part)

    def _member(self, structure: DIE | None, offset: int, depth: int) -> str:
        if structure is None or structure.tag not in _STRUCTURES or depth > _DEEPEST:
            return ""
        for child in self._children(structure):
            if child.tag != "DW_TAG_member" or "DW_AT_data_bit_offset" in child.attributes:
                continue
            at, kind = _number(child, "DW_AT_data_member_location"), self._plain(self._target(child))
            if kind is None or not at <= offset < at + self._size(kind):
                continue
            name, inside = _text(child), offset - at
            if kind.tag == "DW_TAG_array_type":
                kind = self._plain(self._target(kind))
                size = max(self._size(kind), 1) if kind is not None else 1
                name, inside = f"{name}[{inside // size}]", inside % size
            return ".".join(part for part in (name, self._member(kind, inside, depth + 1)) if part)
        return ""

    def _size(self, entry: DIE, depth: int = 0) -> int:
        """The bytes of a type; of an array its elements together."""
        if entry.tag != "DW_TAG_array_type" or depth > _DEEPEST:
            return _number(entry, "DW_AT_byte_size") or (8 if entry.tag == "DW_TAG_pointer_type" else 0)
        element = self._plain(self._target(entry))
        size = self._size(element, depth + 1) if element is not None else 0
        for part in self._children(entry):
            if part.tag == "DW_TAG_subrange_type":
                known = "DW_AT_count" in part.attributes
                size *= _number(part, "DW_AT_count") if known else _number(part, "DW_AT_upper_bound") + 1
        return size

    def _read(self, entry: DIE) -> CType:
        text, plain = self._name(entry), self._plain(entry)
        if plain is None:
            return VOID
        if plain.tag == "DW_TAG_base_type":
            return _base(plain, text)
        if plain.tag == "DW_TAG_enumeration_type":
            return CType(Kind.ENUMERATION, text, _number(plain, "DW_AT_byte_size") or 4, True, names=self._names(plain))
        if plain.tag == "DW_TAG_pointer_type":
            return self._pointer(text, self._plain(self._target(plain)))
        return CType(Kind.OTHER, text, _number(plain, "DW_AT_byte_size"))

    def _pointer(self, text: str, target: DIE | None) -> CType:
        if target is None:
            return CType(Kind.POINTER, text)
        if target.tag in _STRUCTURES:
            return CType(Kind.STRUCTURE, text, structure=_text(target))
        if target.tag == "DW_TAG_base_type" and text.replace("const ", "") == "char *":
            return CType(Kind.TEXT, text)
        return CType(Kind.FUNCTION if target.tag == "DW_TAG_subroutine_type" else Kind.POINTER, text)

    def _names(self, enumeration: DIE) -> tuple[tuple[int, str], ...]:
        found: list[tuple[int, str]] = []
        for child in self._children(enumeration):
            if child.tag == "DW_TAG_enumerator" and len(found) < _MOST_NAMES:
                found.append((_number(child, "DW_AT_const_value"), _text(child)))
        return tuple(found)

    def _target(self, entry: DIE) -> DIE | None:
        return self._follow(entry, "DW_AT_type") if "DW_AT_type" in entry.attributes else None

    def _plain(self, entry: DIE | None) -> DIE | None:
        """A type without qualifiers and other names; None for void."""
        for _ in range(_DEEPEST):
            if entry is None or (entry.tag not in _QUALIFIERS and entry.tag != "DW_TAG_typedef"):
                return entry
            entry = self._target(entry)
        return None

    def _name(self, entry: DIE | None, depth: int = 0) -> str:
        """A type as C writes it."""
        if entry is None:
            return "void"
        if depth > _DEEPEST:
            return UNKNOWN.text
        if entry.tag in _QUALIFIERS:
            return _QUALIFIERS[entry.tag] + self._name(self._target(entry), depth + 1)
        if entry.tag == "DW_TAG_pointer_type":
            inner = self._name(self._target(entry), depth + 1)
            return inner + ("*" if inner.endswith("*") else " *")
        if entry.tag == "DW_TAG_array_type":
            return f"{self._name(self._target(entry), depth + 1)}[]"
        if entry.tag == "DW_TAG_subroutine_type":
            return "function"
        prefix = "enum " if entry.tag == "DW_TAG_enumeration_type" else _STRUCTURES.get(str(entry.tag), "")
        return prefix + (_text(entry) or "(unnamed)")


def _base(entry: DIE, text: str) -> CType:
    size, encoding = _number(entry, "DW_AT_byte_size"), _number(entry, "DW_AT_encoding")
    signed = encoding in (_SIGNED, _SIGNED_CHAR)
    if encoding == _BOOLEAN:
        return CType(Kind.BOOLEAN, text, size)
    if _text(entry) == "char":
        return CType(Kind.CHARACTER, text, size, signed)
    return CType(Kind.INTEGER if size <= 8 and encoding in (*range(5, 9), 0x10) else Kind.OTHER, text, size, signed)


def _text(entry: DIE) -> str:
    value = entry.attributes.get("DW_AT_name")
    return "" if value is None else value.value.decode(errors="replace")


def _number(entry: DIE, name: str) -> int:
    value = entry.attributes.get(name)
    return value.value if value is not None and isinstance(value.value, int) else 0
