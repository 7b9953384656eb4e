"""SCSI devices as models: a disk, a CD-ROM drive, a tape. Other files carry the commands: virtio-scsi, USB storage,
ATAPI.

    answer = disk.command(cdb, data_out)     -> ScsiAnswer(status, data_in, sense)

Source: SCSI Primary Commands 4 (T10/1731-D), SCSI Block Commands 3, Multi-Media Commands 6, SCSI Stream Commands 3.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

from kobox.devices.medium import Medium, Source
from kobox.devices.state import Restore, save_state

GOOD, CHECK_CONDITION = 0, 2
NOT_READY, MEDIUM_ERROR, ILLEGAL_REQUEST, UNIT_ATTENTION, DATA_PROTECT, BLANK_CHECK, VOLUME_OVERFLOW = (
    2,
    3,
    5,
    6,
    7,
    8,
    13,
)
_MOST = 16 << 20  # bytes of one command
_MOST_RECORDS = 1 << 16  # blocks and file marks of a tape


class ScsiAnswer(NamedTuple):
    """What a device says to a command: its status, the data, and the sense data when the status is CHECK CONDITION."""

    status: int = GOOD
    data: bytes = b""
    sense: bytes = b""


class SenseError(Exception):
    """A command fails: the sense key, and the additional sense code and its qualifier."""

    def __init__(
        self, key: int, code: int = 0, qualifier: int = 0, *, flags: int = 0, residue: int = 0, data: bytes = b""
    ) -> None:
        self.data = data  # what the device gives all the same
        super().__init__(f"sense key {key}, code {code:#x}/{qualifier:#x}")
        self.sense = struct.pack(">BxBI B4xBB4x", 0xF0 if residue else 0x70, key | flags, residue, 10, code, qualifier)


INVALID_COMMAND = SenseError(ILLEGAL_REQUEST, 0x20)
INVALID_FIELD = SenseError(ILLEGAL_REQUEST, 0x24)
OUT_OF_RANGE = SenseError(ILLEGAL_REQUEST, 0x21)
NO_MEDIUM = SenseError(NOT_READY, 0x3A)

Handler = Callable[[bytes, bytes], bytes]


class ScsiDevice:
    """A logical unit. `commands` has the name of a method for each operation code; the method gets the command block
    and the data that came with it, and returns data, or raises `SenseError`."""

    kind: ClassVar[int] = 0x1F
    removable: ClassVar[bool] = False
    vendor: ClassVar[str] = "kobox"
    product: ClassVar[str] = "SCSI device"
    revision: ClassVar[str] = "1.0"
    commands: ClassVar[dict[int, str]] = {
        0x00: "test_unit_ready",
        0x03: "request_sense",
        0x12: "inquiry",
        0x1A: "mode_sense_6",
        0x1B: "start_stop",
        0x1E: "prevent_removal",
        0x5A: "mode_sense_10",
        0xA0: "report_luns",
    }

    def __init__(self, serial: str = "0001") -> None:
        self.serial = serial
        self._sense = b""
        self.sense_data = b""

    # -- for whatever carries the commands -----------------------------------------------------------------------

    def command(self, block: bytes, data: bytes = b"") -> ScsiAnswer:
        """Carry out a command: `block` is the command descriptor block, `data` what is written to the device."""
        try:
            name = self.commands.get(block[0] if block else -1)
            if name is None:
                raise INVALID_COMMAND
            handler: Handler = getattr(self, name)
            answer = handler(bytes(block).ljust(16, b"\0"), data)
        except SenseError as error:
            self.sense_data = error.sense
            return ScsiAnswer(CHECK_CONDITION, error.data, error.sense)
        except OSError:
            self.sense_data = SenseError(MEDIUM_ERROR, 0x11).sense
            return ScsiAnswer(CHECK_CONDITION, b"", self.sense_data)
        return ScsiAnswer(GOOD, answer)

    def save(self) -> Restore:
        """For a checkpoint: a function that gives the device the state back that it has now."""
        return save_state(self)

    # -- what every device has -----------------------------------------------------------------------------------

    def test_unit_ready(self, block: bytes, data: bytes) -> bytes:
        return b""

    def request_sense(self, block: bytes, data: bytes) -> bytes:
        sense, self.sense_data = self.sense_data or b"\x70".ljust(18, b"\0"), b""
        return sense[: block[4]]

    def start_stop(self, block: bytes, data: bytes) -> bytes:
        return b""

    def prevent_removal(self, block: bytes, data: bytes) -> bytes:
        return b""

    def report_luns(self, block: bytes, data: bytes) -> bytes:
        return struct.pack(">I4x8x", 8)[: int.from_bytes(block[6:10], "big")]

    def inquiry(self, block: bytes, data: bytes) -> bytes:
        room = int.from_bytes(block[3:5], "big")
        if block[1] & 1:
            page = self.vital_pages().get(block[2])
            if page is None:
                raise INVALID_FIELD
            return (struct.pack(">BBH", self.kind, block[2], len(page)) + page)[:room]
        name = f"{self.vendor:8.8}{self.product:16.16}{self.revision:4.4}".encode()
        head = bytes([self.kind, 0x80 if self.removable else 0, 5, 2, 31, 0, 0, 2])
        return (head + name)[:room]

    def vital_pages(self) -> dict[int, bytes]:
        """The vital product data pages, by number."""
        name = f"{self.vendor:8.8}{self.serial}".encode()
        pages = {0x80: self.serial.encode(), 0x83: bytes([2, 1, 0, len(name)]) + name}
        return {0: bytes([0, *pages]), **pages}

    def mode_sense_6(self, block: bytes, data: bytes) -> bytes:
        pages = self._mode_pages(block)
        return (bytes([3 + len(pages), 0, self.mode_parameter(), 0]) + pages)[: block[4]]

    def mode_sense_10(self, block: bytes, data: bytes) -> bytes:
        pages = self._mode_pages(block)
        head = struct.pack(">HBB4x", 6 + len(pages), 0, self.mode_parameter())
        return (head + pages)[: int.from_bytes(block[7:9], "big")]

    def _mode_pages(self, block: bytes) -> bytes:
        pages, wanted = self.mode_pages(), block[2] & 0x3F
        if wanted != 0x3F and wanted not in pages:
            raise INVALID_FIELD
        return b"".join(bytes([n, len(p)]) + p for n, p in pages.items() if wanted in (0x3F, n))

    def mode_parameter(self) -> int:
        """The device-specific parameter of MODE SENSE."""
        return 0

    def mode_pages(self) -> dict[int, bytes]:
        """The mode pages, by number."""
        return {}


class ScsiDisk(ScsiDevice):
    """A disk (`sd_mod`): `medium` is an image's path, bytes, or a size in bytes."""

    kind = 0
    product = "Disk"
    sector: ClassVar[int] = 512
    commands: ClassVar[dict[int, str]] = {
        **ScsiDevice.commands,
        0x08: "read_6",
        0x0A: "write_6",
        0x25: "read_capacity",
        0x28: "read_10",
        0x2A: "write_10",
        0x2F: "verify",
        0x35: "synchronize",
        0x88: "read_16",
        0x8A: "write_16",
        0x91: "synchronize",
        0x9E: "service_action",
        0xA8: "read_12",
        0xAA: "write_12",
    }

    def __init__(self, medium: Source | Medium, *, serial: str = "0001", readonly: bool = False) -> None:
        super().__init__(serial)
        self.medium = medium if isinstance(medium, Medium) else Medium(medium, readonly=readonly)

    def mode_parameter(self) -> int:
        return 0x80 if self.medium.readonly else 0

    def mode_pages(self) -> dict[int, bytes]:
        return {8: bytes([0x04]).ljust(18, b"\0")}  # caching: the write cache is on

    def vital_pages(self) -> dict[int, bytes]:
        pages = super().vital_pages() | {0xB0: bytes(60), 0xB1: struct.pack(">HH56x", 1, 0)}
        return pages | {0: bytes(sorted(pages))}

    def read_capacity(self, block: bytes, data: bytes) -> bytes:
        last = self.medium.size // self.sector - 1
        return struct.pack(">II", min(last, 0xFFFFFFFF), self.sector)

    def service_action(self, block: bytes, data: bytes) -> bytes:
        if block[1] & 31 != 0x10:
            raise INVALID_FIELD
        answer = struct.pack(">QI20x", self.medium.size // self.sector - 1, self.sector)
        return answer[: int.from_bytes(block[10:14], "big")]

    def synchronize(self, block: bytes, data: bytes) -> bytes:
        return b""

    def verify(self, block: bytes, data: bytes) -> bytes:
        return b""

    def read_6(self, block: bytes, data: bytes) -> bytes:
        return self._read(int.from_bytes(block[1:4], "big") & 0x1FFFFF, block[4] or 256)

    def read_10(self, block: bytes, data: bytes) -> bytes:
        return self._read(int.from_bytes(block[2:6], "big"), int.from_bytes(block[7:9], "big"))

    def read_12(self, block: bytes, data: bytes) -> bytes:
        return self._read(int.from_bytes(block[2:6], "big"), int.from_bytes(block[6:10], "big"))

    def read_16(self, block: bytes, data: bytes) -> bytes:
        return self._read(int.from_bytes(block[2:10], "big"), int.from_bytes(block[10:14], "big"))

    def write_6(self, block: bytes, data: bytes) -> bytes:
        return self._write(int.from_bytes(block[1:4], "big") & 0x1FFFFF, block[4] or 256, data)

    def write_10(self, block: bytes, data: bytes) -> bytes:
        return self._write(int.from_bytes(block[2:6], "big"), int.from_bytes(block[7:9], "big"), data)

    def write_12(self, block: bytes, data: bytes) -> bytes:
        return self._write(int.from_bytes(block[2:6], "big"), int.from_bytes(block[6:10], "big"), data)

    def write_16(self, block: bytes, data: bytes) -> bytes:
        return self._write(int.from_bytes(block[2:10], "big"), int.from_bytes(block[10:14], "big"), data)

    def _check(self, sector: int, count: int) -> None:
        if (sector + count) * self.sector > self.medium.size or count * self.sector > _MOST:
            raise OUT_OF_RANGE

    def _read(self, sector: int, count: int) -> bytes:
        self._check(sector, count)
        return self.medium.read(sector * self.sector, count * self.sector)

    def _write(self, sector: int, count: int, data: bytes) -> bytes:
        self._check(sector, count)
        if self.medium.readonly:
            raise SenseError(DATA_PROTECT, 0x27)
        self.medium.write(sector * self.sector, data[: count * self.sector])
        return b""


class ScsiCdrom(ScsiDisk):
    """A CD-ROM drive (`sr_mod`) with a disc in it; `eject()` takes it out, `insert()` puts another in."""

    kind = 5
    removable = True
    product = "CD-ROM"
    sector = 2048
    commands: ClassVar[dict[int, str]] = {
        **ScsiDisk.commands,
        0x43: "read_toc",
        0x46: "get_configuration",
        0x4A: "get_event_status",
        0x51: "read_disc_information",
        0xBE: "invalid",
    }

    def __init__(self, medium: Source | Medium | None = None, *, serial: str = "0001") -> None:
        super().__init__(Medium(self.sector) if medium is None else medium, serial=serial, readonly=True)
        self.medium.readonly = True
        self.loaded = medium is not None
        self._changed = False

    def insert(self, medium: Source | Medium) -> None:
        """Put a disc in."""
        self.medium = medium if isinstance(medium, Medium) else Medium(medium, readonly=True)
        self.loaded = self._changed = True

    def eject(self) -> None:
        """Take the disc out."""
        self.loaded = False
        self._changed = True

    def command(self, block: bytes, data: bytes = b"") -> ScsiAnswer:
        always = (0x03, 0x12, 0x46, 0x4A, 0xA0)
        if self._changed and block[:1] and block[0] not in always:
            self._changed = False
            self.sense_data = SenseError(UNIT_ATTENTION, 0x28).sense  # the medium may have changed
            return ScsiAnswer(CHECK_CONDITION, b"", self.sense_data)
        if not self.loaded and block[:1] and block[0] not in (*always, 0x1A, 0x1B, 0x1E, 0x5A):
            self.sense_data = NO_MEDIUM.sense
            return ScsiAnswer(CHECK_CONDITION, b"", self.sense_data)
        return super().command(block, data)

    def start_stop(self, block: bytes, data: bytes) -> bytes:
        if block[4] & 3 == 2:
            self.eject()
        return b""

    def mode_parameter(self) -> int:
        return 0

    def mode_pages(self) -> dict[int, bytes]:
        return {0x2A: struct.pack(">BBBBBBHHHH4x", 0, 0, 0x71, 0x60, 0x29, 0, 0x0B00, 0, 0, 0x0B00)}

    def read_toc(self, block: bytes, data: bytes) -> bytes:
        end = self.medium.size // self.sector
        minutes = struct.pack(">xBBB", *self._minutes(end)) if block[1] & 2 else struct.pack(">I", end)
        start = struct.pack(">xBBB", *self._minutes(0)) if block[1] & 2 else bytes(4)
        body = bytes([1, 1, 0, 0x14, 1, 0]) + start + bytes([0, 0x14, 0xAA, 0]) + minutes
        if block[2] & 15 == 1 or block[9] >> 6 == 1:  # sessions
            body = bytes([1, 1, 0, 0x14, 1, 0]) + start
        return (struct.pack(">H", len(body)) + body)[: int.from_bytes(block[7:9], "big")]

    @staticmethod
    def _minutes(sector: int) -> tuple[int, int, int]:
        sector += 150
        return sector // 4500 & 0xFF, sector // 75 % 60, sector % 75

    def get_configuration(self, block: bytes, data: bytes) -> bytes:
        profile = 8 if self.loaded else 0
        body = struct.pack(">HH", 0, profile) + struct.pack(">HBBHBB", 0, 3, 4, 8, bool(profile), 0)
        return (struct.pack(">I", len(body)) + body)[: int.from_bytes(block[7:9], "big")]

    def get_event_status(self, block: bytes, data: bytes) -> bytes:
        if not block[4] & 0x10:
            return struct.pack(">HBB", 2, 0x80, 0x10)[: int.from_bytes(block[7:9], "big")]
        event = (2 if self.loaded else 3) if self._changed else 0
        body = struct.pack(">HBBBB2x", 6, 4, 0x10, event, 2 if self.loaded else 0)
        return body[: int.from_bytes(block[7:9], "big")]

    def read_disc_information(self, block: bytes, data: bytes) -> bytes:
        return struct.pack(">HBBBBBB26x", 32, 0x0E, 1, 1, 1, 1, 0x20)[: int.from_bytes(block[7:9], "big")]

    def invalid(self, block: bytes, data: bytes) -> bytes:
        raise INVALID_FIELD


class ScsiTape(ScsiDevice):
    """A tape drive (`st`) with a tape in it: blocks as they were written, None for each file mark."""

    kind = 1
    removable = True
    product = "Tape"
    capacity: ClassVar[int] = 64 << 20
    """Bytes of all blocks together."""
    commands: ClassVar[dict[int, str]] = {
        **ScsiDevice.commands,
        0x01: "rewind",
        0x05: "block_limits",
        0x08: "read_block",
        0x0A: "write_block",
        0x10: "write_file_marks",
        0x11: "space",
        0x15: "mode_select",
        0x16: "start_stop",
        0x17: "start_stop",
        0x19: "erase",
        0x34: "read_position",
    }

    def __init__(self, records: Sequence[bytes | None] = (), *, serial: str = "0001") -> None:
        super().__init__(serial)
        self.records: list[bytes | None] = list(records)
        self.position = 0

    def mode_parameter(self) -> int:
        return 0x10  # buffered

    def mode_sense_6(self, block: bytes, data: bytes) -> bytes:
        return bytes([11, 0, self.mode_parameter(), 8]).ljust(12, b"\0")[: block[4]]

    def mode_select(self, block: bytes, data: bytes) -> bytes:
        return b""

    def rewind(self, block: bytes, data: bytes) -> bytes:
        self.position = 0
        return b""

    def block_limits(self, block: bytes, data: bytes) -> bytes:
        return struct.pack(">IH", 1 << 20, 1)

    def read_block(self, block: bytes, data: bytes) -> bytes:
        wanted = int.from_bytes(block[2:5], "big")
        if block[1] & 1:
            raise INVALID_FIELD  # blocks of a fixed size
        if self.position >= len(self.records):
            raise SenseError(BLANK_CHECK, 0, 5, residue=wanted)
        record = self.records[self.position]
        self.position += 1
        if record is None:
            raise SenseError(0, 0, 1, flags=0x80, residue=wanted)
        if len(record) != wanted:
            residue = wanted - len(record) & 0xFFFFFFFF
            raise SenseError(0, flags=0x20, residue=residue, data=record[:wanted])
        return record

    def write_block(self, block: bytes, data: bytes) -> bytes:
        if block[1] & 1:
            raise INVALID_FIELD
        self._cut()
        held = sum(len(record) for record in self.records if record)
        if held + len(data) > self.capacity or len(self.records) >= _MOST_RECORDS:
            raise SenseError(VOLUME_OVERFLOW, 0, 2)  # the end of the tape
        self.records.append(bytes(data))
        self.position += 1
        return b""

    def write_file_marks(self, block: bytes, data: bytes) -> bytes:
        count = int.from_bytes(block[2:5], "big")
        if len(self.records) + count > _MOST_RECORDS:
            raise SenseError(VOLUME_OVERFLOW, 0, 2)
        if count:
            self._cut()
            self.records += [None] * count
            self.position = len(self.records)
        return b""

    def _cut(self) -> None:
        del self.records[self.position :]

    def space(self, block: bytes, data: bytes) -> bytes:
        count = int.from_bytes(block[2:5], "big", signed=True)
        kind = block[1] & 7
        if kind == 3:
            self.position = len(self.records)
            return b""
        step = 1 if count > 0 else -1
        for _ in range(abs(count)):
            self._step(step, file_mark=kind == 1)
        return b""

    def _step(self, step: int, *, file_mark: bool) -> None:
        while True:
            at = self.position if step > 0 else self.position - 1
            if not 0 <= at < len(self.records):
                raise SenseError(BLANK_CHECK if step > 0 else 0, 0, 5 if step > 0 else 4)
            self.position += step
            if not file_mark or self.records[at] is None:
                return

    def erase(self, block: bytes, data: bytes) -> bytes:
        self._cut()
        return b""

    def read_position(self, block: bytes, data: bytes) -> bytes:
        flags = 0x80 if self.position == 0 else 0
        return struct.pack(">B3xII8x", flags, self.position, self.position)
