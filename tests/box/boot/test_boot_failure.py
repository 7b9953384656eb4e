"""A kernel that does not come up: what it lacks is said before it boots; where it stopped and why, after."""

from __future__ import annotations

import gzip

import pytest

from kobox.arch.registry import architecture
from kobox.box.boot.bare_boot import boot
from kobox.box.boot.boot_failure import boot_failure, check_needs, missed_features
from kobox.errors import BoxHungError, KernelImageError, KernelPanicError
from kobox.images.kernel_config import embedded_config, read_config
from kobox.images.store import KernelImage

X86, ARM = architecture("x86_64"), architecture("aarch64")


@pytest.mark.parametrize("suite", ["debian_kernel", "trixie_kernel", "sid_kernel"])
def test_distributions_kernels_lack_nothing(suite: str, request: pytest.FixtureRequest) -> None:
    kernel: KernelImage = request.getfixturevalue(suite)
    config = read_config(kernel)
    assert len(config) > 2000
    check_needs(kernel.name, config, kernel.arch)
    assert missed_features(config, kernel.arch) == []


NEEDED = [
    *("MODULES", "BLK_DEV_INITRD", "BINFMT_ELF", "PRINTK", "TTY", "PROC_FS", "SYSFS", "KALLSYMS", "SIGNALFD"),
    *("SERIAL_8250", "SERIAL_8250_CONSOLE", "64BIT", "X86_PM_TIMER"),
]


@pytest.mark.parametrize("option", NEEDED)
def test_a_kernel_without_something_needed_is_refused_before_it_boots(option: str, debian_kernel: KernelImage) -> None:
    config = {name: value for name, value in read_config(debian_kernel).items() if name != option}
    with pytest.raises(KernelImageError, match=f"own cannot run in a box: CONFIG_{option} is not set: ") as error:
        check_needs("own", config, X86)
    assert error.value.hint


def test_one_of_two_names_of_an_option_is_enough_and_no_configuration_says_nothing() -> None:
    config = dict.fromkeys([*NEEDED, "VMCORE_INFO"], "y")
    check_needs("own", config, X86)
    check_needs("own", {}, X86)
    check_needs("own", {name: "y" for name in config if "8250" not in name and name != "X86_PM_TIMER"}, ARM)
    with pytest.raises(KernelImageError, match="CONFIG_CRASH_CORE or CONFIG_VMCORE_INFO"):
        check_needs("own", dict.fromkeys(NEEDED, "y"), X86)
    assert any("VIRTIO_MMIO" in text for text in missed_features(config, X86))


def test_a_configuration_inside_the_kernel_is_read() -> None:
    packed = gzip.compress(b"CONFIG_MODULES=y\n# CONFIG_KASAN is not set\nCONFIG_HZ=250\n")
    part = b"\0" * 100 + b"IKCFG_ST" + packed + b"IKCFG_ED"
    assert embedded_config([b"", part]) == {"MODULES": "y", "HZ": "250"}
    assert embedded_config([b"IKCFG_ST", b"IKCFG_ST\x1f\x8b\x08broken"]) == {}


CONSOLES = [
    ([], False, "printed nothing"),
    (["[    0.0] VFS: Unable to mount root fs on unknown-block(0,0)"], False, "initramfs"),
    (
        ["[    0.9] Failed to execute /init (error -8)", "[    0.9] Kernel panic - not syncing: No init"],
        False,
        "ELF",
    ),
    (["[    0.1] Kernel panic - not syncing: System is deadlocked on memory"], False, "too little memory"),
    (["This kernel requires an x86-64 CPU, but only detected an i686 CPU."], False, "a CPU"),
    (["[    0.2] Kernel panic - not syncing: stack-protector"], False, "it panicked: stack-protector"),
    (["[    0.2] BUG: unable to handle page fault for address: 0"], False, "it oopsed"),
    (["[   21.7] Running RCU-tasks wait API self tests"], True, "printed nothing more"),
    (["[    1.0] done"], False, "stopped before"),
]


@pytest.mark.parametrize(("console", "hung", "reason"), CONSOLES, ids=[reason for _, _, reason in CONSOLES])
def test_a_console_says_why(console: list[str], hung: bool, reason: str) -> None:
    found = boot_failure(console, hung=hung)
    assert reason in found.reason
    assert found.hint
    assert (found.time is None) == (not any(line.startswith("[") for line in console))


def test_a_box_with_too_little_memory_says_so_with_its_log(debian_kernel: KernelImage) -> None:
    with pytest.raises((KernelPanicError, BoxHungError), match="did not come up: it has too little memory") as error:
        boot(debian_kernel, memory=64 << 20)
    log = debian_kernel.directory / "boot-failed.log"
    assert str(log) in error.value.hint
    assert "Linux version" in log.read_text()
    assert "--memory" in error.value.hint


def test_a_first_process_that_is_not_there_is_named(debian_kernel: KernelImage) -> None:
    with pytest.raises(KernelPanicError, match=r"no first process in its initramfs.*; the last that it printed, at \d"):
        boot(debian_kernel, cmdline="rdinit=/nothing")


def test_a_kernel_with_large_physical_addresses_is_refused_before_it_boots() -> None:
    with pytest.raises(KernelImageError, match="CONFIG_ARM_LPAE is set") as error:
        check_needs("own", {"ARM_LPAE": "y"}, architecture("armhf"))
    assert "debian:armhf" in error.value.hint


@pytest.mark.parametrize(
    ("port", "has_types", "missed"),
    [("amd64", False, {"ACPI", "PCI", "DEBUG_INFO_BTF"}), ("arm64", False, {"DEBUG_INFO_BTF"}), ("armhf", True, set())],
)
def test_what_is_missed_differs_between_boards(port: str, has_types: bool, missed: set[str]) -> None:
    others = dict.fromkeys(("MODULE_UNLOAD", "VIRTIO_MMIO", "NET", "DEVTMPFS"), "y")
    said = missed_features(others, architecture(port), has_types=has_types)
    assert {text.partition("CONFIG_")[2].partition(" ")[0] for text in said} == missed
