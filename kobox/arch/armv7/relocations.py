"""Relocations of ARM (ELF for the Arm Architecture; arch/arm/kernel/module.c)."""

from __future__ import annotations

from kobox.arch.relocations import Relocations, RelocationType

_LOADABLE = {
    1: "PC24",
    2: "ABS32",
    3: "REL32",
    27: "PLT32",
    28: "CALL",
    29: "JUMP24",
    38: "TARGET1",
    40: "V4BX",
    42: "PREL31",
    43: "MOVW_ABS_NC",
    44: "MOVT_ABS",
    45: "MOVW_PREL_NC",
    46: "MOVT_PREL",
    57: "ALU_PC_G0_NC",
    59: "ALU_PC_G1_NC",
    4: "LDR_PC_G0",
    63: "LDR_PC_G2",
    10: "THM_CALL",
    30: "THM_JUMP24",
    47: "THM_MOVW_ABS_NC",
    48: "THM_MOVT_ABS",
    49: "THM_MOVW_PREL_NC",
    50: "THM_MOVT_PREL",
}

RELOCATIONS = Relocations(
    loadable={
        0: RelocationType("R_ARM_NONE", 0),
        **{number: RelocationType(f"R_ARM_{name}", 4) for number, name in _LOADABLE.items()},
    },
    others={24: "R_ARM_GOTOFF32", 26: "R_ARM_GOT_BREL", 96: "R_ARM_GOT_PREL"},
    wants_zeros=False,  # what is added to the symbol is there
    absolute=frozenset(),
    fits=lambda kind, value: True,
    unknown_log="{name}: unknown relocation: {kind}",
    overflow_log="{name}: section",
    indexed_operand=frozenset((43,)),
)
