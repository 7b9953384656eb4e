"""Reports of crashes of ARM (arch/arm/kernel/process.c, arch/arm/kernel/traps.c, arch/arm/mm/fault.c)."""

from __future__ import annotations

from types import MappingProxyType

from kobox.arch.oops import OopsWords

OOPS = OopsWords(
    pc="PC is at ",
    no_pc="",
    link="LR is at ",
    registers=("PC is at ", "LR is at ", "pc : "),
    trace="Call trace:",
    starts=("Unable to handle kernel", "Internal error: ", "Unhandled fault: "),
    exceptions=("Internal error: ",),
    shown=r"\b(?P<name>r\d{1,2}|sp|fp|ip) ?: ?(?P<value>[0-9a-f]{8})\b",
    numbers=MappingProxyType({**{f"r{n}": n for n in range(11)}, "fp": 11, "ip": 12, "sp": 13}),
    code=r"^Code: .*\((?P<code>[0-9a-f]{8})\)",
    words=True,
)
