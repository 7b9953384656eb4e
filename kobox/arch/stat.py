"""What `struct stat` of any architecture becomes in Python."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence

_GENERIC = struct.Struct("<QQIIIIQQqiiq6Q")


def parse_generic_stat(data: bytes) -> os.stat_result:
    """The 64-bit struct stat of include/uapi/asm-generic/stat.h. Raises `struct.error` for too few bytes."""
    dev, ino, mode, nlink, uid, gid, rdev, _, size, blksize, _, blocks, *times = _GENERIC.unpack_from(data)
    return stat_result((mode, ino, dev, nlink, uid, gid, size), (rdev, blksize, blocks), times)


def stat_result(first: tuple[int, ...], rest: tuple[int, int, int], times: Sequence[int]) -> os.stat_result:
    """Python's result of a `struct stat`.

    `first` is (mode, inode, device, links, user, group, size), `rest` (device number of a special file, block size,
    blocks of 512 bytes); `times` seconds and nanoseconds of the last access, change of contents, and change of status.
    """
    rdev, blksize, blocks = rest
    exact = [times[n] * 1_000_000_000 + times[n + 1] for n in (0, 2, 4)]
    extra = {
        "st_atime": exact[0] / 1e9,
        "st_mtime": exact[1] / 1e9,
        "st_ctime": exact[2] / 1e9,
        "st_atime_ns": exact[0],
        "st_mtime_ns": exact[1],
        "st_ctime_ns": exact[2],
        "st_blksize": blksize,
        "st_blocks": blocks,
        "st_rdev": rdev,
    }
    return os.stat_result((*first, *times[0::2]), extra)
