"""An arm64 machine: RAM, one CPU, a GICv2, the virtual timer and two UARTs, which a device tree announces.

RAM as `load_linux` lays it out (physical addresses; `native/arm64/virt.c` has the devices'):

    0x100000 device tree        0x200000 kernel image        initramfs at the top, below the last MiB
"""

from __future__ import annotations

import struct

from kobox.arch.arm64.arm64 import ARM64
from kobox.arch.arm64.registers import Arm64Registers
from kobox.errors import KernelImageError
from kobox.machine.acpi import DEVICE_SLOTS, DEVICES
from kobox.machine.device_tree import Value, pack
from kobox.machine.pc import PAGE, LoadableKernel, Machine

TREE, TREE_SIZE = 0x100000, 0x8000
# The end of the tree's memory, which the kernel keeps: for trees that are added while it runs.
PLUGGED, PLUGGED_SIZE = 0x104000, 0x4000
_LINES = tuple(range(32 + 20, 32 + 28))  # inputs of the interrupt controller for devices that are plugged in
_GIC, _UART = 0xFE000000, 0xFE020000
_GIC_HANDLE, _CLOCK_HANDLE = 1, 2
_PPI, _SPI, _LEVEL, _RISING = 1, 0, 4, 1
_DEVICES_LINE = 16  # of the SPIs; IRQ_DEVICES in native/arm64/cpu.h
_FIELDS = Arm64Registers._fields
_NUMBERS = {name: n for n, name in enumerate(_FIELDS)}
_REGISTERS = struct.Struct(f"<{len(_FIELDS)}Q")


class ArmVirt(Machine):
    """One arm64 machine; as `Machine` in everything else."""

    arch = ARM64
    most_cpus = 1
    _fields = _FIELDS
    _guards = (("SCTLR_EL1", 1 << 19 | 1 << 2 | 1), ("VBAR_EL1", (1 << 64) - 1))  # WXN, C, M (Arm ARM, D17.2)
    _numbers = _NUMBERS
    _settable = frozenset((*(f"x{n}" for n in range(31)), "sp", "pc", "tpidr_el0"))  # native/arm64/registers.c
    _pc, _sp, _result, _thread = "pc", "sp", "x0", "tpidr_el0"

    platform_lines = _LINES

    def registers(self) -> Arm64Registers:
        """All registers at once."""
        self._core.kobox_registers(self.handle, self._registers)
        return Arm64Registers._make(_REGISTERS.unpack_from(self._registers))

    def load_linux(self, vmlinux: LoadableKernel, setup_header: bytes, initramfs: bytes, command_line: str) -> None:
        """Put a kernel in RAM and the CPU at its first instruction (Documentation/arch/arm64/booting.rst)."""
        for segment in vmlinux.segments:
            if segment.address + segment.size > self.ram_size:
                raise KernelImageError(
                    f"the kernel needs RAM up to {segment.address + segment.size >> 20} MiB, "
                    f"the machine has {self.ram_size >> 20} MiB",
                    hint="Give the box more memory.",
                )
            self.ram[segment.address : segment.address + len(segment.data)] = segment.data
        at = self.ram_size - len(initramfs) - 0x100000 & -PAGE
        self.ram[at : at + len(initramfs)] = initramfs
        tree = pack(self._tree(command_line, at, at + len(initramfs)), size=TREE_SIZE)
        self.ram[TREE : TREE + len(tree)] = tree
        self._core.kobox_start_at(self.handle, vmlinux.entry, TREE, 0, 0)

    def device_name(self, slot: int) -> str:
        """The name on the platform bus of a place for devices that Python models."""
        return f"{_device(slot):x}.virtio_mmio"

    def _tree(self, command_line: str, start: int, end: int) -> dict[str, Value]:
        return {
            "#address-cells": 2,
            "#size-cells": 2,
            "interrupt-parent": _GIC_HANDLE,
            "compatible": "linux,dummy-virt",
            "model": "kobox",
            "chosen": {
                "bootargs": command_line,
                "stdout-path": f"/serial@{_UART:x}",
                "linux,initrd-start": [0, start],
                "linux,initrd-end": [0, end],
                # It makes the random number generator ready at once, and the same in every run.
                "rng-seed": b"kobox: every run is the same run" * 2,
            },
            "aliases": {f"serial{n}": f"/serial@{_UART + n * PAGE:x}" for n in range(2)},
            "memory@0": {"device_type": "memory", "reg": [0, 0, 0, self.ram_size]},
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
            f"intc@{_GIC:x}": {
                "compatible": "arm,cortex-a15-gic",
                "#interrupt-cells": 3,
                "interrupt-controller": None,
                "reg": [0, _GIC, 0, 0x10000, 0, _GIC + 0x10000, 0, 0x10000],
                "phandle": _GIC_HANDLE,
            },
            "clock": {
                "compatible": "fixed-clock",
                "#clock-cells": 0,
                "clock-frequency": 24_000_000,
                "phandle": _CLOCK_HANDLE,
            },
            **{f"virtio_mmio@{_device(slot):x}": _virtio(slot) for slot in range(DEVICE_SLOTS)},
            **{f"serial@{_UART + n * PAGE:x}": self._uart(n) for n in range(2)},
        }

    @staticmethod
    def _uart(n: int) -> dict[str, Value]:
        return {
            "compatible": ["arm,pl011", "arm,primecell"],
            "reg": [0, _UART + n * PAGE, 0, PAGE],
            "interrupts": [_SPI, 1 + n, _LEVEL],
            "clocks": [_CLOCK_HANDLE, _CLOCK_HANDLE],
            "clock-names": ["uartclk", "apb_pclk"],
        }


def _device(slot: int) -> int:
    """Where the registers of a place for devices are."""
    return DEVICES + slot * PAGE


def _virtio(slot: int) -> dict[str, Value]:
    """Such a place: drivers/virtio/virtio_mmio.c asks the registers whether anything is plugged in."""
    return {
        "compatible": "virtio,mmio",
        "reg": [0, _device(slot), 0, PAGE],
        "interrupts": [_SPI, _DEVICES_LINE, _RISING],
        "dma-coherent": None,
    }
