"""How functions are called on ARMv7 (AAPCS32, "Parameter passing")."""

from __future__ import annotations

from kobox.arch.registers import Cpu, Read, Registers

_WORD = 4
_IN_REGISTERS = 4


class ArmCalls:
    """A call leaves its return address in LR, and the stack as it was; R0 to R3 hold the first four arguments, the
    stack has the others. An argument of 64 bits takes two of them, the first of which has an even number."""

    argument_registers = tuple(f"r{n}" for n in range(_IN_REGISTERS))
    result_register = "r0"

    def return_address(self, registers: Registers, read: Read) -> int:
        """What LR holds."""
        return int(registers.lr)  # type: ignore[attr-defined]

    def sp_after_return(self, registers: Registers) -> int:
        """As it is."""
        return registers.sp

    def stack_argument(self, registers: Registers, read: Read, number: int) -> int:
        """Argument 4 (from 0) is what the stack pointer points to."""
        if number < _IN_REGISTERS:
            return registers.argument(number)
        return int.from_bytes(read(registers.sp + _WORD * (number - _IN_REGISTERS), _WORD), "little")

    def call(self, cpu: Cpu, function: int, sp: int, returns_to: int) -> None:
        """Set LR, and go there. What was in it comes back when `returns_to` is reached."""
        cpu.keep_link(returns_to)
        cpu.set_register("sp", sp)
        cpu.set_register("lr", returns_to)
        cpu.set_register("pc", function)
