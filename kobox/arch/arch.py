"""The processor seam: everything that differs between processors, as one value that code above it asks.

    box.arch.calls.return_address(hit.registers, hit.read)      # x86-64: on the stack; AArch64: X30
    box.arch.addresses.is_kernel(pointer)

An `Arch` is made of small pieces, each in a file of its own under `kobox/arch/NAME/`. What needs a running machine gets
it as an argument, by the narrow protocols of this file: nothing here knows of boxes. docs/adding-an-architecture.md
says what a new one brings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

Read = Callable[[int, int], bytes]
"""Reads (address, size) of the guest's virtual memory. Raises `ValueError` where none is mapped."""


class Registers(Protocol):
    """The CPU's registers at one moment, by role; unsigned numbers. An architecture's own class has them by their own
    names as well."""

    @property
    def pc(self) -> int:
        """The program counter: the instruction that is executed next."""

    @property
    def sp(self) -> int:
        """The stack pointer."""

    @property
    def frame_pointer(self) -> int:
        """The frame pointer, where code keeps one."""

    @property
    def result(self) -> int:
        """What a function that has just returned gives back."""

    @property
    def user_mode(self) -> bool:
        """Whether the CPU executes user space's code."""

    @property
    def interrupts_enabled(self) -> bool:
        """Whether the CPU takes interrupts."""

    @property
    def arguments(self) -> tuple[int, ...]:
        """At a function's first instruction: the arguments that registers hold, the first six of them."""

    def argument(self, number: int) -> int:
        """One of `arguments`, counted from 0."""


class Cpu(Protocol):
    """A CPU whose registers can be set: a machine's."""

    def set_register(self, name: str, value: int) -> None:
        """Set a register, by the architecture's own name."""

    def write(self, address: int, data: bytes) -> None:
        """Write virtual memory."""


class CallingConvention(Protocol):
    """How the kernel's functions are called (the psABI)."""

    @property
    def argument_registers(self) -> tuple[str, ...]:
        """The names of the registers that hold the first six arguments."""

    @property
    def result_register(self) -> str:
        """The name of the register that holds a function's result."""

    def return_address(self, registers: Registers, read: Read) -> int:
        """At a function's first instruction: where it returns to. Raises `ValueError` as `read` does."""

    def sp_after_return(self, registers: Registers) -> int:
        """At a function's first instruction: the stack pointer that its caller has when it has returned."""

    def stack_argument(self, registers: Registers, read: Read, number: int) -> int:
        """At a function's first instruction: argument `number` (from 0), one that no register holds. Raises as `read`
        does."""

    def call(self, cpu: Cpu, function: int, sp: int, returns_to: int) -> None:
        """Have the CPU call `function`, with the stack as it is above `sp`, and return to `returns_to`."""


@dataclass(frozen=True, slots=True)
class AddressSpace:
    """Where the kernel and its modules are, in virtual memory."""

    kernel_start: int
    """The first address of the kernel's half."""

    bits: int
    """How many bits of an address count: those above are copies of the highest."""

    image_start: int
    """The first address that the kernel's own code and data may have (KIMAGE_VADDR, __START_KERNEL_map)."""

    modules: tuple[int, int]
    """(start, end) of where modules are loaded (MODULES_VADDR, MODULES_END)."""

    modules_size: int
    """How much room modules have there (MODULES_LEN)."""

    thread_size: int
    """THREAD_SIZE: bytes of a task's kernel stack, which is aligned to as many."""

    hostile: tuple[int, ...] = ()
    """Addresses that a module must not trust: the ends of the halves, the direct map."""

    def is_kernel(self, address: int) -> bool:
        """Whether an address lies in the kernel's half."""
        return address >= self.kernel_start

    def is_canonical_kernel(self, address: int) -> bool:
        """Whether an address lies in the part of the kernel's half that page tables can map."""
        return address >> self.bits - 1 == (1 << 65 - self.bits) - 1

    def is_module(self, address: int) -> bool:
        """Whether an address lies where modules are loaded."""
        return self.modules[0] <= address < self.modules[1]

    def stack_of(self, sp: int) -> int:
        """The lowest address of the kernel stack that a stack pointer points into."""
        return sp & -self.thread_size


@dataclass(frozen=True, slots=True)
class Arch:
    """One architecture of Linux."""

    name: str
    """As `uname -m` says it: "x86_64"."""

    title: str
    """As people write it: "x86-64"."""

    elf_machine: int
    """EM_* of the ELF header."""

    debian: str
    """The name of Debian's port: "amd64"."""

    gnu: str
    """GNU's triplet, without vendor: "x86_64-linux-gnu"."""

    calls: CallingConvention
    addresses: AddressSpace
