"""The memory that watched code has allocated (`native/watch/heap.c`, `heap_calls.c`), as Python sees it.

    heap = HeapWatch(watch, places, sizes)
    heap.allocator(address_of_kmalloc, How.ALLOCATES, size_at=0, flags_at=1, name=0)
    row = heap.at(address, ObjectState.LIVE)

The core keeps the objects of slabs as they come and go. A call that it does not look at itself is declined: a probe
with DECLINED is told of it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from kobox.machine.pc import MachineError
from kobox.machine.watch import Watch


class ObjectState(IntEnum):
    """Where an object is in its life (enum object_state in native/watch/heap.h)."""

    GONE = 0
    LIVE = 1
    FREED = 2  # in the quarantine
    GUARD = 3


class How(IntEnum):
    """What a function does (enum allocation_how in native/watch/watch.h)."""

    ALLOCATES = 1
    ALLOCATES_FROM_SIZED = 2  # from a cache of kmalloc's, which is its first argument
    ALLOCATES_FROM_CACHE = 3
    ON_BEHALF = 4  # it allocates for its caller, by one of the above
    FREES = 5
    FREES_TO_CACHE = 6
    PAUSES = 7  # meanwhile, what is allocated is not for the caller of a function that is ON_BEHALF


class HeapRow(ctypes.Structure):
    """struct object of native/watch/watch.h: see kobox.checks.memory.module_heap.Object for what the fields say."""

    _fields_ = (
        *((name, ctypes.c_uint64) for name in ("address", "size", "slot", "cache", "page", "base", "before")),
        *((name, ctypes.c_uint64) for name in ("behind", "freed_at")),
        *((name, ctypes.c_uint32) for name in ("made", "gone", "function", "order", "guarded")),
        *((name, ctypes.c_uint8) for name in ("kind", "state", "written", "inner", "as_it_is", "shown", "adopted")),
        *((name, ctypes.c_void_p) for name in ("newer", "older")),
    )


class HeapPlaces(NamedTuple):
    """Where this kernel has what: the starts of its three maps, and offsets."""

    vmemmap: int
    direct: int
    vmalloc: int
    page_size: int
    """Bytes of a `struct page`."""
    head_at: int
    """Where a `struct page` says that it is a tail."""
    object_size_at: int
    """Where a `struct kmem_cache` says how large its objects are."""


class _Places(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_uint64) for name in ("vmemmap", "direct", "vmalloc")),
        *((name, ctypes.c_uint32) for name in ("page_size", "head_at", "object_size_at")),
    )


class _Size(ctypes.Structure):
    _fields_ = (("size", ctypes.c_uint64), ("cache", ctypes.c_uint64))


class _Rule(ctypes.Structure):
    _fields_ = (
        ("address", ctypes.c_uint64),
        ("function", ctypes.c_uint32),
        ("how", ctypes.c_uint8),
        ("size_at", ctypes.c_uint8),
        ("flags_at", ctypes.c_uint8),
        ("fills", ctypes.c_uint8),
    )


_NO_ARGUMENT = 255
_MOST_STACKS = 256  # MAX_STACKS of native/watch/heap.h


class HeapWatch:
    """The record of one machine's watcher. A new one begins with nothing; rows of the one before are not valid then."""

    def __init__(self, watch: Watch, places: HeapPlaces, sizes: Sequence[tuple[int, int]]) -> None:
        """`sizes`: those that kmalloc has, in order, each with its cache for reclaimable memory (0: none). Raises
        `MachineError` when there is no memory for it."""
        self._watch = watch
        self._core, self._handle = watch.core, watch.machine.handle
        rows = (_Size * max(len(sizes), 1))(*(_Size(*one) for one in sizes))
        if self._core.kobox_heap_open(self._handle, ctypes.byref(_Places(*places)), rows, len(sizes)):
            raise MachineError("no memory for the record of allocations")

    # -- rules -------------------------------------------------------------------------------------------------

    def allocator(
        self,
        address: int,
        how: How,
        *,
        name: int = 0,
        size_at: int = 0,
        flags_at: int | None = None,
        fills: bool = False,
    ) -> None:
        """What the function at an address does: `name` is the number of the name that its objects are called by,
        `size_at` and `flags_at` are numbers of arguments, `fills` says that it writes all that it gives. Raises
        `MachineError`."""
        rule = _Rule(address, name, how, size_at, _NO_ARGUMENT if flags_at is None else flags_at, fills)
        if self._core.kobox_heap_rule(self._handle, ctypes.byref(rule)):
            raise MachineError(f"no room for a rule at {address:#x}")
        self._watch.note_rule(address)

    def cache(self, cache: int, size: int, *, constructed: bool = False, by_rcu: bool = False) -> None:
        """A `struct kmem_cache` that the module has made, with the size that it asked for; 0: it is gone."""
        self._core.kobox_heap_cache(self._handle, cache, size, constructed, by_rcu)

    # -- objects -----------------------------------------------------------------------------------------------

    def at(self, address: int, state: ObjectState) -> HeapRow | None:
        """The object that begins at an address, if it is in that state."""
        return _row(self._core.kobox_heap_at(self._handle, address, state))

    def holding(self, address: int) -> HeapRow | None:
        """The live or freed object in whose slot an address lies."""
        return _row(self._core.kobox_heap_holding(self._handle, address))

    def beside(self, address: int, *, after: bool) -> HeapRow | None:
        """The last object that begins at or below an address, or the first above it."""
        return _row(self._core.kobox_heap_beside(self._handle, address, after))

    def all(self, state: ObjectState) -> list[HeapRow]:
        """All objects in a state; those in quarantine the oldest first."""
        count = self._core.kobox_heap_list(self._handle, state, None, 0)
        rows = (ctypes.c_void_p * max(count, 1))()
        self._core.kobox_heap_list(self._handle, state, rows, count)
        return [HeapRow.from_address(row) for row in rows[:count] if row]

    def add(self, model: HeapRow, known: int) -> HeapRow | None:
        """An object like `model` is live; the marks of its first `known` bytes are the caller's to set."""
        return _row(self._core.kobox_heap_add(self._handle, ctypes.byref(model), known))

    def guard(self, model: HeapRow) -> HeapRow | None:
        """A slot like `model` is nobody's."""
        return _row(self._core.kobox_heap_guard(self._handle, ctypes.byref(model)))

    def free(self, row: HeapRow, trace: int) -> HeapRow | None:
        """A live object goes to the quarantine; which one has to leave it."""
        return _row(self._core.kobox_heap_free(self._handle, ctypes.byref(row), trace))

    def drop(self, row: HeapRow) -> None:
        """An object is gone, and its memory is unknown."""
        self._core.kobox_heap_drop(self._handle, ctypes.byref(row))

    def set_canary(self, row: HeapRow) -> None:
        """Fill the room behind an object."""
        self._core.kobox_heap_set_canary(self._handle, ctypes.byref(row))

    def overrun(self, row: HeapRow) -> int:
        """How many bytes behind an object were written; 0 for none."""
        return int(self._core.kobox_heap_overrun(self._handle, ctypes.byref(row)))

    def roomy(self, size: int) -> int:
        """What to ask kmalloc for, so that `size` bytes have room behind them."""
        return int(self._core.kobox_heap_roomy(self._handle, size))

    @property
    def held(self) -> int:
        """Bytes in the quarantine."""
        return int(self._core.kobox_heap_held(self._handle))

    # -- calls -------------------------------------------------------------------------------------------------

    def set_open(self, stack: int, *, is_open: bool) -> None:
        """Whoever runs on a stack is in an allocator that Python looks at."""
        self._core.kobox_heap_set_open(self._handle, stack, is_open)

    def is_open(self, stack: int) -> bool:
        """Whether whoever runs on a stack is in an allocator."""
        return bool(self._core.kobox_heap_is_open(self._handle, stack))

    def behalf(self, stack: int) -> int | None:
        """The number of the name of the function that allocates for the module on a stack."""
        number = self._core.kobox_heap_behalf(self._handle, stack)
        return None if number < 0 else int(number)

    def note_stack(self, stack: int) -> None:
        """The module has allocated on this stack."""
        self._core.kobox_heap_note_stack(self._handle, stack)

    def stacks(self) -> list[int]:
        """The stacks on which the module has allocated."""
        out = (ctypes.c_uint64 * _MOST_STACKS)()
        return list(out[: self._core.kobox_heap_stacks(self._handle, out)])

    def forget_traces(self) -> None:
        """Code lies elsewhere now: no call chain is known any more."""
        self._core.kobox_heap_forget_traces(self._handle)


def _row(pointer: int | None) -> HeapRow | None:
    return HeapRow.from_address(pointer) if pointer else None
