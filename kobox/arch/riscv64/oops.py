"""Reports of crashes of RV64 (arch/riscv/kernel/process.c, arch/riscv/kernel/traps.c, arch/riscv/mm/fault.c)."""

from __future__ import annotations

from types import MappingProxyType

from kobox.arch.oops import OopsWords
from kobox.arch.riscv64.registers import NAMES

OOPS = OopsWords(
    pc="epc : ",
    no_pc=" sp : ",
    link=" ra : ",
    registers=("epc : ", " ra : ", "status: "),
    trace="Call Trace:",
    starts=("Unable to handle kernel", "Oops - ", "Kernel BUG ["),
    exceptions=("Oops - ", "Oops [", "Kernel BUG ["),
    shown=r"\b(?P<name>ra|[sgt]p|[sta]\d{1,2}) ?: (?P<value>[0-9a-f]{16})\b",
    numbers=MappingProxyType({name: number for number, name in enumerate(NAMES)}),  # RISC-V DWARF specification
    code=r"^Code: .*\((?P<code>[0-9a-f]{4,8})\)",
    words=True,
)
