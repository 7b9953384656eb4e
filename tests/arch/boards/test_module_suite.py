"""The modules of tests/modules on every processor: what each does is what it does on x86-64, by its own messages.

`make test-arm64` and `make test-riscv64` take all of them (KOBOX_TEST_SUITE=all), else it is a few.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from kobox.box.boot.boot import boot
from kobox.box.box import Box
from kobox.errors import KernelError, KoboxError
from kobox.images.store import KernelImage
from kobox.kbuild.build import build
from tests.building import SOURCES, builds, built_once

ONLY_X86 = {"attacks"}  # it writes registers of the processor
FEW = ("good", "kbase", "kuser", "noexit", "params", "workers")
ALL = tuple(sorted(path.stem for path in SOURCES.glob("*.c") if path.stem not in ONLY_X86))
NAMES = ALL if os.environ.get("KOBOX_TEST_SUITE") == "all" else FEW
# Numbers that differ between machines and runs: addresses, times, sizes of what the kernel made.
NUMBERS = re.compile(r"\b0x[0-9a-f]+\b|\b[0-9a-f]{16}\b|\b\d+\b")
# What is otherwise there: (processor, module) -> what comes of it.
OTHERWISE = {
    ("aarch64", "divided"): ["loaded", "unloaded"],  # a division by zero gives 0 (Arm ARM, UDIV) ...
    ("riscv64", "divided"): ["loaded", "unloaded"],  # ... or all ones (Unprivileged ISA, "Division Operations")
    ("armv7l", "divided"): ["loaded", "unloaded"],  # as on aarch64
    ("riscv64", "kprobed"): ["EINVAL"],  # no kprobe where ftrace has its place (arch/riscv has no KPROBES_ON_FTRACE)
}
KERNELS_OWN = ("loading out-of-tree module", "module verification failed", "[<", "Code: ", "Call ")


def suite(kernel: KernelImage) -> Path:
    """The directory of these modules, built for a kernel together: some use what others export."""
    import hashlib

    digest = hashlib.sha256(f"suite {kernel.name} {kernel.digest}".encode())
    for name in NAMES:
        digest.update(f"{name}\0".encode() + (SOURCES / f"{name}.c").read_bytes())

    def make(aside: Path) -> None:
        sources = aside.with_name(f"{aside.name}-sources")
        shutil.rmtree(sources, ignore_errors=True)
        sources.mkdir()
        for name in NAMES:
            shutil.copy(SOURCES / f"{name}.c", sources)
        try:
            build(sources, kernel, output=aside, builds=builds())
        finally:
            shutil.rmtree(sources)

    return built_once(digest.hexdigest(), make)


@pytest.fixture(scope="module")
def here(board_kernel: KernelImage) -> Iterator[tuple[Box, Path]]:
    with boot(board_kernel) as box:
        yield box, suite(board_kernel)


@pytest.fixture(scope="module")
def there(debian_kernel: KernelImage) -> Iterator[tuple[Box, Path]]:
    with boot(debian_kernel) as box:
        yield box, suite(debian_kernel)


def life(place: tuple[Box, Path], name: str) -> tuple[list[str], list[str]]:
    """What came of loading and unloading a module, and what it said."""
    box, directory = place
    box.reset()
    start, outcome = box.log.next_seq, []
    try:
        if name == "kuser":
            box.insmod(directory / "kbase.ko")
        loaded = box.insmod(directory / f"{name}.ko")
        outcome.append("loaded")
        loaded.unload()
        outcome.append("unloaded")
    except KernelError as error:
        outcome.append(errno.errorcode.get(error.errno or 0, "?"))
    except KoboxError as error:
        outcome.append(type(error).__name__)
    said = [record.text for record in box.log.since(start) if record.text.startswith(f"{name}: ")] if box.alive else []
    return outcome, [NUMBERS.sub("N", line) for line in said if not any(word in line for word in KERNELS_OWN)]


@pytest.mark.parametrize("name", NAMES)
def test_a_module_does_what_it_does_on_x86_64(here: tuple[Box, Path], there: tuple[Box, Path], name: str) -> None:
    outcome, said = life(here, name)
    if (here[0].arch.name, name) in OTHERWISE:
        assert outcome == OTHERWISE[here[0].arch.name, name]
    else:
        assert (outcome, said) == life(there, name)
