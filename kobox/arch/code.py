"""Machine code: where each instruction of a stretch leads, and which of them call functions of the kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple, Protocol

from kobox.arch.registers import Registers


class Flow(StrEnum):
    """Where an instruction leads."""

    ON = "on"  # to the next
    BRANCH = "branch"  # to its target, or the next
    JUMP = "jump"  # to its target, or wherever a register says
    CALL = "call"
    RETURN = "return"
    STOP = "stop"  # it traps, or halts the CPU


class Instruction(NamedTuple):
    """One instruction of a stretch of code. `target` is an offset of that stretch (None: not known, or none);
    `immediate` the number it holds, sign-extended; `compares` whether it is a comparison with, or a subtraction of,
    that number; `memory` whether it has a memory operand other than the stack's top."""

    offset: int
    length: int
    flow: Flow = Flow.ON
    target: int | None = None
    immediate: int | None = None
    compares: bool = False
    memory: bool = False

    @property
    def end(self) -> int:
        """The offset of what follows."""
        return self.offset + self.length


class CallInstruction(NamedTuple):
    """An instruction of `length` bytes at `offset` of its section that calls `function` of the kernel, or of which a
    `register` says what it calls. `tail`: it is a jump, and the function returns to the caller's caller."""

    offset: int
    length: int
    function: str
    tail: bool
    register: str = ""


class Compared(NamedTuple):
    """Two numbers of `size` bytes that an instruction compares, or subtracts the right one of from the left one."""

    left: int
    right: int
    size: int


class LockAccess(NamedTuple):
    """An instruction at `offset` that orders memory as taking a lock does (`acquires`), or as releasing one does; the
    `register` with this number holds the address that it accesses."""

    offset: int
    register: int
    acquires: bool


class UserAccess(NamedTuple):
    """An instruction at `offset` that reads or `writes` `size` bytes of user space's memory."""

    offset: int
    size: int
    writes: bool


class InterruptSwitch(NamedTuple):
    """An instruction at `offset` that turns interrupts on or off, or (None) as the flags in the `register` with this
    number say."""

    offset: int
    on: bool | None
    register: int | None = None


