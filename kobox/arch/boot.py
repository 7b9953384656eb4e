"""How a kernel of an architecture is booted in a box, as far as it differs from others."""

from __future__ import annotations

from typing import NamedTuple


class BootDetails(NamedTuple):
    """What the first boot must know of an architecture's machine."""

    command_line: str
    """What the kernel is told of its console, its clock and its processors."""

    second_serial: str
    """The device of the serial line that wakes PID 1."""

    device_tree: bool = False
    """Whether a device tree announces the machine's devices, not ACPI."""
