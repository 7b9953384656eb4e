"""System calls that kobox makes of the kernel of the machine it runs on, which the C library has no function for.

That machine may be of any architecture, also of one whose kernels kobox does not boot.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping

# By what `uname -m` says: arch/*/include/uapi/asm/unistd*.h and arch/*/kernel/syscalls/*.tbl.
_GENERIC = {"init_module": 105, "delete_module": 106, "finit_module": 273, "keyctl": 219}
_ARM = {"init_module": 128, "delete_module": 129, "finit_module": 379, "keyctl": 311}
_I386 = {"init_module": 128, "delete_module": 129, "finit_module": 350, "keyctl": 288}
_POWERPC = {"init_module": 128, "delete_module": 129, "finit_module": 353, "keyctl": 271}
_NUMBERS = {
    "x86_64": {"init_module": 175, "delete_module": 176, "finit_module": 313, "keyctl": 250},
    **dict.fromkeys(("i386", "i486", "i586", "i686"), _I386),
    **dict.fromkeys(("aarch64", "riscv64", "riscv32", "loongarch64"), _GENERIC),
    **dict.fromkeys(("armv6l", "armv7l", "armv8l"), _ARM),
    **dict.fromkeys(("ppc", "ppc64", "ppc64le"), _POWERPC),
    "s390x": {"init_module": 128, "delete_module": 129, "finit_module": 344, "keyctl": 280},
    "sparc64": {"init_module": 190, "delete_module": 132, "finit_module": 342, "keyctl": 283},
    "parisc64": {"init_module": 128, "delete_module": 129, "finit_module": 333, "keyctl": 266},
    "m68k": {"init_module": 128, "delete_module": 129, "finit_module": 348, "keyctl": 281},
    "mips": {"init_module": 4128, "delete_module": 4129, "finit_module": 4348, "keyctl": 4282},
    "mips64": {"init_module": 5168, "delete_module": 5169, "finit_module": 5307, "keyctl": 5241},
}


def host_number(name: str) -> int | None:
    """The number of a system call on this machine; None where it is not known."""
    return _NUMBERS.get(os.uname().machine, {}).get(name)


def host_numbers() -> Mapping[str, int]:
    """The numbers of all system calls of this machine; empty for one whose table kobox does not have."""
    # The tables alone: all that architectures are takes ten times as long to import as a wall takes to raise.
    here = os.uname().machine
    if here == "x86_64":
        from kobox.arch.x86_64.syscall_numbers import NUMBERS

        return NUMBERS
    if here == "aarch64":
        from kobox.arch.generic_syscall_numbers import NUMBERS

        return NUMBERS
    return {}


def host_syscall(number: int, *arguments: ctypes.c_long | ctypes.c_char_p | ctypes.Array[ctypes.c_char]) -> int:
    """Make a system call of this machine's kernel; its result. Raises `OSError`."""
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    result = int(call(ctypes.c_long(number), *arguments))
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))
    return result
