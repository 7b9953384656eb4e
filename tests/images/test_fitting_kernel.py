"""A module file says for which processor it was built: a kernel for that is meant when none is named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from kobox.errors import KernelNotFoundError
from kobox.images.store import KernelImage, Store
from tests.building import built_module


def elf(path: Path, machine: int, *, wide: bool = True, big: bool = False) -> Path:
    order = "big" if big else "little"
    head = b"\x7fELF" + bytes((2 if wide else 1, 2 if big else 1, 1)) + bytes(9)
    path.write_bytes(head + (1).to_bytes(2, order) + machine.to_bytes(2, order) + bytes(44))
    return path


def test_the_default_kernel_is_meant_where_it_fits(kernel_store: Store, tmp_path: Path) -> None:
    assert kernel_store.fitting([elf(tmp_path / "a.ko", kernel_store.default().arch.elf_machine)]) is None
    (tmp_path / "a.c").write_text("int a;\n")
    assert kernel_store.fitting([tmp_path / "a.c", tmp_path / "none.ko", tmp_path]) is None


def test_a_kernel_of_the_modules_processor_is_found(
    kernel_store: Store, arm64_kernel: KernelImage, tmp_path: Path
) -> None:
    name = kernel_store.fitting([elf(tmp_path / "a.ko", 183)])
    assert name is not None
    assert kernel_store.get(name).arch is arm64_kernel.arch


def test_of_several_kernels_the_one_that_the_module_names_is_taken(
    arm64_kernel: KernelImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    newer = SimpleNamespace(name="6.99-arm64", release="6.99-arm64", architecture=arm64_kernel.architecture)
    monkeypatch.setattr(store, "list", lambda: [arm64_kernel, newer])
    monkeypatch.setattr(store, "default", lambda: SimpleNamespace(architecture="x86_64"))
    assert store.fitting([built_module(arm64_kernel, "hello")]) == arm64_kernel.name
    assert store.fitting([elf(tmp_path / "a.ko", 183)]) == newer.name  # it does not say


@pytest.mark.parametrize(
    ("machine", "wide", "big", "words"),
    [
        (243, False, False, "built for RISC-V, 32-bit: no box"),
        (243, True, True, "built for RISC-V, big-endian: no box"),
        (40, False, True, "built for armv7l, big-endian: no box"),
        (183, True, True, "built for aarch64, big-endian: no box"),
        (62, False, False, "built for x86_64, 32-bit: no box"),
        (21, True, True, "built for 64-bit PowerPC, big-endian: no box"),
        (4711, True, False, "built for machine 4711 of ELF's list: no box"),
    ],
)
def test_other_processors_are_named(
    kernel_store: Store, tmp_path: Path, machine: int, wide: bool, big: bool, words: str
) -> None:
    with pytest.raises(KernelNotFoundError, match=words):
        kernel_store.fitting([elf(tmp_path / "a.ko", machine, wide=wide, big=big)])


def test_an_empty_cache_is_told_what_to_fetch(tmp_path: Path) -> None:
    with pytest.raises(KernelNotFoundError, match=r"a\.ko: built for aarch64") as caught:
        Store(tmp_path / "cache").fitting([elf(tmp_path / "a.ko", 183)])
    assert caught.value.hint == "`kobox kernel add debian:arm64` fetches one."


def test_the_run_command_takes_the_kernel_that_fits(arm64_kernel: KernelImage) -> None:
    module = built_module(arm64_kernel, "hello")
    done = subprocess.run(
        [sys.executable, "-m", "kobox", "run", str(module)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "arm64" in done.stdout.splitlines()[0]
    assert "hello" in done.stdout
