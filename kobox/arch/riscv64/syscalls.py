"""System calls of RV64: the numbers of asm-generic, without renameat (arch/riscv/include/uapi/asm/unistd.h)."""

from __future__ import annotations

from kobox.arch.generic_syscall_numbers import NUMBERS as GENERIC
from kobox.arch.generic_syscalls import RESPELLED, clone
from kobox.arch.syscalls import SyscallTable

_NUMBERS = {name: number for name, number in GENERIC.items() if name != "renameat"}
_NUMBERS |= {"riscv_hwprobe": 258, "riscv_flush_icache": 259}
_SAVED = (("a7", 0), ("a0", 0), *((f"a{n}", 0) for n in range(6)))

_ENDS = ("syscall_exit_to_user_mode",)

SYSCALLS = SyscallTable("RV64", _NUMBERS, None, clone, "do_trap_ecall_u", "__riscv_sys_", _ENDS, RESPELLED, _SAVED)
