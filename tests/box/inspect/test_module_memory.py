"""The memory that a module has had, and the names in it."""

from __future__ import annotations

import struct

import pytest

from kobox.box.inspect.module_memory import ModuleMemory

NAMES = b"\0code\0data\0other\0"
CODE, DATA, ELSEWHERE = (2, 0x1000, 0x20), (1, 0x2000, 0x10), (2, 0x5000, 0x20)


def row(name: bytes, kind: int, value: int, size: int, section: int = 1) -> bytes:
    return struct.pack("<IBBHQQ", NAMES.index(name), kind, 0, section, value, size)


MEMORY = ModuleMemory(
    "hello",
    ((0x1000, 0x1800), (0x2000, 0x2800)),
    row(b"code", *CODE) + row(b"data", *DATA) + row(b"other", *ELSEWHERE, section=0) + b"cut off",
    NAMES,
)


@pytest.mark.parametrize(
    ("address", "held", "symbol", "inside"),
    [
        (0x1000, True, "code", False),  # a function pointer
        (0x1004, True, "code", True),  # where a call returns to
        (0x101F, True, "code", True),
        (0x1020, True, "", False),
        (0x2008, True, "data", False),
        (0x1800, False, "", False),
        (0x27FF, True, "", False),
        (0x5004, False, "", False),  # a symbol that the module only uses
    ],
)
def test_what_an_address_is(address: int, held: bool, symbol: str, inside: bool) -> None:
    assert (address in MEMORY) is held
    assert MEMORY.symbol(address) == symbol
    assert MEMORY.within_function(address) is inside


def test_a_module_without_symbols_has_no_names() -> None:
    bare = ModuleMemory("hello", ((0x1000, 0x1800),))
    assert 0x1004 in bare
    assert bare.symbol(0x1004) == ""
    assert not bare.within_function(0x1004)
