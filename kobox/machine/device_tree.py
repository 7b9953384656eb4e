"""A flattened device tree (Devicetree Specification 0.4, chapter 5), packed from nested dictionaries.

header | memory reservations (none) | structure: BEGIN_NODE name, PROP …, END_NODE … END | strings
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import TypeAlias

_MAGIC, _VERSION, _COMPATIBLE = 0xD00DFEED, 17, 16
_BEGIN_NODE, _END_NODE, _PROPERTY, _END = 1, 2, 3, 9
_HEADER, _RESERVATIONS = 40, 16

Cell: TypeAlias = int | str
Value: TypeAlias = "int | str | bytes | Sequence[Cell] | Mapping[str, Value] | None"
"""Of a property: a cell, a string, bytes, nothing, cells or strings one behind the other. A mapping is a node below."""


def pack(root: Mapping[str, Value], name: str = "", size: int = 0) -> bytes:
    """The tree as the kernel takes it. `name` is its root's, for a tree that becomes part of another. It takes `size`
    bytes or more: the kernel keeps all of them for it."""
    strings, body = bytearray(), bytearray()
    _node(name, root, body, strings)
    body.extend(struct.pack(">I", _END))
    start = _HEADER + _RESERVATIONS
    total = max(start + len(body) + len(strings), size)
    offsets = (start, start + len(body), _HEADER)
    header = struct.pack(">10I", _MAGIC, total, *offsets, _VERSION, _COMPATIBLE, 0, len(strings), len(body))
    return (header + bytes(_RESERVATIONS) + bytes(body) + bytes(strings)).ljust(total, b"\0")


def _node(name: str, content: Mapping[str, Value], body: bytearray, strings: bytearray) -> None:
    body.extend(struct.pack(">I", _BEGIN_NODE) + name.encode() + b"\0")
    body.extend(bytes(-len(body) % 4))
    for key, value in content.items():
        if not isinstance(value, Mapping):
            data = _bytes(value)
            body.extend(struct.pack(">III", _PROPERTY, len(data), _name_at(key, strings)) + data)
            body.extend(bytes(-len(body) % 4))
    for key, value in content.items():
        if isinstance(value, Mapping):
            _node(key, value, body, strings)
    body.extend(struct.pack(">I", _END_NODE))


def _name_at(name: str, strings: bytearray) -> int:
    """The offset of a property's name among the strings."""
    wanted = name.encode() + b"\0"
    at = strings.find(wanted)
    if at < 0 or (at and strings[at - 1]):
        at = len(strings)
        strings.extend(wanted)
    return at


def _bytes(value: int | str | bytes | Sequence[Cell] | None) -> bytes:
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode() + b"\0"
    if isinstance(value, int):
        return struct.pack(">I", value)
    return b"".join(map(_bytes, value))
