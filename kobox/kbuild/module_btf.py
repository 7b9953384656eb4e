"""Puts type information (BTF) into built modules, so that eBPF programs can attach to their functions by name.

Kbuild does it where the kernel's vmlinux lies beside the headers, and no distribution ships that; the types in the
kernel's own image are all that is needed of it. pahole is Debian's (`kobox.images.debian.clang`).

Source: scripts/Makefile.modfinal (cmd_btf_ko), pahole(1).
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from kobox.errors import BuildError
from kobox.images.debian.clang import BpfTools
from kobox.images.kernel_image import KernelImage, Progress
from kobox.images.store import Store
from kobox.kbuild.bpf_build import kernel_btf
from kobox.ko.modulefile import ModuleFile

_OWN_IDS = b".BTF_ids"  # what a module offers to programs as kfuncs: numbers that resolve_btfids alone puts in


def add_btf(modules: Sequence[Path], kernel: KernelImage, room: Path, progress: Progress | None = None) -> list[Path]:
    """Copies of modules in `room`, with the section .BTF of their types.

    Raises `BuildError` with pahole's words, or where the kernel's image carries no types; `FetchError`, `OSError`.
    """
    pahole = BpfTools(Store(), progress).pahole
    made = []
    with tempfile.NamedTemporaryFile(prefix="kobox-") as base:
        base.write(kernel_btf(kernel))
        base.flush()
        for module in modules:
            if ModuleFile(module).elf.find(_OWN_IDS):
                raise BuildError(
                    f"{module.name}: offers functions to eBPF programs (kfuncs), and their numbers cannot be resolved",
                    hint="Build it in a kernel tree that has vmlinux: Kbuild runs resolve_btfids there.",
                )
            target = room / module.name
            shutil.copyfile(module, target)
            words = [*pahole, "-J", "--btf_base", base.name, str(target)]
            done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
            if done.returncode:
                raise BuildError(f"{module.name}: pahole cannot make its types", output=done.stdout + done.stderr)
            made.append(target)
    return made
