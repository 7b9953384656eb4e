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
from kobox.startup import IntFlag

_FUNCTION = struct.Struct("<QII")
_NODE = struct.Struct("<QQQQQQQIIII")
_NOTE = struct.Struct("<QQQQQQQQQQQIIII")
_SYSCALL = struct.Struct("<QQQII")
_BLOCK = struct.Struct("<QQIIII")
_OF_MODULE, _OF_INTERRUPT = 1, 2
_ARGUMENT_SHIFT = 12


class Noted(IntFlag):
    """What is noted of the calls of a function (`native/profiler.h`)."""

    INSIDE = 4  # while a module's function is on the stack
    DIRECT = 8  # only calls by the module's own code
    GIVES = 16  # the result is memory; what allocates inside is not noted again
    TAKES_BACK = 32  # an argument is memory that somebody was seen getting
    TAKES_MANY = 64  # an argument is an array of such; the one before it is their number
    FROM_CACHE = 128  # an argument is a struct kmem_cache
    SYSCALL = 256  # what modules do inside is counted as this system call's
    PART = 512  # a part of a function that was moved away: its beginning is no entry


class FunctionStart(NamedTuple):
    """A function by its first address. `number` is the caller's; several addresses may have one. `of_module`: chains
    begin with it; `of_interrupt`: what is called by it does not belong to whom it interrupts. `noted`: its calls are
    kept one by one; `argument` is the number of the argument that this is about."""

    address: int
    number: int
    of_module: bool = False
    of_interrupt: bool = False
    noted: int = 0
    argument: int = 0


def packed(functions: Iterable[FunctionStart]) -> bytes:
    """A table of functions for `CallProfiler.set_functions`."""
    rows = [
        (
            one.address,
            one.number,
            _OF_MODULE * one.of_module | _OF_INTERRUPT * one.of_interrupt | one.noted | one.argument << _ARGUMENT_SHIFT,
        )
        for one in functions
    ]
    return b"".join(starmap(_FUNCTION.pack, sorted(rows)))


def _first_address(table: bytes) -> int:
    return int.from_bytes(table[:8], "little")


class ChainNode(NamedTuple):
    """A function as it was called through `parent` (the index of its caller's node; 0 begins all chains): how often,
    how many blocks and instructions it executed itself, and the most of the stack that was in use, in bytes. `off…`:
    how often interrupts were off from here on, how long in all and at most (virtual ns), and whether they were off
    already when the chain began."""

    calls: int
    blocks: int
    instructions: int
    stack: int
    off_times: int
    off_ns: int
    off_longest: int
    parent: int
    function: int
    off_inside: int
    padding: int


class NotedCall(NamedTuple):
    """A call that was kept: when it began and ended (virtual ns), how many instructions were counted till then, the
    place behind the call in the module's code (0: none), the first three arguments, the result (of what takes memory
    back: the memory), which stack it was on; of a kmem_cache the sizes (object | slot << 32). `node` is its chain (0:
    no module's function was on the stack); `returned`: it has ended."""

    start: int
    end: int
    total: int
    total_end: int
    site: int
    first: int
    second: int
    third: int
    result: int
    stack: int
    cache_sizes: int
    node: int
    function: int
    returned: int
    padding: int


class SyscallCount(NamedTuple):
    """A system call in which modules were executed: in how many calls of it, how many instructions, and the most in
    one."""

    calls: int
    instructions: int
    most: int
    function: int
    padding: int


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

    def set_cache_layout(self, object_size_at: int, size_at: int) -> None:
        """Where `struct kmem_cache` has the size of objects and of their slots."""
        self._core.kobox_profile_caches(self._machine.handle, object_size_at, size_at)

    def notes(self, first: int = 0) -> list[NotedCall]:
        """The calls that were noted, from a number on, in the order in which they began."""
        handle, read = self._machine.handle, self._core.kobox_profile_notes
        room = read(handle, first, None, 0)
        buffer = ctypes.create_string_buffer(max(1, room * _NOTE.size))
        read(handle, first, buffer, room)
        return list(starmap(NotedCall, _NOTE.iter_unpack(buffer.raw[: room * _NOTE.size])))

    def syscalls(self) -> list[SyscallCount]:
        """The system calls in which modules were executed."""
        data = self._read(self._core.kobox_profile_syscalls, _SYSCALL)
        return [one for one in starmap(SyscallCount, _SYSCALL.iter_unpack(data)) if one.calls]

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
