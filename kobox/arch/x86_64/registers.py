"""The registers of x86-64, and how its kernel's functions are called (System V ABI, AMD64 supplement, section 3.2)."""

from __future__ import annotations

from typing import NamedTuple

from kobox.arch.registers import Cpu, Read, Registers

_INTERRUPT_FLAG = 0x200  # IF of RFLAGS
_WORD = 8


class X86Registers(NamedTuple):
    """All registers at one moment, 64-bit unsigned; `cpl` is the privilege level, 0 or 3."""

    rax: int
    rcx: int
    rdx: int
    rbx: int
    rsp: int
    rbp: int
    rsi: int
    rdi: int
    r8: int
    r9: int
    r10: int
    r11: int
    r12: int
    r13: int
    r14: int
    r15: int
    rip: int
    rflags: int
    cr0: int
    cr2: int
    cr3: int
    cr4: int
    cs: int
    ss: int
    gs_base: int
    fs_base: int
    cpl: int

    @property
    def pc(self) -> int:
        """RIP."""
        return self.rip

    @property
    def sp(self) -> int:
        """RSP."""
        return self.rsp

    @property
    def frame_pointer(self) -> int:
        """RBP."""
        return self.rbp

    @property
    def result(self) -> int:
        """RAX."""
        return self.rax

    @property
    def user_mode(self) -> bool:
        """Whether the privilege level is 3."""
        return self.cpl != 0

    @property
    def interrupts_enabled(self) -> bool:
        """IF of RFLAGS."""
        return bool(self.rflags & _INTERRUPT_FLAG)

    @property
    def current(self) -> int:
        """0: a per-CPU variable has it."""
        return 0

    @property
    def arguments(self) -> tuple[int, ...]:
        """RDI, RSI, RDX, RCX, R8, R9."""
        return (self.rdi, self.rsi, self.rdx, self.rcx, self.r8, self.r9)

    def argument(self, number: int) -> int:
        """One of `arguments`, counted from 0."""
        return self.arguments[number]


class SystemV:
    """A call pushes its return address, and the arguments that no register holds lie above it."""

    argument_registers = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
    result_register = "rax"

    def return_address(self, registers: Registers, read: Read) -> int:
        """What the stack pointer points to."""
        return int.from_bytes(read(registers.sp, _WORD), "little")

    def sp_after_return(self, registers: Registers) -> int:
        """Above the return address."""
        return registers.sp + _WORD

    def stack_argument(self, registers: Registers, read: Read, number: int) -> int:
        """Argument 6 (from 0) lies right above the return address."""
        return int.from_bytes(read(registers.sp + _WORD * (number - len(self.argument_registers) + 1), _WORD), "little")

    def call(self, cpu: Cpu, function: int, sp: int, returns_to: int) -> None:
        """Push the return address, and go there."""
        cpu.write(sp - _WORD, returns_to.to_bytes(_WORD, "little"))
        cpu.set_register("rsp", sp - _WORD)
        cpu.set_register("rip", function)
