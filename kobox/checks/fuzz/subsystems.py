"""Programs for what is no file: file systems, line disciplines, algorithms, types of keys, families of sockets."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence

from kobox.checks.fuzz.program import ExerciseStep, Program, step

_AT = "/tmp/kobox-mounted"
TERMINAL, _TERMINALS = "/dev/ptmx", "/dev/pts"
_TIOCSPTLCK, _TIOCSETD = 0x40045431, 0x5423  # include/uapi/asm-generic/ioctls.h
_OPTIONS = (b"", b"size=1", b"mode=700", b"x", b"a=b,c=d", b"," * 40, b"A" * 200)
_ALG, _SEQPACKET, _SOL_ALG, _SET_KEY = 38, 5, 279, 1  # include/uapi/linux/if_alg.h
_PROCESS_KEYRING = -2 & 0xFFFFFFFF  # include/uapi/linux/keyctl.h
_READ, _UPDATE, _REVOKE, _DESCRIBE, _UNLINK = 11, 2, 3, 6, 9
_TEXTS = (b"k" * 255, b"k", b"k" * 15, b"k" * 16, b"k" * 17, b"k" * 64, b"k" * 1024, b"1", b"user:name 12", bytes(32))


def _call(name: str, *arguments: object) -> ExerciseStep:
    return step("call", name, *arguments)


def file_system_programs(name: str) -> Iterator[Program]:
    """Mount it with each of some options, use what is there, make and remove files, and unmount it."""
    kind = name.encode() + b"\0"
    begin, end = _call("mkdir", _AT, 0o755), _call("umount2", _AT, 0)
    for options in _OPTIONS:
        mount = _call("mount", b"none\0", _AT, kind, 0, options + b"\0")
        yield (begin, mount, *_uses(), end)
    mount = _call("mount", b"none\0", _AT, kind, 0, 0)
    yield (begin, mount, _call("mount", b"none\0", _AT, kind, 0x20, b"x\0"), *_uses(), end)  # MS_REMOUNT
    sizes = [_call("getxattr", _AT, b"user.k\0", bytes(64), size) for size in (0, 1, 3, 20, 64)]
    yield (begin, mount, *sizes, _call("listxattr", _AT, bytes(64), 1), _call("listxattr", _AT, bytes(64), 64), end)
    yield (begin, mount, mount, step("open", _AT, os.O_RDONLY), end, end, step("close"), end, end)


def _uses() -> Iterator[ExerciseStep]:
    file, other = f"{_AT}/file", f"{_AT}/other"
    yield _call("statfs", _AT, bytes(128))
    yield step("open", _AT, os.O_RDONLY)
    yield step("use", "getdents64", bytes(2048), 2048)
    yield step("close")
    yield step("make", "open", file, os.O_RDWR | os.O_CREAT, 0o644)
    yield step("write", b"k" * 100)
    yield step("pwrite", b"z" * 5000, 4000)
    yield step("lseek", 0, 0)
    yield step("read", 8192)
    yield step("mmap", 8192, 3, 1, 0)
    yield step("ftruncate", 10)
    yield step("fsync")
    yield step("close")
    yield _call("mkdir", f"{_AT}/directory", 0o755)
    yield _call("symlink", b"file\0", f"{_AT}/link")
    yield _call("readlink", f"{_AT}/link", bytes(64), 64)
    yield _call("link", file, f"{_AT}/second")
    yield _call("rename", file, other)
    yield _call("setxattr", other, b"user.k\0", b"v" * 20, 20, 0)
    yield _call("getxattr", other, b"user.k\0", bytes(64), 64)
    yield _call("listxattr", other, bytes(64), 64)
    yield _call("stat", f"{_AT}/{'n' * 255}", bytes(144))
    yield _call("unlink", other)
    yield _call("unlink", f"{_AT}/second")
    yield _call("unlink", f"{_AT}/link")
    yield _call("rmdir", f"{_AT}/directory")


def line_discipline_programs(number: int) -> Iterator[Program]:
    """A pseudo-terminal whose slave has a line discipline: bytes from the wire and from the program."""
    begin = (
        _call("mkdir", _TERMINALS, 0o755),
        _call("mount", b"devpts\0", _TERMINALS, b"devpts\0", 0, 0),
        step("open", TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK),
        step("ioctl", _TIOCSPTLCK, bytes(4)),
        step("peer", 0, slot=1),
        step("ioctl", _TIOCSETD, struct.pack("<i", number), slot=1),
    )
    yield (*begin, step("write", b"kobox\n"), step("sleep", 0.1), step("read", 64, slot=1), step("poll", 5, slot=1))
    yield (
        *begin,
        *(step("write", b"k" * size) for size in (1, 31, 32, 33, 64, 255, 256, 1000, 4000)),
        step("sleep", 0.1),
        *(step("read", size, slot=1) for size in (1, 64, 4096)),
    )
    yield (*begin, step("write", bytes(range(256))), step("sleep", 0.1), step("read", 300, slot=1))
    yield (*begin, *(step("write", b"k" * size, slot=1) for size in (1, 64, 300, 5000)), step("read", 5000))
    requests = (
        0x540B,
        0x5411,
        0x541B,
        0x5424,
        0x5401,
        *range(0x5440, 0x5460),
    )  # TCFLSH, TIOCOUTQ, FIONREAD, TIOCGETD …
    yield (*begin, *(step("ioctl", request, bytes(64), slot=1) for request in requests), step("close"))
    yield (*begin, step("ioctl", _TIOCSETD, bytes(4), slot=1), step("close", slot=1), step("write", b"k"))


def algorithm_programs(kind: str, name: str) -> Iterator[Program]:
    """Sockets of AF_ALG with an algorithm: keys of all lengths, data in pieces, at bounds of blocks, and none."""
    address = struct.pack("<H14sII64s", _ALG, kind.encode(), 0, 0, name.encode())
    bound = (step("socket", _ALG, _SEQPACKET, 0), step("use", "bind", address, len(address)))
    for size in (0, 8, 16, 24, 32, 5, 64, 300):
        key = (step("use", "setsockopt", _SOL_ALG, _SET_KEY, b"k" * size, size),) if size else ()
        accepted = (*bound, *key, step("accept", 0, slot=1))
        yield (*accepted, step("write", b"d" * 16, slot=1), step("read", 64, slot=1))
        yield (*accepted, *_pieces((1, 7, 8, 9, 63, 64, 65, 1000)), step("read", 64, slot=1))
    for size in (1, 8, 15, 16, 17, 63, 64, 65, 4096, 10000):
        yield (*bound, step("accept", 0, slot=1), step("write", b"d" * size, slot=1), step("read", size, slot=1))


def _pieces(sizes: Sequence[int]) -> Iterator[ExerciseStep]:
    """Data with more to come: send(2) with MSG_MORE."""
    for size in sizes:
        yield step("use", "sendto", b"p" * size, size, 0x8000, 0, 0, slot=1)
    yield step("use", "sendto", b"", 0, 0, 0, 0, slot=1)


def key_programs(name: str) -> Iterator[Program]:
    """Keys of a type: added with short and long texts, read, described, updated, revoked, and asked for."""
    kind = name.encode() + b"\0"
    for text in _TEXTS:
        add = step("make", "add_key", kind, b"kobox:1\0", text, len(text), _PROCESS_KEYRING)
        yield (
            add,
            *(step("keyctl", operation, bytes(300), 300, 0) for operation in (_READ, _DESCRIBE)),
            *(step("keyctl", _READ, bytes(size), size, 0) for size in (0, 1, 8)),
            step("keyctl", _UPDATE, text * 2, 2 * len(text), 0),
            step("keyctl", _READ, bytes(3000), 3000, 0),
            step("keyctl", _REVOKE, 0, 0, 0),
            step("keyctl", _UNLINK, _PROCESS_KEYRING, 0, 0),
            step("sleep", 0.5),
        )
    yield (_call("request_key", kind, b"kobox:2\0", b"callout\0", _PROCESS_KEYRING),)


def socket_programs(family: int) -> Iterator[Program]:
    """Sockets of a family: addresses, options and data of all lengths."""
    for kind in (1, 2, 3, 5):
        opened = step("socket", family, kind, 0)
        addresses = [
            struct.pack("<H", family) + bytes((fill,)) * size for size in (0, 6, 14, 26, 126) for fill in (0, 1, 255)
        ]
        yield (opened, *(step("use", "bind", address, len(address)) for address in addresses), step("recv", 64))
        yield (
            opened,
            *(step("connect", address) for address in addresses[:6]),
            step("write", b"x" * 64),
            step("recv", 64),
        )
        yield (
            opened,
            *(step("sendto", b"d" * size, addresses[3]) for size in (0, 1, 64, 1500, 70000)),
            step("recv", 4096),
        )
        yield (
            opened,
            step("use", "bind", addresses[0], len(addresses[0])),
            step("use", "listen", 1),
            step("poll", 7),
            step("use", "getsockname", bytes(128), struct.pack("<I", 128)),
            step("use", "shutdown", 2),
        )
        for level in (0, 1, family, 256 + family):
            yield (
                opened,
                *(step("use", "setsockopt", level, name, struct.pack("<I", 1), 4) for name in range(1, 9)),
                *(step("use", "setsockopt", level, name, b"\xff" * 64, 64) for name in range(1, 9)),
                *(step("use", "getsockopt", level, name, bytes(64), struct.pack("<I", 64)) for name in range(1, 9)),
            )
        yield (opened, *(step("ioctl", request, bytes(64)) for request in (0x541B, 0x8906, *range(0x89E0, 0x89F0))))
