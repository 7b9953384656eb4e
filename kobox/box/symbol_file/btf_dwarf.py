"""The kernel's types as DWARF, made of its BTF: for debuggers, which do not read BTF.

    sections = dwarf_of(btf_bytes, variables={"init_task": (address, "struct task_struct")})
    sections[".debug_info"], sections[".debug_abbrev"], sections[".debug_str"]

One compilation unit holds every type of BTF as one entry, in BTF's order, and a variable with its address for each that
is asked for. Sources: Documentation/bpf/btf.rst; DWARF 4, section 7 (encodings) and chapter 5 (types).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Collection, Iterator, Mapping

from kobox.box.inspect.btf import BtfError
from kobox.leb128 import sleb

_INT, _PTR, _ARRAY, _STRUCT, _UNION, _ENUM, _FWD, _TYPEDEF, _VOLATILE, _CONST, _RESTRICT = range(1, 12)
_FUNC, _FUNC_PROTO, _VAR, _DATASEC, _FLOAT, _DECL_TAG, _TYPE_TAG, _ENUM64 = range(12, 20)
_EACH = {_STRUCT: 12, _UNION: 12, _ENUM: 8, _FUNC_PROTO: 8, _DATASEC: 12, _ENUM64: 12}
_FIXED = {_INT: 4, _ARRAY: 12, _VAR: 4, _DECL_TAG: 4}

# DW_TAG_*, DW_AT_*, DW_FORM_*
_T_ARRAY, _T_ENUM, _T_MEMBER, _T_POINTER, _T_CU, _T_STRUCT = 0x01, 0x04, 0x0D, 0x0F, 0x11, 0x13
_T_SUBROUTINE, _T_TYPEDEF, _T_UNION, _T_UNSPECIFIED, _T_SUBRANGE = 0x15, 0x16, 0x17, 0x18, 0x21
_T_BASE, _T_CONST, _T_ENUMERATOR, _T_VARIABLE, _T_VOLATILE, _T_RESTRICT, _T_PARAMETER = (
    *(0x24, 0x26, 0x28, 0x34, 0x35, 0x37, 0x05),
)
_A_LOCATION, _A_NAME, _A_SIZE, _A_LANGUAGE, _A_CONST, _A_PRODUCER = 0x02, 0x03, 0x0B, 0x13, 0x1C, 0x25
_A_LOW_PC, _A_HIGH_PC = 0x11, 0x12
_A_PROTOTYPED, _A_COUNT, _A_ENCODING, _A_EXTERNAL, _A_MEMBER_AT, _A_DECLARATION = 0x27, 0x37, 0x3E, 0x3F, 0x38, 0x3C
_A_TYPE, _A_BIT_SIZE, _A_DATA_BIT = 0x49, 0x0D, 0x6B
_F_DATA1, _F_DATA2, _F_DATA4, _F_SDATA, _F_UDATA = 0x0B, 0x05, 0x06, 0x0D, 0x0F
_F_STRP, _F_REF4, _F_FLAG, _F_EXPRLOC, _F_ADDR, _F_DATA8 = 0x0E, 0x13, 0x19, 0x18, 0x01, 0x07
_C99 = 0x0C

# Each abbreviation: (tag, has children, ((attribute, form), …)), by a name of ours.
_NAME, _TYPE, _BYTES = (_A_NAME, _F_STRP), (_A_TYPE, _F_REF4), (_A_SIZE, _F_DATA4)
_ABBREVIATIONS: dict[str, tuple[int, bool, tuple[tuple[int, int], ...]]] = {
    "unit": (
        _T_CU,
        True,
        ((_A_PRODUCER, _F_STRP), (_A_LANGUAGE, _F_DATA1), _NAME, (_A_LOW_PC, _F_ADDR), (_A_HIGH_PC, _F_DATA8)),
    ),
    "base": (_T_BASE, False, (_NAME, (_A_SIZE, _F_DATA1), (_A_ENCODING, _F_DATA1))),
    "pointer": (_T_POINTER, False, ((_A_SIZE, _F_DATA1), _TYPE)),
    "void pointer": (_T_POINTER, False, ((_A_SIZE, _F_DATA1),)),
    "array": (_T_ARRAY, True, (_TYPE,)),
    "range": (_T_SUBRANGE, False, ((_A_COUNT, _F_DATA4),)),
    "struct": (_T_STRUCT, True, (_NAME, _BYTES)),
    "unnamed struct": (_T_STRUCT, True, (_BYTES,)),
    "union": (_T_UNION, True, (_NAME, _BYTES)),
    "unnamed union": (_T_UNION, True, (_BYTES,)),
    "member": (_T_MEMBER, False, (_NAME, _TYPE, (_A_MEMBER_AT, _F_DATA4))),
    "unnamed member": (_T_MEMBER, False, (_TYPE, (_A_MEMBER_AT, _F_DATA4))),
    "bit field": (_T_MEMBER, False, (_NAME, _TYPE, (_A_BIT_SIZE, _F_DATA1), (_A_DATA_BIT, _F_DATA4))),
    "unnamed bit field": (_T_MEMBER, False, (_TYPE, (_A_BIT_SIZE, _F_DATA1), (_A_DATA_BIT, _F_DATA4))),
    "enum": (_T_ENUM, True, (_NAME, _BYTES)),
    "unnamed enum": (_T_ENUM, True, (_BYTES,)),
    "enumerator": (_T_ENUMERATOR, False, (_NAME, (_A_CONST, _F_SDATA))),
    "declared struct": (_T_STRUCT, False, (_NAME, (_A_DECLARATION, _F_FLAG))),
    "declared union": (_T_UNION, False, (_NAME, (_A_DECLARATION, _F_FLAG))),
    "typedef": (_T_TYPEDEF, False, (_NAME, _TYPE)),
    "void typedef": (_T_TYPEDEF, False, (_NAME,)),
    "volatile": (_T_VOLATILE, False, (_TYPE,)),
    "void volatile": (_T_VOLATILE, False, ()),
    "const": (_T_CONST, False, (_TYPE,)),
    "void const": (_T_CONST, False, ()),
    "restrict": (_T_RESTRICT, False, (_TYPE,)),
    "void restrict": (_T_RESTRICT, False, ()),
    "function": (_T_SUBROUTINE, True, ((_A_PROTOTYPED, _F_FLAG), _TYPE)),
    "void function": (_T_SUBROUTINE, True, ((_A_PROTOTYPED, _F_FLAG),)),
    "parameter": (_T_PARAMETER, False, (_TYPE,)),
    "more parameters": (_T_UNSPECIFIED, False, ()),
    "variable": (_T_VARIABLE, False, (_NAME, _TYPE, (_A_EXTERNAL, _F_FLAG), (_A_LOCATION, _F_EXPRLOC))),
}
_CODES = {name: bytes([n]) for n, name in enumerate(_ABBREVIATIONS, 1)}
_C_NAMES = {"long unsigned int": "unsigned long", "long int": "long", "long long unsigned int": "unsigned long long"}
_MOST_TAGS = 64  # on one type: damaged data may go in circles
_UNIT_HEADER = struct.Struct("<IHIB")
_MODIFIERS = {_TYPEDEF: "typedef", _VOLATILE: "volatile", _CONST: "const", _RESTRICT: "restrict"}

# A reference to a type, in an entry: where it stands, and the type's number.
_Entry = tuple[bytes, list[tuple[int, int]]]


def dwarf_of(
    btf: bytes,
    variables: Mapping[str, tuple[int, str]],
    address_of: Callable[[str], int | None] = lambda name: None,
    code: tuple[int, int] = (0, 0),
    counted: Collection[str] = (),
) -> dict[str, bytes]:
    """The sections of DWARF 4. `variables` are (address, type) by name, such as "struct page *" or "unsigned long [3]";
    those whose type BTF does not have are left out. `address_of` gives the addresses of variables that BTF itself has
    (per-CPU ones). `code` is where the kernel's code begins and ends; debuggers then know that its addresses belong
    to this unit. `counted` are structures that shall have the size that they have with one element in the flexible
    array that they end with. Raises `BtfError` for damaged data."""
    if len(btf) < 24 or btf[:2] != b"\x9f\xeb":
        raise BtfError("no BTF data")
    try:
        return _Converter(btf, variables, address_of, code, counted).sections()
    except (struct.error, IndexError, RecursionError) as error:
        raise BtfError(f"damaged BTF data: {error}") from None


class _Converter:
    def __init__(
        self,
        btf: bytes,
        variables: Mapping[str, tuple[int, str]],
        address_of: Callable[[str], int | None],
        code: tuple[int, int],
        counted: Collection[str],
    ) -> None:
        self._address_of, self._code, self._counted = address_of, code, counted
        header, types, types_size, strings, strings_size = struct.unpack_from("<IIIII", btf, 4)
        self._btf = btf
        own = b"kobox: made of BTF\0vmlinux\0"
        names = b"".join(name.encode() + b"\0" for name in variables)
        # BTF's strings are DWARF's: a name is an offset in both.
        self._strings = btf[header + strings : header + strings + strings_size]
        self._own_at = len(self._strings)
        self._names_at = self._own_at + len(own)
        self._strings += own + names
        self._variables = variables
        self._starts = [0, *_starts(btf, header + types, header + types + types_size)]
        self._makers: dict[int, Callable[[int], _Entry]] = {
            _INT: self._int,
            _FLOAT: self._float,
            _PTR: self._pointer,
            _ARRAY: self._array,
            _STRUCT: self._structure,
            _UNION: self._structure,
            _ENUM: self._enum,
            _ENUM64: self._enum64,
            _FWD: self._forward,
            _FUNC_PROTO: self._function,
            **dict.fromkeys(_MODIFIERS, self._modified),
        }

    def sections(self) -> dict[str, bytes]:
        start, end = self._code
        unit = _CODES["unit"] + struct.pack("<IBIQQ", self._own_at, _C99, self._own_at + 19, start, end - start)
        entries = [self._entry(number) for number in range(1, len(self._starts))]
        at = _UNIT_HEADER.size + len(unit)
        offsets = [0]
        for data, _ in entries:
            offsets.append(at)
            at += len(data)
        self._offsets, self._aliases = offsets, self._tagged()
        body = bytearray(unit)
        for data, references in entries:
            start = len(body)
            body += data
            for place, number in references:
                struct.pack_into("<I", body, start + place, self._offset(number))
        body += b"".join(self._variable_entries(_UNIT_HEADER.size + len(body))) + b"\0"
        header = _UNIT_HEADER.pack(len(body) + _UNIT_HEADER.size - 4, 4, 0, 8)
        return {
            ".debug_info": header + bytes(body),
            ".debug_abbrev": _abbreviations(),
            ".debug_str": bytes(self._strings),
        }

    # -- numbers of types ----------------------------------------------------------------------------------------

    def _row(self, number: int) -> tuple[int, int, int, int, int]:
        """(name, kind, vlen, size or type, where what follows begins)."""
        at = self._starts[number]
        name, info, size = struct.unpack_from("<III", self._btf, at)
        return name, info >> 24 & 31, info & 0xFFFF, size, at + 12

    def _tagged(self) -> dict[int, int]:
        """Type tags have no entry of their own: what they stand for."""
        return {n: self._row(n)[3] for n in range(1, len(self._starts)) if self._row(n)[1] == _TYPE_TAG}

    def _offset(self, number: int) -> int:
        for _ in range(_MOST_TAGS):
            if number not in self._aliases:
                break
            number = self._aliases[number]
        return self._offsets[number]

    def _is_void(self, number: int) -> bool:
        for _ in range(_MOST_TAGS):
            if not number or self._row(number)[1] != _TYPE_TAG:
                break
            number = self._row(number)[3]
        return not number

    # -- entries -------------------------------------------------------------------------------------------------

    def _entry(self, number: int) -> _Entry:
        maker = self._makers.get(self._row(number)[1])
        return maker(number) if maker is not None else (b"", [])

    def _int(self, number: int) -> _Entry:
        name, _, _, size, at = self._row(number)
        flags = struct.unpack_from("<I", self._btf, at)[0] >> 24
        encoding = 2 if flags & 4 else (6 if flags & 1 else 8) if flags & 2 else 5 if flags & 1 else 7
        return _CODES["base"] + struct.pack("<IBB", name, size, encoding), []

    def _float(self, number: int) -> _Entry:
        name, _, _, size, _ = self._row(number)
        return _CODES["base"] + struct.pack("<IBB", name, size, 4), []

    def _pointer(self, number: int) -> _Entry:
        target = self._row(number)[3]
        if self._is_void(target):
            return _CODES["void pointer"] + b"\x08", []
        return _CODES["pointer"] + b"\x08\0\0\0\0", [(2, target)]

    def _array(self, number: int) -> _Entry:
        element, _, count = struct.unpack_from("<III", self._btf, self._row(number)[4])
        return _CODES["array"] + bytes(4) + _CODES["range"] + struct.pack("<I", count) + b"\0", [(1, element)]

    def _structure(self, number: int) -> _Entry:
        name, kind, count, size, at = self._row(number)
        has_bits = struct.unpack_from("<I", self._btf, at - 8)[0] >> 31
        word = "struct" if kind == _STRUCT else "union"
        if self._counted and name and count and self._text(name) in self._counted:
            size += self._size_of_flexible(struct.unpack_from("<I", self._btf, at + 12 * count - 8)[0])
        out = bytearray(_CODES[word] + struct.pack("<II", name, size) if name else b"")
        out = out or bytearray(_CODES[f"unnamed {word}"] + struct.pack("<I", size))
        references = []
        for member, target, offset in struct.iter_unpack("<III", self._btf[at : at + 12 * count]):
            bits, offset = (offset >> 24, offset & 0xFFFFFF) if has_bits else (0, offset)
            label = struct.pack("<I", member) if member else b""
            out += _CODES[("" if member else "unnamed ") + ("bit field" if bits else "member")] + label
            references.append((len(out), target))
            out += bytes(4) + (struct.pack("<BI", bits, offset) if bits else struct.pack("<I", offset // 8))
        return bytes(out + b"\0"), references

    def _size_of_flexible(self, number: int) -> int:
        """Bytes of one element of an array without length whose elements are structures; 0 for any other type."""
        _, kind, _, _, at = self._row(number)
        if kind != _ARRAY:
            return 0
        element, _, count = struct.unpack_from("<III", self._btf, at)
        _, kind, _, size, _ = self._row(element)
        return size if not count and kind in (_STRUCT, _UNION) else 0

    def _enum(self, number: int) -> _Entry:
        at, count = self._row(number)[4], self._row(number)[2]
        signed = struct.unpack_from("<I", self._btf, at - 8)[0] >> 31
        rows = struct.iter_unpack("<Ii" if signed else "<II", self._btf[at : at + 8 * count])
        return self._enumeration(number, rows)

    def _enum64(self, number: int) -> _Entry:
        at, count = self._row(number)[4], self._row(number)[2]
        rows = struct.iter_unpack("<Iq", self._btf[at : at + 12 * count])  # the value: low half, high half
        return self._enumeration(number, rows)

    def _enumeration(self, number: int, rows: Iterator[tuple[int, ...]]) -> _Entry:
        name, _, _, size, _ = self._row(number)
        label = _CODES["enum"] + struct.pack("<I", name) if name else _CODES["unnamed enum"]
        out = bytearray(label + struct.pack("<I", size))
        for row_name, value in rows:
            out += _CODES["enumerator"] + struct.pack("<I", row_name) + sleb(value)
        return bytes(out + b"\0"), []

    def _forward(self, number: int) -> _Entry:
        name, _, _, _, at = self._row(number)
        is_union = struct.unpack_from("<I", self._btf, at - 8)[0] >> 31
        return _CODES["declared union" if is_union else "declared struct"] + struct.pack("<I", name), []

    def _modified(self, number: int) -> _Entry:
        name, kind, _, target, _ = self._row(number)
        label = struct.pack("<I", name) if kind == _TYPEDEF else b""
        if self._is_void(target):
            return _CODES[f"void {_MODIFIERS[kind]}"] + label, []
        return _CODES[_MODIFIERS[kind]] + label + bytes(4), [(1 + len(label), target)]

    def _function(self, number: int) -> _Entry:
        _, _, count, result, at = self._row(number)
        references = []
        out = bytearray(_CODES["void function"])
        if not self._is_void(result):
            out, references = bytearray(_CODES["function"] + bytes(4)), [(1, result)]
        for _, target in struct.iter_unpack("<II", self._btf[at : at + 8 * count]):
            if self._is_void(target):
                out += _CODES["more parameters"]
                continue
            out += _CODES["parameter"]
            references.append((len(out), target))
            out += bytes(4)
        return bytes(out + b"\0"), references

    def _variable_entries(self, start: int) -> Iterator[bytes]:
        """Variables: { name, type, location: DW_OP_addr address }, and before each the pointers and arrays that its
        type needs. `start` is the offset of the first entry."""
        named = self._named({_base(kind) for _, kind in self._variables.values()})
        name_at, at = self._names_at, start
        for variable, (address, kind) in self._variables.items():
            number = named.get(_base(kind))
            if number is not None:
                type_at = self._offset(number)
                for _ in range(kind.count("*")):
                    entry = _pointer_to(type_at)
                    type_at, at = at, at + len(entry)
                    yield entry
                for count in re.findall(r"\[(\d+)\]", kind):
                    entry = _array_of(type_at, int(count))
                    type_at, at = at, at + len(entry)
                    yield entry
                entry = _CODES["variable"] + struct.pack("<IIBBQ", name_at, type_at, 9, 3, address)
                at += len(entry)
                yield entry
            name_at += len(variable.encode()) + 1
        for number in range(1, len(self._starts)):
            name, what, _, target, _ = self._row(number)
            if what == _VAR and name and not self._is_void(target):
                text = self._text(name)
                place = None if text in self._variables else self._address_of(text)
                if place is not None:
                    yield _CODES["variable"] + struct.pack("<IIBBQ", name, self._offset(target), 9, 3, place)

    def _named(self, wanted: set[str]) -> dict[str, int]:
        """The numbers of types by how C names them: "struct page", "unsigned long", "atomic_t"."""
        prefixes = {_STRUCT: "struct ", _UNION: "union ", _ENUM: "enum ", _TYPEDEF: "", _INT: ""}
        found: dict[str, int] = {}
        for number in range(1, len(self._starts)):
            name, kind, _, _, _ = self._row(number)
            if name and kind in prefixes:
                text = self._text(name)
                text = prefixes[kind] + _C_NAMES.get(text, text)
                if text in wanted:
                    found.setdefault(text, number)
        return found

    def _text(self, name: int) -> str:
        return self._strings[name : self._strings.index(0, name)].decode(errors="replace")


def _base(kind: str) -> str:
    """A type without its stars and its array."""
    return kind.partition("[")[0].partition("*")[0].strip()


def _pointer_to(type_at: int) -> bytes:
    return _CODES["pointer"] + struct.pack("<BI", 8, type_at)


def _array_of(type_at: int, count: int) -> bytes:
    return _CODES["array"] + struct.pack("<I", type_at) + _CODES["range"] + struct.pack("<I", count) + b"\0"


def _starts(btf: bytes, at: int, end: int) -> Iterator[int]:
    if end > len(btf):
        raise BtfError(f"damaged BTF data: types up to {end} in {len(btf)} bytes")
    while at < end:
        (info,) = struct.unpack_from("<I", btf, at + 4)
        kind = info >> 24 & 31
        yield at
        at += 12 + _FIXED.get(kind, 0) + _EACH.get(kind, 0) * (info & 0xFFFF)


def _abbreviations() -> bytes:
    out = bytearray()
    for n, (tag, children, attributes) in enumerate(_ABBREVIATIONS.values(), 1):
        out += bytes([n, tag, children])
        for attribute, form in attributes:
            out += bytes([attribute, form])
        out += b"\0\0"
    return bytes(out + b"\0")
