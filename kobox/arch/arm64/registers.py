"""The registers of AArch64, and how its kernel's functions are called (AAPCS64, "Parameter passing")."""

from __future__ import annotations

from typing import NamedTuple

_EXCEPTION_LEVEL, _IRQ_MASKED = 0xC, 0x80  # of PSTATE


class Arm64Registers(NamedTuple):
    """All registers at one moment, 64-bit unsigned."""

    x0: int
    x1: int
    x2: int
    x3: int
    x4: int
    x5: int
    x6: int
    x7: int
    x8: int
    x9: int
    x10: int
    x11: int
    x12: int
    x13: int
    x14: int
    x15: int
    x16: int
    x17: int
    x18: int
    x19: int
    x20: int
    x21: int
    x22: int
    x23: int
    x24: int
    x25: int
    x26: int
    x27: int
    x28: int
    x29: int
    x30: int
    sp: int
    pc: int
    pstate: int
    sp_el0: int
    tpidr_el0: int
    ttbr0_el1: int
    ttbr1_el1: int
    far_el1: int
    esr_el1: int
    elr_el1: int

    @property
    def frame_pointer(self) -> int:
        """X29."""
        return self.x29

    @property
    def result(self) -> int:
        """X0."""
        return self.x0

    @property
    def user_mode(self) -> bool:
        """Whether the exception level is EL0."""
        return not self.pstate & _EXCEPTION_LEVEL

    @property
    def interrupts_enabled(self) -> bool:
        """I of PSTATE is clear."""
        return not self.pstate & _IRQ_MASKED

    @property
    def current(self) -> int:
        """SP_EL0 (arch/arm64/include/asm/current.h)."""
        return self.sp_el0

    @property
    def arguments(self) -> tuple[int, ...]:
        """X0 to X5; X6 and X7 hold two more."""
        return self[:6]

    def argument(self, number: int) -> int:
        """X0 to X7."""
        return self[:8][number]
