"""Bytes of a map as Python values, by BTF, and back.

    integers, enumerations, pointers   int          char[N]           str, up to its first NUL
    _Bool                              bool         u8[N]             bytes
    float, double                      float        other arrays      list
    struct, union                      Fields       anything unnamed  bytes

Types come from a program's file or from the kernel: every number in them may lie, so nothing is allocated by their
word, and what does not fit the bytes that are there is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from kobox.box.inspect.btf import Btf, BtfError, BtfKind, BtfMember

Value: TypeAlias = "int | bool | float | str | bytes | list[Value] | Fields"
# What is taken in place of a value: see the table above; bytes of the right size for anything.
Given: TypeAlias = "int | bool | float | str | bytes | Sequence[Given] | Mapping[str, Given] | Fields"

_DEEPEST = 32
_MOST_VALUES = 1 << 20  # in one value


class Fields(Mapping[str, "Value"]):
    """A structure: its members by name, as items and as attributes. It cannot be changed; it can be a key."""

    __slots__ = ("_members", "_raw")

    def __init__(self, members: Mapping[str, Value], raw: bytes = b"") -> None:
        self._members = dict(members)
        self._raw = raw

    def __getitem__(self, name: str) -> Value:
        return self._members[name]

    def __getattr__(self, name: str) -> Value:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self._members[name]
        except KeyError:
            raise AttributeError(f"no member {name}: it has {', '.join(self._members)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __hash__(self) -> int:
        return hash(self._raw)

    def __bytes__(self) -> bytes:
        return self._raw

    def __repr__(self) -> str:
        return f"Fields({', '.join(f'{name}={value!r}' for name, value in self._members.items())})"


class BtfType:
    """One type of a BTF, as a reader and writer of values. `number` 0: no type is known, values are bytes."""

    def __init__(self, btf: Btf | None, number: int, size: int) -> None:
        self._btf = btf if number else None
        self._number = number
        self.size = size

    @property
    def name(self) -> str:
        """The type as C writes it; "" where none is known."""
        return self._btf.type_name(self._number) if self._btf else ""

    def decode(self, data: bytes) -> Value:
        """The value that these bytes are. Raises `BtfError` for types that do not fit them."""
        if self._btf is None:
            return data
        return _Decoder(self._btf).value(self._number, data)

    def encode(self, value: Given) -> bytes:
        """The bytes of a value. Raises `TypeError`, `ValueError`, `OverflowError` for one that does not fit."""
        if isinstance(value, Fields) and bytes(value):
            value = bytes(value)
        if isinstance(value, (bytes, bytearray)) and len(value) == self.size:
            return bytes(value)
        if self._btf is None:
            if isinstance(value, int):
                return value.to_bytes(self.size, "little", signed=value < 0)
            raise TypeError(f"{value!r}: {self.size} bytes or a number is wanted, since no type is known")
        return _encode(self._btf, self._number, value, self.size, 0)


class _Decoder:
    """Reads one value. Unions of unions can have more members than memory, so their number is bounded."""

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self._left = _MOST_VALUES

    def value(self, number: int, data: bytes, depth: int = 0) -> Value:
        kind, size, element = self._btf.shape(number)
        self._left -= 1
        if depth > _DEEPEST or len(data) < size or self._left < 0:
            raise BtfError(f"damaged BTF data: {self._btf.type_name(number)} does not fit the {len(data)} bytes of it")
        data = data[:size] if size else data
        if kind is BtfKind.BOOLEAN:
            return any(data)
        if kind in (BtfKind.SIGNED, BtfKind.UNSIGNED):
            return int.from_bytes(data, "little", signed=kind is BtfKind.SIGNED)
        if kind is BtfKind.FLOAT and size in (4, 8):
            return float(struct.unpack("<f" if size == 4 else "<d", data)[0])
        if kind is BtfKind.ARRAY:
            return self._array(element, data, depth)
        if kind in (BtfKind.STRUCTURE, BtfKind.SECTION):
            return Fields(self._members(number, data, depth), data)
        return data

    def _array(self, element: int, data: bytes, depth: int) -> Value:
        kind, size, _ = self._btf.shape(element)
        if size == 1 and kind in (BtfKind.SIGNED, BtfKind.UNSIGNED):
            if self._btf.type_name(self._btf.plain(element)) == "char":
                return data.split(b"\0", 1)[0].decode(errors="surrogateescape")
            return data
        if not size:
            return data
        return [self.value(element, data[at : at + size], depth + 1) for at in range(0, len(data), size)]

    def _members(self, number: int, data: bytes, depth: int) -> dict[str, Value]:
        btf, found = self._btf, dict[str, Value]()
        for member in btf.layout(number):
            if member.bits:
                found[member.name] = _bits(member, data, signed=btf.shape(member.type)[0] is BtfKind.SIGNED)
                continue
            part = data[member.offset // 8 :]
            if member.name:
                found[member.name] = self.value(member.type, part, depth + 1)
            elif depth < _DEEPEST and self._left > 0:  # unnamed: its members are the outer one's
                self._left -= 1
                found |= self._members(btf.plain(member.type), part, depth + 1)
        return found


def _bits(member: BtfMember, data: bytes, *, signed: bool) -> int:
    value = int.from_bytes(data, "little") >> member.offset & (1 << member.bits) - 1
    return value - (1 << member.bits) if signed and value >> member.bits - 1 else value


def _encode(btf: Btf, number: int, value: Given, size: int, depth: int) -> bytes:
    kind, own, target = btf.shape(number)
    size = own or size
    if depth > _DEEPEST:
        raise BtfError(f"damaged BTF data: {btf.type_name(number)} has no end")
    if isinstance(value, Fields) and bytes(value):
        value = bytes(value)
    if isinstance(value, (bytes, bytearray)) and len(value) == size:
        return bytes(value)
    if kind is BtfKind.BOOLEAN:
        return bool(value).to_bytes(size, "little")
    if kind in (BtfKind.SIGNED, BtfKind.UNSIGNED) and isinstance(value, int):
        return (value & (1 << 8 * size) - 1 if _fits(value, size) else _refuse(btf, number, value)).to_bytes(
            size, "little"
        )
    if kind is BtfKind.FLOAT and isinstance(value, (int, float)):
        return struct.pack("<f" if size == 4 else "<d", value)
    if kind is BtfKind.ARRAY:
        return _encode_array(btf, number, target, value, size, depth)
    if kind in (BtfKind.STRUCTURE, BtfKind.SECTION) and isinstance(value, Mapping):
        return _encode_members(btf, number, value, size, depth)
    raise TypeError(f"{value!r} is no {btf.type_name(number)}")


def _fits(value: int, size: int) -> bool:
    return -(1 << 8 * size - 1) <= value < 1 << 8 * size


def _refuse(btf: Btf, number: int, value: int) -> int:
    raise OverflowError(f"{value} does not fit into {btf.type_name(number)}")


def _encode_array(btf: Btf, number: int, element: int, value: Given, size: int, depth: int) -> bytes:
    if isinstance(value, str):
        value = value.encode(errors="surrogateescape")
    if isinstance(value, (bytes, bytearray)):
        if len(value) > size:
            raise OverflowError(f"{len(value)} bytes do not fit into {btf.type_name(number)}")
        return bytes(value).ljust(size, b"\0")
    each = btf.shape(element)[1]
    if not isinstance(value, Sequence) or len(value) * each > size:
        raise TypeError(f"{value!r} is no {btf.type_name(number)}")
    return b"".join(_encode(btf, element, one, each, depth + 1) for one in value).ljust(size, b"\0")


def _encode_members(btf: Btf, number: int, value: Mapping[str, Given], size: int, depth: int) -> bytes:
    whole = int.from_bytes(bytes(size), "little")
    left = dict(value)
    for offset, member in _flat(btf, number, 0, 0):
        if member.name not in left:
            continue
        given = left.pop(member.name)
        if member.bits:
            if not isinstance(given, int) or not -(1 << member.bits - 1) <= given < 1 << member.bits:
                raise OverflowError(f"{member.name}={given!r} does not fit into {member.bits} bits")
            part, bits = given & (1 << member.bits) - 1, member.bits
        else:
            each = btf.shape(member.type)[1]
            part = int.from_bytes(_encode(btf, member.type, given, each, depth + 1), "little")
            bits = 8 * each
        if offset + bits > 8 * size:
            raise BtfError(f"damaged BTF data: {member.name} lies behind the end of {btf.type_name(number)}")
        whole = whole & ~((1 << bits) - 1 << offset) | part << offset
    if left:
        raise ValueError(f"{btf.type_name(number)} has no member {', '.join(left)}")
    return whole.to_bytes(size, "little")


def _flat(btf: Btf, number: int, base: int, depth: int) -> Iterator[tuple[int, BtfMember]]:
    """Every named member with its offset in bits, also those of unnamed structures."""
    for member in btf.layout(number):
        if member.name:
            yield base + member.offset, member
        elif depth < _DEEPEST and btf.shape(member.type)[0] is BtfKind.STRUCTURE:
            yield from _flat(btf, btf.plain(member.type), base + member.offset, depth + 1)
