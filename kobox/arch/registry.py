"""The architectures whose kernels a box boots, by name."""

from __future__ import annotations

from kobox.arch.arch import Arch
from kobox.arch.arm64.arm64 import ARM64
from kobox.arch.armv7.armv7 import ARMV7
from kobox.arch.oops import OopsWords
from kobox.arch.riscv64.riscv64 import RISCV64
from kobox.arch.x86_64.x86_64 import X86_64
from kobox.errors import KoboxError

ARCHITECTURES: tuple[Arch, ...] = (X86_64, ARM64, RISCV64, ARMV7)


def architecture(name: str) -> Arch:
    """The architecture of this name: `uname -m`'s, Debian's, or that of ELF's machine. Raises `KoboxError` for one that
    boxes do not have."""
    for arch in ARCHITECTURES:
        if name in (arch.name, arch.debian, arch.elf_name or arch.name):
            return arch
    known = ", ".join(arch.name for arch in ARCHITECTURES)
    raise KoboxError(f"{name}: no architecture that boxes have", hint=f"They have: {known}.")


# What no program of a fuzzer's may crash a kernel with, whatever its architecture.
HOSTILE_ADDRESSES = tuple(sorted({address for arch in ARCHITECTURES for address in arch.addresses.hostile}))

# How reports of crashes start, whichever architecture they are of.
OOPS_STARTS = tuple(dict.fromkeys(start for arch in ARCHITECTURES for start in arch.oops.starts))
EXCEPTION_STARTS = tuple(dict.fromkeys(start for arch in ARCHITECTURES for start in arch.oops.exceptions))
_OOPS = tuple(arch.oops for arch in ARCHITECTURES)
TRACE_STARTS = tuple(dict.fromkeys(arch.oops.trace for arch in ARCHITECTURES))


def oops_place(line: str) -> str:
    """What a line of a crash report says after the words for "the CPU was here, in the kernel"; "" for other lines."""
    return next((found for words in _OOPS if (found := _place_by(words, line))), "")


def _place_by(words: OopsWords, line: str) -> str:
    before, _, behind = line.partition(words.pc)
    if before[-1:].isalpha() or (words.no_pc and words.no_pc in line):  # "epc : " ends like "pc : "
        return ""
    return behind


def link_place(line: str) -> str:
    """What a line of a crash report says of the register with the return address; "" for other lines, and on processors
    that have none."""
    return next((line.partition(words.link)[2] for words in _OOPS if words.link and words.link in line), "")


def shows_registers(line: str) -> bool:
    """Whether a line of a crash report shows registers."""
    return any(word in line for arch in ARCHITECTURES for word in arch.oops.registers)
