"""The device's side of a virtqueue: chains, indirect tables, and nonsense."""

from __future__ import annotations

import struct

import pytest

from kobox.machine.virtio import BrokenQueueError, Buffer, DmaSegment, Queue

DESCRIPTORS, AVAILABLE, USED, TABLE = 0x100, 0x200, 0x300, 0x400


def queue_with(*descriptors: tuple[int, int, int, int], heads: tuple[int, ...] = (0,)) -> Queue:
    """A queue of 8 whose descriptors are (address, size, flags, next)."""
    ram = memoryview(bytearray(0x1000))
    for number, descriptor in enumerate(descriptors):
        struct.pack_into("<QIHH", ram, DESCRIPTORS + 16 * number, *descriptor)
    struct.pack_into(f"<HH{len(heads)}H", ram, AVAILABLE, 0, len(heads), *heads)
    queue = Queue(ram)
    queue.load((8, 1, 0, DESCRIPTORS, AVAILABLE, USED))
    return queue


def test_a_chain_is_followed() -> None:
    queue = queue_with((0x500, 16, 1, 2), (0, 0, 0, 0), (0x600, 32, 2, 0))
    assert queue.pop() == Buffer(0, [DmaSegment(0x500, 16, False), DmaSegment(0x600, 32, True)])
    assert queue.pop() is None


def test_a_table_elsewhere_is_followed() -> None:
    queue = queue_with((TABLE, 32, 4, 0))
    struct.pack_into("<QIHHQIHH", queue.ram, TABLE, 0x500, 1, 1, 1, 0x600, 2, 2, 0)
    assert queue.pop() == Buffer(0, [DmaSegment(0x500, 1, False), DmaSegment(0x600, 2, True)])


def test_more_buffers_than_there_is_room_for_are_refused() -> None:
    queue = queue_with((0x500, 16, 0, 0))
    struct.pack_into("<H", queue.ram, AVAILABLE + 2, 9)
    with pytest.raises(BrokenQueueError, match="9 buffers in a queue of 8"):
        queue.pop()


def test_what_is_given_back_is_in_the_used_ring() -> None:
    queue = queue_with((0x500, 16, 0, 0))
    assert queue.push(3, 77) is True
    assert struct.unpack_from("<HHII", queue.ram, USED) == (0, 1, 3, 77)
    struct.pack_into("<H", queue.ram, AVAILABLE, 1)  # no interrupts, please
    assert queue.push(4, 0) is False


def test_indexes_wrap_around() -> None:
    queue = queue_with((0x500, 16, 0, 0))
    queue.last = 0xFFFF
    struct.pack_into("<H", queue.ram, AVAILABLE + 2, 0)
    assert queue.pop() is not None
    assert queue.last == 0
    struct.pack_into("<H", queue.ram, USED + 2, 0xFFFF)
    queue.push(1, 1)
    assert struct.unpack_from("<H", queue.ram, USED + 2) == (0,)


@pytest.mark.parametrize(
    "descriptors",
    [
        [(0x500, 16, 1, 0)],  # its own successor
        [(0x500, 16, 1, 9)],  # no such descriptor
        [(0xFFF, 16, 0, 0)],  # over the end of RAM
        [(1 << 63, 16, 0, 0)],
        [(TABLE, 0, 4, 0)],  # an empty table
        [(TABLE, 16, 4, 0)] * 2,  # a table that leads to itself
    ],
)
def test_nonsense_is_refused(descriptors: list[tuple[int, int, int, int]]) -> None:
    queue = queue_with(*descriptors)
    struct.pack_into("<QIHH", queue.ram, TABLE, TABLE, 16, 4, 0)
    with pytest.raises(BrokenQueueError):
        queue.pop()


@pytest.mark.parametrize(
    "state", [(0, 1, 0, 0, 0x200, 0), (8, 1, 0, 1 << 60, 0x200, 0), (8, 1, 0, 0, (1 << 64) - 1, 0)]
)
def test_a_queue_elsewhere_than_in_ram_is_refused(state: tuple[int, ...]) -> None:
    queue = queue_with((0x500, 16, 0, 0))
    queue.load(state)
    with pytest.raises(BrokenQueueError):
        queue.pop()
    queue.load((8, 1, 0, 0, 0, 1 << 60))
    with pytest.raises(BrokenQueueError):
        queue.push(0, 0)