class Code(Protocol):
    """Reads machine code of one architecture."""

    indirect_jumps: Mapping[str, int]
    """Functions of the kernel that only jump to where a register points, by name: the register's number."""

    def decode(self, code: bytes, at: int) -> Instruction | None:
        """The instruction at offset `at`. None for bytes that are none, or that end too early."""

    def instructions(self, code: bytes, start: int, end: int) -> Iterator[Instruction]:
        """The instructions from offset `start` to `end`, one behind the other, as long as there are any."""

    def call_at(self, code: bytes, offset: int, relocation: int, addend: int, symbol: str) -> CallInstruction | None:
        """The call of a function outside the module that a relocation of a section belongs to: its offset, type and
        addend, and the symbol that it names. None when it belongs to no call."""

    def pointer_operand(self, code: bytes) -> tuple[str, int] | None:
        """(register, displacement) of the memory operand of the instruction that these bytes start with; None when it
        has none, or one with an index or without a register."""

    def references(self, code: bytes, address: int) -> set[int]:
        """Addresses that code, which runs at `address`, holds or makes by itself: of variables that it uses, and other
        numbers that are none."""

    def per_cpu_read(self, code: bytes, relocation: int) -> int | None:
        """The offset of the instruction that reads a per-CPU variable of the kernel's which a relocation at offset
        `relocation` names. None when it does something else."""

    def block_copies(self, code: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
        """(offset, bytes that it moves at a time) of each instruction from `start` to `end` that copies a block:
        compilers write it in place of memcpy()."""

    def block_copy(self, registers: Registers) -> tuple[int, int, int]:
        """What such an instruction is about to copy: (destination, source, how many times)."""

    def variable_shifts(self, code: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
        """(offset, bits of the operand) of each shift from `start` to `end` by a number that a register holds."""

    def shift_count(self, registers: Registers, code: bytes) -> int:
        """By how many bits such an instruction, which `code` starts with, is about to shift: -128 to 255."""

    def silent_divisions(self, code: bytes, start: int, end: int) -> Iterator[tuple[int, str]]:
        """(offset, register that holds the divisor) of each division from `start` to `end` that does not trap when that
        is 0."""

    def counter_changes(self, code: bytes, start: int, end: int) -> Iterator[int]:
        """The offset of each instruction from `start` to `end` that adds to a counter in memory in one step, or takes
        from it: atomically, or one of this CPU's own."""

    def counter_change(
        self, code: bytes, pc: int, register: Callable[[str], int], read: Callable[[int, int], bytes]
    ) -> tuple[int, int] | None:
        """What such an instruction, which is `code` at `pc`, is about to do: (address, what it adds). The address of a
        counter of this CPU's is that of the per-CPU pointer, where the instruction has that. None when it cannot be
        told. `register` and `read` as for `compared`."""

    def lock_accesses(self, code: bytes, start: int, end: int) -> Iterator[LockAccess]:
        """Each atomic instruction from `start` to `end` that acquires or releases: locks whose functions are inline are
        taken and released by such. None where the kernel's locks are always functions."""

    def interrupt_switches(self, code: bytes, start: int, end: int) -> Iterator[InterruptSwitch]:
        """Each instruction from `start` to `end` that turns interrupts on or off; none where only relocations say which
        these are, as the kernel replaces them while it boots (`pv_ops`)."""

    def user_accesses(self, code: bytes, start: int, end: int) -> Iterator[UserAccess]:
        """Each instruction from `start` to `end` that accesses memory with the rights of user space: get_user() and
        put_user(), where they are inline. None where they call functions of the kernel."""

    def compared(
        self, code: bytes, pc: int, register: Callable[[str], int], read: Callable[[int, int], bytes]
    ) -> Compared | None:
        """The two numbers that the instruction `code` at `pc` is about to compare. None for any other instruction.
        `register(name)` and `read(address, size)` give what is there; what they raise is passed on."""

    def system_instructions(self, code: bytes, start: int, end: int) -> Iterator[tuple[int, str, str]]:
        """(offset, kind, what it is in words) of each instruction from `start` to `end` that an honest module leaves to
        the kernel: kind is "protection", "entry" (where system calls and interrupts lead), "identity" (which processor
        this is, real or not) or "clock"."""

    def system_effect(self, code: bytes, registers: Registers) -> tuple[str, str]:
        """What the system instruction that `code` starts with is about to do: (kind, words), both "" when there is no
        more to say than that it is executed. Kind may also be "protection off", "hypervisor" and
        "register" (one that leads nowhere)."""


class OutOfLine:
    """What code has where spin locks, get_user() and put_user() are functions of the kernel, and where relocations say
    which instructions turn interrupts on and off; also where nobody decodes them yet."""

    def lock_accesses(self, code: bytes, start: int, end: int) -> Iterator[LockAccess]:
        """None."""
        return iter(())

    def interrupt_switches(self, code: bytes, start: int, end: int) -> Iterator[InterruptSwitch]:
        """None."""
        return iter(())

    def user_accesses(self, code: bytes, start: int, end: int) -> Iterator[UserAccess]:
        """None."""
        return iter(())


class LoadStore:
    """What code of a load-store processor lacks: instructions that copy blocks of memory, and relocations by which this
    CPU's variables are read."""

    def per_cpu_read(self, code: bytes, relocation: int) -> int | None:
        """None: a register, or a table in memory, says where this CPU's variables are."""
        return None

    def block_copies(self, code: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
        """None."""
        return iter(())

    def block_copy(self, registers: Registers) -> tuple[int, int, int]:
        """There is no such instruction."""
        return 0, 0, 0
