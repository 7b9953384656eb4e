"""The registers of ARMv7, and how its kernel's functions are called (AAPCS32, "Parameter passing")."""

from __future__ import annotations

from typing import NamedTuple

_MODE, _USER, _IRQ_MASKED = 0x1F, 0x10, 0x80  # of CPSR


class Armv7Registers(NamedTuple):
    """All registers at one moment, 32-bit unsigned. `thread` is TPIDRURO."""

    r0: int
    r1: int
    r2: int
    r3: int
    r4: int
    r5: int
    r6: int
    r7: int
    r8: int
    r9: int
    r10: int
    fp: int
    ip: int
    sp: int
    lr: int
    pc: int
    cpsr: int
    thread: int
    ttbr0: int
    ttbr1: int
    dfar: int
    dfsr: int

    @property
    def frame_pointer(self) -> int:
        """R11."""
        return self.fp

    @property
    def result(self) -> int:
        """R0; of a number of 64 bits the lower half."""
        return self.r0

    @property
    def user_mode(self) -> bool:
        """Whether the mode is USR."""
        return self.cpsr & _MODE == _USER

    @property
    def interrupts_enabled(self) -> bool:
        """I of CPSR is clear."""
        return not self.cpsr & _IRQ_MASKED

    @property
    def current(self) -> int:
        """TPIDRURO (arch/arm/include/asm/current.h)."""
        return self.thread

    @property
    def arguments(self) -> tuple[int, ...]:
        """R0 to R3: the stack has the others."""
        return self[:4]

    def argument(self, number: int) -> int:
        """R0 to R3."""
        return self[:4][number]
