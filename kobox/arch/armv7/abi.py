"""What user space hands to an ARM kernel (arch/arm/include/uapi/asm)."""

from __future__ import annotations

import os
import struct

from kobox.arch.abi import GENERIC_TERMINAL, GuestAbi
from kobox.arch.stat import stat_result

# arch/arm/include/uapi/asm/fcntl.h
_OPEN_FLAGS = {"O_DIRECTORY": 0o40000, "O_NOFOLLOW": 0o100000, "O_DIRECT": 0o200000, "O_LARGEFILE": 0o400000}
_STAT64 = struct.Struct("<Q4xIIIIIQ8xqI4xQ6IQ")


def parse_stat(data: bytes) -> os.stat_result:
    """struct stat64 of arch/arm/include/uapi/asm/stat.h as Python's own result."""
    dev, _, mode, nlink, uid, gid, rdev, size, blksize, blocks, *times, ino = _STAT64.unpack_from(data)
    return stat_result((mode, ino, dev, nlink, uid, gid, size), (rdev, blksize, blocks), times)


ABI = GuestAbi(open_flags=_OPEN_FLAGS, parse_stat=parse_stat, terminal=GENERIC_TERMINAL)
