"""AArch64, put together."""

from __future__ import annotations

from kobox.arch.arch import AddressSpace, Arch, KernelAreas, Variable
from kobox.arch.arm64.abi import ABI
from kobox.arch.arm64.code import A64Code
from kobox.arch.arm64.debugger import TARGET
from kobox.arch.arm64.init_program import INIT
from kobox.arch.arm64.oops import OOPS
from kobox.arch.arm64.relocations import RELOCATIONS
from kobox.arch.arm64.syscalls import SYSCALLS
from kobox.arch.arm64.unwind import FramePointerUnwinder
from kobox.arch.boot import BootDetails
from kobox.arch.link_register import LinkRegisterCalls

_PAGE_OFFSET, _PAGE_OFFSET_52 = 0xFFFF000000000000, 0xFFF0000000000000
_ALL = (1 << 64) - 1

# Documentation/arch/arm64/memory.rst: 4 KiB pages, 48-bit addresses, without KASLR. 6.1 gives modules 128 MiB below the
# image, 6.12 2 GiB.
_ADDRESSES = AddressSpace(
    kernel_start=_PAGE_OFFSET,
    bits=49,  # bit 48 and those above it tell the halves apart
    image_start=0xFFFF800008000000,
    modules=(0xFFFF800000000000, 0xFFFF800080000000),
    modules_size=128 << 20,
    thread_size=16 << 10,
    hostile=(1, 0x1000, 0x0000FFFFFFFFF000, 0x0001000000000000, _PAGE_OFFSET, 0xFFFFFFFFFFFFF000),
)


def _direct_map(variable: Variable) -> int:
    """Where physical address 0 is mapped (arch/arm64/include/asm/memory.h, __phys_to_virt). A kernel that is built for
    52 bits of addresses, on a CPU with 48, has moved memstart_addr by what lies between (arch/arm64/mm/init.c)."""
    start = variable("memstart_addr")
    return -start & _ALL | _PAGE_OFFSET_52 if start >> 63 else _PAGE_OFFSET - start


def _areas(variable: Variable, number: Variable) -> KernelAreas:
    """arch/arm64/kernel/crash_core.c publishes what memory.h calculates, since 6.0; RAM begins at physical 0 here."""
    direct = _direct_map(variable)
    return KernelAreas(direct, number("VMEMMAP_START"), number("VMALLOC_START"))


_BOOT = BootDetails(
    command_line="console=ttyAMA0 nosmp kpti=off",
    second_serial="/dev/ttyAMA1",
    device_tree=True,
)

ARM64 = Arch(
    name="aarch64",
    title="AArch64",
    elf_machine=183,
    debian="arm64",
    gnu="aarch64-linux-gnu",
    calls=LinkRegisterCalls("x", "x30"),
    addresses=_ADDRESSES,
    syscalls=SYSCALLS,
    abi=ABI,
    code=A64Code(),
    relocations=RELOCATIONS,
    init=INIT,
    boot=_BOOT,
    oops=OOPS,
    debugger=TARGET,
    direct_map=_direct_map,
    areas=_areas,
    watched=True,
    interrupt_entries=("vectors", "el1h_64_", "el1t_64_", "call_on_irq_stack"),
    unwinder=FramePointerUnwinder,
)
