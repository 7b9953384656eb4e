"""The architectures whose kernels a box boots, by name."""

from __future__ import annotations

from kobox.arch.arch import Arch
from kobox.arch.x86_64.x86_64 import X86_64
from kobox.errors import KoboxError

ARCHITECTURES: tuple[Arch, ...] = (X86_64,)


def architecture(name: str) -> Arch:
    """The architecture of this name: `uname -m`'s, or Debian's. Raises `KoboxError` for one that boxes do not have."""
    for arch in ARCHITECTURES:
        if name in (arch.name, arch.debian):
            return arch
    known = ", ".join(arch.name for arch in ARCHITECTURES)
    raise KoboxError(f"{name}: no architecture that boxes have", hint=f"They have: {known}.")


# What no program of a fuzzer's may crash a kernel with, whatever its architecture.
HOSTILE_ADDRESSES = tuple(sorted({address for arch in ARCHITECTURES for address in arch.addresses.hostile}))
