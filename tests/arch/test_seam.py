"""The seam between processors: what only x86 has is named in `kobox/arch/x86_64/`, and in the files of the PC."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kobox.arch.registry import ARCHITECTURES
from kobox.machine.native_core import core_of

PACKAGE = Path(__file__).parent.parent.parent / "kobox"
# The PC is an x86 machine, as machine/arm_virt.py is an arm64 one; templates are modules' sources.
ALLOWED = (
    "arch/x86_64/",
    "arch/arm64/",
    "arch/riscv64/",
    "arch/armv7/",
    "machine/native/x86_64/",
    "machine/pc.py",
    "machine/acpi.py",
    "kbuild/templates/",
)
# C files of the machine that meet the processor's: tests/machine/test_native_files.py holds them to a list.
PYTHON_AND_TABLES = (".py", ".toml")

_REGISTERS = (
    *("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "rip", *(f"r{n}" for n in range(8, 16))),
    *("eax", "ebx", "ecx", "edx", "esi", "edi", "ebp", "esp", "eip", "rflags", "eflags"),
    *("cr0", "cr2", "cr3", "cr4", "gs_base", "fs_base", "cpl", "idt", "gdt", "tss", "msr"),
)
RULES = {
    "a register": rf"(?i)(?<![\w/])(?:{'|'.join(_REGISTERS)})(?![\w/])",
    "an instruction": r"(?i)\b(?:cpuid|syscall instruction|sysret|swapgs|iretq|rdmsr|wrmsr|hlt)\b",
    "a relocation": r"\bR_X86_64_\w+",
    "a table for unwinding": r"\b[Oo][Rr][Cc]\b|orc_unwind",
    "a system call's number": r"syscall_numbers|\bNUMBERS\[",
    "an address of the kernel's": r"(?i)\b0xffff[0-9a-f]{8,12}\b(?<!0xffffffffffffffff)",
    "a test for the kernel's half": r"(?:address|pointer|pc|sp|frame)\w* ?>> ?(?:63|47)",
    "a name of one processor's kernel": (
        r"\b(?:vmemmap_base|page_offset_base|vmalloc_base|do_syscall_64|__(?:x64|arm64|riscv)_sys_)"
    ),
    "one processor's part of the package": r"kobox\.arch\.(?:x86_64|arm64|armv7|riscv64)",
}
# A lesson shows the report of an x86-64 kernel, as its reader will see it.
# registry.py lists the architectures; explain reads logs of kernels for more architectures than boxes have.
KNOWS_ALL = (
    ("arch/registry.py", {"one processor's part of the package"}),
    ("arch/host_syscalls.py", {"a system call's number", "one processor's part of the package"}),
    ("machine/arm_virt.py", {"one processor's part of the package"}),
    ("machine/riscv_virt.py", {"one processor's part of the package"}),
    ("machine/armv7_virt.py", {"a register", "one processor's part of the package"}),
    ("explain/crash_report.py", {"a register"}),
    ("lessons/course/", {"a register"}),
    ("explain/log_rules/", {"a register", "a table for unwinding"}),
)


def breaches(path: str, text: str) -> list[str]:
    """What a file names that is behind the seam, with line numbers."""
    if path.startswith(ALLOWED):
        return []
    known = {rule for place, rules in KNOWS_ALL if path.startswith(place) for rule in rules}
    return [
        f"{path}:{number}: {rule}: {found[0]}"
        for number, line in enumerate(text.splitlines(), 1)
        for rule, pattern in RULES.items()
        if (found := re.search(pattern, line)) and rule not in known
    ]


def test_nothing_above_the_seam_names_what_only_x86_has() -> None:
    found = []
    for path in sorted(PACKAGE.rglob("*")):
        if path.suffix in PYTHON_AND_TABLES:
            found += breaches(path.relative_to(PACKAGE).as_posix(), path.read_text())
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ('value = machine.register("rdi")', "a register"),
        ("stack = hit.registers.rsp & -STACK", "a register"),
        ("# CPUID from ring 3 is the hypercall", "an instruction"),
        ("if kind == R_X86_64_PLT32:", "a relocation"),
        ('symbols.address("__start_orc_unwind")', "a table for unwinding"),
        ("from kobox.arch.x86_64.syscall_numbers import NUMBERS", "a system call's number"),
        ("_MODULES = 0xFFFFFFFFA0000000", "an address of the kernel's"),
        ("if address >> 63:", "a test for the kernel's half"),
        ('objects.address("vmemmap_base")', "a name of one processor's kernel"),
        ("from kobox.arch.x86_64 import decode", "one processor's part of the package"),
    ],
)
def test_a_breach_is_found(line: str, rule: str) -> None:
    (found, *_) = [one for one in breaches("box/box.py", line) if rule in one]
    assert found.startswith("box/box.py:1: ")
    assert not breaches("arch/x86_64/registers.py", line)


@pytest.mark.parametrize("arch", [arch.name for arch in ARCHITECTURES])
def test_each_core_has_every_function_that_python_calls(arch: str) -> None:
    core_of(arch)
