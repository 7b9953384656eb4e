"""Which conditional jumps of the machine code are a program's own: three lists of the same code, matched.

    the object's instructions      what the compiler wrote
    translated instructions        what the verifier made of them: dead code gone, look-ups inlined, fields rewritten
    machine code                   what the JIT made of those; it adds jumps (tail calls, reads that may fault)

The kernel says where the lines of the source begin in the last two (struct bpf_line_info and jited_line_info), so they
are matched line by line: in order, by the line that each jump leads to.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from kobox.bpf.instructions import BpfInstruction


@dataclass(frozen=True, slots=True)
class MachineJump:
    """A conditional jump of the machine code: its address, where it leads, and what comes behind it."""

    address: int
    target: int
    next: int


def own_branches(original: Sequence[BpfInstruction], translated: Sequence[BpfInstruction]) -> dict[int, BpfInstruction]:
    """The branches of the translated program that the object has too: by index, the object's instruction. All of them
    where the object's are not known."""
    if not original:
        return {one.index: one for one in translated if one.branches}
    ours, theirs = [one.key for one in original], [one.key for one in translated]
    # Whole stretches, not branches alone: an inlined look-up compares with NULL too, and nothing around it is the same.
    return {
        translated[block.b + n].index: original[block.a + n]
        for block in SequenceMatcher(None, ours, theirs, autojunk=False).get_matching_blocks()
        for n in range(block.size)
        if translated[block.b + n].branches
    }


def matched(
    branches: Sequence[BpfInstruction],
    jumps: Sequence[MachineJump],
    lines: Sequence[tuple[int, int]],
) -> dict[int, BpfInstruction]:
    """By the address of a machine jump: the branch that it stands for. `lines` are (index of an instruction, address)
    where the lines of the source begin, in order."""
    starts, addresses = [index for index, _ in lines], [address for _, address in lines]
    rows: dict[int, tuple[list[BpfInstruction], list[MachineJump]]] = {}
    for branch in branches:
        rows.setdefault(bisect_right(starts, branch.index), ([], []))[0].append(branch)
    for jump in jumps:
        rows.setdefault(bisect_right(addresses, jump.address), ([], []))[1].append(jump)
    found: dict[int, BpfInstruction] = {}
    for ours, theirs in rows.values():
        if len(ours) == len(theirs):
            pairs = list(zip(ours, theirs, strict=True))
        else:
            pairs = _in_order(ours, theirs, starts, addresses)
        found |= {jump.address: branch for branch, jump in pairs}
    return found


def _in_order(
    ours: Sequence[BpfInstruction], theirs: Sequence[MachineJump], starts: Sequence[int], addresses: Sequence[int]
) -> list[tuple[BpfInstruction, MachineJump]]:
    """The longest row of pairs that lead to the same line, without a crossing."""
    left = [bisect_right(starts, branch.target) for branch in ours]
    right = [bisect_right(addresses, jump.target) for jump in theirs]
    blocks = SequenceMatcher(None, left, right, autojunk=False).get_matching_blocks()
    return [(ours[block.a + n], theirs[block.b + n]) for block in blocks for n in range(block.size)]
