"""What an instruction adds to a counter in memory, of each form that compilers and the kernel's headers use."""

from __future__ import annotations

import pytest

from kobox.arch.registry import architecture
from tests.arch.x86_64.test_compared import REGISTERS

CODE = architecture("x86_64").code
RDI, RAX, R12 = REGISTERS["rdi"], REGISTERS["rax"], REGISTERS["r12"]
PC = 0x1000
FORMS = [
    ("f0 ff 07", (RDI, 1)),  # lock incl (%rdi)
    ("f0 ff 4f 30", (RDI + 0x30, -1)),  # lock decl 0x30(%rdi)
    ("f0 48 ff 07", (RDI, 1)),  # lock incq (%rdi)
    ("f0 83 07 01", (RDI, 1)),  # lock addl $1, (%rdi)
    ("f0 83 2f 01", (RDI, -1)),  # lock subl $1, (%rdi)
    ("f0 83 07 ff", (RDI, -1)),  # lock addl $-1, (%rdi)
    ("f0 81 07 00 04 00 00", (RDI, 1024)),  # lock addl $1024, (%rdi)
    ("f0 0f c1 0f", (RDI, 0x1)),  # lock xadd %ecx, (%rdi)
    ("f0 49 0f c1 14 24", (R12, 0x1111111100000002)),  # lock xadd %rdx, (%r12)
    ("f0 01 17", (RDI, 2)),  # lock addl %edx, (%rdi)
    ("f0 29 17", (RDI, -2)),  # lock subl %edx, (%rdi)
    ("65 ff 00", (RAX, 1)),  # incl %gs:(%rax)
    ("65 ff 08", (RAX, -1)),  # decl %gs:(%rax)
    ("f0 ff 05 10 00 00 00", (PC + 7 + 0x10, 1)),  # lock incl 0x10(%rip)
]
NONE = ("ff 07", "f0 0f b1 17", "65 48 8b 04 25 00 00 00 00", "f0 83 0f 01", "f0 ff 17", "90")


def unread(address: int, size: int) -> bytes:
    """What such an instruction adds does not depend on what is there."""
    raise AssertionError(f"{size} bytes at {address:#x} are read")


@pytest.mark.parametrize(("code", "change"), FORMS)
def test_what_is_added_to_a_counter(code: str, change: tuple[int, int]) -> None:
    text = bytes.fromhex(code)
    assert list(CODE.counter_changes(b"\x90" + text + b"\xc3", 0, len(text) + 2)) == [1]
    assert CODE.counter_change(text, PC, REGISTERS.__getitem__, unread) == change


@pytest.mark.parametrize("code", NONE)
def test_other_instructions_are_no_change_of_a_counter(code: str) -> None:
    text = bytes.fromhex(code)
    assert list(CODE.counter_changes(text + b"\xc3", 0, len(text) + 1)) == []
    assert CODE.counter_change(text, PC, REGISTERS.__getitem__, unread) is None
