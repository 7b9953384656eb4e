"""The machine of ARMv7: what fits into it, and where it puts what its kernel has to reach."""

from __future__ import annotations

import pytest

from kobox.errors import KoboxError
from kobox.images.vmlinux import ElfSegment, Vmlinux
from kobox.machine.arm_virt import ArmVirt
from kobox.machine.armv7_virt import Armv7Virt
from kobox.machine.pc import MachineError
from kobox.machine.riscv_virt import RiscvVirt
from kobox.machine.tree_board import TREE, TREE_SIZE, TreeBoard


@pytest.mark.parametrize(("mib", "end_mib"), [(64, 64), (512, 512), (1024, 512)])
def test_the_initramfs_is_in_memory_that_the_kernel_has_mapped(mib: int, end_mib: int) -> None:
    machine = Armv7Virt(mib << 20)
    archive = b"an initramfs" * 100
    machine.load_linux(Vmlinux(0x208000, (ElfSegment(0x208000, memoryview(b"code"), 4),)), b"", archive, "quiet")
    at = (end_mib << 20) - len(archive) - 0x100000 & -4096
    assert bytes(machine.ram[at : at + len(archive)]) == archive
    assert (at + len(archive)).to_bytes(4, "big") in bytes(machine.ram[TREE : TREE + TREE_SIZE])
    machine.close()


@pytest.mark.parametrize("board", [ArmVirt, RiscvVirt, Armv7Virt], ids=lambda board: board.arch.name)
def test_more_memory_than_there_is_room_for_is_refused(board: type[TreeBoard]) -> None:
    with pytest.raises(KoboxError, match=r"has at most 4032 MiB") as caught:
        board(4 << 30)
    assert caught.value.hint


def test_registers_have_32_bits() -> None:
    machine = Armv7Virt(1 << 20)
    machine.set_register("r4", 0x1_0000_0007)
    machine.pc = 0x1000
    machine.thread_pointer = 77
    found = machine.registers()
    assert (found.r4, found.pc, machine.thread_pointer, found.user_mode) == (7, 0x1000, 77, False)
    with pytest.raises(MachineError, match="cannot be set"):
        machine.set_register("dfar", 1)
    machine.close()
