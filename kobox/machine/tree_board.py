"""A board that a device tree announces: what the machines of AArch64, ARMv7 and RV64 have in common.

RAM as `load_linux` lays it out (physical addresses; `native/board.c` and `native/PROCESSOR/virt.c` have the devices'):

    0x100000 device tree        0x200000 kernel image        initramfs at the top, below the last MiB
"""

from __future__ import annotations

from collections.abc import Mapping

from kobox.errors import KernelImageError, KoboxError
from kobox.machine.acpi import DEVICE_SLOTS, DEVICES
from kobox.machine.device_tree import Value, pack
from kobox.machine.pc import EPOCH, PAGE, LoadableKernel, Machine

TREE, TREE_SIZE = 0x100000, 0x8000
# The end of the tree's memory, which the kernel keeps: for trees that are added while it runs.
PLUGGED, PLUGGED_SIZE = 0x104000, 0x4000
INTERRUPT_CONTROLLER = 1
"""The phandle of the interrupt controller."""

BUS_CLOCK = 2
"""The phandle of the clock that drives Arm's PrimeCells, on a board that has some."""

SERIAL = 0xFE020000
"""Two serial lines, a page each."""


class TreeBoard(Machine):
    """One such machine; as `Machine` in everything else."""

    most_cpus = 1
    most_memory = 0xFC000000
    """Bytes of RAM: where the first of the devices is (native/PROCESSOR/virt.c)."""

    _top: Mapping[str, Value] = {}  # more properties of the root
    _devices_line = 16  # of the interrupt controller: for all devices that Python models (IRQ_DEVICES in cpu.h)

    def __init__(
        self, ram_size: int, *, ram_fd: int = -1, ram_offset: int = 0, epoch: int = EPOCH, cpus: int = 1
    ) -> None:
        if ram_size > self.most_memory:
            raise KoboxError(
                f"memory={ram_size}: a box for {self.arch.title} has at most {self.most_memory >> 20} MiB",
                hint="Ask for less.",
            )
        super().__init__(ram_size, ram_fd=ram_fd, ram_offset=ram_offset, epoch=epoch, cpus=cpus)

    def load_linux(self, vmlinux: LoadableKernel, setup_header: bytes, initramfs: bytes, command_line: str) -> None:
        """Put a kernel in RAM and the CPU at its first instruction, with the device tree at hand."""
        for segment in vmlinux.segments:
            if segment.address + segment.size > self.ram_size:
                raise KernelImageError(
                    f"the kernel needs RAM up to {segment.address + segment.size >> 20} MiB, "
                    f"the machine has {self.ram_size >> 20} MiB",
                    hint="Give the box more memory.",
                )
            self.ram[segment.address : segment.address + len(segment.data)] = segment.data
        at = self._initramfs_end() - len(initramfs) - 0x100000 & -PAGE
        self.ram[at : at + len(initramfs)] = initramfs
        tree = pack(self._tree(command_line, at, at + len(initramfs)), size=TREE_SIZE)
        self.ram[TREE : TREE + len(tree)] = tree
        self._core.kobox_start_at(self.handle, vmlinux.entry, TREE, 0, 0)

    def _initramfs_end(self) -> int:
        """Where the RAM ends that the kernel sees from the beginning."""
        return self.ram_size

    def device_name(self, slot: int) -> str:
        """The name on the platform bus of a place for devices that Python models."""
        return f"{_device(slot):x}.virtio_mmio"

    def _processor(self) -> dict[str, Value]:
        """The nodes of the CPU, its timer, its firmware and its interrupt controller."""
        raise NotImplementedError

    def _serial(self, n: int) -> dict[str, Value]:
        """The node of a serial line."""
        raise NotImplementedError

    def _tree(self, command_line: str, start: int, end: int) -> dict[str, Value]:
        return {
            "#address-cells": 2,
            "#size-cells": 2,
            **self._top,
            "compatible": "linux,dummy-virt",
            "model": "kobox",
            "chosen": {
                "bootargs": command_line,
                "stdout-path": f"/serial@{SERIAL:x}",
                "linux,initrd-start": [0, start],
                "linux,initrd-end": [0, end],
                # It makes the random number generator ready at once, and the same in every run.
                "rng-seed": b"kobox: every run is the same run" * 2,
            },
            "aliases": {f"serial{n}": f"/serial@{SERIAL + n * PAGE:x}" for n in range(2)},
            "memory@0": {"device_type": "memory", "reg": [0, 0, 0, self.ram_size]},
            **self._processor(),
            "clock": {
                "compatible": "fixed-clock",
                "#clock-cells": 0,
                "clock-frequency": 24_000_000,
                "phandle": BUS_CLOCK,
            },
            **{f"virtio_mmio@{_device(slot):x}": self._virtio(slot) for slot in range(DEVICE_SLOTS)},
            **{f"serial@{SERIAL + n * PAGE:x}": self._serial(n) for n in range(2)},
        }

    def _virtio(self, slot: int) -> dict[str, Value]:
        """Such a place: drivers/virtio/virtio_mmio.c asks the registers whether anything is plugged in."""
        return {
            "compatible": "virtio,mmio",
            "reg": [0, _device(slot), 0, PAGE],
            "interrupt-parent": INTERRUPT_CONTROLLER,
            "interrupts": list(self.interrupt_cells(self._devices_line, edge=True)),
            "dma-coherent": None,
        }


def _device(slot: int) -> int:
    """Where the registers of a place for devices are."""
    return DEVICES + slot * PAGE
