"""Whatever the guest does, the machine comes back: every path through the run loop costs blocks."""

from __future__ import annotations

import struct
import subprocess
import time
from pathlib import Path

import pytest

from kobox.machine.native_core import Event
from kobox.machine.pc import Machine
from kobox.machine.watch import Mark, Part, Watch
from tests.machine.test_pc import ENTRY, RAM, machine_with

STACK, IDT, TSS = 0x80000, 0x60000, 0x70000
LAPIC = 0xFEE00000
BLOCKS = 1_000_000  # or as much work

START = f"""
    .code64
    mov ${STACK}, %esp
    lidt idtr(%rip)
    jmp start
idtr: .word 4095
    .quad {IDT}
handler:
    iretq
"""


@pytest.fixture(scope="module")
def assembler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("code")


def assemble(directory: Path, text: str) -> tuple[bytes, dict[str, int]]:
    """Machine code that begins with START, and where its labels are."""
    source, made, raw = directory / "code.s", directory / "code.o", directory / "code.bin"
    source.write_text(START + text + "\n")
    subprocess.run(["as", "-o", made, source], check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", made, raw], check=True)
    table = subprocess.run(["nm", made], check=True, capture_output=True, text=True).stdout
    labels = {name: ENTRY + int(at, 16) for at, _, name in map(str.split, table.splitlines())}
    return raw.read_bytes(), labels


def machine_of(directory: Path, text: str, *, handler: int | None = None) -> Machine:
    """A machine that is about to run this code; all its gates lead to `handler`, or to the one of the code."""
    code, labels = assemble(directory, text)
    machine = machine_with(code)
    struct.pack_into("<Q", machine.ram, 0x31000 + 3 * 8, 0x33007)  # the fourth GiB, where the local APIC is
    struct.pack_into("<512Q", machine.ram, 0x33000, *(3 << 30 | n << 21 | 0x87 for n in range(512)))
    target = labels["handler"] if handler is None else handler
    for vector in range(256):
        gate = (target & 0xFFFF) | 0x10 << 16 | 0x8E00 << 32 | (target >> 16 & 0xFFFF) << 48
        struct.pack_into("<QQ", machine.ram, IDT + vector * 16, gate, target >> 32)
    return machine


def lapic_timer(mode: int, count: int, priority: int = 0) -> str:
    """Switch the local APIC on, with its timer: 0x20000 periodic, 0 once; vector 0x40."""
    return f"""
    mov ${LAPIC}, %ebx
    movl $0x1ff, 0xf0(%rbx)
    movl $0xb, 0x3e0(%rbx)
    movl ${mode | 0x40}, 0x320(%rbx)
    movl ${priority}, 0x80(%rbx)
    movl ${count}, 0x380(%rbx)
    """


END_OF_INTERRUPT = f"mov ${LAPIC}, %ebx; movl $0, 0xb0(%rbx)"
WAIT = "1: sti; hlt; jmp 1b"
HOSTILE = {
    "a timer of 1 ns that is masked by priority, behind hlt": "start:" + lapic_timer(0x20000, 1, 0xFF) + WAIT,
    "a timer of 1 ns whose interrupt is never ended": "start:" + lapic_timer(0x20000, 1) + WAIT,
    "a timer of 1 ns, interrupts on": "start:" + lapic_timer(0x20000, 1) + "sti; 1: jmp 1b",
    "a timer of 1 ns, interrupts off": "start:" + lapic_timer(0x20000, 1) + "cli; 1: pause; jmp 1b",
    "a timer armed anew in every block": "start:" + lapic_timer(0, 1) + "1: movl $1, 0x380(%rbx); jmp 1b",
    "the fastest PIT, interrupts on": """
    start: mov $0x34, %al; out %al, $0x43; mov $1, %al; out %al, $0x40; mov $0, %al; out %al, $0x40
    mov $0xfe, %al; out %al, $0x21; sti
    1: jmp 1b""",
    "the fastest PIT behind hlt, its interrupt in service for ever": """
    start: mov $0x34, %al; out %al, $0x43; mov $1, %al; out %al, $0x40; mov $0, %al; out %al, $0x40
    mov $0xfe, %al; out %al, $0x21
    """
    + WAIT,
    "five-level page tables: every exception faults again": """
    start: mov %cr4, %rax; or $0x1000, %rax; mov %rax, %cr4
    1: ud2; jmp 1b""",
    "page tables of nothing": "start: xor %eax, %eax; mov %rax, %cr3; 1: jmp 1b",
    "int3 for ever": "start: 1: int3; jmp 1b",
    "an invalid instruction for ever": "start: ud2",
    "a division by zero for ever": "start: xor %ecx, %ecx; div %ecx",
    "single steps": "start: pushfq; orl $0x100, (%rsp); popfq; 1: jmp 1b",
    "ports that kick": "start: 1: out %al, $0x21; jmp 1b",
    "a console that is never done": "start: mov $0x3f8, %dx; 1: out %al, %dx; jmp 1b",
    "rep stosb over all there is": "start: mov $0x2000000, %edi; mov $-1, %rcx; rep stosb; 1: jmp 1b",
    "rep movsb in place": "start: mov $0x2000000, %edi; mov %edi, %esi; mov $0x100000, %ecx; rep movsb; jmp start",
    "rep lodsb over all there is": "start: mov $0x2000000, %esi; mov $-1, %rcx; rep lodsb; 1: jmp 1b",
    "a register of a device, again and again": f"start: mov ${LAPIC}, %ebx; 1: mov 0x390(%rbx), %eax; jmp 1b",
    "its own code, changed in every round": """
    start: 1: incb 2f+1(%rip)
    2: mov $0, %al
    jmp 1b""",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_that_the_guest_does_keeps_the_machine(assembler: Path, name: str) -> None:
    machine = machine_of(assembler, HOSTILE[name])
    for _ in range(4):
        before = machine.work
        event = machine.run(blocks=BLOCKS)
        assert event in (Event.SLICE, Event.TRIPLE_FAULT)
        if event is Event.TRIPLE_FAULT:
            break
        assert BLOCKS <= machine.work - before < 1.1 * BLOCKS, "a limit is kept"
    machine.close()


def test_code_that_is_translated_anew_in_every_round_costs_what_it_takes(assembler: Path) -> None:
    """Unicorn does not report these translations; only the time that they take shows them."""
    machine = machine_of(assembler, HOSTILE["its own code, changed in every round"])
    machine.run(blocks=100_000)
    blocks, work = machine.blocks, machine.work
    for _ in range(3):
        machine.run(blocks=100_000)
    assert machine.work - work > 2 * (machine.blocks - blocks)
    machine.close()


def test_what_this_process_does_between_two_runs_is_no_work_of_the_guest_s() -> None:
    machine = machine_with(b"\xeb\xfe")  # jmp to itself
    for _ in range(2):
        machine.run(blocks=BLOCKS)
    before, busy = machine.work, time.thread_time()
    while time.thread_time() < busy + 0.2:
        pass
    machine.run(blocks=BLOCKS)
    assert machine.work - before < 2 * BLOCKS


@pytest.mark.parametrize("handler", [0x4000_0000, 0xFFFF_FFFF_8000_0000, 0x1234], ids=hex)
def test_a_handler_that_faults_itself(assembler: Path, handler: int) -> None:
    """Where nothing is mapped, at an address of the kernel's, or in zeroes (add %al, (%rax))."""
    machine = machine_of(assembler, "start: mov $0xfff0000000, %rax; ud2", handler=handler)
    event = machine.run(blocks=BLOCKS)
    assert event in (Event.SLICE, Event.TRIPLE_FAULT)
    machine.close()


def test_after_a_slice_in_a_storm_of_exceptions_the_machine_goes_on_as_if_there_had_been_none(assembler: Path) -> None:
    text = "start: xor %ebp, %ebp; 1: int3; inc %ebp; cmp $1000, %ebp; jne 1b; cli; hlt"
    whole, sliced = machine_of(assembler, text), machine_of(assembler, text)
    assert whole.run() is Event.HALTED
    while sliced.run(blocks=1) is Event.SLICE:
        pass
    assert sliced.registers() == whole.registers()
    assert whole.register("rbp") == 1000
    for machine in (whole, sliced):
        machine.close()


def test_a_timer_that_fires_in_time_still_does(assembler: Path) -> None:
    """10 µs, periodic: a counter of the handler's against the clock."""
    code = "start: xor %ebp, %ebp; sti;" + lapic_timer(0x20000, 10_000) + "1: jmp 1b\n"
    machine = machine_of(assembler, code + f"own: inc %ebp; {END_OF_INTERRUPT}; iretq")
    own = assemble(assembler, code + f"own: inc %ebp; {END_OF_INTERRUPT}; iretq")[1]["own"]
    gate = (own & 0xFFFF) | 0x10 << 16 | 0x8E00 << 32 | (own >> 16 & 0xFFFF) << 48
    struct.pack_into("<QQ", machine.ram, IDT + 0x40 * 16, gate, 0)
    assert machine.run(until=10_000_000) is Event.DEADLINE
    assert 990 <= machine.register("rbp") <= 1000
    machine.close()


def wide_map(machine: Machine) -> int:
    """Map one page of RAM everywhere in 512 GiB from 0xFFFF_9000_0000_0000 on; returns that address."""
    base, pml4 = 0xFFFF_9000_0000_0000, 0x30000
    page, table, directory, pointers = RAM - 0x5000, RAM - 0x4000, RAM - 0x3000, RAM - 0x2000
    for n in range(512):
        struct.pack_into("<Q", machine.ram, table + 8 * n, page | 0x63)
        struct.pack_into("<Q", machine.ram, directory + 8 * n, table | 0x63)
        struct.pack_into("<Q", machine.ram, pointers + 8 * n, directory | 0x63)
    struct.pack_into("<Q", machine.ram, pml4 + 8 * (base >> 39 & 511), pointers | 0x63)
    return base


@pytest.mark.parametrize("size", [1 << 30, 1 << 37, (1 << 64) - 1])
@pytest.mark.parametrize(
    ("what", "part"),
    [
        ("stosb", None),
        ("memset", Part(2, 0, 1)),
        ("strnlen", Part(1, 0, 16 + 1)),
        ("memchr", Part(1, 0, 24 + 1)),
        ("memcmp", Part(1, 0, 32 + 1)),
    ],
)
def test_watched_code_that_names_more_memory_than_there_is(
    assembler: Path, what: str, part: Part | None, size: int
) -> None:
    """One page, mapped again and again: the check looks at no more than there is RAM, and that costs blocks."""
    text = "start: mov %r12, %rdi; mov %r13, %rsi; mov %r14, %rcx; mov $0x6b, %eax\n"
    text += "rep stosb; jmp start\n" if part is None else "call kernel; jmp start\n.balign 64\nkernel: ret\n"
    machine = machine_of(assembler, text)
    base = wide_map(machine)
    code, _ = assemble(assembler, text)
    machine.ram[RAM - 0x5000 : RAM - 0x4000] = b"\x01" * 4096
    machine.set_register("r12", base)
    machine.set_register("r13", size)
    machine.set_register("r14", size)
    watch = Watch(machine)
    end = ENTRY + (len(code) if part is None else len(code) - 1)
    watch.code(ENTRY, end)
    watch.mark(base, size, Mark.WRITTEN)
    if part is not None:
        watch.rule(end, part)
    for _ in range(3):
        before = machine.work
        assert machine.run(blocks=50_000) is Event.SLICE
        assert machine.work - before >= 50_000
    machine.close()
