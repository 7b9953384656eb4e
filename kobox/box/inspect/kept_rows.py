"""Rows that are kept for long: the newest as they are, older ones packed, since a box may say very much.

append -> [ row, row, ... ] -> blocks of 2,048 rows, compressed (the kernel's log: a fiftieth of its size)
"""

from __future__ import annotations

import marshal
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, NamedTuple, Protocol, TypeVar

_BLOCK = 2048


class NumberedRow(Protocol):
    """A row: a tuple of plain values that has a number."""

    @property
    def seq(self) -> int: ...

    def __iter__(self) -> Iterator[object]: ...


Row = TypeVar("Row", bound=NumberedRow)


class _Packed(NamedTuple):
    highest: int  # number of any row in it
    rows: int
    data: bytes


class KeptRows(Generic[Row]):
    """Rows in the order in which they came. What packs them is `marshal`: they are this process's own."""

    def __init__(self, make: Callable[[Iterable[object]], Row]) -> None:
        """`make` makes a row of its values, as `_make` of a NamedTuple does."""
        self._make = make
        self._packed: list[_Packed] = []
        self._open: list[Row] = []

    def __len__(self) -> int:
        return sum(block.rows for block in self._packed) + len(self._open)

    def __iter__(self) -> Iterator[Row]:
        for block in self._packed:
            yield from self._rows(block)
        yield from self._open

    @property
    def last(self) -> Row | None:
        """The newest; None when there is none."""
        return self._open[-1] if self._open else None

    def append(self, row: Row) -> None:
        """Keep a row."""
        self._open.append(row)
        if len(self._open) >= 2 * _BLOCK:
            rows = self._open[:_BLOCK]
            data = zlib.compress(marshal.dumps([tuple(row) for row in rows]), 1)
            self._packed.append(_Packed(max(row.seq for row in rows), len(rows), data))
            del self._open[:_BLOCK]

    def since(self, number: int) -> list[Row]:
        """The rows with this number or a higher one."""
        blocks = (block for block in self._packed if block.highest >= number)
        found = [row for block in blocks for row in self._rows(block) if row.seq >= number]
        return found + [row for row in self._open if row.seq >= number]

    def tail(self, count: int) -> list[Row]:
        """The newest rows, `count` of them or all."""
        if count <= len(self._open):
            return self._open[len(self._open) - count :]
        return list(self)[max(len(self) - count, 0) :]

    def clear(self) -> None:
        """Keep none."""
        self._packed.clear()
        self._open.clear()

    def _rows(self, block: _Packed) -> Iterator[Row]:
        for values in marshal.loads(zlib.decompress(block.data)):
            yield self._make(values)
