"""Programs that use a file, a network interface or a family of sockets in each way once."""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from kobox.arch.abi import GENERIC_TERMINAL
from kobox.checks.fuzz.comparisons import distinct
from kobox.checks.fuzz.network import interface_programs, netlink_programs, packet_programs
from kobox.checks.fuzz.program import ExerciseStep, Material, Program, step
from kobox.checks.fuzz.seeds import scanned
from kobox.checks.fuzz.structures import BORDERS, FILES, TAKES_FILES, contents_of
from kobox.checks.fuzz.subsystems import (
    algorithm_programs,
    file_system_programs,
    key_programs,
    line_discipline_programs,
    socket_programs,
)

if TYPE_CHECKING:
    from kobox.checks.module.files import Target

SIZES = (0, 1, 7, 64, 4095, 4096, 4097, 65536)
OFFSETS = (0, 1, -1, 4095, 4096, 1 << 31, (1 << 63) - 1, -(1 << 63))
TEXTS = (b"0", b"1", b"-1", b"1\n", b"2147483648", b"x", b"%s%n", b"A" * 4096, b"\0" * 64, b"\xff" * 64)
EVENTS = 0x1 | 0x4 | 0x2
_PARSED = (
    *(
        b"12",
        b"31",
        b"32",
        b"33",
        b"63",
        b"64",
        b"65",
        b"100",
        b"127",
        b"128",
        b"255",
        b"256",
        b"1000",
        b"65535",
        b"65536",
    ),
    *(
        b"4294967295",
        b"-2147483648",
        b"9223372036854775807",
        b"0x7fffffff",
        b"on",
        b"off",
        b"y",
        b"n",
        b"enable",
        b"all",
    ),
    *(
        b"1,2",
        b"1 2",
        b"1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20",
        b"1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18",
    ),
    *(b"a=1", b"a:1", b"a 1", b"key value", b"k" * 40 + b" 1", b"k" * 40 + b"=" + b"v" * 200, b"/" * 100, b"1.2.3.4"),
)
_GROUP = 8  # calls of one request in one program
_MANY_TIMES = 20
_SMALL_REQUESTS = 8  # numbers of ioctl that are asked for in any case
_PARAMETERS = "/sys/module/"
_SMALL_SEQUENCE = 32  # numbers below this are asked for one after the other
_ASKED = 12  # texts after which the requests are made as well
_READ, _WRITE = os.O_RDONLY, os.O_WRONLY
_SHARED, _PRIVATE = 1, 2


def systematic_programs(target: Target, material: Material) -> Iterator[Program]:
    """Programs that use a target in each way once: first as it is meant, then at its bounds, then with malice."""
    if not target.made_by:
        yield from _programs_of(target, material)
        return
    path, mode = target.made_by
    for program in _programs_of(target, material):
        yield (step("call", "mkdir", path, mode), *program, step("close"), step("call", "rmdir", path))


def _of_subsystem(subsystem: tuple[str, ...]) -> Iterator[Program]:
    match subsystem:
        case ("file system", name):
            yield from file_system_programs(name)
        case ("algorithm", kind, name):
            yield from algorithm_programs(kind, name)
        case ("key type", name):
            yield from key_programs(name)
        case ("sockets", family):
            yield from socket_programs(int(family))
        case ("line discipline", number):
            yield from line_discipline_programs(int(number))


