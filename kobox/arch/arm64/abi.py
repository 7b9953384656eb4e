"""What user space hands to an AArch64 kernel (arch/arm64/include/uapi/asm, include/uapi/asm-generic)."""

from __future__ import annotations

from kobox.arch.abi import GENERIC_TERMINAL, GuestAbi
from kobox.arch.stat import parse_generic_stat

# arch/arm64/include/uapi/asm/fcntl.h
_OPEN_FLAGS = {"O_DIRECTORY": 0o40000, "O_NOFOLLOW": 0o100000, "O_DIRECT": 0o200000, "O_LARGEFILE": 0o400000}

ABI = GuestAbi(open_flags=_OPEN_FLAGS, parse_stat=parse_generic_stat, terminal=GENERIC_TERMINAL)
