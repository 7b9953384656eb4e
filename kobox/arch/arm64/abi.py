"""What user space hands to an AArch64 kernel (arch/arm64/include/uapi/asm, include/uapi/asm-generic)."""

from __future__ import annotations

import os
import struct

from kobox.arch.abi import GENERIC_TERMINAL, GuestAbi
from kobox.arch.stat import stat_result

_STAT = struct.Struct("<QQIIIIQQqiiq6Q")

# arch/arm64/include/uapi/asm/fcntl.h
_OPEN_FLAGS = {"O_DIRECTORY": 0o40000, "O_NOFOLLOW": 0o100000, "O_DIRECT": 0o200000, "O_LARGEFILE": 0o400000}


def parse_stat(data: bytes) -> os.stat_result:
    """struct stat of include/uapi/asm-generic/stat.h as Python's own result."""
    dev, ino, mode, nlink, uid, gid, rdev, _, size, blksize, _, blocks, *times = _STAT.unpack_from(data)
    return stat_result((mode, ino, dev, nlink, uid, gid, size), (rdev, blksize, blocks), times)


ABI = GuestAbi(open_flags=_OPEN_FLAGS, parse_stat=parse_stat, terminal=GENERIC_TERMINAL)
