"""An NVMe disk with one namespace: the driver is `nvme`.

    0x00 CAP   0x08 VS   0x14 CC   0x1C CSTS   0x24 AQA   0x28 ASQ   0x30 ACQ
    0x1000 + 8 n    doorbells: the tail of submission queue n, the head of completion queue n

A command is 64 bytes in a submission queue; its data lies in pages that PRP entries name; its end is 16 bytes in a
completion queue, with a phase bit that changes each time round. All is done while the driver rings the doorbell.

Source: NVM Express Base Specification 1.4.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from kobox.devices.medium import Medium, Source
from kobox.devices.pci import PciDevice

_PAGE, _SECTOR, _QUEUES, _DEPTH = 4096, 512, 8, 256
_SUCCESS, _INVALID_OPCODE, _INVALID_FIELD, _DATA_ERROR = 0, 1, 2, 4
_INVALID_NAMESPACE, _OUT_OF_RANGE, _BAD_QUEUE = 0x0B, 0x80, 0x101
_WRITE_FAULT, _READ_ERROR, _READ_ONLY = 0x280, 0x281, 0x182


class Completion(NamedTuple):
    """The end of a command: a status, and a value of the command's own."""

    status: int = _SUCCESS
    value: int = 0


class SubmissionQueue(NamedTuple):
    """A submission queue: where it is, how many entries it has, and the completion queue that it ends in."""

    address: int
    size: int
    completion: int


class CompletionQueue(NamedTuple):
    """A completion queue and its interrupt; -1 for none."""

    address: int
    size: int
    vector: int


class Command(NamedTuple):
    """A command, as far as it is looked at (chapter 4.2)."""

    opcode: int
    identifier: int
    namespace: int
    prp1: int
    prp2: int
    words: tuple[int, ...]  # 10 to 15

    @classmethod
    def parse(cls, data: bytes) -> Command:
        first, namespace, prp1, prp2, *words = struct.unpack("<II16xQQ6I", data)
        return cls(first & 0xFF, first >> 16, namespace, prp1, prp2, tuple(words))


