"""What user space hands to an x86-64 kernel (arch/x86/include/uapi/asm)."""

from __future__ import annotations

import os
import struct

from kobox.arch.abi import GENERIC_OPEN_FLAGS, GENERIC_TERMINAL, GuestAbi
from kobox.arch.stat import stat_result

_STAT = struct.Struct("<QQQIIIIQqqq6Q")


def parse_stat(data: bytes) -> os.stat_result:
    """struct stat of arch/x86/include/uapi/asm/stat.h as Python's own result."""
    dev, ino, nlink, mode, uid, gid, _, rdev, size, blksize, blocks, *times = _STAT.unpack_from(data)
    return stat_result((mode, ino, dev, nlink, uid, gid, size), (rdev, blksize, blocks), times)


ABI = GuestAbi(open_flags=GENERIC_OPEN_FLAGS, parse_stat=parse_stat, terminal=GENERIC_TERMINAL)
