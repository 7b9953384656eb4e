"""A shared directory answers forged FUSE requests with an errno, and never leads out of itself."""

from __future__ import annotations

import errno
import os
import random
import struct
from pathlib import Path
from typing import cast

import pytest

from kobox.box.box import Box
from kobox.box.guest.host_share import ShareServer
from kobox.box.guest.stream_worker import StreamWorker

LOOKUP, FORGET, GETATTR, READLINK, READ, STATFS, INIT, READDIR = 1, 2, 3, 5, 15, 17, 26, 28
LAST = (1 << 64) - 1


@pytest.fixture
def server(tmp_path: Path) -> ShareServer:
    (tmp_path / "shared/below").mkdir(parents=True)
    (tmp_path / "shared/f.txt").write_text("x" * 100)
    (tmp_path / "shared/out").symlink_to("..")
    (tmp_path / "secret").write_text("secret")
    return ShareServer(cast(Box, None), str(tmp_path / "shared"), 3, cast(StreamWorker, None), 1.0)


def request(code: int, node: int, body: bytes) -> bytes:
    return struct.pack("<IIQQIIII", 40 + len(body), code, 1, node, 0, 0, 0, 0) + body


def ask(server: ShareServer, code: int, node: int, body: bytes = b"") -> tuple[int, bytes]:
    """(errno, body) of the answer."""
    reply = server.answer(request(code, node, body))
    size, number, unique = struct.unpack_from("<IiQ", reply)
    assert (size, unique) == (len(reply), 1)
    return -number, reply[16:]


def lookup(server: ShareServer, name: bytes, node: int = 1) -> int:
    return int(struct.unpack_from("<Q", ask(server, LOOKUP, node, name + b"\0")[1])[0])


def span(offset: int, size: int) -> bytes:
    return struct.pack("<QQI", 0, offset, size)


@pytest.mark.parametrize(
    ("code", "node", "body", "answer"),
    [
        (READ, "f.txt", span(1 << 63, 4096), errno.EINVAL),
        (READ, "f.txt", span(LAST, 0xFFFFFFFF), errno.EINVAL),
        (READ, "f.txt", span((1 << 63) - 1, 4096), errno.EINVAL),
        (READ, "f.txt", b"", errno.EINVAL),
        (READ, 1, span(0, 4096), errno.EACCES),
        (READDIR, 1, span(LAST, 4096), 0),
        (READDIR, "f.txt", span(0, 4096), errno.ENOTDIR),
        (LOOKUP, 1, b"..\0", errno.EINVAL),
        (LOOKUP, 1, b"../secret\0", errno.EINVAL),
        (LOOKUP, 1, b"/etc/passwd\0", errno.EINVAL),
        (LOOKUP, 1, b"\0", errno.EINVAL),
        (LOOKUP, 1, b"", errno.EINVAL),
        (LOOKUP, 1, b"a" * 5000 + b"\0", errno.ENAMETOOLONG),
        (LOOKUP, "f.txt", b"x\0", errno.ENOTDIR),
        (LOOKUP, "out", b"secret\0", errno.ENOTDIR),
        (READLINK, "f.txt", b"", errno.EINVAL),
        (GETATTR, 0, b"", errno.ESTALE),
        (GETATTR, LAST, b"", errno.ESTALE),
        (INIT, 1, b"", errno.EINVAL),
        (INIT, 1, struct.pack("<4I", 6, 0, 0, 0), errno.EPROTO),
        (59, 1, b"", errno.ENOSYS),
    ],
)
def test_forged_requests(server: ShareServer, code: int, node: int | str, body: bytes, answer: int) -> None:
    number = node if isinstance(node, int) else lookup(server, node.encode())
    assert ask(server, code, number, body)[0] in (answer, errno.ELOOP if answer == errno.ENOTDIR else answer)


def test_an_honest_request(server: ShareServer) -> None:
    assert ask(server, READ, lookup(server, b"f.txt"), span(90, 4096)) == (0, b"x" * 10)


def test_random_requests_raise_nothing_and_keep_few_files_open(server: ShareServer) -> None:
    chance = random.Random(1)
    open_before = len(os.listdir("/proc/self/fd"))
    codes = [LOOKUP, FORGET, GETATTR, READLINK, 14, READ, STATFS, INIT, 27, READDIR, 36, 42]
    for _ in range(5000):
        bodies = [
            b"f.txt\0",
            b"..\0",
            chance.randbytes(chance.randrange(80)),
            span(
                chance.choice([0, 50, 1 << 31, 1 << 62, (1 << 63) - 1, 1 << 63, LAST]), chance.choice([0, 0xFFFFFFFF])
            ),
        ]
        node = chance.choice([0, 1, 2, 3, 1 << 63, chance.randrange(1 << 64)])
        reply = server.answer(request(chance.choice([*codes, chance.randrange(60)]), node, chance.choice(bodies)))
        assert b"secret" not in reply
    assert len(os.listdir("/proc/self/fd")) <= open_before + 16
