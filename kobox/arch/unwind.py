"""Stacks: which calls have led to where the CPU is.

How that is found out differs between architectures; what it needs of a kernel, and what comes of it, does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from kobox.arch.registers import Read, Registers


class StackFrame(NamedTuple):
    """One call of a chain. `address` is where the function goes on: a return address, or with `exact` the very
    instruction that is executed next or was interrupted. `cfa` is the stack pointer that its caller has after the
    return: DWARF's canonical frame address."""

    address: int
    cfa: int
    exact: bool = False

    @property
    def inside(self) -> int:
        """An address that surely belongs to the call: a return address may be that of the next line or function."""
        return self.address if self.exact else self.address - 1


class StructureLayout(Protocol):
    """Where the members of the kernel's structures are (its BTF). Raises `KoboxError` for one that it does not have."""

    def has(self, struct_name: str, member: str) -> bool:
        """Whether the kernel has such a member."""

    def offset(self, struct_name: str, member: str) -> int:
        """A member's offset in bytes."""

    def bits(self, struct_name: str, member: str) -> tuple[int, int]:
        """(first bit, bits) of a member that is a bit field."""

    def size(self, struct_name: str) -> int:
        """A structure's size in bytes."""


class ModuleRange(Protocol):
    """A module that is loaded: where its `struct module` is, and which addresses are its own."""

    @property
    def address(self) -> int:
        """The address of its `struct module`."""

    def __contains__(self, address: object) -> bool: ...


class NamedAddress(Protocol):
    """A symbol: where it begins."""

    @property
    def address(self) -> int:
        """Its address."""


class KernelSymbols(Protocol):
    """The kernel's symbols and types."""

    def address(self, name: str) -> int:
        """The address of a symbol. Raises `KoboxError` where there is none."""

    def __contains__(self, name: str) -> bool: ...

    def lookup(self, address: int) -> NamedAddress | None:
        """The symbol that covers an address."""

    def modules(self) -> Sequence[ModuleRange]:
        """The modules that are loaded."""

    @property
    def btf(self) -> StructureLayout:
        """Where members are."""


class KernelView(NamedTuple):
    """A running kernel as an unwinder sees it."""

    registers: Callable[[], Registers]
    """The registers now."""

    read: Read

    symbols: KernelSymbols

    generation: Callable[[], int]
    """A number that changes when the machine goes back to an earlier state."""


class Unwinder(Protocol):
    """Walks the stacks of one kernel."""

    @property
    def reliable(self) -> bool:
        """Whether a chain is surely one; else it holds whatever on the stack looks like a return address."""

    def walk(self, registers: Registers | None = None, *, limit: int = 64) -> tuple[StackFrame, ...]:
        """The calls at this moment, or where `registers` are, the innermost first; `limit` of them at most.

        Ends where the kernel was entered from user space, or where the thread began. Empty in user space.
        """

    def asleep_sp(self, task: int) -> int:
        """The stack pointer of a task that does not run."""

    def asleep(self, task: int, *, limit: int = 64) -> tuple[StackFrame, ...]:
        """The calls of a task (`struct task_struct` at this address) that does not run: from where it gave the CPU
        away."""
