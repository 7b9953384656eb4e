"""The registers of RV64, and how its kernel's functions are called (RISC-V psABI, "Procedure Calling Convention")."""

from __future__ import annotations

from typing import NamedTuple

NAMES = (
    *("zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1"),
    *(f"a{n}" for n in range(8)),
    *(f"s{n}" for n in range(2, 12)),
    *(f"t{n}" for n in range(3, 7)),
)
"""x0 to x31 by the names that the psABI gives them."""

_SIE = 2  # of sstatus


class RiscvRegisters(NamedTuple):
    """All registers at one moment, 64-bit unsigned. `priv` is 0 in user mode, 1 in supervisor mode."""

    zero: int
    ra: int
    sp: int
    gp: int
    tp: int
    t0: int
    t1: int
    t2: int
    s0: int
    s1: int
    a0: int
    a1: int
    a2: int
    a3: int
    a4: int
    a5: int
    a6: int
    a7: int
    s2: int
    s3: int
    s4: int
    s5: int
    s6: int
    s7: int
    s8: int
    s9: int
    s10: int
    s11: int
    t3: int
    t4: int
    t5: int
    t6: int
    pc: int
    priv: int
    sstatus: int
    satp: int
    stval: int
    scause: int
    sepc: int

    @property
    def frame_pointer(self) -> int:
        """S0."""
        return self.s0

    @property
    def result(self) -> int:
        """A0."""
        return self.a0

    @property
    def user_mode(self) -> bool:
        """Whether the privilege mode is U."""
        return not self.priv

    @property
    def interrupts_enabled(self) -> bool:
        """SIE of sstatus is set, or the mode is U."""
        return self.user_mode or bool(self.sstatus & _SIE)

    @property
    def current(self) -> int:
        """TP (arch/riscv/include/asm/current.h)."""
        return self.tp

    @property
    def arguments(self) -> tuple[int, ...]:
        """A0 to A5; A6 and A7 hold two more."""
        return self[10:16]

    def argument(self, number: int) -> int:
        """A0 to A7."""
        return self[10:18][number]
