"""The two numbers that an instruction is about to compare, of each form that compilers use."""

from __future__ import annotations

import pytest

from kobox.arch.code import Compared
from kobox.arch.registry import architecture

REGISTERS = {
    name: 0x1111111100000000 + n for n, name in enumerate(("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"))
}
REGISTERS |= {f"r{n}": 0x2222222200000000 + n for n in range(8, 16)}
MEMORY = bytes(range(0x40, 0x80))  # at the address that %rsp holds


def read(address: int, size: int) -> bytes:
    at = address - REGISTERS["rsp"]
    return MEMORY[at : at + size]


@pytest.mark.parametrize(
    ("code", "compared"),
    [
        ("3c 41", Compared(0, 0x41, 1)),  # cmp $0x41, %al
        ("3d 03 4e 08 c0", Compared(0, 0xC0084E03, 4)),  # cmp $0xc0084e03, %eax
        ("48 83 fa 28", Compared(0x1111111100000002, 0x28, 8)),  # cmp $0x28, %rdx
        ("81 fe ce fa de c0", Compared(6, 0xC0DEFACE, 4)),  # cmp $0xc0deface, %esi
        ("66 83 7c 24 06 07", Compared(0x4746, 7, 2)),  # cmpw $7, 6(%rsp)
        ("81 3c 24 ce fa de c0", Compared(0x43424140, 0xC0DEFACE, 4)),  # cmpl $0xc0deface, (%rsp)
        ("80 7c 24 01 ff", Compared(0x41, 0xFF, 1)),  # cmpb $0xff, 1(%rsp)
        ("41 83 fa ff", Compared(10, 0xFFFFFFFF, 4)),  # cmp $-1, %r10d
        ("48 39 c1", Compared(0x1111111100000001, 0x1111111100000000, 8)),  # cmp %rax, %rcx
        ("3b 04 24", Compared(0, 0x43424140, 4)),  # the register is the second number of the pair
        ("2d 00 01 00 00", None),
        ("85 c0", None),  # test %eax, %eax
        ("c3", None),
    ],
)
def test_the_two_numbers_of_a_comparison(code: str, compared: Compared | None) -> None:
    reader = architecture("x86_64").code
    found = reader.compared(bytes.fromhex(code), 0x1000, REGISTERS.__getitem__, read)
    if code.startswith("3b"):
        assert found is not None
        assert {found.left, found.right} == {0, 0x43424140}
    else:
        assert found == compared
