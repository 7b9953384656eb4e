"""RV64, put together."""

from __future__ import annotations

from kobox.arch.arch import AddressSpace, Arch, KernelAreas, Variable
from kobox.arch.boot import BootDetails
from kobox.arch.link_register import LinkRegisterCalls
from kobox.arch.riscv64.abi import ABI
from kobox.arch.riscv64.code import RiscvCode
from kobox.arch.riscv64.debugger import TARGET
from kobox.arch.riscv64.init_program import INIT
from kobox.arch.riscv64.oops import OOPS
from kobox.arch.riscv64.relocations import RELOCATIONS
from kobox.arch.riscv64.syscalls import SYSCALLS
from kobox.arch.riscv64.unwind import RiscvUnwinder

# Documentation/arch/riscv/vm-layout.rst, Sv39: the kernel is told to leave the other modes alone (no4lvl).
_KERNEL_HALF = 0xFFFFFFC000000000
_IMAGE = 0xFFFFFFFF80000000
_ADDRESSES = AddressSpace(
    kernel_start=_KERNEL_HALF,
    bits=39,
    image_start=_IMAGE,
    modules=(_IMAGE - (2 << 30), _IMAGE),
    modules_size=2 << 30,
    thread_size=16 << 10,
    hostile=(1, 0x1000, 0x0000003FFFFFF000, 0x0000004000000000, _KERNEL_HALF, 0xFFFFFFFFFFFFF000),
)


def _areas(variable: Variable, number: Variable) -> KernelAreas:
    """arch/riscv/kernel/vmcore_info.c publishes all of them; RAM begins at physical 0 here."""
    return KernelAreas(number("PAGE_OFFSET"), number("VMEMMAP_START"), number("VMALLOC_START"))


RISCV64 = Arch(
    name="riscv64",
    title="RV64",
    elf_machine=243,
    debian="riscv64",
    gnu="riscv64-linux-gnu",
    calls=LinkRegisterCalls("a", "ra"),
    addresses=_ADDRESSES,
    syscalls=SYSCALLS,
    abi=ABI,
    code=RiscvCode(),
    relocations=RELOCATIONS,
    init=INIT,
    boot=BootDetails(command_line="console=ttyS0 nosmp no4lvl", second_serial="/dev/ttyS1", device_tree=True),
    oops=OOPS,
    debugger=TARGET,
    direct_map=lambda variable: variable("kernel_map"),  # its first member, page_offset (arch/riscv/include/asm/page.h)
    areas=_areas,
    watched=False,
    interrupt_entries=("handle_exception", "do_irq", "call_on_irq_stack", "riscv_intc_irq"),
    unwinder=RiscvUnwinder,
)
