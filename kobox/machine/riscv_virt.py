"""A riscv64 machine: RAM, one hart, a PLIC, the timer of SBI and two UARTs, which a device tree announces."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from kobox.arch.riscv64.registers import NAMES, RiscvRegisters
from kobox.arch.riscv64.riscv64 import RISCV64
from kobox.machine.device_tree import Value
from kobox.machine.pc import PAGE
from kobox.machine.tree_board import INTERRUPT_CONTROLLER, SERIAL, TreeBoard

_PLIC, _PLIC_SIZE, _SOURCES = 0xFC000000, 0x400000, 63
_HART_CONTROLLER, _EXTERNAL = 3, 9  # its phandle; the cause of interrupts from outside in supervisor mode
_TICKS = 62_500_000  # a second (NS_PER_TICK in native/riscv64/cpu.h)
_FIELDS = RiscvRegisters._fields
_NUMBERS = {name: n for n, name in enumerate(_FIELDS)}
_REGISTERS = struct.Struct(f"<{len(_FIELDS)}Q")
_EXTENSIONS = ("i", "m", "a", "f", "d", "c", "zicsr", "zifencei", "zicntr")


class RiscvVirt(TreeBoard):
    """One riscv64 machine; as `Machine` in everything else."""

    arch = RISCV64
    _fields = _FIELDS
    _guards = (("stvec", (1 << 64) - 1),)
    _numbers = _NUMBERS
    _settable = frozenset((*NAMES[1:], "pc"))  # native/riscv64/registers.c
    _pc, _sp, _result, _thread = "pc", "sp", "a0", "tp"
    _devices_line = 16

    platform_lines = tuple(range(20, 28))

    def registers(self) -> RiscvRegisters:
        """All registers at once."""
        self._core.kobox_registers(self.handle, self._registers)
        return RiscvRegisters._make(_REGISTERS.unpack_from(self._registers))

    def interrupt_cells(self, line: int, *, edge: bool = False) -> Sequence[int]:
        """As `TreeBoard`: the PLIC knows its sources by number alone."""
        return (line,)

    def _processor(self) -> dict[str, Value]:
        return {
            "cpus": {
                "#address-cells": 1,
                "#size-cells": 0,
                "timebase-frequency": _TICKS,
                "cpu@0": {
                    "device_type": "cpu",
                    "reg": 0,
                    "status": "okay",
                    "compatible": "riscv",
                    "riscv,isa": "rv64imafdc",
                    "riscv,isa-base": "rv64i",
                    "riscv,isa-extensions": list(_EXTENSIONS),
                    "mmu-type": "riscv,sv39",
                    "interrupt-controller": {
                        "#interrupt-cells": 1,
                        "interrupt-controller": None,
                        "compatible": "riscv,cpu-intc",
                        "phandle": _HART_CONTROLLER,
                    },
                },
            },
            f"plic@{_PLIC:x}": {
                "compatible": ["sifive,plic-1.0.0", "riscv,plic0"],
                "#interrupt-cells": 1,
                "#address-cells": 0,
                "interrupt-controller": None,
                "interrupts-extended": [_HART_CONTROLLER, _EXTERNAL],
                "reg": [0, _PLIC, 0, _PLIC_SIZE],
                "riscv,ndev": _SOURCES,
                "phandle": INTERRUPT_CONTROLLER,
            },
        }

    def _serial(self, n: int) -> dict[str, Value]:
        return {
            "compatible": "ns16550a",
            "reg": [0, SERIAL + n * PAGE, 0, PAGE],
            "interrupt-parent": INTERRUPT_CONTROLLER,
            "interrupts": [1 + n],
            "clock-frequency": 1_843_200,
        }
