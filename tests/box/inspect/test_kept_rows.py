"""Rows that are packed when they are old, beside a list."""

from __future__ import annotations

import pytest

from kobox.box.inspect.kept_rows import KeptRows
from kobox.box.inspect.printk import LogRecord


def record(number: int) -> LogRecord:
    return LogRecord(number, number / 7, 4, 0, f"line \udcff {number}\n", "C0", ("platform", "x"))


@pytest.mark.parametrize("count", [0, 1, 4095, 4096, 4097, 10_000])
def test_they_are_those_that_came(count: int) -> None:
    kept, rows = KeptRows(LogRecord._make), [record(number) for number in range(count)]
    for row in rows:
        kept.append(row)
    assert list(kept) == rows
    assert len(kept) == count
    assert kept.last == (rows[-1] if rows else None)
    assert all(type(row) is LogRecord for row in kept)
    for start in (0, 1, 2047, 2048, 2049, 5000, count - 1, count, count + 1):
        assert kept.since(start) == rows[max(start, 0) :]
    for some in (0, 1, 2000, 4095, 5000, count, count + 1):
        assert kept.tail(some) == rows[max(count - some, 0) :]
    kept.clear()
    assert list(kept) == []


def test_numbers_need_not_rise() -> None:
    """They are the guest's."""
    kept = KeptRows(LogRecord._make)
    for number in (*range(5000), 3, 1 << 63, *range(5000)):
        kept.append(record(number))
    assert [row.seq for row in kept.since(4999)] == [4999, 1 << 63, 4999]
