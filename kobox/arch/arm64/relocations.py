"""Relocations of AArch64 (ELF for the Arm 64-bit Architecture; arch/arm64/kernel/module.c)."""

from __future__ import annotations

from kobox.arch.relocations import Relocations, RelocationType

_DATA = {
    257: ("ABS64", 8),
    258: ("ABS32", 4),
    259: ("ABS16", 2),
    260: ("PREL64", 8),
    261: ("PREL32", 4),
    262: ("PREL16", 2),
}
_INSTRUCTIONS = {
    **{263 + n: name for n, name in enumerate(("MOVW_UABS_G0", "MOVW_UABS_G0_NC", "MOVW_UABS_G1", "MOVW_UABS_G1_NC"))},
    **{267 + n: name for n, name in enumerate(("MOVW_UABS_G2", "MOVW_UABS_G2_NC", "MOVW_UABS_G3", "MOVW_SABS_G0"))},
    **{271 + n: name for n, name in enumerate(("MOVW_SABS_G1", "MOVW_SABS_G2", "LD_PREL_LO19", "ADR_PREL_LO21"))},
    275: "ADR_PREL_PG_HI21",
    276: "ADR_PREL_PG_HI21_NC",
    277: "ADD_ABS_LO12_NC",
    278: "LDST8_ABS_LO12_NC",
    279: "TSTBR14",
    280: "CONDBR19",
    282: "JUMP26",
    283: "CALL26",
    284: "LDST16_ABS_LO12_NC",
    285: "LDST32_ABS_LO12_NC",
    286: "LDST64_ABS_LO12_NC",
    **{287 + n: name for n, name in enumerate(("MOVW_PREL_G0", "MOVW_PREL_G0_NC", "MOVW_PREL_G1", "MOVW_PREL_G1_NC"))},
    **{291 + n: name for n, name in enumerate(("MOVW_PREL_G2", "MOVW_PREL_G2_NC", "MOVW_PREL_G3"))},
    299: "LDST128_ABS_LO12_NC",
}

RELOCATIONS = Relocations(
    loadable={
        0: RelocationType("R_ARM_NONE", 0),
        256: RelocationType("R_AARCH64_NONE", 0),
        **{number: RelocationType(f"R_AARCH64_{name}", width) for number, (name, width) in _DATA.items()},
        **{number: RelocationType(f"R_AARCH64_{name}", 4) for number, name in _INSTRUCTIONS.items()},
    },
    others={311: "R_AARCH64_ADR_GOT_PAGE", 312: "R_AARCH64_LD64_GOT_LO12_NC"},
    wants_zeros=False,  # an instruction is there
    absolute=frozenset(),
    fits=lambda kind, value: True,
    overflow_log="module {name}: overflow in relocation type",
    indexed_operand=frozenset((277,)),  # ADD of a page and an offset: what is made is the table's address
)
