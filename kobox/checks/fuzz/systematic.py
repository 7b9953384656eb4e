"""Programs that use a file or a network interface in each way once."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from kobox.arch.abi import GENERIC_TERMINAL
from kobox.checks.fuzz.program import ExerciseStep, Material, Program, step

if TYPE_CHECKING:
    from kobox.checks.module.files import Target

SIZES = (0, 1, 7, 64, 4095, 4096, 4097, 65536)
OFFSETS = (0, 1, -1, 4095, 4096, 1 << 31, (1 << 63) - 1, -(1 << 63))
TEXTS = (b"0", b"1", b"-1", b"1\n", b"2147483648", b"x", b"%s%n", b"A" * 4096, b"\0" * 64, b"\xff" * 64)
EVENTS = 0x1 | 0x4 | 0x2
_READ, _WRITE = os.O_RDONLY, os.O_WRONLY
_SHARED, _PRIVATE = 1, 2


def systematic_programs(target: Target, material: Material) -> Iterator[Program]:
    """Programs that use a file in each way once: first as it is meant, then at its bounds, then with malice."""
    if target.interface:
        yield from interface_programs(target.interface)
        return
    path, both = target.path, target.flags
    opened = step("open", path, both)
    text = target.value or b"x"
    yield from ((step("mknod", *target.node), opened) for _ in range(bool(target.node)))
    yield (opened, step("read", 4096), step("lseek", 0, 0), step("read", 64), step("read", 64))
    yield (
        opened,
        step("write", text),
        step("lseek", 0, 0),
        step("read", 4096),
        step("poll", EVENTS),
    )
    for request in material.requests if target.is_device else ():
        size = request >> 16 & 0x3FFF
        yield (
            opened,
            step("ioctl", request, bytes(max(size, 64))),
            step("write", text),
            step("ioctl", request, bytes(max(size, 64))),
            step("ioctl", request, b"\xff" * max(size, 64)),
            step("ioctl", request, 0),
            step("ioctl", request, 1),
        )
    for request in material.requests if target.is_device else ():
        yield from ((opened, *steps) for steps in _at_bounds(request, material.bounds))
    yield (step("open", path, _READ), step("read", 1), step("read", 1), step("write", b"x"))
    yield (step("open", path, _WRITE), step("write", text), step("write", text), step("read", 1))
    yield (
        step("open", path, both | os.O_NONBLOCK),
        step("read", 64),
        step("write", text),
        step("read", 64),
    )
    yield (
        opened,
        step("open", path, both, slot=1),
        step("write", text),
        step("read", 64, slot=1),
        step("close"),
        step("read", 64, slot=1),
    )
    yield (
        opened,
        *(step("write", bytes(size)) for size in SIZES),
        step("lseek", 0, 0),
        *(step("read", size) for size in SIZES),
    )
    for word in (*TEXTS, *material.words):
        asked = (step("ioctl", request, bytes(64)) for request in (material.requests[:4] if target.is_device else ()))
        yield (opened, step("write", word), step("lseek", 0, 0), step("read", 64), *asked)
    yield (
        opened,
        *(step("pread", 64, offset) for offset in OFFSETS),
        *(step("pwrite", b"xyz", offset) for offset in OFFSETS),
    )
    yield (
        opened,
        *(step("lseek", offset, whence) for whence in (0, 1, 2) for offset in OFFSETS),
        step("read", 64),
    )
    for back in (4096, 1):
        yield (
            opened,
            *(step("lseek", -back, os.SEEK_END), step("read", back), step("read", 1)),
            *(step("lseek", -back, os.SEEK_END), step("write", b"y" * back), step("write", b"z")),
            step("fsync"),
        )
    yield (
        opened,
        *(step("read_at", address, 64) for address in material.hostile),
        *(step("write_at", address, 64) for address in material.hostile),
    )
    yield (
        step("open", path, both | os.O_APPEND),
        step("write", text),
        step("fsync"),
        step("ftruncate", 0),
    )
    yield (
        opened,
        step("fcntl", 4, 0o20000),
        step("write", text),
        step("fcntl", 4, 0),
    )  # F_SETFL, O_ASYNC
    if target.is_device:
        yield (
            opened,
            step("mmap", 4096, 3, _SHARED, 0),
            step("mmap", 4096, 1, _SHARED, 0),
            step("mmap", 4096, 3, _PRIVATE, 0),
        )
        yield (
            opened,
            *(
                step("mmap", length, 3, _SHARED, offset)
                for length in (1, 8192, 1 << 24)
                for offset in (0, 4096, 1 << 40)
            ),
        )
        for request in (
            *material.requests,
            *material.numbers,
            *range(8),
            GENERIC_TERMINAL.tcgets,
            GENERIC_TERMINAL.fionread,
        ):
            yield (
                opened,
                *(step("ioctl", request, address) for address in material.hostile),
                step("ioctl", request, -1),
            )


def _at_bounds(request: int, bounds: Sequence[int]) -> Iterator[Program]:
    """The calls of a request whose structure has a number that the module compares with, or the next one, in one of
    its first words."""
    size = request >> 16 & 0x3FFF
    values = sorted({value & 0xFFFFFFFF for bound in bounds for value in (bound - 1, bound, bound + 1)})
    for at in range(0, min(size, 16) - 3 if values else 0, 4):
        yield tuple(
            step("ioctl", request, bytes(at) + struct.pack("<I", value) + bytes(size - at - 4)) for value in values
        )


_SOCKET = step("socket", 2, 2, 0)  # AF_INET, SOCK_DGRAM


def interface_programs(name: str) -> Iterator[Program]:
    """Programs that use a network interface: up with an address, packets out, its settings at their bounds, and
    down."""

    def asked(request: int, content: bytes) -> ExerciseStep:
        return step("ioctl", request, name.encode().ljust(16, b"\0") + content.ljust(24, b"\0"))

    address = struct.pack("<HH4s", 2, 0, bytes((10, 99, 7, 1)))
    peer = struct.pack("<H2s4s8x", 2, b"\0\x09", bytes((10, 99, 7, 2)))
    up, down = asked(0x8914, struct.pack("<H", 1)), asked(0x8914, b"")  # SIOCSIFFLAGS
    begin = (_SOCKET, asked(0x8916, address), up)  # SIOCSIFADDR
    yield (_SOCKET, up, down, up, down)
    yield (
        *begin,
        *(step("sendto", bytes(size), peer) for size in (1, 64, 1400, 9000)),
        step("sleep", 5.0),
        down,
    )
    for mtu in (68, 1500, 9000, 65536, -1):  # SIOCSIFMTU
        yield (*begin, asked(0x8922, struct.pack("<i", mtu)), step("sendto", bytes(1000), peer), down)
    yield (*begin, down, asked(0x8924, struct.pack("<H6s", 1, b"\2kobox")), up, step("sendto", b"x", peer), down)
    yield (
        *begin,
        *(asked(request, bytes(24)) for request in (0x8913, 0x8915, 0x8921, 0x8927, 0x8942, 0x8947, 0x8948, 0x8970)),
        down,
    )
    yield (
        *begin,
        asked(0x8914, struct.pack("<H", 0x1101)),
        step("sendto", b"x", peer),
        down,
    )  # promiscuous, multicast
    yield (*begin, *(asked(request, b"\xff" * 24) for request in range(0x89F0, 0x8A00)), down)  # SIOCDEVPRIVATE
