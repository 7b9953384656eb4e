"""What shows the bugs of cases.toml: one function each, called with the box and the case, with the module loaded."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from kobox.box.box import Box

Case = dict[str, Any]


def _ioctl(box: Box, path: str, number: int, data: bytes | bytearray) -> None:
    """One ioctl; that it fails is no news."""
    with suppress(OSError):
        file = box.syscall("open", path, os.O_RDWR, 0)
        with suppress(OSError):
            box.syscall("ioctl", file, number, data)
        box.syscall("close", file)


class _Memory:
    """Memory of the box's process, for structures that point to others."""

    def __init__(self, box: Box) -> None:
        self._box = box
        ends = bytearray(8)
        box.syscall("pipe2", ends, 0)
        self._read, self._write = struct.unpack("<ii", ends)
        self._at = box.syscall("mmap", 0, 65536, 3, 0x22, -1 & 0xFFFFFFFF, 0)

    def put(self, data: bytes) -> int:
        """The address of a copy of some bytes."""
        at = self._at
        self._box.syscall("write", self._write, data, len(data))
        self._box.syscall("read", self._read, at, len(data))
        self._at += len(data) + 15 & -16
        return at


# -- comedi: COMEDI_DEVCONFIG takes a board's name and numbers that its driver reads (include/uapi/linux/comedi.h) --
_DEVCONFIG, _INSN = 0x40946400, 0x8028640C
_PORTS = 0x300
_READ, _WRITE = 0x04000000, 0x08000001  # INSN_READ, INSN_WRITE


def _configure(box: Box, board: str, *options: int) -> None:
    numbers = struct.pack("<32i", *options, *[0] * (32 - len(options)))
    _ioctl(box, "/dev/comedi0", _DEVCONFIG, board.encode().ljust(20, b"\0") + numbers)


def shift_by_an_interrupt_number(box: Box, case: Case) -> None:
    """A number that no interrupt has."""
    for number in (64, -1):
        _configure(box, case.get("board", case["name"]), _PORTS, number)


def attach_where_the_ports_are_taken(box: Box, case: Case) -> None:
    """Port 0x3f8 is the serial port's: the driver's attach function fails, and it has to clean up."""
    _configure(box, case.get("board", case["name"]), 0x3F8)


def _instruction(box: Box, case: Case, kind: int, subdevice: int, count: int) -> None:
    """struct comedi_insn: insn, n, data, subdev, chanspec, unused[3]."""
    box.insmod(case["built"] / "aio_iiro_16.ko")
    _configure(box, "aio_iiro_16", _PORTS)
    memory = _Memory(box)
    data = memory.put(bytes(4 * max(count, 1)))
    _ioctl(box, "/dev/comedi0", _INSN, struct.pack("<IIQII3I", kind, count, data, subdevice, 0, 0, 0, 0) + bytes(4))


def write_no_samples(box: Box, case: Case) -> None:
    """An output is written with no data."""
    _instruction(box, case, _WRITE, 0, 0)


def read_more_samples_than_come(box: Box, case: Case) -> None:
    """Sixteen samples of an input that gives one."""
    _instruction(box, case, _READ, 1, 16)


# -- hwmon: a chip whose second temperature sensor alone is there, played by i2c-stub --
_SLAVE_FORCE, _SMBUS = 0x0706, 0x0720
_ADDRESS = 0x2F


def half_of_the_subclients(box: Box, case: Case) -> None:
    """Register 0x4a (0x0c of the w83793) says that the first subclient is off, and both have the same address."""
    memory = _Memory(box)
    devices = "/sys/bus/i2c/devices"
    adapter = next(name for name in box.listdir(devices) if b"stub" in box.read_bytes(f"{devices}/{name}/name"))
    file = box.syscall("open", f"/dev/{adapter}", os.O_RDWR, 0)
    box.syscall("ioctl", file, _SLAVE_FORCE, _ADDRESS)
    value = memory.put(bytes((0x08,)) + bytes(33))
    for register in (0x4A, 0x0C):
        box.syscall("ioctl", file, _SMBUS, struct.pack("<BBxxIQ", 0, register, 2, value))
    box.syscall("close", file)
    with suppress(OSError):
        box.write_bytes(f"{devices}/{adapter}/new_device", f"{case['name']} {_ADDRESS:#x}\n".encode())


# -- device mapper: struct dm_ioctl, struct dm_target_spec (include/uapi/linux/dm-ioctl.h) --
def _dm(box: Box, command: int, name: str, payload: bytes = b"", targets: int = 0) -> None:
    size = 312 + len(payload)
    head = struct.pack("<6Ii3IQ", 4, 0, 0, size, 312, targets, 0, 0, 0, 0, 0)
    data = head.ljust(48, b"\0") + name.encode().ljust(128 + 129 + 7, b"\0") + payload
    _ioctl(box, "/dev/mapper/control", 0xC138FD00 | command, bytearray(data))


def a_table_line_that_ends_early(box: Box, case: Case) -> None:
    """A feature that wants more words than the line has."""
    line = b"/dev/loop0 0 0 1 2 corrupt_bio_byte 512\0"
    line = line.ljust(len(line) + 7 & -8, b"\0")
    target = struct.pack("<QQiI", 0, 8, 0, 40 + len(line)) + b"flakey".ljust(16, b"\0") + line
    _dm(box, 3, "case")
    _dm(box, 9, "case", target, 1)


# -- null_blk: devices are made in configfs --
def zones_of_eight_exabytes(box: Box, case: Case) -> None:
    """A zone with so many MiB that none of its sectors can be counted."""
    box.syscall("mount", "none", "/sys/kernel/config", "configfs", 0, None)
    place = "/sys/kernel/config/nullb/case"
    box.syscall("mkdir", place, 0o755)
    for name, value in (("size", 1 << 53), ("zoned", 1), ("zone_size", 1 << 53), ("power", 1)):
        with suppress(OSError):
            box.write_bytes(f"{place}/{name}", str(value).encode())
    with suppress(OSError):
        box.syscall("rmdir", place)


EXERCISES: dict[str, Callable[[Box, Case], None]] = {
    one.__name__: one
    for one in (
        shift_by_an_interrupt_number,
        attach_where_the_ports_are_taken,
        write_no_samples,
        read_more_samples_than_come,
        half_of_the_subclients,
        a_table_line_that_ends_early,
        zones_of_eight_exabytes,
    )
}