def _programs_of(target: Target, material: Material) -> Iterator[Program]:
    if target.subsystem:
        yield from _of_subsystem(target.subsystem)
        return
    if target.interface:
        yield from interface_programs(target.interface, target.index)
        return
    if target.packets:
        yield from packet_programs(target.types, target.protocols)
        return
    if target.netlink:
        yield from netlink_programs(*target.netlink)
        return
    path, both = target.path, target.flags
    opened = step("open", path, both)
    if path.startswith(_PARAMETERS):  # code of the kernel's own: what matters is the value
        for word in dict.fromkeys((*_PARSED, *_written(material))):
            yield (opened, step("write", word), step("lseek", 0, 0), step("read", 64))
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
        step("open", path, both, slot=1),
        step("write", text, slot=1),
        step("close", slot=1),
        step("read", 64),
        step("write", text),
        *(step("ioctl", request, bytes(64)) for request in (material.requests[:4] if target.is_device else ())),
        step("poll", EVENTS),
    )
    if target.is_device:
        yield from _by_other_calls(target, opened, text)
        yield from _at_the_end(opened)
        yield from _small_requests(opened, material)
    texts = (step("write", text) for form in material.formats for text in scanned(form))
    for group in _in_groups(texts) if target.flags & 3 != _READ else ():
        yield (opened, *group)
    for request in material.requests if target.is_device else ():
        yield (opened, step("ioctl", request, distinct(request >> 16 & 0x3FFF or 64)))
    for good in (b"1", text, b"A" * 8, struct.pack("<II", 1, 1)):
        yield (opened, *(step("write", good) for _ in range(_MANY_TIMES)), step("read", 4096), step("sleep", 0.2))
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
        files = FILES if material.imports & TAKES_FILES else ()
        contents = contents_of(request >> 16 & 0x3FFF, material.bounds, material.magics, files)
        if files:
            yield (
                opened,
                *(step("ioctl", request, number) for number in files),
                *(step("ioctl", request, number) for number in files),
            )
        for group in _in_groups(step("ioctl", request, content) for content in contents):
            yield (opened, *group)
    yield (step("open", path, _READ), step("read", 1), step("read", 1), step("write", b"x"))
    yield (step("open", path, _WRITE), step("write", text), step("write", text), step("read", 1))
    yield (
        opened,
        *(step("write", bytes(size)) for size in SIZES),
        step("lseek", 0, 0),
        *(step("read", size) for size in SIZES),
    )
    for size in (4, 8, 16, 40, 64, 256) if target.flags & 3 != _READ else ():
        yield (opened, step("write", distinct(size)))
    for number, word in enumerate(_written(material)):
        asked = (
            step("ioctl", request, bytes(64))
            for request in (material.requests[:4] if target.is_device and number < _ASKED else ())
        )
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
    if not target.is_device:
        yield from _at_the_end(opened)
    yield (
        opened,
        *(step("read_at", address, 64) for address in (*material.hostile, *BORDERS)),
        *(step("write_at", address, 64) for address in (*material.hostile, *BORDERS)),
    )
    if not target.is_device:
        yield from _by_other_calls(target, opened, text)
    yield (
        step("open", path, both | os.O_APPEND),
        step("write", text),
        step("fsync"),
        step("ftruncate", 0),
    )
    if target.is_device:
        for request in (
            *material.requests,
            *material.numbers,
            *(bound for bound in material.bounds if bound >= _SMALL_REQUESTS),
            *range(_SMALL_REQUESTS),
            GENERIC_TERMINAL.tcgets,
            GENERIC_TERMINAL.fionread,
        ):
            yield (
                opened,
                *(step("ioctl", request, address) for address in (*material.hostile, *BORDERS)),
                step("ioctl", request, -1),
            )


def _by_other_calls(target: Target, opened: ExerciseStep, text: bytes) -> Iterator[Program]:
    """Operations of a file that read(2), write(2) and ioctl(2) do not reach."""
    yield (opened, *(step(call, size) for size in (64, 5000) for call in ("splice", "unsplice")))
    yield (
        opened,
        step("fcntl", 4, 0o20000),
        step("write", text),
        step("fcntl", 4, 0),
    )  # F_SETFL, O_ASYNC
    if target.is_device:
        yield (opened, *(step("aio", opcode, size) for size in (64, 5000) for opcode in (0, 1)))
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


def _at_the_end(opened: ExerciseStep) -> Iterator[Program]:
    """Reads and writes of what lies last in a file, and behind it."""
    for back in (4096, 1):
        yield (
            opened,
            *(step("lseek", -back, os.SEEK_END), step("read", back), step("read", 1)),
            *(step("lseek", -back, os.SEEK_END), step("write", b"y" * back), step("write", b"z")),
            step("fsync"),
        )


def _small_requests(opened: ExerciseStep, material: Material) -> Iterator[Program]:
    """Requests that are small numbers, one after the other, and all of them with the same argument: what one has made
    has a number that the next one takes. Forwards and backwards, as nobody knows which makes and which takes away."""
    small = sorted({*range(_SMALL_REQUESTS), *(bound for bound in material.bounds if bound < _SMALL_SEQUENCE)})
    for argument in (1, 0):
        for order in (small, small[::-1]):
            asked = [step("ioctl", request, argument) for request in order]
            yield (opened, *asked, *asked)


def _in_groups(steps: Iterable[ExerciseStep]) -> Iterator[Program]:
    """A few calls at a time: what one of them has done is there for the next."""
    found = iter(steps)
    while group := tuple(itertools.islice(found, _GROUP)):
        yield group


def _written(material: Material) -> Iterator[bytes]:
    """What to write: what the module compares with, then texts that parse, then numbers as they are in memory."""
    yield from (bytes((char,)) for char in material.chars)
    yield from (bytes((char,)) + b"100\n" for char in material.chars)
    yield from material.words
    yield from (word + tail for word in material.words for tail in (b" 1", b"=1", b" 100000"))
    yield from _PARSED
    yield from (b"%d" % (bound + more) for bound in material.bounds for more in (-1, 0, 1))
    for magic in material.magics:
        number = struct.pack("<I", magic & 0xFFFFFFFF)
        yield from (
            number,
            number + bytes(60),
            number + b"\xff" * 60,
            struct.pack(">I", magic & 0xFFFFFFFF) + bytes(60),
        )
    yield from TEXTS
