"""PID 1 of a box as an architecture has it: the machine code, and which registers it keeps what in.

The program is a loop: it makes a hypercall, by which the machine stops and Python has the CPU; then the system call
whose registers Python has set; and again. It uses no stack and no memory: a process is its registers.
"""

from __future__ import annotations

from typing import NamedTuple


class InitProgram(NamedTuple):
    """The program, for any place in memory: nothing in it depends on its address."""

    code: bytes

    hypercall: int
    """Offset of the instruction by which it stops the machine."""

    syscall: int
    """Offset of the instruction by which it makes a system call: Python puts the CPU there."""

    first_stack: str
    """The register that holds the stack pointer with which the kernel has started the program."""

    last_result: str
    """The register that holds what the last system call returned."""
