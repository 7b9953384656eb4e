"""Reports of crashes of x86-64 (arch/x86/kernel/dumpstack.c, arch/x86/kernel/traps.c, arch/x86/mm/fault.c)."""

from __future__ import annotations

from kobox.arch.oops import OopsWords

OOPS = OopsWords(
    pc="RIP: 0010:",  # __KERNEL_CS
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
)
