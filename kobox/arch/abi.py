"""What user space hands to the kernel, as a guest of an architecture has it: open(2)'s flags, struct stat, requests of
ioctl(2). The machine that kobox itself runs on may be of another architecture.

Most architectures share the numbers of include/uapi/asm-generic; those that came before it have some of their own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import NamedTuple

# include/uapi/asm-generic/fcntl.h: those whose numbers differ between architectures.
GENERIC_OPEN_FLAGS: Mapping[str, int] = {
    "O_DIRECT": 0o40000,
    "O_LARGEFILE": 0o100000,
    "O_DIRECTORY": 0o200000,
    "O_NOFOLLOW": 0o400000,
}

# The argument of a system call that holds open(2)'s flags.
_FLAGS_AT = {"open": 1, "openat": 2, "pipe2": 1, "open_by_handle_at": 2, "mq_open": 1}


class TerminalRequests(NamedTuple):
    """Requests of ioctl(2) for terminals."""

    tcgets: int
    tcsets: int
    tiocsctty: int
    tiocgpgrp: int
    tiocswinsz: int
    tiocgwinsz: int
    tiocgptn: int
    tiocsptlck: int
    fionread: int


# include/uapi/asm-generic/ioctls.h
GENERIC_TERMINAL = TerminalRequests(
    tcgets=0x5401,
    tcsets=0x5402,
    tiocsctty=0x540E,
    tiocgpgrp=0x540F,
    tiocswinsz=0x5414,
    tiocgwinsz=0x5413,
    tiocgptn=0x80045430,
    tiocsptlck=0x40045431,
    fionread=0x541B,
)


class GuestAbi(NamedTuple):
    """The numbers and layouts of one architecture."""

    open_flags: Mapping[str, int]
    """The flags of open(2) whose numbers differ between architectures, by name."""

    parse_stat: Callable[[bytes], os.stat_result]
    """Makes Python's result of a `struct stat`. Raises `struct.error` when there are too few bytes."""

    terminal: TerminalRequests

    def guest_open_flags(self, flags: int) -> int:
        """open(2)'s flags, `os.O_…` of this machine, as the guest's kernel has them."""
        different = {name: getattr(os, name, 0) for name in self.open_flags}
        found = sum(self.open_flags[name] for name, bit in different.items() if bit and flags & bit == bit)
        return flags & ~sum(different.values()) | found

    def guest_arguments(self, call: str, arguments: tuple[int, ...]) -> tuple[int, ...]:
        """The arguments of a system call, with `os.O_…` of this machine made the guest's."""
        at = _FLAGS_AT.get(call)
        if at is None or at >= len(arguments):
            return arguments
        return (*arguments[:at], self.guest_open_flags(arguments[at]), *arguments[at + 1 :])
