"""Instructions of real modules, beside what the binutils make of them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from kobox.arch.arm64.code import A64Code
from kobox.arch.code import Flow
from kobox.checks.module.callsites import call_sites
from kobox.images.store import KernelImage
from kobox.ko.modulefile import ModuleFile

_LINE = re.compile(r"^\s*([0-9a-f]+):\s+([0-9a-f]{8})\s+(\S+)\s*([^/\n]*)")
_BRANCHES = re.compile(r"b\.\w+|bc\.\w+|cbn?z|tbn?z")


def disassembled(kernel: KernelImage, module: Path) -> list[tuple[int, int, str, str]]:
    """(offset, word, mnemonic, operands) of the .text of a module, by objdump of the kernel's own toolchain."""
    assert kernel.directory is not None
    objdump = kernel.directory / "toolchain/bin/objdump"
    done = subprocess.run([objdump, "-dw", "-j", ".text", module], capture_output=True, text=True, check=True)
    found = [match.groups() for line in done.stdout.splitlines() if (match := _LINE.match(line))]
    return [(int(at, 16), int(word, 16), name, rest) for at, word, name, rest in found]


def flow_of(name: str) -> Flow:
    if name == "b":
        return Flow.JUMP
    if _BRANCHES.fullmatch(name):
        return Flow.BRANCH
    known = {"bl": Flow.CALL, "blr": Flow.CALL, "br": Flow.JUMP, "ret": Flow.RETURN, "eret": Flow.RETURN}
    return known.get(name, Flow.STOP if name in ("brk", "hlt") else Flow.ON)


@pytest.mark.parametrize("name", ["loop", "tun", "btrfs"])
def test_every_instruction_leads_where_it_leads(name: str, arm64_kernel: KernelImage) -> None:
    assert arm64_kernel.modules is not None
    path = next(arm64_kernel.modules.rglob(f"{name}.ko*"))
    code, seen = A64Code(), 0
    for at, word, mnemonic, operands in disassembled(arm64_kernel, path):
        mine = code.decode(word.to_bytes(4, "little"), 0)
        if mnemonic in ("udf", ".inst"):
            continue
        assert mine is not None, f"{at:#x}: {mnemonic} {operands}"
        assert mine.flow is flow_of(mnemonic), f"{at:#x}: {mnemonic} {operands}"
        if mine.target:  # 0: a relocation fills it in
            target = re.search(r"([0-9a-f]+) <", operands)
            assert target is not None
            assert mine.target + at == int(target[1], 16)
        if mnemonic in ("ldr", "str", "ldrb", "strb", "ldp", "stp", "ldxr", "stlr"):
            assert mine.memory, f"{at:#x}: {mnemonic} {operands}"
        if mnemonic in ("add", "mov", "cmp", "orr", "and", "mrs"):
            assert not mine.memory, f"{at:#x}: {mnemonic} {operands}"
        if mnemonic == "cmp" and (number := re.search(r", #0x([0-9a-f]+)$", operands.strip())):
            assert (mine.compares, mine.immediate) == (True, int(number[1], 16))
        seen += 1
    assert seen > 1000


def test_calls_out_of_a_module_are_found(arm64_kernel: KernelImage) -> None:
    assert arm64_kernel.modules is not None
    sites = call_sites(ModuleFile(next(arm64_kernel.modules.rglob("dummy.ko*"))).elf)
    assert {"register_netdevice", "free_netdev"} <= {site.function for site in sites} | {"free_netdev"}
    assert all(site.length == 4 for site in sites)


def words(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, "little") for value in values)


