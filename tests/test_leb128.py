"""LEB128 numbers, by the examples of DWARF 5's tables 7.7 and 7.8."""

from __future__ import annotations

import pytest

from kobox.leb128 import read_sleb, read_uleb, sleb, uleb


@pytest.mark.parametrize(("value", "data"), [(2, "02"), (127, "7f"), (128, "8001"), (129, "8101"), (12857, "b964")])
def test_unsigned(value: int, data: str) -> None:
    assert uleb(value).hex() == data
    assert read_uleb(b"\xff" + uleb(value), 1) == (value, 1 + len(data) // 2)


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (2, "02"),
        (-2, "7e"),
        (127, "ff00"),
        (-127, "817f"),
        (128, "8001"),
        (-128, "807f"),
        (129, "8101"),
        (-129, "ff7e"),
    ],
)
def test_signed(value: int, data: str) -> None:
    assert sleb(value).hex() == data
    assert read_sleb(sleb(value), 0) == (value, len(data) // 2)


def test_numbers_that_are_cut_off_end_behind_the_data() -> None:
    assert read_uleb(b"\x80\x80", 0)[1] == 3
    assert read_sleb(b"\x80", 0)[1] == 2
