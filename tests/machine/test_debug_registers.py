"""Hardware breakpoints and watchpoints: #DB comes where a PC raises it, and leaves DR6 and RIP as it does."""

from __future__ import annotations

from pathlib import Path

import pytest

from kobox.machine.native_core import Event
from tests.machine.test_run_loop import assemble, assembler, machine_of

DATA = 0x2000000
__all__ = ["assembler"]

# The handler writes RIP and DR6 down, clears DR6, and goes on with RF set, as the kernel does.
HANDLER = """
own: push %rax
    mov 8(%rsp), %rax
    mov %rax, (%rbp)
    mov %db6, %rax
    mov %rax, 8(%rbp)
    mov $0xffff0ff0, %eax
    mov %rax, %db6
    add $16, %ebp
    orl $0x10000, 24(%rsp)
    pop %rax
    iretq
"""
BEGIN = f"start: mov ${DATA + 0x1000}, %ebp; mov $0xffff0ff0, %eax; mov %rax, %db6\n"
ON_EXECUTION, ON_WRITE, ON_ACCESS = 0, 1, 3
LENGTHS = {1: 0, 2: 1, 8: 2, 4: 3}


def arm(n: int, when: int, length: int, address: str) -> str:
    dr7 = 0x400 | 1 << 2 * n | when << 16 + 4 * n | LENGTHS[length] << 18 + 4 * n
    return f"lea {address}, %rax; mov %rax, %db{n}; mov ${dr7:#x}, %eax; mov %rax, %db7\n"


def hits(directory: Path, text: str) -> list[tuple[str, int]]:
    """(label that RIP was at, which of DR0 to DR3) of each #DB of a program that ends with hlt."""
    whole = BEGIN + text + "\ncli; hlt\n" + HANDLER
    _, labels = assemble(directory, whole)
    machine = machine_of(directory, whole, handler=labels["own"])
    assert machine.run(blocks=100_000) is Event.HALTED
    names = {address: name for name, address in labels.items()}
    end = machine.register("rbp")
    out = []
    for at in range(DATA + 0x1000, end, 16):
        rip, dr6 = (int.from_bytes(machine.ram[at + 8 * n : at + 8 * n + 8], "little") for n in range(2))
        assert dr6 & ~0xF == 0xFFFF0FF0
        out.append((names.get(rip, hex(rip)), dr6 & 15))
    assert machine.statistics().exceptions.get(1, 0) == len(out)
    machine.close()
    return out


@pytest.mark.parametrize("n", [0, 3])
@pytest.mark.parametrize(
    ("when", "length", "instruction", "hit"),
    [
        (ON_WRITE, 4, "movl $1, {at}", True),
        (ON_WRITE, 4, "movb $1, {at}+3", True),
        (ON_WRITE, 4, "movb $1, {at}+4", False),
        (ON_WRITE, 4, "movq $1, {at}-4", True),
        (ON_WRITE, 1, "movl $1, {at}-4", False),
        (ON_WRITE, 8, "movw $1, {at}+6", True),
        (ON_WRITE, 2, "incl {at}", True),
        (ON_WRITE, 4, "mov {at}, %ebx", False),
        (ON_ACCESS, 4, "mov {at}, %ebx", True),
        (ON_ACCESS, 4, "cmpl $0, {at}", True),
        (ON_ACCESS, 1, "movb $1, {at}", True),
        (ON_WRITE, 4, "mov ${at}-64, %edi; mov $200, %ecx; rep stosb", True),
    ],
)
def test_an_access_raises_it_after_the_instruction(
    assembler: Path, n: int, when: int, length: int, instruction: str, hit: bool
) -> None:
    code = arm(n, when, length, str(DATA)) + f"nop; {instruction.format(at=DATA)}\nafter: nop"
    found = hits(assembler, code)
    if "rep" in instruction:  # a trap between two iterations
        assert found == [(found[0][0], 1 << n)] * 4
    else:
        assert found == ([("after", 1 << n)] if hit else [])


def test_an_instruction_raises_it_before_it_is_executed_and_once(assembler: Path) -> None:
    code = arm(2, ON_EXECUTION, 1, "here(%rip)") + "xor %ebx, %ebx; 1: nop; here: inc %ebx; cmp $3, %ebx; jne 1b"
    assert hits(assembler, code) == [("here", 4)] * 3


def test_what_is_switched_off_raises_nothing(assembler: Path) -> None:
    code = arm(0, ON_WRITE, 4, str(DATA)) + f"movl $1, {DATA}\nafter: mov $0x400, %eax; mov %rax, %db7; movl $2, {DATA}"
    assert hits(assembler, code) == [("after", 1)]


def test_two_that_match_at_once(assembler: Path) -> None:
    code = arm(0, ON_WRITE, 4, str(DATA)) + f"mov ${DATA + 2}, %eax; mov %rax, %db1; mov %db7, %rax\n"
    code += f"or ${1 << 2 | ON_WRITE << 20:#x}, %eax; mov %rax, %db7; movl $1, {DATA}\nafter: nop"
    assert hits(assembler, code) == [("after", 3)]


def test_code_that_uses_none_runs_at_full_speed_again(assembler: Path) -> None:
    """After a while without, the hooks on every instruction are gone: shown by what the core says of itself."""
    code = arm(0, ON_WRITE, 4, str(DATA)) + "mov $0x400, %eax; mov %rax, %db7; 1: inc %ebx; jmp 1b"
    whole = BEGIN + code + HANDLER
    machine = machine_of(assembler, whole)
    machine.run(blocks=6_000_000)
    before = machine.work
    machine.run(blocks=1_000_000)
    assert machine.blocks >= 7_000_000
    assert machine.work - before >= 1_000_000
    machine.close()