class Nvme(PciDevice):
    """An NVMe controller with a disk: `medium` is an image's path, bytes, or a size in bytes."""

    vendor_id, device_id, class_code, revision = 0x1B36, 0x0010, 0x010802, 0x02
    subsystem = (0x1AF4, 0x1100)
    vectors = 4
    bar0 = PciDevice.memory(0x4000, wide=True)

    def __init__(self, medium: Source | Medium, *, serial: str = "kobox-1", readonly: bool = False) -> None:
        self.medium = medium if isinstance(medium, Medium) else Medium(medium, readonly=readonly)
        self.serial = serial
        self.reset()

    def reset(self) -> None:
        self.held = {0x00: 0x20_0F01_00FF, 0x08: 0x00010400, 0x14: 0, 0x1C: 0, 0x24: 0, 0x28: 0, 0x30: 0, 0x0C: 0}
        self._stop()

    def _stop(self) -> None:
        self.submission: dict[int, SubmissionQueue] = {}
        self.completion: dict[int, CompletionQueue] = {}
        self._heads: dict[int, int] = {}  # of submission queues: what was done
        self._tails: dict[int, tuple[int, int]] = {}  # of completion queues: where the next entry goes, and its phase
        self._seen: dict[int, int] = {}  # of completion queues: what the driver has seen
        self.events: list[int] = []  # identifiers of requests for asynchronous events, which wait
        self.features: dict[int, int] = {}

    # -- registers ---------------------------------------------------------------------------------------------

    def read_memory(self, bar: int, offset: int, size: int) -> int:
        for at, width in ((0x00, 8), (0x28, 8), (0x30, 8)):
            if at <= offset < at + width:
                return self.held[at] >> 8 * (offset - at)
        return self.held.get(offset, 0)

    def write_memory(self, bar: int, offset: int, size: int, value: int) -> None:
        if offset >= 0x1000:
            self._doorbell((offset - 0x1000) // 4, value & 0xFFFF)
        elif offset == 0x14:
            self._configure(value)
        elif offset in (0x24, 0x28, 0x30):
            self.held[offset] = value if size == 8 else self.held[offset] >> 32 << 32 | value
        elif offset in (0x2C, 0x34):
            self.held[offset - 4] = self.held[offset - 4] & 0xFFFFFFFF | value << 32

    def _configure(self, value: int) -> None:
        before, self.held[0x14] = self.held[0x14], value
        if value & 1 and not before & 1:
            sizes = self.held[0x24]
            self._stop()
            self._add_completion(0, CompletionQueue(self.held[0x30], (sizes >> 16 & 0xFFF) + 1, 0))
            self._add_submission(0, SubmissionQueue(self.held[0x28], (sizes & 0xFFF) + 1, 0))
        elif not value & 1 and before & 1:
            self._stop()
        shutdown = 8 if value & 0xC000 else 0
        self.held[0x1C] = (value & 1) | shutdown

    def _add_completion(self, number: int, queue: CompletionQueue) -> None:
        self.completion[number], self._tails[number], self._seen[number] = queue, (0, 1), 0

    def _add_submission(self, number: int, queue: SubmissionQueue) -> None:
        self.submission[number], self._heads[number] = queue, 0

    # -- queues ------------------------------------------------------------------------------------------------

    def _doorbell(self, index: int, value: int) -> None:
        number = index // 2
        if index % 2:
            if number in self.completion:
                self._seen[number] = value
            return
        queue = self.submission.get(number)
        if queue is None or value >= queue.size:
            return
        while self._heads.get(number, value) != value:
            head = self._heads[number]
            self._heads[number] = (head + 1) % queue.size
            command = Command.parse(self.dma.read(queue.address + 64 * head, 64))
            done = self._admin(command) if number == 0 else self._io(command)
            if done is not None:
                self._complete(number, command.identifier, done)

    def _complete(self, number: int, identifier: int, done: Completion) -> None:
        queue = self.submission.get(number)
        if queue is None or (target := self.completion.get(queue.completion)) is None:
            return
        tail, phase = self._tails[queue.completion]
        entry = struct.pack(
            "<IIHHHH", done.value, 0, self._heads[number], number, identifier, phase | (done.status & 0x7FF) << 1
        )
        self.dma.write(target.address + 16 * tail, entry)
        after = (tail + 1) % target.size
        self._tails[queue.completion] = (after, phase if after else phase ^ 1)
        if target.vector >= 0:
            self.interrupt(target.vector)

    # -- administration ----------------------------------------------------------------------------------------

    def _admin(self, command: Command) -> Completion | None:
        match command.opcode:
            case 0x00 | 0x04:  # delete a submission, a completion queue
                queues = self.submission if command.opcode == 0 else self.completion
                return Completion(_SUCCESS if queues.pop(command.words[0] & 0xFFFF, None) else _BAD_QUEUE)
            case 0x01 | 0x05:
                return self._create(command)
            case 0x02:  # a log page: nothing was logged
                size = 4 * ((command.words[0] >> 16) + 1)
                return self._give(command, bytes(min(size, 1 << 16)))
            case 0x06:
                return self._identify(command)
            case 0x08:  # abort: it is done already
                return Completion(value=1)
            case 0x09 | 0x0A:
                return self._feature(command)
            case 0x0C:
                self.events.append(command.identifier)
                return None if len(self.events) <= 4 else Completion(0x105)
            case _:
                return Completion(_INVALID_OPCODE)

    def _create(self, command: Command) -> Completion:
        number, size = command.words[0] & 0xFFFF, (command.words[0] >> 16) + 1
        if not 0 < number < _QUEUES or size > _DEPTH or not command.words[1] & 1:
            return Completion(_BAD_QUEUE)
        if command.opcode == 5:
            vector = command.words[1] >> 16 if command.words[1] & 2 else -1
            self._add_completion(number, CompletionQueue(command.prp1, size, vector))
        elif command.words[1] >> 16 in self.completion:
            self._add_submission(number, SubmissionQueue(command.prp1, size, command.words[1] >> 16))
        else:
            return Completion(0x100)
        return Completion()

    def _feature(self, command: Command) -> Completion:
        number = command.words[0] & 0xFF
        if number == 7:
            return Completion(value=(_QUEUES - 2) << 16 | _QUEUES - 2)
        if command.opcode == 9:
            self.features[number] = command.words[1]
        return Completion(value=self.features.get(number, 0))

    def _identify(self, command: Command) -> Completion:
        blocks = self.medium.size // _SECTOR
        match command.words[0] & 0xFF:
            case 0 if command.namespace == 1:
                page = bytearray(_PAGE)
                struct.pack_into("<QQQ", page, 0, blocks, blocks, blocks)
                page[128:132] = struct.pack("<HBB", 0, 9, 0)  # one format: sectors of 2^9 bytes
                page[99] = 1 if self.medium.readonly else 0
            case 0:
                return Completion(_INVALID_NAMESPACE) if command.namespace > 1 else self._give(command, bytes(_PAGE))
            case 1:
                page = self._controller()
            case 2:
                page = bytearray(struct.pack("<I", 1 if command.namespace < 1 else 0).ljust(_PAGE, b"\0"))
            case 3 if command.namespace == 1:
                unique = b"kobox" + self.serial.encode()[:11]
                page = bytearray((bytes([3, 16, 0, 0]) + unique.ljust(16, b"\0")).ljust(_PAGE, b"\0"))
            case _:
                return Completion(_INVALID_FIELD)
        return self._give(command, bytes(page))

    def _controller(self) -> bytearray:
        page = bytearray(_PAGE)
        struct.pack_into("<HH20s40s8s", page, 0, 0x1B36, 0x1AF4, *self._names())
        page[77] = 5  # transfers of 2^5 pages at most
        struct.pack_into("<I", page, 80, 0x00010400)
        page[256:260] = bytes([0, 0, 3, 0])  # OACS, aborts and events at once
        page[261] = 0
        struct.pack_into("<BBHI", page, 512, 0x66, 0x44, 0, 1)  # sizes of entries; one namespace
        page[525] = 1  # a volatile write cache
        page[768:1024] = f"nqn.2014-08.org.nvmexpress:kobox:{self.serial}".encode().ljust(256, b"\0")
        return page

    def _names(self) -> tuple[bytes, bytes, bytes]:
        return self.serial.encode().ljust(20), b"kobox NVMe disk".ljust(40), b"1.0".ljust(8)

    # -- input and output --------------------------------------------------------------------------------------

    def _io(self, command: Command) -> Completion:
        if command.namespace != 1 and command.opcode != 0:
            return Completion(_INVALID_NAMESPACE)
        sector, count = command.words[0] | command.words[1] << 32, (command.words[2] & 0xFFFF) + 1
        at, size = sector * _SECTOR, count * _SECTOR
        match command.opcode:
            case 0x00:
                return Completion()
            case 0x01 | 0x02 if at + size > self.medium.size:
                return Completion(_OUT_OF_RANGE)
            case 0x01 if self.medium.readonly:
                return Completion(_READ_ONLY)
            case 0x01:
                return self._write(at, size, command)
            case 0x02:
                try:
                    return self._give(command, self.medium.read(at, size))
                except OSError:
                    return Completion(_READ_ERROR)
        return Completion(_INVALID_OPCODE)

    def _write(self, at: int, size: int, command: Command) -> Completion:
        try:
            for address, length in self._pages(command, size):
                self.medium.write(at, self.dma.read(address, length))
                at += length
        except OSError:
            return Completion(_WRITE_FAULT)
        return Completion()

    def _give(self, command: Command, data: bytes) -> Completion:
        at = 0
        for address, length in self._pages(command, len(data)):
            self.dma.write(address, data[at : at + length])
            at += length
        return Completion()

    def _pages(self, command: Command, size: int) -> Iterator[tuple[int, int]]:
        """Where a command's data lies: address and length of each piece (PRP entries, 4.3)."""
        first = min(size, _PAGE - command.prp1 % _PAGE)
        yield command.prp1, first
        size -= first
        if size <= 0:
            return
        if size <= _PAGE:
            yield command.prp2, size
            return
        entries = command.prp2 & ~7
        while size > 0:
            room = (_PAGE - entries % _PAGE) // 8
            needed = -(-size // _PAGE)
            listed = struct.unpack(f"<{min(room, needed)}Q", self.dma.read(entries, 8 * min(room, needed)))
            follow = needed > room
            for address in listed[: room - 1] if follow else listed:
                yield address, min(size, _PAGE)
                size -= _PAGE
            entries = listed[-1] & ~7
