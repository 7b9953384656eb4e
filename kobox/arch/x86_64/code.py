"""Machine code of x86-64: calls out of a module, by their relocations, and operands.

    .rela.text:  offset 0x1f6, R_X86_64_PLT32, __kmalloc - 4
    .text:       1f5: e8 00 00 00 00      call  __kmalloc
                 e9: a tail call

Every direct call out of a module has a relocation, since nobody knows before loading where the kernel will be (psABI;
the module loader's arch/x86/kernel/module.c). So has a call through a pointer, where the kernel is built with
retpolines: it calls __x86_indirect_thunk_REGISTER, whatever the loader makes of that then. Others are not found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from kobox.arch.code import CallInstruction, Compared, Instruction, OutOfLine
from kobox.arch.memory_access import Operation
from kobox.arch.registers import Registers
from kobox.arch.x86_64 import decode, special
from kobox.arch.x86_64.registers import X86Registers

_PC32, _PLT32 = 2, 4
_CALL, _JUMP = 0xE8, 0xE9
_LENGTH = 5  # of both instructions
_GS = 0x65
_BEFORE = 9  # bytes of an instruction before its relocation, at most
_LOADS = (0x8B, 0x03, 0x63)  # MOV, ADD, MOVSXD
_THUNK = "__x86_indirect_thunk_"  # arch/x86/lib/retpoline.S
_CS = 0x2E  # a prefix that makes such a call as long as another (-mindirect-branch-cs-prefix)


_ORDER = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{n}" for n in range(8, 16)))


class X86Code(OutOfLine):
    """Reads machine code of x86-64."""

    indirect_jumps: Mapping[str, int] = MappingProxyType(
        {f"__x86_indirect_{kind}thunk_{name}": n for kind in ("", "jump_") for n, name in enumerate(_ORDER)}
    )  # arch/x86/lib/retpoline.S

    def decode(self, code: bytes, at: int) -> Instruction | None:
        """The instruction at offset `at`. None for bytes that are none, or that end too early."""
        return decode.decode(code, at)

    def instructions(self, code: bytes, start: int, end: int) -> Iterator[Instruction]:
        """The instructions from offset `start` to `end`, one behind the other, as long as there are any."""
        return decode.instructions(code, start, end)

    def call_at(self, code: bytes, offset: int, relocation: int, addend: int, symbol: str) -> CallInstruction | None:
        """The call or jump whose last four bytes a relocation fills in."""
        if relocation not in (_PC32, _PLT32) or addend != -4 or not offset:
            return None
        opcode = code[offset - 1]
        if opcode not in (_CALL, _JUMP):
            return None
        at, length, register = offset - 1, _LENGTH, ""
        if symbol.startswith(_THUNK):
            symbol, register = "", symbol.removeprefix(_THUNK)
            if at and code[at - 1] == _CS and register[1:].isdigit():
                at, length = at - 1, length + 1
        return CallInstruction(at, length, symbol, opcode == _JUMP, register)

    def pointer_operand(self, code: bytes) -> tuple[str, int] | None:
        """(register, displacement) of a memory operand with a base and no index."""
        instruction = decode.decode(code, 0)
        if instruction is None:
            return None
        access = decode.memory_access(code[: instruction.length])
        if access.operation is not Operation.MEMORY or not access.base or access.index_by:
            return None
        return access.base, access.displacement

    def references(self, code: bytes, address: int) -> set[int]:
        """The numbers that instructions hold: the kernel's addresses fit into 32 bits, sign-extended."""
        found = self.instructions(code, 0, len(code))
        return {one.immediate & (1 << 64) - 1 for one in found if one.immediate is not None and one.immediate < 0}

    def per_cpu_read(self, code: bytes, relocation: int) -> int | None:
        """65 8b 05 RELOCATION          mov %gs:cpu_number(%rip), %eax
        65 48 03 04 25 RELOCATION    add %gs:this_cpu_off, %rax
        """
        start = code.rfind(bytes((_GS,)), max(0, relocation - _BEFORE), relocation)
        if start < 0:
            return None
        opcode = code[start + 2] if code[start + 1] & 0xF0 == 0x40 else code[start + 1]
        return start if opcode in _LOADS else None

    def block_copies(self, code: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Each `rep movs`."""
        return special.block_copies(code, start, end)

    def block_copy(self, registers: Registers) -> tuple[int, int, int]:
        """%rdi, %rsi, %rcx."""
        return registers.argument(0), registers.argument(1), registers.argument(3)

    def variable_shifts(self, code: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Each shift by %cl, and each test of a bit that a register names."""
        return special.variable_shifts(code, start, end)

    def silent_divisions(self, code: bytes, start: int, end: int) -> Iterator[tuple[int, str]]:
        """None: DIV and IDIV trap."""
        return iter(())

    def shift_count(self, registers: Registers, code: bytes) -> int:
        """%cl, or the register of bt."""
        assert isinstance(registers, X86Registers)
        return special.shift_count(registers, code)

    def counter_changes(self, code: bytes, start: int, end: int) -> Iterator[int]:
        """As `Code`: inc, dec, add, sub and xadd with a lock prefix, or of %gs."""
        return special.counter_changes(code, start, end)

    def counter_change(
        self, code: bytes, pc: int, register: Callable[[str], int], read: Callable[[int, int], bytes]
    ) -> tuple[int, int] | None:
        """As `Code`."""
        return special.counter_change(code, pc, register)

    def compared(
        self, code: bytes, pc: int, register: Callable[[str], int], read: Callable[[int, int], bytes]
    ) -> Compared | None:
        """What `cmp` or `sub` is about to compare."""
        return special.compared(code, pc, register, read)

    def system_instructions(self, code: bytes, start: int, end: int) -> Iterator[tuple[int, str, str]]:
        """As `Code`: moves to control registers, WRMSR, LIDT, CPUID, RDTSC."""
        return special.system_instructions(code, start, end)

    def system_effect(self, code: bytes, registers: Registers) -> tuple[str, str]:
        """As `Code`: CR0 without WP, CR4 without SMEP or SMAP, the number of an MSR, the leaf of CPUID."""
        return special.system_effect(code, registers)
