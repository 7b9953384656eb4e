"""Why a kernel does not run in a box: what its configuration lacks, told before it boots; where a boot stopped.

Sources: init/main.c (kernel_init), init/do_mounts.c, Documentation/admin-guide/init.rst; what a box needs is what
`kobox.box.boot.cold_boot` does first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kobox.arch.arch import Arch
from kobox.errors import KernelImageError


class BootNeed(NamedTuple):
    """An option that a kernel has to be built with, or one of several, and what for."""

    options: tuple[str, ...]
    why: str


# What any box needs, whatever it is used for.
_NEEDS = (
    BootNeed(("MODULES",), "it cannot load any module"),
    BootNeed(("BLK_DEV_INITRD",), "a box's first process comes from an initramfs"),
    BootNeed(("BINFMT_ELF",), "a box's first process is an ELF program"),
    BootNeed(("PRINTK",), "it has no log"),
    BootNeed(("TTY",), "it has no serial line"),
    BootNeed(("PROC_FS",), "its symbols are read from /proc/kallsyms"),
    BootNeed(("SYSFS",), "modules are looked at in /sys/module"),
    BootNeed(("KALLSYMS",), "its symbols are read from /proc/kallsyms"),
    BootNeed(("SIGNALFD",), "a box's first process waits at a signalfd"),
    BootNeed(("CRASH_CORE", "VMCORE_INFO"), "its log is found by vmcoreinfo"),
)
# What a PC's kernel needs besides: the machine has two 8250 UARTs, and time comes from the ACPI PM timer.
_PC_NEEDS = (
    BootNeed(("64BIT",), "boxes have 64-bit CPUs"),
    BootNeed(("SERIAL_8250",), "a box has 8250 serial lines and no other way to its first process"),
    BootNeed(("SERIAL_8250_CONSOLE",), "its console is the first 8250 serial line"),
    BootNeed(("X86_PM_TIMER",), "its clock is the ACPI PM timer, since a box has no hypervisor's"),
)
# What a kernel for ARMv7 needs besides: it is told of everything by a device tree.
_ARMV7_NEEDS = (
    BootNeed(("OF",), "a device tree announces all hardware"),
    BootNeed(("SERIAL_AMBA_PL011",), "a box has PL011 serial lines and no other way to its first process"),
    BootNeed(("SERIAL_AMBA_PL011_CONSOLE",), "its console is the first PL011 serial line"),
    BootNeed(("ARM_TIMER_SP804",), "its clock is an SP804"),
)
_OWN_NEEDS = {"x86_64": _PC_NEEDS, "armv7l": _ARMV7_NEEDS}
# What a kernel must not be built with.
_LARGE_ADDRESSES = "ARM_LPAE"

_TYPES = "DEBUG_INFO_BTF"
_OF_PCS = {"ACPI", "PCI"}  # boards that a device tree announces have neither
# What is missed without an option, where the rest works.
_FEATURES = (
    BootNeed(("MODULE_UNLOAD",), "no module can be unloaded"),
    BootNeed((_TYPES,), "types and arguments have no names"),
    BootNeed(("VIRTIO_MMIO",), "no disks, network cards or shared directories"),
    BootNeed(("NET",), "no sockets, and no events about devices"),
    BootNeed(("PCI",), "no models of PCI hardware"),
    BootNeed(("ACPI",), "no models of platform, I2C and SPI hardware"),
    BootNeed(("DEVTMPFS",), "no files in /dev by themselves"),
)


class BootFailure(NamedTuple):
    """Why a boot did not come to its end: `reason` in one sentence, the next step, and the last line that was printed
    with its time in seconds (None without one)."""

    reason: str
    hint: str
    last: str
    time: float | None


def check_needs(name: str, config: Mapping[str, str], arch: Arch) -> None:
    """Raises `KernelImageError` when a kernel was built without something that boxes need; an empty `config` says
    nothing."""
    if config.get(_LARGE_ADDRESSES) == "y":
        raise KernelImageError(
            f"{name} cannot run in a box: CONFIG_{_LARGE_ADDRESSES} is set: page tables for large physical addresses",
            hint="Debian's armmp kernels have none: `kobox kernel add debian:armhf`.",
        )
    missing = [need for need in _needs(arch) if config and not _has(config, need)]
    if missing:
        said = "; ".join(f"CONFIG_{' or CONFIG_'.join(need.options)} is not set: {need.why}" for need in missing)
        raise KernelImageError(
            f"{name} cannot run in a box: {said}",
            hint="Distributions' kernels have all of that; in your own, set these options and build it again.",
        )


def missed_features(config: Mapping[str, str], arch: Arch, *, has_types: bool = False) -> list[str]:
    """What will not work in boxes of a kernel, in words; nothing where the configuration is not known.
    `has_types`: they were made of its headers."""
    here = {_TYPES} if has_types else set()
    here |= _OF_PCS if arch.boot.device_tree else set()
    return [
        f"{need.why} (CONFIG_{need.options[0]} is not set)"
        for need in _FEATURES
        if config and need.options[0] not in here and not _has(config, need)
    ]


def _needs(arch: Arch) -> tuple[BootNeed, ...]:
    return (*_NEEDS, *_OWN_NEEDS.get(arch.name, ()))


def _has(config: Mapping[str, str], need: BootNeed) -> bool:
    return any(config.get(option) in ("y", "m") for option in need.options)


_READ = "`kobox explain --log FILE` reads its log."
_DEBUG = "CONFIG_KASAN, CONFIG_PROVE_LOCKING and the like make it ten times slower"
_RULES = (
    (
        r"VFS: Unable to mount root fs|VFS: Cannot open root device",
        "it found no first process in its initramfs, and looked for a disk",
        "Build it with CONFIG_BLK_DEV_INITRD=y, and leave rdinit= to kobox.",
    ),
    (
        r"Failed to execute /init \(error -8\)|No working init found|Requested init /init failed",
        "it cannot run the first process, an ELF program",
        "Build it with CONFIG_BINFMT_ELF=y, for the processor that the box has.",
    ),
    (
        r"[Oo]ut of memory|deadlocked on memory|panic - not syncing: .*(alloc|memory)|Initramfs unpacking failed",
        "it has too little memory",
        "Give it more: `kobox.boot(memory=…)`, `kobox run --memory MIB`. Debug kernels need 1 GiB.",
    ),
    (
        r"requires an? .* CPU|required features? not present|unsupported CPU|Unsupported CPU",
        "it wants a CPU that the box's is not",
        "Build it for a generic processor (CONFIG_GENERIC_CPU=y).",
    ),
    (
        r"IO-APIC \+ timer doesn't work|No timer|clocksource.*unstable.*no other",
        "it found no timer that works for it",
        "Build it with CONFIG_X86_PM_TIMER=y.",
    ),
)


def boot_failure(console: Sequence[str], *, hung: bool) -> BootFailure:
    """What a console's lines say about a boot that did not end; `hung`: it used up its time."""
    lines = [line for line in console if line.strip()]
    last, time = _last(lines)
    if not lines:
        return BootFailure(
            "it printed nothing",
            "It has no console on the box's serial line (CONFIG_SERIAL_8250_CONSOLE), or stops at once: is it for this"
            " processor?",
            "",
            None,
        )
    text = "\n".join(lines)
    for pattern, reason, hint in _RULES:
        if re.search(pattern, text):
            return BootFailure(reason, hint, last, time)
    panic = re.search(r"Kernel panic - not syncing: (.*)", text)
    if panic:
        return BootFailure(f"it panicked: {panic[1].strip()}", _READ, last, time)
    if re.search(r"Oops: |BUG: (unable|kernel)|general protection fault", text):
        return BootFailure("it oopsed before its first process", _READ, last, time)
    if hung:
        return BootFailure(
            "it printed nothing more and did not reach its first process",
            f"It waits for something that the box lacks, or is slow: {_DEBUG}.",
            last,
            time,
        )
    return BootFailure("it stopped before its first process", _READ, last, time)


def _last(lines: Sequence[str]) -> tuple[str, float | None]:
    """(the last line without its time, the last time)."""
    stamps = [match for line in lines if (match := re.match(r"\[ *(\d+\.\d+)\] ?(.*)", line))]
    if not stamps:
        return (lines[-1].strip() if lines else ""), None
    return stamps[-1][2].strip() or lines[-1], float(stamps[-1][1])
