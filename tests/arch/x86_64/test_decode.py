"""Instructions of real modules, beside what iced-x86 makes of them."""

from __future__ import annotations

from pathlib import Path

import iced_x86
import pytest

from kobox.arch.code import Flow
from kobox.arch.x86_64 import decode as x86
from kobox.checks.module.callsites import CodeMap
from kobox.images.store import KernelImage
from kobox.ko.modulefile import ModuleFile

FLOWS = {
    iced_x86.FlowControl.CONDITIONAL_BRANCH: Flow.BRANCH,
    iced_x86.FlowControl.UNCONDITIONAL_BRANCH: Flow.JUMP,
    iced_x86.FlowControl.INDIRECT_BRANCH: Flow.JUMP,
    iced_x86.FlowControl.CALL: Flow.CALL,
    iced_x86.FlowControl.INDIRECT_CALL: Flow.CALL,
    iced_x86.FlowControl.RETURN: Flow.RETURN,
    iced_x86.FlowControl.EXCEPTION: Flow.STOP,
}


@pytest.mark.parametrize("name", ["loop", "tun", "btrfs", "crc32c-intel", "sha256-ssse3"])
def test_every_instruction_has_its_length_and_leads_where_it_leads(name: str, debian_kernel: KernelImage) -> None:
    assert debian_kernel.modules is not None
    path = next(Path(debian_kernel.modules).rglob(f"{name}.ko*"))
    code = CodeMap(ModuleFile(path).elf)
    seen = 0
    for section, functions in code.functions.items():
        data = code.elf.data(code.sections[section])
        for start, size, function in functions.rows:
            mine = list(x86.instructions(data, start, start + size))
            theirs = list(iced_x86.Decoder(64, data[start : start + size], ip=start))
            assert [one.length for one in mine] == [one.len for one in theirs], function
            for one, other in zip(mine, theirs, strict=True):
                if other.flow_control in FLOWS:
                    assert one.flow is FLOWS[other.flow_control], f"{function}+{one.offset - start:#x}"
                if one.target is not None:
                    assert one.target & (1 << 64) - 1 == other.near_branch_target
            seen += len(mine)
    assert seen > 100


@pytest.mark.parametrize(
    ("code", "immediate", "compares"),
    [
        ("81fe0763 0480", -0x7FFB9CF9, True),  # cmp esi, 0x80046307
        ("3d00540000", 0x5400, True),  # cmp eax, 0x5400
        ("83ff07", 7, True),  # cmp edi, 7
        ("81ee004c0000", 0x4C00, True),  # sub esi, 0x4c00
        ("b801000000", 1, False),  # mov eax, 1
        ("4881c400010000", 0x100, False),  # add rsp, 0x100
    ],
)
def test_numbers_that_code_compares_with_are_known(code: str, immediate: int, compares: bool) -> None:
    found = x86.decode(bytes.fromhex(code), 0)
    assert found is not None
    assert (found.immediate, found.compares, found.length) == (immediate, compares, len(bytes.fromhex(code)))


@pytest.mark.parametrize("code", ["06", "0f04", "48", "e8000000", ""])
def test_what_is_no_instruction_is_none(code: str) -> None:
    assert x86.decode(bytes.fromhex(code), 0) is None
