"""The rings of an xHCI host controller: TRBs of 16 bytes, each with a cycle bit that says whose it is.

    driver writes TRBs with its cycle bit ... a Link TRB leads to the next piece of the ring and may turn the bit over

Source: eXtensible Host Controller Interface for USB 1.1, chapters 4.9 and 6.4.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

Read = Callable[[int, int], bytes]
Write = Callable[[int, bytes], None]
_LINK, _NOOP = 6, 8
_CYCLE, _TOGGLE, _SHORT_PACKET, _CHAIN, _ON_COMPLETION, _IMMEDIATE = 1, 2, 4, 16, 32, 64
_MOST = 4096  # TRBs of one transfer, links one after the other
_SUCCESS, _SHORT = 1, 13


class Trb(NamedTuple):
    """A transfer request block, or an event."""

    parameter: int
    status: int
    control: int

    @property
    def kind(self) -> int:
        """The TRB type (6.4.6)."""
        return self.control >> 10 & 63

    @property
    def length(self) -> int:
        """The size of its buffer."""
        return self.status & 0x1FFFF

    def pack(self) -> bytes:
        """As it stands in memory."""
        return struct.pack("<QII", self.parameter, self.status, self.control)


class Ring:
    """A ring that the driver fills: where the controller is, and the cycle bit that it expects."""

    def __init__(self, pointer: int, cycle: int) -> None:
        self.pointer, self.cycle = pointer, cycle

    def mark(self) -> tuple[int, int]:
        """Where it is now."""
        return self.pointer, self.cycle

    def go_back(self, mark: tuple[int, int]) -> None:
        """Undo what was taken since `mark`."""
        self.pointer, self.cycle = mark

    def next(self, read: Read) -> tuple[int, Trb] | None:
        """The next TRB that is the controller's, and its address; None when there is none."""
        for _ in range(_MOST):
            trb = Trb(*struct.unpack("<QII", read(self.pointer, 16)))
            if trb.control & _CYCLE != self.cycle:
                return None
            if trb.kind != _LINK:
                where, self.pointer = self.pointer, self.pointer + 16
                return where, trb
            self.pointer = trb.parameter & ~15
            if trb.control & _TOGGLE:
                self.cycle ^= 1
        return None


class Transfer:
    """A transfer descriptor: TRBs that are chained, as (address, TRB)."""

    def __init__(self, trbs: list[tuple[int, Trb]]) -> None:
        self.trbs = trbs

    @classmethod
    def take(cls, ring: Ring, read: Read) -> Transfer | None:
        """The next transfer of a ring; None when there is none, or not all of it yet."""
        before = ring.mark()
        found: list[tuple[int, Trb]] = []
        for _ in range(_MOST):
            one = ring.next(read)
            if one is None:
                ring.go_back(before)
                return None
            found.append(one)
            if not one[1].control & _CHAIN:
                break
        return cls(found)

    @property
    def kind(self) -> int:
        """The type of its first TRB."""
        return self.trbs[0][1].kind

    @property
    def buffers(self) -> Iterator[tuple[int, Trb]]:
        """The TRBs that have a buffer."""
        return ((where, trb) for where, trb in self.trbs if trb.kind not in (_NOOP, 7))

    @property
    def size(self) -> int:
        """Bytes of all buffers."""
        return sum(trb.length for _, trb in self.buffers)

    def gather(self, read: Read) -> bytes:
        """What the driver sends."""
        out = b""
        for _, trb in self.buffers:
            if trb.control & _IMMEDIATE:
                out += trb.parameter.to_bytes(8, "little")[: min(trb.length, 8)]
            else:
                out += read(trb.parameter, trb.length)
        return out

    def pieces(self, size: int) -> Iterator[tuple[int, int]]:
        """Where the first `size` bytes have their place: address, bytes."""
        for _, trb in self.buffers:
            piece = min(size, trb.length)
            if piece:
                yield trb.parameter, piece
            size -= piece

    def scatter(self, write: Write, data: bytes) -> int:
        """Put data where the driver has room; how many bytes."""
        at = 0
        for address, size in self.pieces(len(data)):
            write(address, data[at : at + size])
            at += size
        return at

    def reports(self, code: int, moved: int) -> Iterator[tuple[int, int, int]]:
        """The event to be posted, if any: address of the TRB, bytes that are left of its buffer, completion code."""
        left = moved
        for number, (where, trb) in enumerate(self.trbs):
            length = trb.length if trb.kind not in (_NOOP, 7) else 0
            used = min(left, length)
            left -= used
            last = number == len(self.trbs) - 1
            short = used < length and code == _SUCCESS
            if code != _SUCCESS and (last or used < length):
                yield where, length - used, code
                return
            if (short and trb.control & _SHORT_PACKET) or (last and trb.control & _ON_COMPLETION):
                yield where, length - used, _SHORT if short else code
                return


class EventRing:
    """The ring that the controller fills: pieces that the driver's table names."""

    def __init__(self) -> None:
        self.management = self.dequeue = 0
        self.busy = False
        self._pieces: list[tuple[int, int]] = []  # address and number of entries
        self._piece = self._index = 0
        self._cycle = 1
        self._waiting: list[Trb] = []

    def start(self, read: Read, table: int, count: int) -> None:
        """The driver has set up its table of pieces."""
        rows = struct.iter_unpack("<QII", read(table, 16 * min(count, 256)))
        self._pieces = [(address & ~63, size & 0xFFFF) for address, size, _ in rows if size & 0xFFFF]
        self._piece = self._index = 0
        self._cycle = 1

    @property
    def _place(self) -> int:
        return self._pieces[self._piece][0] + 16 * self._index if self._pieces else 0

    @property
    def empty(self) -> bool:
        """Whether the driver has seen every event."""
        return self.dequeue == self._place

    def _following(self) -> tuple[int, int, int]:
        index, piece, cycle = self._index + 1, self._piece, self._cycle
        if index == self._pieces[piece][1]:
            index, piece = 0, piece + 1
            if piece == len(self._pieces):
                piece, cycle = 0, cycle ^ 1
        return index, piece, cycle

    def put(self, write: Write, event: Trb) -> bool:
        """Post an event; False when it has to wait, since the ring is full or not set up."""
        if not self._pieces:
            return False
        index, piece, cycle = self._following()
        if self._pieces[piece][0] + 16 * index == self.dequeue:
            if len(self._waiting) < _MOST:
                self._waiting.append(event)
            return False
        write(self._place, event._replace(control=event.control | self._cycle).pack())
        self._index, self._piece, self._cycle = index, piece, cycle
        return True

    def take_waiting(self) -> list[Trb]:
        """The events that waited for room."""
        waiting, self._waiting = self._waiting, []
        return waiting
