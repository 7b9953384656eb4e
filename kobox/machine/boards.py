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

    if arch.name == ArmVirt.arch.name:
        return ArmVirt
    raise KoboxError(f"no machine with a CPU for {arch.title}")
