"""The watcher's decoder (kobox/machine/native/x86_64/decode.c) beside a disassembler that was made by others: over all
instructions of real modules, which of them touch memory, where, how much of it, and whether they read or write."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import pytest
from iced_x86 import (
    Decoder,
    Formatter,
    FormatterSyntax,
    Instruction,
    InstructionInfoFactory,
    MemorySizeExt,
    Mnemonic,
    OpAccess,
    OpKind,
    Register,
)

from kobox.arch.memory_access import Operation
from kobox.arch.x86_64.decode import memory_access
from kobox.images.store import KernelImage
from kobox.ko.modulefile import ModuleFile

MODULES = 40
_NAMES = "RAX RCX RDX RBX RSP RBP RSI RDI R8 R9 R10 R11 R12 R13 R14 R15"
REGISTERS = {getattr(Register, name): name.lower() for name in _NAMES.split()}
READS = {OpAccess.READ, OpAccess.COND_READ, OpAccess.READ_WRITE, OpAccess.READ_COND_WRITE}
WRITES = {OpAccess.WRITE, OpAccess.COND_WRITE, OpAccess.READ_WRITE, OpAccess.READ_COND_WRITE}
# Instructions of processors with AVX (the box's has none), and those that save and control the FPU: see decode.c.
LEFT_OUT = ("v", "fx", "xsave", "xrstor", "fn", "fld", "fst", "fild", "fist")
_SHF_EXECINSTR, _SHT_PROGBITS = 4, 1


def instructions(kernel: KernelImage) -> Iterator[tuple[bytes, Instruction]]:
    """Every instruction of some modules of the kernel's tree, always the same ones."""
    assert kernel.modules is not None
    paths = random.Random(7).sample(sorted(kernel.modules.rglob("*.ko*")), MODULES)
    for path in paths:
        elf = ModuleFile(path).elf
        for number in range(1, len(elf.sections)):
            section = elf.section_at(number)
            if section.flags & _SHF_EXECINSTR and section.size and section.type == _SHT_PROGBITS:
                code = bytes(elf.data(number))
                for instruction in Decoder(64, code):
                    yield code[instruction.ip : instruction.ip + instruction.len], instruction


def wanted(instruction: Instruction, information: InstructionInfoFactory) -> tuple[object, ...] | None:
    """What of `MemoryAccess` the other disassembler says of the memory operand, if there is one."""
    operands = [n for n in range(instruction.op_count) if instruction.op_kind(n) == OpKind.MEMORY]
    if not operands or instruction.mnemonic in (Mnemonic.LEA, Mnemonic.NOP):
        return None
    access = information.info(instruction).op_access(operands[0])
    if access not in READS | WRITES:
        return None
    by_rip = instruction.memory_base == Register.RIP
    displacement = instruction.memory_displacement - (instruction.next_ip if by_rip else 0)
    return (
        access in READS,
        access in WRITES,
        REGISTERS.get(instruction.memory_base, ""),
        REGISTERS.get(instruction.memory_index, ""),
        instruction.memory_index_scale if instruction.memory_index else 1,
        (displacement + (1 << 63)) % (1 << 64) - (1 << 63),
        MemorySizeExt.size(instruction.memory_size),
        by_rip,
        instruction.segment_prefix == Register.GS,
    )


@pytest.mark.parametrize("which", ["debian_kernel", "trixie_kernel"])
def test_each_instruction_of_real_modules_is_understood(which: str, request: pytest.FixtureRequest) -> None:
    information, formatter = InstructionInfoFactory(), Formatter(FormatterSyntax.GAS)
    wrong: dict[str, str] = {}
    seen: Counter[str] = Counter()
    for code, instruction in instructions(request.getfixturevalue(which)):
        ours = memory_access(code)
        seen["all"] += 1
        if instruction.is_string_instruction or ours.operation is Operation.STRING:
            right = instruction.is_string_instruction and ours.operation is Operation.STRING
            right &= ours.repeated == (instruction.has_rep_prefix or instruction.has_repne_prefix)
            seen["strings"] += right
        else:
            theirs = wanted(instruction, information)
            mine = ours[1:10] if ours.operation in (Operation.MEMORY, Operation.BIT) else None
            if mine and theirs and ours.operation is Operation.BIT:  # the register selects the word, of its own size
                theirs = (*theirs[:6], ours.size, *theirs[7:])
            right = mine == theirs
            seen["memory"] += theirs is not None
        if not right and not (text := formatter.format(instruction)).startswith(LEFT_OUT):
            wrong.setdefault(text.split()[0], f"{code.hex()} {text}: {ours}")
    assert wrong == {}
    assert seen["all"] > 100_000
    assert seen["memory"] > 25_000
    assert seen["strings"] > 100


@pytest.mark.parametrize(
    ("code", "text", "size"),
    [("660f38350407", "pmovzxdq (%rdi,%rax),%xmm0", 8), ("f3666d", "rep insw", 2), ("f36c", "rep insb", 1)],
)
def test_what_is_rare_in_modules(code: str, text: str, size: int) -> None:
    found = memory_access(bytes.fromhex(code))
    assert found.size == size, text
    assert found.operation is (Operation.STRING if "ins" in text else Operation.MEMORY)


def test_frames_calls_and_jumps() -> None:
    assert memory_access(bytes.fromhex("4883ec28"))[0] is Operation.ENTER
    assert memory_access(bytes.fromhex("4881ec00010000")).displacement == 256
    assert memory_access(bytes.fromhex("4883c428"))[0] is Operation.LEAVE
    assert memory_access(bytes.fromhex("e8fbffffff")).displacement == -5
    assert memory_access(bytes.fromhex("e910000000"))[0] is Operation.JUMP
    assert memory_access(bytes.fromhex("488d0425"))[0] is Operation.PLAIN
