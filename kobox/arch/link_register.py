"""How functions are called on processors with a link register: AArch64 (AAPCS64), RV64 (RISC-V ELF psABI)."""

from __future__ import annotations

from kobox.arch.registers import Cpu, Read, Registers

_WORD = 8


class LinkRegisterCalls:
    """A call leaves its return address in a register (`link`) and the stack as it was; registers with one letter and
    the numbers 0 to 7 hold the first eight arguments, the first of them the result."""

    def __init__(self, letter: str, link: str) -> None:
        self.argument_registers = tuple(f"{letter}{n}" for n in range(8))
        self.result_register = self.argument_registers[0]
        self._link = link

    def return_address(self, registers: Registers, read: Read) -> int:
        """What the link register holds."""
        return int(getattr(registers, self._link))

    def sp_after_return(self, registers: Registers) -> int:
        """As it is."""
        return registers.sp

    def stack_argument(self, registers: Registers, read: Read, number: int) -> int:
        """Argument 8 (from 0) is what the stack pointer points to; 6 and 7 are in registers."""
        if number < len(self.argument_registers):
            return registers.argument(number)
        return int.from_bytes(read(registers.sp + _WORD * (number - len(self.argument_registers)), _WORD), "little")

    def call(self, cpu: Cpu, function: int, sp: int, returns_to: int) -> None:
        """Set the link register, and go there. What was in it comes back when `returns_to` is reached."""
        cpu.keep_link(returns_to)
        cpu.set_register("sp", sp)
        cpu.set_register(self._link, returns_to)
        cpu.set_register("pc", function)
