"""modpost's "undefined", told apart: never exported, no longer exported, another module's, nobody's."""

from __future__ import annotations

from pathlib import Path

import pytest

from kobox.images.exports import KernelExports
from kobox.images.store import KernelImage
from kobox.kbuild.hints.mistakes import mistakes


def told(symbol: str, kernel: KernelImage, *others: KernelImage, source: Path | None = None) -> str:
    text = f'ERROR: modpost: "{symbol}" [thing.ko] undefined!'
    (paragraph,) = mistakes(text, KernelExports(kernel), others, source)
    return paragraph


def test_no_longer_exported(debian_kernel: KernelImage) -> None:
    said = told("kallsyms_lookup_name", debian_kernel)
    assert said.startswith("kallsyms_lookup_name is not exported to modules since 5.7: ")


def test_exported_by_another_kernel_only(debian_kernel: KernelImage, sid_kernel: KernelImage) -> None:
    here, there = KernelExports(sid_kernel).table, KernelExports(debian_kernel).table
    gone = next(name for name, found in there.items() if name not in here and found.owner == "vmlinux")
    said = told(gone, sid_kernel, debian_kernel)
    assert f"{gone} is exported by {debian_kernel.name} (vmlinux), and by nothing of {sid_kernel.name}." in said


def test_declared_and_never_exported(debian_kernel: KernelImage) -> None:
    said = told("kernel_clone", debian_kernel)
    assert said.startswith("<linux/sched/task.h> declares kernel_clone, and ")
    assert "does not export it to modules" in said


def test_an_option_that_is_off(debian_kernel: KernelImage) -> None:
    said = told("i2c_add_numbered_adapter", debian_kernel)
    assert "CONFIG_I2C" in said


def test_another_module_s(debian_kernel: KernelImage, tmp_path: Path) -> None:
    for name, text in (("giver", "EXPORT_SYMBOL_GPL(given_by_it);"), ("taker", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.c").write_text(text)
    said = told("given_by_it", debian_kernel, source=tmp_path / "taker")
    assert "given_by_it is exported by " in said
    assert "giver/giver.c: build that first (kobox build " in said


def test_nobody_s(debian_kernel: KernelImage, tmp_path: Path) -> None:
    said = told("nobody_has_it", debian_kernel, source=tmp_path)
    assert said.startswith("nobody_has_it is exported by nothing that thing is built with: ")


@pytest.mark.parametrize(
    ("symbol", "help_"),
    [
        *((symbol, "Floating point") for symbol in ("__muldf3", "__floatsidf", "__aeabi_dmul", "__aeabi_ui2d")),
        *((symbol, "use div_u64()") for symbol in ("__udivdi3", "__aeabi_uldivmod", "__aeabi_ldivmod")),
    ],
)
def test_arithmetic_that_the_compiler_calls(symbol: str, help_: str, debian_kernel: KernelImage) -> None:
    assert help_ in told(symbol, debian_kernel)
