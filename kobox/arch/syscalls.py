"""System calls as an architecture has them: their numbers, and those that it spells otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

Arguments = tuple[int, ...]
Respelling = Callable[[Arguments], tuple[str, Arguments]]
"""Says with which call, and which arguments, an architecture does what another one has a call of its own for."""


class SyscallTable(NamedTuple):
    """The system calls of one architecture."""

    title: str
    """The architecture, for messages."""

    numbers: Mapping[str, int]

    set_thread_pointer: Callable[[int], tuple[str, Arguments]] | None
    """The call that sets the thread pointer of the thread that makes it; None where no call does, and no kernel code
    has to know of it."""

    clone: Callable[[int, int], Arguments]
    """The arguments of clone(2) for (flags, thread pointer): their order differs between architectures."""

    entry: str
    """The kernel's function through which every system call goes."""

    prefix: str
    """What the names of the kernel's functions for system calls begin with (SYSCALL_DEFINEx)."""

    ends: tuple[str, ...]
    """Where every system call is over: the function of the kernel that is then called; or, of two, behind the call of
    the second in the first, whose name the compiler may have made longer."""

    respelled: Mapping[str, Respelling] = {}
    """The older calls that the architecture never had, as open(2), by those that it has, as openat(2)."""

    saved: tuple[tuple[str, int], ...] = ()
    """Where `struct pt_regs` has what a call is about, (member, byte offset in it): its number, its result, and six
    arguments. The entry's first argument points to it."""

    def resolve(self, name: str, arguments: Arguments) -> tuple[int, Arguments]:
        """The number and the arguments of a system call.

        Raises `ValueError` for a call that the architecture does not have.
        """
        if name in self.respelled:
            name, arguments = self.respelled[name](arguments)
        number = self.numbers.get(name)
        if number is not None:
            return number, arguments
        raise ValueError(f"no system call {name!r} on {self.title}")

    def __contains__(self, name: object) -> bool:
        return name in self.numbers or name in self.respelled

    def numbers_of(self, *names: str) -> frozenset[int]:
        """The numbers of those of these calls that the architecture has."""
        return frozenset(self.numbers[name] for name in names if name in self.numbers)
