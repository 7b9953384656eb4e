"""Values that came from devices, followed through the code of modules to what is decided by them (`native/taint/`).

    taint = Taint(machine)
    taint.code(text_start, text_end)      # code that is looked at
    …                                     # the driver runs
    for decision in taint.decisions():    # cmp $0x13, (what the 17th read gave) >> 8; jne: taken
        print(decision, taint.node(decision.left))

A node is a value: what a read gave, or what an instruction has made of other nodes. A read is known by its number, as
`PciBus.reads` counts them.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from kobox.errors import KoboxError
from kobox.machine.native_core import core_of
from kobox.machine.pc import Machine, MachineError

_NODE = struct.Struct("<BBHII4xQQQ")
_DECISION = struct.Struct("<QBBBBIIIQQ")
_MOST_RECENT = 16


class MadeBy(IntEnum):
    """What a node is made by (enum data_op in native/x86_64/dataflow.h)."""

    READ = 0
    MOVE = 1
    ADD = 2
    SUB = 3
    AND = 4
    OR = 5
    XOR = 6
    SHL = 7
    SHR = 8
    SAR = 9
    ROL = 10
    ROR = 11
    MUL = 12
    NOT = 13
    NEG = 14
    SWAP = 15
    ZERO_EXTEND = 16
    SIGN_EXTEND = 17
    INSERT = 18
    CONDITION = 19
    COMPARE = 21
    BIT = 23


class Node(NamedTuple):
    """A value of `size` bytes. `left` and `right` are nodes, or 0 where the operand came from no device; what they held
    is in `left_value` and `right_value`. `how`: bytes that are extended or inserted; of CONDITION the condition, + 16
    when a bit is tested, + 256 times the size compared. Of READ, `left_value` is the number of the read."""

    operation: int
    size: int
    how: int
    left: int
    right: int
    left_value: int
    right_value: int
    value: int


class Nodes:
    """The nodes of a run, by their numbers."""

    def __init__(self, raw: bytes | memoryview) -> None:
        self._raw = raw

    def __len__(self) -> int:
        return len(self._raw) // _NODE.size

    def __getitem__(self, number: int) -> Node:
        return Node(*_NODE.unpack_from(self._raw, number * _NODE.size))


class Decision(NamedTuple):
    """A conditional jump or move at `pc` by a comparison (BIT: by one bit of `left`); `condition` is the low four bits
    of its opcode (Intel SDM volume 1, appendix B), `taken` whether it held."""

    pc: int
    operation: int
    size: int
    condition: int
    taken: bool
    left: int
    right: int
    left_value: int
    right_value: int


class Ran:
    """Bits of what `Taint.executed` gives for each byte of code."""

    INSTRUCTION = 1
    TAKEN = 2
    NOT_TAKEN = 4


class Taint:
    """Follows what devices say in one machine, until `close()`: what registers gave (`registers`), and what it is told
    of (`sent`, `memory`). Raises `KoboxError` on machines where it cannot."""

    def __init__(self, machine: Machine, *, registers: bool = True) -> None:
        if not machine.arch.watched:
            raise KoboxError(
                f"values cannot be followed through code for {machine.arch.title} yet",
                hint="Use a kernel for x86-64.",
            )
        self._machine, self._core = machine, core_of(machine.arch.name)
        if self._core.kobox_taint_open(machine.handle, registers):
            raise MachineError("values of devices are being followed already, or there is no memory for it")

    def close(self) -> None:
        """Follow nothing any more."""
        self._core.kobox_taint_close(self._machine.handle)

    def code(self, start: int, end: int) -> None:
        """Look at the code from `start` to `end`. Raises `MachineError` when that is too much."""
        if self._core.kobox_taint_code(self._machine.handle, start, end):
            raise MachineError(f"values cannot be followed in the code at {start:#x}..{end:#x}")

    def memory(self, start: int, size: int) -> bool:
        """Ask the device (`Space.DMA`) what this memory, by its physical address, says, when code reads it; False when
        there is too much of such memory."""
        return not self._core.kobox_taint_memory(self._machine.handle, start, size)

    def sent(self, start: int, size: int) -> int:
        """Bytes in memory, by their physical address, that a device has sent over a bus: each is a read. The number of
        the first one; the others follow."""
        self._machine.pci.reads += size
        return int(self._core.kobox_taint_bytes(self._machine.handle, start, size))

    def copier(self, address: int) -> None:
        """A function that copies memory, (to, from, size): what is known of it goes with the copy. Raises
        `MachineError` when there are too many."""
        if self._core.kobox_taint_copier(self._machine.handle, address):
            raise MachineError(f"too many functions that copy memory: {address:#x}")

    def reset(self) -> None:
        """Forget values, decisions, memory, and what was executed. The code that is looked at stays."""
        self._core.kobox_taint_reset(self._machine.handle)

    def executed(self, start: int, size: int) -> bytes:
        """For each byte of code given to `code` from `start` on: the bits of `Ran`."""
        out = ctypes.create_string_buffer(size)
        if self._core.kobox_taint_executed(self._machine.handle, start, out):
            raise MachineError(f"no code from {start:#x} on is looked at")
        return out.raw

    def nodes(self) -> Nodes:
        """All nodes; number 0 is none."""
        return Nodes(self._table(self._core.kobox_taint_nodes, _NODE.size))

    def decisions(self) -> Sequence[Decision]:
        """What was decided by a value of a device, in order; of one place the first 128 times."""
        return _decisions(self._table(self._core.kobox_taint_decisions, _DECISION.size))

    def returned(self, pc: int) -> None:
        """A function that is looked at has just returned an int to one that is not: whether it is 0 is a decision at
        `pc`."""
        self._core.kobox_taint_result(self._machine.handle, pc)

    def recent(self) -> tuple[Nodes, Sequence[Decision]]:
        """The nodes there are by now, to be looked at before the machine runs on; the decisions that were made last, at
        most 16, the newest first."""
        count = ctypes.c_uint32()
        at = self._core.kobox_taint_nodes(self._machine.handle, _NODE.size, ctypes.byref(count))
        size = count.value * _NODE.size
        nodes = memoryview((ctypes.c_char * size).from_address(at)) if at else b""
        room = ctypes.create_string_buffer(_MOST_RECENT * _DECISION.size)
        made = self._core.kobox_taint_recent(self._machine.handle, _DECISION.size, room, _MOST_RECENT)
        return Nodes(nodes), _decisions(room.raw[: made * _DECISION.size])

    def _table(self, function: ctypes._NamedFuncPointer, row: int) -> bytes:
        count = ctypes.c_uint32()
        at = function(self._machine.handle, row, ctypes.byref(count))
        return ctypes.string_at(at, count.value * row) if at else b""


def _decisions(raw: bytes) -> Sequence[Decision]:
    return [
        Decision(pc, operation, size, condition, bool(taken), left, right, left_value, right_value)
        for pc, operation, size, condition, taken, left, right, _, left_value, right_value in _DECISION.iter_unpack(raw)
    ]
