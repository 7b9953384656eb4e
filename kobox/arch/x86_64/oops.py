"""Reports of crashes of x86-64 (arch/x86/kernel/dumpstack.c, arch/x86/kernel/traps.c, arch/x86/mm/fault.c)."""

from __future__ import annotations

from types import MappingProxyType

from kobox.arch.oops import OopsWords

OOPS = OopsWords(
    pc="RIP: 0010:",  # __KERNEL_CS
    no_pc="",
    link="",
    registers=("RIP: 00",),
    trace="Call Trace:",
    starts=("BUG: unable to handle", "BUG: kernel NULL pointer", "BUG: TASK stack guard", "BUG: IRQ stack"),
    exceptions=(
        "general protection fault",
        "divide error",
        "stack segment",
        "invalid opcode",
        "double fault",
        "int3: ",
    ),
    shown=r"\b(?P<name>R[A-Z0-9]{1,2}): (?:[0-9a-f]{4}:)?(?P<value>[0-9a-f]{16})\b",
    numbers=MappingProxyType(
        {name: n for n, name in enumerate(("rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp"))}
        | {f"r{n:02}": n for n in range(8, 16)}
        | {f"r{n}": n for n in range(8, 16)}
    ),  # System V ABI, AMD64 supplement, figure 3.36
    code=r"^Code: .*<(?P<code>[0-9a-f]{2}>(?: [0-9a-f]{2})*)",
    words=False,
)
