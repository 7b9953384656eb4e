"""The words of an architecture's own in the kernel's reports of crashes (arch/*/kernel/traps.c, arch/*/mm/fault.c).

A log may come from any machine, so whoever reads one looks for the words of all architectures (`kobox.arch.registry`).
"""

from __future__ import annotations

from typing import NamedTuple


class OopsWords(NamedTuple):
    """How reports of one architecture read."""

    pc: str
    """What stands before the place of the kernel's code that the CPU was at."""

    registers: tuple[str, ...]
    """How lines start that show registers and may name a place in the midst of a call trace."""

    trace: str
    """The line that a call trace follows."""

    starts: tuple[str, ...]
    """How a report of a fault starts that no handler wanted."""

    exceptions: tuple[str, ...]
    """How reports of other exceptions start; the number of the oops follows in brackets."""
