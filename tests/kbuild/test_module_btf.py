"""Types of a module: what it offers to eBPF programs, functions and tracepoints, is called and attached by name."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest

from kobox.box.boot.boot import boot
from kobox.errors import BuildError
from kobox.images.store import KernelImage
from kobox.kbuild.bpf_build import kernel_btf
from kobox.kbuild.build import build
from kobox.kbuild.module_btf import add_btf, resolve_ids
from kobox.ko.modulefile import ModuleFile

SOURCES = Path(__file__).parent.parent / "bpf/modules"


def test_programs_use_what_a_module_offers(debian_kernel: KernelImage, tmp_path: Path) -> None:
    """`make check-bpf-kinds` does it on newer kernels too."""
    offered(debian_kernel, tmp_path)


def test_types_that_are_there_stay(debian_kernel: KernelImage, tmp_path: Path) -> None:
    assert debian_kernel.modules is not None
    loop = next(debian_kernel.modules.rglob("loop.ko*"))
    [copy] = add_btf([loop], debian_kernel, tmp_path)
    assert ModuleFile(copy).elf.find(b".BTF")
    assert copy.read_bytes() == loop.read_bytes()


def offered(kernel: KernelImage, tmp_path: Path) -> None:
    """Build, load and use tests/bpf/modules."""
    place = shutil.copytree(SOURCES, tmp_path / "offers")
    built = build(place, kernel, builds=tmp_path / "builds")
    [module], [program] = built.modules, built.programs
    if not ModuleFile(module).elf.find(b".BTF.base"):  # Kbuild has not done it itself
        _refuses_names_that_are_not_there(module, kernel)
    with boot(kernel) as box:
        box.insmod(module)
        with box.bpf.load(program) as asks:
            asks.attach()
            assert asks.programs["asks"].test_run(bytes(64)).result == 2 * 64 - 1
            assert asks.globals["traced"] == asks.globals["raw"] == 64
        box.sleep(0.5)
        box.rmmod("offers")


def _refuses_names_that_are_not_there(module: Path, kernel: KernelImage) -> None:
    """A function's name changed in its types; ids that are cut off end in words too."""
    good = module.read_bytes()
    ids = ModuleFile(module).elf.section_data(b".BTF_ids")
    assert struct.unpack_from("<I", ids) == (2,)
    assert 0 < struct.unpack_from("<I", ids, 8)[0] < struct.unpack_from("<I", ids, 16)[0]
    types = ModuleFile(module).elf
    section = types.sections[types.find(b".BTF")]
    at = good.index(b"offers_twice\0", section.offset)
    broken = module.with_name("broken.ko")
    broken.write_bytes(good[:at] + b"offers_twicf\0" + good[at + 13 :])
    with pytest.raises(BuildError, match=r"names func offers_twice.*no type|neither the module nor the kernel"):
        resolve_ids(broken, kernel_btf(kernel))
