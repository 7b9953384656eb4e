"""System calls of AArch64 (arch/arm64/include/asm/ptrace.h, arch/arm64/kernel/syscall.c)."""

from __future__ import annotations

from kobox.arch.generic_syscall_numbers import NUMBERS
from kobox.arch.generic_syscalls import RESPELLED, clone
from kobox.arch.syscalls import SyscallTable

_SAVED = (("regs", 8 * 8), *(("regs", 8 * n) for n in (0, 0, 1, 2, 3, 4, 5)))

_ENDS = ("el0_svc_common", "invoke_syscall")

SYSCALLS = SyscallTable("AArch64", NUMBERS, None, clone, "do_el0_svc", "__arm64_sys_", _ENDS, RESPELLED, _SAVED)
