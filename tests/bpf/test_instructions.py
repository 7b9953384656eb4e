"""Instructions in words: the same words as the verifier's own, for real programs."""

from __future__ import annotations

import re
import struct

import pytest

from kobox.box.box import Box
from kobox.bpf.instructions import instructions
from kobox.images.store import KernelImage
from tests.bpf.objects import bpf_object

# What the verifier writes of an instruction; a load of 64 bits shows an address of its own, so it is left out.
_STEP = re.compile(r"^(\d+): \((?!18)[0-9a-f]{2}\) (.*?)\s*(?:;.*)?$", re.MULTILINE)


def test_an_instruction_is_written_as_the_verifier_writes_it(box: Box, debian_kernel: KernelImage) -> None:
    seen = 0
    with box.bpf.open(bpf_object("arithmetic", debian_kernel)).load(log=True) as loaded:
        for program in loaded.programs.values():
            ours = {one.index: one.text() for one in instructions(program.original)}
            for index, theirs in _STEP.findall(program.verifier_log):
                told = re.sub(r"call \w+#", "call helper#", theirs)
                assert ours[int(index)] == told, f"{program.name} {index}"
                seen += 1
    assert seen > 30


def test_every_code_has_words() -> None:
    for code in range(256):
        for source, offset, constant in ((0, 0, 0), (1, 1, -1), (2, 8, 0xE1), (15, -1, 0xF1)):
            data = struct.pack("<BBhi", code, source << 4 | 3, offset, constant) + bytes(8)
            for one in instructions(data):
                assert one.text()
                assert one.target is not None


@pytest.mark.parametrize("data", [b"", b"\x18", b"\x18" + bytes(7), bytes(9), b"\xff" * 17])
def test_what_is_cut_ends(data: bytes) -> None:
    assert len(list(instructions(data))) == len(data) // 8 or data[0] == 0x18
