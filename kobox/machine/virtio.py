"""The device's side of virtio over registers in memory ("virtio-mmio"), and of its queues.

    driver                    RAM                                     device (here)
      |-- descriptors --> [ address, length, flags, next ]  ...          |
      |-- available  ---> flags, index, [ head, head, ... ] -- notify -->| pop()
      |<- interrupt ----- flags, index, [ (head, written), ... ] <-------| push()
                          used

Everything that the driver writes there may be nonsense: an address outside RAM, a chain without an end. Then the device
is broken (`DEVICE_NEEDS_RESET`), and nothing else happens.

Source: Virtual I/O Device (VIRTIO) 1.2, sections 2.7 and 4.2; drivers/virtio/virtio_mmio.c.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from kobox.machine.devices import Device, DeviceWorkError, Restore

F_INDIRECT, F_VERSION_1 = 1 << 28, 1 << 32
_NEXT, _WRITE, _INDIRECT = 1, 2, 4
_NEEDS_RESET = 0x40
_QUEUE_SIZE = 256


class DmaSegment(NamedTuple):
    """A piece of a buffer in RAM: `size` bytes at a physical address, for the device to write or to read."""

    address: int
    size: int
    writable: bool


class Buffer(NamedTuple):
    """What the driver has offered in one go; `head` names it when it is given back."""

    head: int
    segments: list[DmaSegment]


class BrokenQueueError(Exception):
    """What the driver wrote into a queue makes no sense."""


class Queue:
    """One virtqueue as the device sees it."""

    __slots__ = ("available", "descriptors", "last", "ram", "ready", "size", "used")

    def __init__(self, ram: memoryview) -> None:
        self.ram = ram
        self.reset()

    def reset(self) -> None:
        self.size, self.ready, self.last = 0, 0, 0
        self.descriptors = self.available = self.used = 0

    def save(self) -> tuple[int, ...]:
        return self.size, self.ready, self.last, self.descriptors, self.available, self.used

    def load(self, state: tuple[int, ...]) -> None:
        self.size, self.ready, self.last, self.descriptors, self.available, self.used = state

    def pop(self) -> Buffer | None:
        """The next buffer that the driver offers, None when there is none. Raises `BrokenQueueError`."""
        if not self.ready:
            return None
        try:
            (index,) = struct.unpack_from("<H", self.ram, self.available + 2)
            if index == self.last:
                return None
            if index - self.last & 0xFFFF > self.size:
                raise BrokenQueueError(f"{index - self.last & 0xFFFF} buffers in a queue of {self.size}")
            (head,) = struct.unpack_from("<H", self.ram, self.available + 4 + 2 * (self.last % self.size))
            buffer = Buffer(head, self._chain(head))
        except (struct.error, OverflowError, ZeroDivisionError) as error:
            raise BrokenQueueError(str(error)) from None
        self.last = self.last + 1 & 0xFFFF
        return buffer

    def put_back(self) -> None:
        """Undo `pop`."""
        self.last = self.last - 1 & 0xFFFF

    def _chain(self, head: int) -> list[DmaSegment]:
        segments: list[DmaSegment] = []
        table, count, number = self.descriptors, self.size, head
        for _ in range(2 * _QUEUE_SIZE):
            if number >= count:
                raise BrokenQueueError(f"descriptor {number} of {count}")
            address, size, flags, following = struct.unpack_from("<QIHH", self.ram, table + 16 * number)
            if address + size > len(self.ram):
                raise BrokenQueueError(f"a buffer at {address:#x}, which is not RAM")
            if flags & _INDIRECT:
                table, count, number = address, size // 16, 0
                continue
            segments.append(DmaSegment(address, size, bool(flags & _WRITE)))
            if not flags & _NEXT:
                return segments
            number = following
        raise BrokenQueueError("a chain of descriptors without an end")

    def push(self, head: int, written: int) -> bool:
        """Give a buffer back, `written` bytes of it filled; whether the driver wants an interrupt."""
        try:
            (index,) = struct.unpack_from("<H", self.ram, self.used + 2)
            struct.pack_into("<II", self.ram, self.used + 4 + 8 * (index % self.size), head, written)
            struct.pack_into("<H", self.ram, self.used + 2, index + 1 & 0xFFFF)
            (flags,) = struct.unpack_from("<H", self.ram, self.available)
        except (struct.error, OverflowError, ZeroDivisionError) as error:
            raise BrokenQueueError(str(error)) from None
        return not flags & 1


class VirtioDevice(Device):
    """A virtio device: its registers and queues. A kind of device adds `kind`, `features`, `configuration` and
    `notified`."""

    kind = 0
    queue_count = 1
    features = F_VERSION_1 | F_INDIRECT

    def __init__(self, ram: memoryview) -> None:
        self.queues = [Queue(ram) for _ in range(self.queue_count)]
        self._left: list[int] = []  # queues whose buffers were not all seen to: something else came up (Ctrl-C)
        self._reset()

    def configuration(self) -> bytes:
        """The device's own registers."""
        return b""

    def read_configuration(self, offset: int, size: int) -> int:
        """The driver reads one of them, of `size` bytes."""
        return int.from_bytes(self.configuration()[offset : offset + size], "little")

    def configure(self, offset: int, size: int, value: int) -> None:
        """The driver writes one of the device's own registers."""

    def notified(self, queue: int) -> None:
        """The driver has put something into a queue. May raise `BrokenQueueError`."""
        raise NotImplementedError

    def _reset(self) -> None:
        self.status, self.raised, self._select, self._generation = 0, 0, [0, 0, 0], 0
        self.accepted = 0
        for queue in self.queues:
            queue.reset()

    def done(self, queue: int, head: int, written: int) -> None:
        """Give a buffer back, and interrupt when that is wanted."""
        if self.queues[queue].push(head, written):
            self.raised |= 1
            self.bus.interrupt()

    def changed(self) -> None:
        """The configuration has changed: tell the driver."""
        self._generation += 1
        self.raised |= 2
        self.bus.interrupt()

    def fill(self, segment: DmaSegment, data: bytes | memoryview) -> None:
        """Write RAM at the beginning of a segment."""
        self.bus.ram[segment.address : segment.address + len(data)] = data
        self.bus.wrote(segment.address, len(data))

    # -- registers -------------------------------------------------------------------------------------------

    def read(self, offset: int, size: int) -> int:
        if offset >= 0x100:
            return self.read_configuration(offset - 0x100, size)
        number = self._select[2]
        queue = self.queues[number] if number < len(self.queues) else None
        match offset:
            case 0x000:
                return 0x74726976
            case 0x004:
                return 2
            case 0x008:
                return self.kind
            case 0x00C:
                return 0x6F626F6B
            case 0x010:
                return self.features >> 32 * self._select[0] & 0xFFFFFFFF if self._select[0] < 2 else 0
            case 0x034:
                return _QUEUE_SIZE if queue else 0
            case 0x044:
                return queue.ready if queue else 0
            case 0x060:
                return self.raised
            case 0x070:
                return self.status
            case 0x0B0 | 0x0B4 | 0x0B8 | 0x0BC:
                return 0xFFFFFFFF  # no shared memory region (4.2.2: length and address are -1)
            case 0x0FC:
                return self._generation
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        match offset:
            case _ if offset >= 0x100:
                self.configure(offset - 0x100, size, value)
            case 0x014:
                self._select[0] = value
            case 0x020:
                if self._select[1] < 2:
                    self.accepted |= value << 32 * self._select[1]
            case 0x024:
                self._select[1] = value
            case 0x030:
                self._select[2] = value
            case 0x050:
                self._notify(value)
            case 0x064:
                self.raised &= ~value
            case 0x070:
                self._set_status(value)
            case _:
                if self._select[2] < len(self.queues):
                    self._set_queue(self.queues[self._select[2]], offset, value)

    def _set_status(self, value: int) -> None:
        if value:
            self.status = value
        else:
            self._reset()

    def _set_queue(self, queue: Queue, offset: int, value: int) -> None:
        if offset == 0x038:
            queue.size = min(value, _QUEUE_SIZE)
        elif offset == 0x044:
            queue.ready = value & 1
            if not queue.ready:
                queue.last = 0
        for low, name in ((0x080, "descriptors"), (0x090, "available"), (0x0A0, "used")):
            if offset == low:
                setattr(queue, name, getattr(queue, name) & ~0xFFFFFFFF | value & 0xFFFFFFFF)
            elif offset == low + 4:
                setattr(queue, name, getattr(queue, name) & 0xFFFFFFFF | (value & 0xFFFFFFFF) << 32)

    def _notify(self, queue: int) -> None:
        if queue < len(self.queues) and not self.status & _NEEDS_RESET:
            try:
                self.notified(queue)
            except (BrokenQueueError, DeviceWorkError):
                self.broken()
            except BaseException:
                self._left.append(queue)
                self.bus.ring(self)
                raise

    def attend(self) -> None:
        while self._left:
            self._notify(self._left.pop())

    def broken(self) -> None:
        """The driver has written nonsense: nothing more is done until it resets the device."""
        self.status |= _NEEDS_RESET
        self.changed()

    # -- checkpoints -----------------------------------------------------------------------------------------

    def save(self) -> Restore:
        queues = [queue.save() for queue in self.queues]
        numbers, select = (self.status, self.raised, self._generation, self.accepted), tuple(self._select)

        def restore() -> None:
            self.status, self.raised, self._generation, self.accepted = numbers
            self._select = list(select)
            for queue, saved in zip(self.queues, queues, strict=True):
                queue.load(saved)

        return restore
