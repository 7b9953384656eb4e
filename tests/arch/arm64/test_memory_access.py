"""The watcher's decoder (kobox/machine/native/arm64/decode.c) beside the binutils': over all instructions of real
modules, which of them touch memory, where, how much of it, and whether they read or write."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from typing import NamedTuple

import pytest

from kobox.arch.arm64.decode import memory_access
from kobox.arch.memory_access import MemoryAccess, Operation
from kobox.images.store import KernelImage

MODULES = ("btrfs", "tun", "loop", "nf_tables", "aes-neon-bs", "sctp")
_LINE = re.compile(r"^\s*[0-9a-f]+:\s+([0-9a-f]{8})\s+(\S+)\s*([^\n]*)")
_OPERAND = re.compile(
    r"\[(x\d+|sp)(?:, #(-?\d+)|, ([xw]\d+|xzr|wzr)(?:, (\w+)(?: #(\d+))?)?)?\](!|, #(-?\d+)|, (x\d+))?"
)
_NO_ACCESS = re.compile(r"prfu?m|dc|ic|at|tlbi")
_WIDTH = {"b": 1, "h": 2, "s": 4, "d": 8, "q": 16}
_BOTH = re.compile(r"cas|swp|ld(?:add|clr|eor|set|smax|smin|umax|umin)")


class Wanted(NamedTuple):
    reads: bool
    writes: bool
    base: str
    index_by: str
    scale: int
    displacement: int
    size: int
    step: int


def suffix_size(mnemonic: str, register: str) -> int:
    """Bytes that one register takes: by the mnemonic's last letters, else by its own kind."""
    if mnemonic.endswith("sw"):
        return 4
    return {"b": 1, "h": 2}.get(mnemonic[-1]) or {"w": 4, "x": 8}.get(register[0]) or _WIDTH[register[0]]


def structures_size(operands: str) -> int:
    """Of ld1 to st4: the registers in braces."""
    inside = re.search(r"\{([^}]*)\}(\[\d+\])?", operands)
    assert inside is not None
    text = inside[1]
    first = re.search(r"v(\d+)\.(\d*)([bhsd])(?:\s*-\s*v(\d+))?", text)
    assert first is not None
    count = (int(first[4]) - int(first[1])) % 32 + 1 if first[4] else text.count("v")
    lanes = 1 if inside[2] else int(first[2])
    return count * lanes * _WIDTH[first[3]]


def wanted(mnemonic: str, operands: str) -> Wanted | None:
    """What the other disassembler says of the memory operand, if there is one."""
    match = _OPERAND.search(operands)
    if match is None or _NO_ACCESS.fullmatch(mnemonic):
        return None
    base, displacement, index, _, amount, after, stepped, by_register = match.groups()
    registers = [one.strip() for one in operands[: match.start()].split(",") if one.strip()]
    if mnemonic[2:3].isdigit():
        size = structures_size(operands)
        if mnemonic.endswith("r"):
            size = size and len(re.findall(r"v\d+", operands)) * _WIDTH[re.search(r"\.\d*([bhsd])", operands)[1]]  # type: ignore[index]
    else:
        status = mnemonic.startswith(("stxr", "stlxr", "stxp", "stlxp"))
        data = registers[1:] if status else registers
        pair = re.fullmatch(r"(ld|st)n?p(sw)?|(ldax|ldx|stlx|stx)p|casp\w*", mnemonic) is not None
        one = 4 if mnemonic == "ldpsw" else suffix_size(mnemonic, data[0])
        size = one * (2 if pair else 1)
    both = _BOTH.match(mnemonic) is not None
    loads = mnemonic.startswith("ld") and not both
    step = int(displacement or 0) if after == "!" else int(stepped or 0)
    scale = 1 << int(amount) if index and amount else 1
    index = "" if index in (None, "xzr", "wzr") else f"x{index[1:]}"
    assert by_register is None or mnemonic[2:3].isdigit()
    return Wanted(loads or both, not loads, base, index, scale, int(displacement or 0), size, step)


def ours(found: MemoryAccess) -> Wanted | None:
    if found.operation not in (Operation.MEMORY, Operation.USER):
        return None
    return Wanted(
        found.reads, found.writes, found.base, found.index_by, found.scale, found.displacement, found.size, found.step
    )


def test_each_instruction_of_real_modules_is_understood(arm64_kernel: KernelImage) -> None:
    assert arm64_kernel.modules is not None
    assert arm64_kernel.directory is not None
    wrong: dict[str, str] = {}
    seen: Counter[str] = Counter()
    for name in MODULES:
        path = next(arm64_kernel.modules.rglob(f"{name}.ko*"))
        objdump = arm64_kernel.directory / "toolchain/bin/objdump"
        done = subprocess.run([objdump, "-dw", "-M", "no-aliases", path], capture_output=True, text=True, check=True)
        for match in filter(None, map(_LINE.match, done.stdout.splitlines())):
            word, mnemonic, operands = match.groups()
            if mnemonic.startswith("."):  # data between functions
                continue
            theirs = wanted(mnemonic, operands)
            mine = ours(memory_access(int(word, 16).to_bytes(4, "little")))
            seen["all"] += 1
            seen["memory"] += theirs is not None
            seen["steps"] += theirs is not None and theirs.step != 0
            if mine != theirs:
                wrong.setdefault(mnemonic, f"{word} {mnemonic} {operands}: {mine}, not {theirs}")
    assert wrong == {}
    assert seen["all"] > 100_000
    assert seen["memory"] > 25_000
    assert seen["steps"] > 3000


@pytest.mark.parametrize(
    ("word", "operation", "displacement"),
    [
        (0xD10083FF, Operation.ENTER, 32),  # sub sp, sp, #32
        (0x910083FF, Operation.LEAVE, 32),  # add sp, sp, #32
        (0x97FFFFFE, Operation.CALL, -12),  # bl .-8, counted from its end
        (0x14000004, Operation.JUMP, 12),  # b .+16
        (0xD61F0200, Operation.JUMP, 0),  # br x16
        (0xB8000841, Operation.USER, 0),  # sttr w1, [x2]
        (0x910043FD, Operation.PLAIN, 16),  # add x29, sp, #16
    ],
)
def test_frames_calls_and_jumps(word: int, operation: Operation, displacement: int) -> None:
    found = memory_access(word.to_bytes(4, "little"))
    assert (found.operation, found.displacement) == (operation, displacement)


def test_the_second_register_of_a_pair_is_known() -> None:
    found = memory_access((0xA9BE7BFD).to_bytes(4, "little"))  # stp x29, x30, [sp, #-32]!
    assert (found.base, found.second, found.step, found.size) == ("sp", "x30", -32, 16)
