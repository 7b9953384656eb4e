"""Relocations of RV64 (RISC-V psABI, "Relocations"; arch/riscv/kernel/module.c)."""

from __future__ import annotations

from kobox.arch.relocations import Relocations, RelocationType

_DATA = {
    1: ("32", 4),
    2: ("64", 8),
    57: ("32_PCREL", 4),
    59: ("PLT32", 4),
    **{33 + n: (f"ADD{8 << n}", 1 << n) for n in range(4)},
    **{37 + n: (f"SUB{8 << n}", 1 << n) for n in range(4)},
    52: ("SUB6", 1),
    53: ("SET6", 1),
    54: ("SET8", 1),
    55: ("SET16", 2),
    56: ("SET32", 4),
    60: ("SET_ULEB128", 1),
    61: ("SUB_ULEB128", 1),
}
_INSTRUCTIONS = {
    16: ("BRANCH", 4),
    17: ("JAL", 4),
    18: ("CALL", 8),
    19: ("CALL_PLT", 8),
    20: ("GOT_HI20", 4),
    23: ("PCREL_HI20", 4),
    24: ("PCREL_LO12_I", 4),
    25: ("PCREL_LO12_S", 4),
    26: ("HI20", 4),
    27: ("LO12_I", 4),
    28: ("LO12_S", 4),
    43: ("ALIGN", 0),
    44: ("RVC_BRANCH", 2),
    45: ("RVC_JUMP", 2),
    51: ("RELAX", 0),
}

RELOCATIONS = Relocations(
    loadable={
        0: RelocationType("R_RISCV_NONE", 0),
        **{
            number: RelocationType(f"R_RISCV_{name}", width)
            for number, (name, width) in (_DATA | _INSTRUCTIONS).items()
        },
    },
    others={21: "R_RISCV_TLS_GOT_HI20", 22: "R_RISCV_TLS_GD_HI20", 29: "R_RISCV_TPREL_HI20", 58: "R_RISCV_IRELATIVE"},
    wants_zeros=False,  # an instruction is there, or a number that is added to
    absolute=frozenset(),
    fits=lambda kind, value: True,
    overflow_log="module {name}: target",
    indexed_operand=frozenset((24, 27)),  # ADDI of a page and an offset: what is made is the table's address
)
