"""The words of an architecture's own in the kernel's reports of crashes (arch/*/kernel/traps.c, arch/*/mm/fault.c).

A log may come from any machine, so whoever reads one looks for the words of all architectures (`kobox.arch.registry`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class OopsWords(NamedTuple):
    """How reports of one architecture read."""

    pc: str
    """What stands before the place of the kernel's code that the CPU was at."""

    no_pc: str
    """What stands in other lines with the same words, "" where there are none."""

    link: str
    """What stands before the place that the register with the return address names, "" where there is none."""

    registers: tuple[str, ...]
    """How lines start that show registers and may name a place in the midst of a call trace."""

    trace: str
    """The line that a call trace follows."""

    starts: tuple[str, ...]
    """How a report of a fault starts that no handler wanted."""

    exceptions: tuple[str, ...]
    """How reports of other exceptions start; the number of the oops follows in brackets."""

    shown: str
    """A regular expression for one register of those that a report shows: groups `name` and `value`."""

    numbers: Mapping[str, int]
    """DWARF's numbers of registers, by the machine's names, which are those of reports in small letters."""

    code: str
    """A regular expression for the instruction at which it happened, in the line that shows code: group `code`."""

    words: bool
    """Whether that instruction is shown as one number, and not byte by byte."""
