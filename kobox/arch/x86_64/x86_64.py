"""x86-64, put together."""

from __future__ import annotations

from kobox.arch.arch import AddressSpace, Arch, KernelAreas
from kobox.arch.boot import BootDetails
from kobox.arch.x86_64.abi import ABI
from kobox.arch.x86_64.code import X86Code
from kobox.arch.x86_64.debugger import TARGET
from kobox.arch.x86_64.init_program import INIT
from kobox.arch.x86_64.oops import OOPS
from kobox.arch.x86_64.registers import SystemV
from kobox.arch.x86_64.relocations import RELOCATIONS
from kobox.arch.x86_64.syscalls import SYSCALLS
from kobox.arch.x86_64.unwind import OrcUnwinder

# Documentation/arch/x86/x86_64/mm.rst: four levels of page tables, without KASLR.
_ADDRESSES = AddressSpace(
    kernel_start=1 << 63,
    bits=48,
    image_start=0xFFFFFFFF80000000,
    modules=(0xFFFFFFFFA0000000, 0xFFFFFFFFFF000000),
    modules_size=1520 << 20,
    thread_size=16 << 10,
    hostile=(1, 0x1000, 0x7FFFFFFFF000, 0x800000000000, 0xFFFF888000000000, 0xFFFFFFFFFFFFF000),
)

# One CPU, no devices but those of the machine; time comes from the TSC, which is virtual and exact.
_BOOT = BootDetails(
    command_line=("console=ttyS0 earlyprintk=serial,ttyS0,115200 nosmp tsc=reliable no_timer_check nopti"),
    second_serial="/dev/ttyS1",
)

X86_64 = Arch(
    name="x86_64",
    title="x86-64",
    elf_machine=62,
    debian="amd64",
    gnu="x86_64-linux-gnu",
    calls=SystemV(),
    addresses=_ADDRESSES,
    syscalls=SYSCALLS,
    abi=ABI,
    code=X86Code(),
    relocations=RELOCATIONS,
    init=INIT,
    boot=_BOOT,
    oops=OOPS,
    debugger=TARGET,
    direct_map=lambda variable: variable("page_offset_base"),  # arch/x86/mm/kaslr.c
    areas=lambda variable, _: KernelAreas(*map(variable, ("page_offset_base", "vmemmap_base", "vmalloc_base"))),
    watched=True,
    interrupt_entries=(
        "asm_sysvec_",
        "asm_exc_",
        "asm_common_interrupt",
        "asm_spurious_interrupt",
        "irq_entries_start",
    ),
    unwinder=OrcUnwinder,
)
