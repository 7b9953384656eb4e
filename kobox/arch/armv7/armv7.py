"""ARMv7 without large physical addresses, put together."""

from __future__ import annotations

from kobox.arch.arch import AddressSpace, Arch, KernelAreas, Variable
from kobox.arch.armv7.abi import ABI
from kobox.arch.armv7.calls import ArmCalls
from kobox.arch.armv7.code import A32Code
from kobox.arch.armv7.debugger import TARGET
from kobox.arch.armv7.init_program import INIT
from kobox.arch.armv7.oops import OOPS
from kobox.arch.armv7.relocations import RELOCATIONS
from kobox.arch.armv7.syscalls import SYSCALLS
from kobox.arch.armv7.unwind import ArmUnwinder
from kobox.arch.boot import BootDetails

# Documentation/arch/arm/memory.rst: 3 GiB for programs, modules in the last 16 MiB of them.
_PAGE_OFFSET = 0xC0000000
_MODULES = 0xBF000000
_ADDRESSES = AddressSpace(
    kernel_start=_MODULES,
    bits=32,
    image_start=_PAGE_OFFSET,
    modules=(_MODULES, _PAGE_OFFSET),
    modules_size=_PAGE_OFFSET - _MODULES,
    thread_size=8 << 10,
    hostile=(1, 0x1000, _MODULES - 4096, _MODULES, _PAGE_OFFSET, 0xFFFFF000),
    word=4,
)


def _areas(variable: Variable, number: Variable) -> KernelAreas:
    """RAM begins at physical 0 here; there is no table of struct page at a fixed address (CONFIG_FLATMEM)."""
    return KernelAreas(_PAGE_OFFSET, variable("mem_map"), variable("high_memory"))


ARMV7 = Arch(
    name="armv7l",
    title="ARMv7",
    elf_machine=40,
    debian="armhf",
    gnu="arm-linux-gnueabihf",
    calls=ArmCalls(),
    addresses=_ADDRESSES,
    syscalls=SYSCALLS,
    abi=ABI,
    code=A32Code(),
    relocations=RELOCATIONS,
    init=INIT,
    # As many rounds of the delay loop as a tick has (8 ns each, CONFIG_HZ=250): else the boot waits for ticks to count.
    boot=BootDetails(command_line="console=ttyAMA0 nosmp lpj=500000", second_serial="/dev/ttyAMA1", device_tree=True),
    oops=OOPS,
    debugger=TARGET,
    direct_map=lambda variable: _PAGE_OFFSET,
    areas=_areas,
    watched=False,
    interrupt_entries=("vector_", "__irq_svc", "__irq_usr", "__dabt_", "__pabt_", "__und_"),
    unwinder=ArmUnwinder,
    elf_name="arm",
)
