"""Instructions of real modules, beside what the binutils make of them."""

from __future__ import annotations

import re
import struct
import subprocess

import pytest

from kobox.arch.armv7.code import A32Code
from kobox.arch.code import Flow
from kobox.checks.module.callsites import call_sites
from kobox.images.store import KernelImage
from kobox.ko.modulefile import ModuleFile

CONDITIONS = "eq|ne|cs|cc|mi|pl|vs|vc|hi|ls|ge|lt|gt|le"
LINE = re.compile(r"^\s*([0-9a-f]+):\s+([0-9a-f]{8})\s+(\S+)\s*([^;@\n]*)")


def flow_of(name: str, operands: str) -> Flow:
    if re.fullmatch(rf"bl(?:{CONDITIONS})?|blx(?:{CONDITIONS})?", name):
        return Flow.CALL
    if re.fullmatch(rf"b(?:{CONDITIONS})", name):
        return Flow.BRANCH
    if name == "b":
        return Flow.JUMP
    if name == "bx":
        return Flow.RETURN if operands.strip() == "lr" else Flow.JUMP
    if name in ("pop", "ldm", "ldmfd", "ldmib", "ldmdb") and "pc" in operands:
        return Flow.RETURN
    if name == "ldr" and operands.startswith("pc, [sp"):
        return Flow.RETURN
    if operands.startswith("pc,") and name in ("add", "mov", "ldr"):
        return Flow.JUMP
    return Flow.STOP if name == "udf" else Flow.ON


@pytest.mark.parametrize("name", ["tun"])
def test_every_instruction_leads_where_it_leads(name: str, armhf_kernel: KernelImage) -> None:
    assert armhf_kernel.modules is not None
    module = next(armhf_kernel.modules.rglob(f"{name}.ko*"))
    objdump = armhf_kernel.directory / "toolchain/bin/objdump"
    done = subprocess.run([objdump, "-dw", "-j", ".text", module], capture_output=True, text=True, check=True)
    rows = [match.groups() for line in done.stdout.splitlines() if (match := LINE.match(line))]
    assert len(rows) > 3000
    code = A32Code()
    for at, word, mnemonic, operands in rows:
        if mnemonic == ".word":
            continue
        found = code.decode(struct.pack("<I", int(word, 16)), 0)
        assert found is not None
        assert found.flow is flow_of(mnemonic, operands), f"{at}: {word} {mnemonic} {operands}"
        if found.flow is Flow.BRANCH and int(word, 16) & 0xFFFFFF != 0xFFFFFE:  # else a relocation says where
            assert found.target is not None
            assert found.target + int(at, 16) == int(operands.split()[0], 16)


def test_calls_of_the_kernel_are_found_by_their_relocations(armhf_kernel: KernelImage) -> None:
    assert armhf_kernel.modules is not None
    sites = call_sites(ModuleFile(next(armhf_kernel.modules.rglob("dummy.ko*"))).elf)
    assert "register_netdevice" in {site.function for site in sites}
    assert all(site.length == 4 for site in sites)


@pytest.mark.parametrize(
    ("words", "made"),
    [
        ((0xE3A03012, 0xE59F0000), set()),  # MOV of a constant; what LDR would take is not there
        ((0xE3003678, 0xE3413234), {0x12340678}),
        ((0xE59F0000, 0xE1A00000, 0xC1953880), {0xC1953880}),  # LDR r0, [pc]: the word behind the next
        ((0xE59F2004, 0xE2421004, 0xE1A00000, 0xC15E5C48), {0xC15E5C48, 0xC15E5C44}),  # SUB of 4
        ((0xE59F0004, 0xE5901010, 0xE1A00000, 0xC0001000), {0xC0001000, 0xC0001010}),
    ],
    ids=["nothing", "movw and movt", "a word behind the code", "less a constant", "by way of it"],
)
def test_addresses_that_code_makes(words: tuple[int, ...], made: set[int]) -> None:
    assert A32Code().references(struct.pack(f"<{len(words)}I", *words), 0x1000) == made
