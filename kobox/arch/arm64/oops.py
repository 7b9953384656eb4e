"""Reports of crashes of AArch64 (arch/arm64/kernel/process.c, arch/arm64/kernel/traps.c, arch/arm64/mm/fault.c)."""

from __future__ import annotations

from types import MappingProxyType

from kobox.arch.oops import OopsWords

OOPS = OopsWords(
    pc="pc : ",
    no_pc="pc : [<",  # ARMv7's, which has the place in another line
    link="lr : ",
    registers=("pc : ", "lr : "),
    trace="Call trace:",
    starts=("Unable to handle kernel", "Internal error: "),
    exceptions=("Internal error: ",),
    shown=r"\b(?P<name>x\d{1,2}|sp) ?: (?P<value>[0-9a-f]{16})\b",
    numbers=MappingProxyType({**{f"x{n}": n for n in range(31)}, "sp": 31}),  # DWARF for the Arm 64-bit Architecture
    code=r"^Code: .*\((?P<code>[0-9a-f]{8})\)",
    words=True,
)
