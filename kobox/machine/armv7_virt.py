"""An ARMv7 machine: RAM, one Cortex-A15, a GICv2, an SP804 and two UARTs, which a device tree announces."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from types import MappingProxyType

from kobox.arch.armv7.armv7 import ARMV7
from kobox.arch.armv7.registers import Armv7Registers
from kobox.machine.arm_virt import GIC, LINES, gic_cells, gic_node, pl011_node
from kobox.machine.device_tree import Value
from kobox.machine.tree_board import BUS_CLOCK, INTERRUPT_CONTROLLER, TreeBoard

_TIMERS, _TIMERS_LINE = 0xFE030000, 35
_LOW_MEMORY = 512 << 20  # that the kernel surely has in its linear map: an initramfs behind that is out of its reach
_FIELDS = Armv7Registers._fields
_REGISTERS = struct.Struct(f"<{len(_FIELDS)}Q")


class Armv7Virt(TreeBoard):
    """One ARMv7 machine; as `Machine` in everything else."""

    arch = ARMV7
    _fields = _FIELDS
    _guards = (("SCTLR", 1 << 13 | 1 << 2 | 1), ("VBAR", (1 << 32) - 1))  # V, C, M (Arm ARM for ARMv7-A, B4.1.130)
    _numbers = MappingProxyType({name: n for n, name in enumerate(_FIELDS)})
    _settable = frozenset((*_FIELDS[:16], "thread"))  # native/armv7/registers.c
    _pc, _sp, _result, _thread = "pc", "sp", "r0", "thread"
    _top = MappingProxyType({"interrupt-parent": INTERRUPT_CONTROLLER})
    _devices_line = 32 + 16

    platform_lines = LINES

    def registers(self) -> Armv7Registers:
        """All registers at once."""
        self._core.kobox_registers(self.handle, self._registers)
        return Armv7Registers._make(_REGISTERS.unpack_from(self._registers))

    def interrupt_cells(self, line: int, *, edge: bool = False) -> Sequence[int]:
        """As `TreeBoard`."""
        return gic_cells(line, edge)

    def _initramfs_end(self) -> int:
        return min(self.ram_size, _LOW_MEMORY)

    def _processor(self) -> dict[str, Value]:
        return {
            "cpus": {
                "#address-cells": 1,
                "#size-cells": 0,
                "cpu@0": {"device_type": "cpu", "compatible": "arm,cortex-a15", "reg": 0, "enable-method": "psci"},
            },
            "psci": {"compatible": ["arm,psci-0.2", "arm,psci"], "method": "smc"},
            f"timer@{_TIMERS:x}": {
                "compatible": ["arm,sp804", "arm,primecell"],
                "reg": [0, _TIMERS, 0, 0x1000],
                "interrupts": list(gic_cells(_TIMERS_LINE, edge=False)),
                "clocks": [BUS_CLOCK, BUS_CLOCK, BUS_CLOCK],
                "clock-names": ["timer0clk", "timer1clk", "apb_pclk"],
            },
            f"intc@{GIC:x}": gic_node(),
        }

    def _serial(self, n: int) -> dict[str, Value]:
        return pl011_node(n)
