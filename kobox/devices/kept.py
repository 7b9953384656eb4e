"""Bytes that a driver has sent by a wire, for the test to look at: the newest, since a driver may send for ever."""

from __future__ import annotations

MOST_KEPT = 1 << 20


class Kept:
    """The newest bytes of a stream, at least `MOST_KEPT` of them."""

    def __init__(self) -> None:
        self._data = bytearray()

    def add(self, data: bytes) -> None:
        """More has come."""
        self._data += data
        if len(self._data) > 2 * MOST_KEPT:
            del self._data[:-MOST_KEPT]

    def __bytes__(self) -> bytes:
        return bytes(self._data)
