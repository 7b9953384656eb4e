"""Registers by their role, and how functions are called: what `kobox.arch.arch.Arch` says of both."""

from __future__ import annotations

from collections.abc import Callable
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
    def current(self) -> int:
        """The task that runs, where the kernel keeps its address in a register; else 0. In the kernel alone."""

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

    def keep_link(self, entry: int) -> None:
        """Remember where the function at `entry` returns to, until it is met again, where a register holds that."""


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