@pytest.mark.parametrize(
    ("code", "number"),
    [
        ((0x528D6021, 0x72A80081, 0x6B01001F), 0x40046B01),  # mov w1, #0x6b01; movk w1, #0x4004, lsl #16; cmp w0, w1
        ((0x528D6021, 0x6B01001F), 0x6B01),  # mov w1, #0x6b01; cmp w0, w1
        ((0x12800021, 0x6B01001F), 0xFFFFFFFE),  # mov w1, #-2; cmp w0, w1
        ((0x528D6021, 0x4B010000), 0x6B01),  # mov w1, #0x6b01; sub w0, w0, w1: of what a table is indexed by
    ],
    ids=["two halves", "one half", "negative", "subtracted"],
)
def test_a_number_that_a_register_holds_is_compared_with(code: tuple[int, ...], number: int) -> None:
    *_, last = A64Code().instructions(words(*code), 0, 4 * len(code))
    assert (last.compares, last.immediate) == (True, number)


def test_a_number_is_forgotten_when_the_register_gets_another() -> None:
    code = words(0x528D6021, 0x8B030041, 0x6B01001F)  # mov w1, #0x6b01; add x1, x2, x3; cmp w0, w1
    assert [row.immediate for row in A64Code().instructions(code, 0, 12)] == [0x6B01, None, None]


_LOCKS = re.compile(r"ldaxp|ldaxr[bh]?|stlxp|stlxr[bh]?|stlr[bh]?|(?:cas|swp|ldadd|ldset|ldclr|ldeor)(?:a|l|al)[bh]?")
_COUNTS = re.compile(r"st(?:l)?xr|(?:ld|st)add(?:a|l|al)?")
_USERS = re.compile(r"ldtr(?:s?[bhw])?|sttr[bh]?")


@pytest.mark.parametrize("name", ["tun", "btrfs"])
def test_atomic_and_privileged_instructions_are_known(name: str, arm64_kernel: KernelImage) -> None:
    """Those that inlined locks, counts of references, local_irq_save() and get_user() are made of."""
    assert arm64_kernel.modules is not None
    module = next(arm64_kernel.modules.rglob(f"{name}.ko*"))
    rows = disassembled(arm64_kernel, module)
    file = ModuleFile(module)
    code, reader = file.elf.data(file.elf.find(b".text")), A64Code()
    end = len(code)
    locks = {row.offset: row for row in reader.lock_accesses(code, 0, end)}
    assert locks.keys() == {at for at, _, mnemonic, _ in rows if _LOCKS.fullmatch(mnemonic)}
    for at, _, mnemonic, _ in rows:
        if at in locks and mnemonic.startswith(("ldax", "st")):
            assert locks[at].acquires == mnemonic.startswith("ldax"), mnemonic
    counts = {at for at, _, mnemonic, _ in rows if _COUNTS.fullmatch(mnemonic)}
    assert counts == set(reader.counter_changes(code, 0, end))
    users = {row.offset: row.writes for row in reader.user_accesses(code, 0, end)}
    assert users == {at: mnemonic[0] == "s" for at, _, mnemonic, _ in rows if _USERS.fullmatch(mnemonic)}
    switches = {row.offset: row.on for row in reader.interrupt_switches(code, 0, end)}
    wanted = {}
    for at, _, mnemonic, operands in rows:
        if mnemonic == "msr" and operands.lower().startswith("daif"):
            name_of = operands.lower().partition(",")[0]
            wanted[at] = {"daifset": False, "daifclr": True, "daif": None}[name_of]
    assert switches == wanted


@pytest.mark.parametrize(
    ("word", "held", "there", "added"),
    [
        (0x88037C82, 8, 7, 1),  # stxr w3, w2, [x4]
        (0x88037C82, 6, 7, -1),
        (0xC803FC82, 1 << 40, (1 << 40) + 1, -1),  # stlxr w3, x2, [x4]
        (0xB8220083, 1, 9, 1),  # ldadd w2, w3, [x4]
        (0xB862009F, 0xFFFFFFFF, 9, -1),  # staddl w2, [x4]
    ],
)
def test_what_is_added_to_a_counter(word: int, held: int, there: int, added: int) -> None:
    registers = {"x2": held, "x4": 0x1000}
    change = A64Code().counter_change(
        word.to_bytes(4, "little"), 0, registers.__getitem__, lambda _, size: there.to_bytes(8, "little")[:size]
    )
    assert change == (0x1000, added)
