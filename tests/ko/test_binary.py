from __future__ import annotations

import struct

import pytest

from kobox.ko.binary import c_string, u64


@pytest.mark.parametrize(
    ("data", "at", "expected"),
    [
        (b"name\0rest", 0, b"name"),
        (b"name\0rest\0", 5, b"rest"),
        (b"no end", 3, b"end"),
        (b"", 0, b""),
        (b"\0", 0, b""),
        (bytearray(b"a\0"), 0, b"a"),
    ],
)
def test_a_string_ends_at_its_nul_or_with_the_data(data: bytes | bytearray, at: int, expected: bytes) -> None:
    assert c_string(data, at) == expected


def test_a_u64_that_is_not_all_there_is_an_error() -> None:
    assert u64(b"\1" + bytes(7) + b"\xff" * 8, 8) == 2**64 - 1
    with pytest.raises(struct.error):
        u64(bytes(7))
