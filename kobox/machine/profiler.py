"""How much modules make the CPU execute, by the chain of calls that led to it (`native/profiler.c`).

with CallProfiler(machine) as profiler:
    profiler.set_functions(packed([FunctionStart(address, number=7, of_module=True), …]))
    machine.run()
    profiler.nodes()          # the tree of chains: calls, blocks, instructions
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable
from itertools import starmap
from typing import NamedTuple

from kobox.machine.native_core import core_of
from kobox.machine.pc import Machine, MachineError

_FUNCTION = struct.Struct("<QII")
_NODE = struct.Struct("<QQQQII")
_BLOCK = struct.Struct("<QQIIII")
_OF_MODULE, _OF_INTERRUPT = 1, 2


class FunctionStart(NamedTuple):
    """A function by its first address. `number` is the caller's; several addresses may have one. `of_module`: chains
    begin with it; `of_interrupt`: what is called by it does not belong to whom it interrupts."""

    address: int
    number: int
    of_module: bool = False
    of_interrupt: bool = False


def packed(functions: Iterable[FunctionStart]) -> bytes:
    """A table of functions for `CallProfiler.set_functions`."""
    rows = [
        (one.address, one.number, _OF_MODULE * one.of_module | _OF_INTERRUPT * one.of_interrupt) for one in functions
    ]
    return b"".join(starmap(_FUNCTION.pack, sorted(rows)))


def _first_address(table: bytes) -> int:
    return int.from_bytes(table[:8], "little")


class ChainNode(NamedTuple):
    """A function as it was called through `parent` (the index of its caller's node; 0 begins all chains): how often,
    how many blocks and instructions it executed itself, and the most of the stack that was in use, in bytes."""

    calls: int
    blocks: int
    instructions: int
    stack: int
    parent: int
    function: int


class ExecutedBlock(NamedTuple):
    """A piece of code without jumps: how often it was executed, its bytes and instructions."""

    address: int
    times: int
    size: int
    instructions: int


class CallProfiler:
    """Counts until it is closed; a machine has one at a time. Counting changes neither blocks nor virtual time.

    Raises `MachineError` when the machine has one already.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._core = core_of(machine.arch.name)
        if self._core.kobox_profile_open(machine.handle):
            raise MachineError("this machine is profiled already, or there is no memory")
        self._is_open = True

    def close(self) -> None:
        """Count no more."""
        if self._is_open:
            self._is_open = False
            self._core.kobox_profile_close(self._machine.handle)

    def __enter__(self) -> CallProfiler:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def set_functions(self, *tables: bytes) -> None:
        """The functions that there are from now on: tables of `packed` whose addresses do not mix. What `blocks` would
        give is forgotten. Raises `MachineError`."""
        ordered: list[bytes] = sorted(tables, key=_first_address)
        whole = b"".join(ordered)
        if self._core.kobox_profile_functions(self._machine.handle, whole, len(whole) // _FUNCTION.size):
            raise MachineError("no memory for a profile")

    def nodes(self) -> list[ChainNode]:
        """The tree; node 0 begins all chains and is no function."""
        data = self._read(self._core.kobox_profile_nodes, _NODE)
        return list(starmap(ChainNode, _NODE.iter_unpack(data)))

    def blocks(self) -> list[ExecutedBlock]:
        """The blocks that were executed since `set_functions`, in no order."""
        data = self._read(self._core.kobox_profile_blocks, _BLOCK)
        return [ExecutedBlock(*fields[:4]) for fields in _BLOCK.iter_unpack(data)]

    @property
    def is_whole(self) -> bool:
        """Whether everything was counted; False when chains, blocks or stacks were too many."""
        return bool(self._core.kobox_profile_whole(self._machine.handle))

    def restored(self) -> None:
        """The machine has gone back in time."""
        self._core.kobox_profile_restored(self._machine.handle)

    def _read(self, read: ctypes._NamedFuncPointer, row: struct.Struct) -> bytes:
        room = read(self._machine.handle, None, 0)
        buffer = ctypes.create_string_buffer(max(1, room * row.size))
        read(self._machine.handle, buffer, room)
        return buffer.raw[: room * row.size]
