"""What user space hands to an RV64 kernel: all of it is include/uapi/asm-generic's."""

from __future__ import annotations

from kobox.arch.abi import GENERIC_OPEN_FLAGS, GENERIC_TERMINAL, GuestAbi
from kobox.arch.stat import parse_generic_stat

ABI = GuestAbi(open_flags=GENERIC_OPEN_FLAGS, parse_stat=parse_generic_stat, terminal=GENERIC_TERMINAL)
