"""Which machine boots kernels of an architecture."""

from __future__ import annotations

from kobox.arch.arch import Arch
from kobox.errors import KoboxError
from kobox.machine.pc import Machine


def machine_class(arch: Arch) -> type[Machine]:
    """The class of machines with a CPU of this architecture. Raises `KoboxError` where there is none."""
    if arch.name == Machine.arch.name:
        return Machine
    from kobox.machine.arm_virt import ArmVirt
    from kobox.machine.armv7_virt import Armv7Virt
    from kobox.machine.riscv_virt import RiscvVirt

    for board in (ArmVirt, RiscvVirt, Armv7Virt):
        if arch.name == board.arch.name:
            return board
    raise KoboxError(f"no machine with a CPU for {arch.title}")
