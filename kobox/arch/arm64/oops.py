"""Reports of crashes of AArch64 (arch/arm64/kernel/process.c, arch/arm64/kernel/traps.c, arch/arm64/mm/fault.c)."""

from __future__ import annotations

from kobox.arch.oops import OopsWords

OOPS = OopsWords(
    pc="pc : ",
    registers=("pc : ", "lr : "),
    trace="Call trace:",
    starts=("Unable to handle kernel", "Internal error: "),
    exceptions=("Internal error: ",),
)
