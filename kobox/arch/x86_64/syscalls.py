"""System calls of x86-64."""

from __future__ import annotations

from kobox.arch.syscalls import Arguments, SyscallTable
from kobox.arch.x86_64.syscall_numbers import NUMBERS

_ARCH_SET_FS = 0x1002  # arch/x86/include/uapi/asm/prctl.h


def _set_thread_pointer(value: int) -> tuple[str, Arguments]:
    return "arch_prctl", (_ARCH_SET_FS, value)


def _clone(flags: int, thread_pointer: int) -> Arguments:
    """(flags, stack, parent's TID, child's TID, thread pointer): CONFIG_CLONE_BACKWARDS is not set."""
    return flags, 0, 0, 0, thread_pointer


_SAVED = tuple((member, 0) for member in ("orig_ax", "ax", "di", "si", "dx", "r10", "r8", "r9"))

_ENDS = ("syscall_exit_to_user_mode",)

SYSCALLS = SyscallTable(
    "x86-64", NUMBERS, _set_thread_pointer, _clone, "do_syscall_64", "__x64_sys_", _ENDS, saved=_SAVED
)
