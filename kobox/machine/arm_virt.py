"""An arm64 machine: RAM, one CPU, a GICv2, the virtual timer and two UARTs, which a device tree announces."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from types import MappingProxyType

from kobox.arch.arm64.arm64 import ARM64
from kobox.arch.arm64.registers import Arm64Registers
from kobox.machine.device_tree import Value
from kobox.machine.pc import PAGE
from kobox.machine.tree_board import BUS_CLOCK, INTERRUPT_CONTROLLER, SERIAL, TreeBoard

LINES = tuple(range(32 + 20, 32 + 28))  # inputs of the interrupt controller for devices that are plugged in
GIC = 0xFE000000
_PPI, _SPI, _FIRST_SPI, _LEVEL, _RISING = 1, 0, 32, 4, 1
_FIELDS = Arm64Registers._fields
_NUMBERS = {name: n for n, name in enumerate(_FIELDS)}
_REGISTERS = struct.Struct(f"<{len(_FIELDS)}Q")


def gic_cells(line: int, edge: bool) -> Sequence[int]:
    """What a device tree says of an input of the GIC (arm,gic.yaml): which shared interrupt it is, and how it comes."""
    return _SPI, line - _FIRST_SPI, _RISING if edge else _LEVEL


def gic_node() -> dict[str, Value]:
    """The node of the GIC."""
    return {
        "compatible": "arm,cortex-a15-gic",
        "#interrupt-cells": 3,
        "interrupt-controller": None,
        "reg": [0, GIC, 0, 0x10000, 0, GIC + 0x10000, 0, 0x10000],
        "phandle": INTERRUPT_CONTROLLER,
    }


def pl011_node(n: int) -> dict[str, Value]:
    """The node of a serial line."""
    return {
        "compatible": ["arm,pl011", "arm,primecell"],
        "reg": [0, SERIAL + n * PAGE, 0, PAGE],
        "interrupts": [_SPI, 1 + n, _LEVEL],
        "clocks": [BUS_CLOCK, BUS_CLOCK],
        "clock-names": ["uartclk", "apb_pclk"],
    }


class ArmVirt(TreeBoard):
    """One arm64 machine; as `Machine` in everything else."""

    arch = ARM64
    _fields = _FIELDS
    _guards = (("SCTLR_EL1", 1 << 19 | 1 << 2 | 1), ("VBAR_EL1", (1 << 64) - 1))  # WXN, C, M (Arm ARM, D17.2)
    _numbers = _NUMBERS
    _settable = frozenset((*(f"x{n}" for n in range(31)), "sp", "pc", "tpidr_el0"))  # native/arm64/registers.c
    _pc, _sp, _result, _thread = "pc", "sp", "x0", "tpidr_el0"
    _top = MappingProxyType({"interrupt-parent": INTERRUPT_CONTROLLER})
    _devices_line = _FIRST_SPI + 16

    platform_lines = LINES

    def registers(self) -> Arm64Registers:
        """All registers at once."""
        self._core.kobox_registers(self.handle, self._registers)
        return Arm64Registers._make(_REGISTERS.unpack_from(self._registers))

    def interrupt_cells(self, line: int, *, edge: bool = False) -> Sequence[int]:
        """As `TreeBoard`."""
        return gic_cells(line, edge)

    def _processor(self) -> dict[str, Value]:
        return {
            "cpus": {
                "#address-cells": 1,
                "#size-cells": 0,
                "cpu@0": {"device_type": "cpu", "compatible": "arm,cortex-a72", "reg": 0, "enable-method": "psci"},
            },
            "psci": {"compatible": ["arm,psci-0.2", "arm,psci"], "method": "hvc"},
            "timer": {
                "compatible": "arm,armv8-timer",
                "always-on": None,
                "interrupts": [cell for number in (13, 14, 11, 10) for cell in (_PPI, number, 0x100 | _LEVEL)],
            },
            f"intc@{GIC:x}": gic_node(),
        }

    def _serial(self, n: int) -> dict[str, Value]:
        return pl011_node(n)
