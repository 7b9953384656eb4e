"""The memory that a module has allocated: its objects as they come and go, the room round them, and the quarantine.

    kmalloc-rcl-128:  | object, 64 bytes asked for | redzone …  | object … | redzone |

Three things make an object's edges visible, all of them done by changing arguments of the kernel's own
allocators while the
module calls them: it gets at least `ROOM` bytes more than it asked for; kmalloc's objects come from the caches for
reclaimable memory, which hardly anybody else uses, so that what lies before an object is the module's too; and caches
that the module makes are not merged with others. What it frees is kept from being given out again for a while (the
quarantine), so that a late access finds it marked. There it is filled with a pattern, and looked at now and then: who
has changed it is the kernel, which nobody watches, by way of a list or a timer that the object is still linked to.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import groupby

from kobox.box.box import Box
from kobox.box.inspect.alloc_table import GFP_DMA, GFP_RECLAIMABLE, MemoryKind
from kobox.checks.report.quantities import sized
from kobox.checks.runner.session import Trace
from kobox.errors import KoboxError
from kobox.ko.binary import c_string, u64
from kobox.machine.watch import Mark
from kobox.machine.watch_heap import HeapPlaces, HeapRow, HeapWatch, ObjectState

ROOM = 16
PAGE = 4096
_AT_ONCE = 64 << 10  # bytes of freed objects that may be looked at on every occasion
_ALL = 8 << 20  # more bytes than the quarantine holds
KINDS = tuple(MemoryKind)
"""The kinds of memory, by the core's numbers (enum memory_kind in native/watch/heap.h)."""


class _Number:
    """A field of the core's row."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, thing: Object, owner: type | None = None) -> int:
        return int(getattr(thing.row, self._name))

    def __set__(self, thing: Object, value: int) -> None:
        setattr(thing.row, self._name, value)


class Object:
    """One piece of memory: `slot` bytes lie behind its address in all, `size` of them were asked for. `before` and
    `behind` are what the allocator has given besides, to guard it; `base` and `order` are what it must get back.

    What it says stands in the core (`row`), whose own it is once the heap has it.
    """

    __slots__ = ("_heap", "row")

    address, size, slot = _Number(), _Number(), _Number()
    cache = _Number()  # struct kmem_cache, or the order of pages
    page = _Number()  # its struct page
    base, order, before, behind = _Number(), _Number(), _Number(), _Number()
    adopted = _Number()  # made by the kernel for the module: the kernel frees it
    written = _Number()  # zeroed, or made by a constructor
    inner = _Number()  # in a slab, and not its first slot
    guarded = _Number()  # bytes behind its size that hold the canary
    freed_at = _Number()  # of the box's time, in ns

    def __init__(self, heap: Heap, row: HeapRow) -> None:
        self._heap = heap
        self.row = row

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Object) and self.address == other.address and self.row.state == other.row.state

    def __hash__(self) -> int:
        return hash(self.address)

    @property
    def kind(self) -> MemoryKind:
        return KINDS[int(self.row.kind)]

    @kind.setter
    def kind(self, kind: MemoryKind) -> None:
        self.row.kind = KINDS.index(kind)

    @property
    def function(self) -> str:
        """The function that the module has called, as its author wrote it."""
        return self._heap.names[int(self.row.function)]

    @property
    def made(self) -> Trace:
        """The calls that have allocated it."""
        return self._heap.traces[int(self.row.made)]

    @property
    def gone(self) -> Trace | None:
        """The calls that have freed it."""
        return self._heap.traces[int(self.row.gone)] if self.row.gone else None

    @property
    def freed(self) -> bool:
        """Whether it is freed: in quarantine, or gone."""
        return self.row.state in (ObjectState.FREED, ObjectState.GONE)

    @property
    def is_guard(self) -> bool:
        """Whether it is nobody's."""
        return bool(self.row.state == ObjectState.GUARD)

    @property
    def span(self) -> int:
        """How many bytes the allocator has given in all."""
        return self.before + self.slot + self.behind

    @property
    def what(self) -> str:
        """ "a 64-byte kmalloc object"."""
        return sized(self.size, f"{self.function} object")


class Heap:
    """The objects of one examination, and their marks in the watcher's shadow."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self._watch = box.inspect.watch
        self._own_caches, sizes = _reclaimable_caches(box)
        self.core = HeapWatch(self._watch, _places(box), [(size, self._own_caches.get(size, 0)) for size in sizes])
        self.traces: list[Trace] = [Trace((), None)]  # by the numbers that the core knows them by; 0: none
        self.names: list[str] = []  # of functions, likewise
        self.vanished: list[Object] = []  # vmalloc'ed and freed: their addresses are nobody's
        self._contents: dict[int, bytes] = {}  # of freed objects that are not filled, by address: what they held
        self._looked = 0  # when all freed objects were looked at last
        self.on_changed: Callable[[Object, int, int, int], None] | None = None
        """Told that a freed object was changed: it, from which of its bytes to which, and since when, in ns of the
        box's time."""
        self._per_cpu = _u64(box, box.inspect.symbols.address("__per_cpu_offset"))

    # -- numbers -----------------------------------------------------------------------------------------------

    def keep(self, trace: Trace) -> int:
        """The number of a call chain."""
        self.traces.append(trace)
        return len(self.traces) - 1

    def name(self, name: str) -> int:
        """The number of a function's name."""
        if name not in self.names:
            self.names.append(name)
        return self.names.index(name)

    def object(
        self, address: int, size: int, slot: int, kind: MemoryKind, function: str, made: Trace, cache: int = 0
    ) -> Object:
        """An object that the heap does not have yet."""
        row = HeapRow(address=address, size=size, slot=slot, kind=KINDS.index(kind), cache=cache)
        row.function, row.made = self.name(function), self.keep(made)
        return Object(self, row)

    # -- sizes -------------------------------------------------------------------------------------------------

    def roomy(self, size: int) -> int:
        """What to ask kmalloc for, so that `size` bytes have room behind them: the size of a cache, or whole pages."""
        return self.core.roomy(size)

    def cache_for(self, slot: int) -> int | None:
        """The cache for reclaimable memory that has slots of this size."""
        return self._own_caches.get(slot)

    def flags_for(self, flags: int) -> int:
        """GFP flags that lead to the caches for reclaimable memory; memory for old devices stays what it is."""
        return flags if flags & GFP_DMA or not self._own_caches else flags | GFP_RECLAIMABLE

    def per_cpu_address(self, pointer: int) -> int:
        """Where the (only) CPU has what a per-CPU pointer names."""
        return pointer + self._per_cpu & (1 << 64) - 1

    # -- coming and going --------------------------------------------------------------------------------------

    def add(self, thing: Object, known: bytes = b"") -> None:
        """An object was allocated; `known` are the marks of its first bytes, when they were moved there."""
        row = self.core.add(thing.row, len(known))
        if row is None:
            raise MemoryError("no memory for the record of allocations")
        thing.row = row
        at = thing.address
        for mark, run in groupby(known):
            size = len(list(run))
            self._watch.mark(at, size, Mark(mark))
            at += size

    def overrun(self, thing: Object) -> int:
        """How many bytes behind a live object the kernel's own code has written; 0 for none. It is told once."""
        written = self.core.overrun(thing.row)
        thing.guarded = 0
        return written

    def resize(self, thing: Object, size: int, slot: int, *, zero: bool = False) -> None:
        """krealloc() has left the object where it is."""
        if size > thing.size:
            mark = Mark.WRITTEN if zero else Mark.UNWRITTEN
            self._watch.mark(thing.address + thing.size, size - thing.size, mark, pattern=not zero)
        thing.size, thing.slot = size, max(slot, thing.slot)
        self._watch.mark(thing.address + size, thing.slot - size, Mark.REDZONE)
        if thing.guarded:
            self.core.set_canary(thing.row)

    def free(self, thing: Object, trace: Trace, *, as_it_is: bool = False) -> Object | None:
        """An object is freed: it goes to the quarantine, filled or (`as_it_is`) as it is. Returns one that has to be
        freed in its stead, or None."""
        thing.row.as_it_is = as_it_is
        oldest = self.core.free(thing.row, self.keep(trace))
        if thing.row.as_it_is:
            self._contents[thing.address] = self._box.inspect.memory.read(thing.address, thing.size)
        if oldest is None:
            return None
        leaver = Object(self, oldest)
        self.release(leaver)
        return leaver

    def release(self, thing: Object) -> None:
        """An object leaves the quarantine: whoever gets its memory next may do with it what he likes."""
        if not thing.is_guard:
            self.look()
            self._compare(thing.address)
            self._leave_alone(thing)
        self.core.drop(thing.row)

    # -- what happens to what is freed -------------------------------------------------------------------------

    def look(self, *, thoroughly: bool = False) -> None:
        """Look whether what is freed is as it was: if it is not much, or with `thoroughly`, all of it."""
        if not thoroughly and self.core.held > _AT_ONCE:
            return
        while (found := self._watch.find_corrupted(_ALL)) is not None:
            address, start, end = found
            thing = self.freed_at(address)
            if thing is None:
                self._watch.unquarantine(address)
            else:
                self._tell(thing, start, end)
        if thoroughly:
            for address in list(self._contents):
                self._compare(address)
            self._looked = self._box.machine.time

    def _compare(self, address: int) -> None:
        """Look whether what is freed there is as it was, if it was not filled."""
        before, thing = self._contents.get(address), self.freed_at(address)
        if before is None or thing is None:
            return
        now = self._box.inspect.memory.read(address, len(before))
        if now != before:
            changed = [n for n, (a, b) in enumerate(zip(now, before, strict=True)) if a != b]
            self._tell(thing, changed[0], changed[-1] + 1)

    def excuse(self, address: int, size: int) -> None:
        """Of a stretch of memory it was told already that it is used after it was freed: look there no more."""
        for thing in self._all(ObjectState.FREED):
            if thing.address < address + size and address < thing.address + thing.size:
                self._leave_alone(thing)

    def _tell(self, thing: Object, start: int, end: int) -> None:
        self._leave_alone(thing)
        if self.on_changed is not None:
            self.on_changed(thing, start, end, max(thing.freed_at, self._looked))

    def _leave_alone(self, thing: Object) -> None:
        if not thing.row.as_it_is:
            self._watch.unquarantine(thing.address)
        thing.row.as_it_is = True
        self._contents.pop(thing.address, None)

    def held_of(self, cache: int) -> list[Object]:
        """What the quarantine holds of a cache, and its slots that are nobody's."""
        things = (*self._all(ObjectState.GUARD), *self._all(ObjectState.FREED))
        return [thing for thing in things if thing.cache == cache]

    def guard(self, thing: Object) -> None:
        """Keep a slot for nobody: the first of a page, so that what lies before any object is known."""
        row = self.core.guard(thing.row)
        if row is not None:
            thing.row = row

    def forget(self, thing: Object, trace: Trace | None = None) -> None:
        """An object is gone, and its memory is the kernel's at once."""
        thing.row.gone = self.keep(trace) if trace is not None else 0
        if thing.kind is MemoryKind.VMALLOC:
            self.vanished.append(thing)
        self._contents.pop(thing.address, None)
        self.core.drop(thing.row)

    def bookkeeping(self, things: list[Object]) -> dict[int, int]:
        """How many words of RAM name a vmalloc'ed object, by its address, only because vmalloc itself keeps them: in
        its struct vm_struct (before the size) and struct vmap_area (before the end), and in that of the area that
        ends where it begins."""
        data, counts = bytes(self._box.machine.ram) if things else b"", {}
        for thing in things:
            needle, count, size = thing.address.to_bytes(8, "little"), 0, thing.slot + PAGE
            at = data.find(needle)
            while at >= 0:
                if not at % 8 and 8 <= at < len(data) - 16:
                    before, following = u64(data, at - 8), u64(data, at + 8)
                    own = following in (size, thing.address + size)
                    count += own or (thing.address - (1 << 40) < before < thing.address and not before % PAGE)
                at = data.find(needle, at + 1)
            counts[thing.address] = count
        return counts

    # -- finding -----------------------------------------------------------------------------------------------

    def live_at(self, address: int) -> Object | None:
        """The object that is allocated and begins at an address."""
        return self._object(self.core.at(address, ObjectState.LIVE))

    def freed_at(self, address: int) -> Object | None:
        """The object in quarantine that begins at an address."""
        return self._object(self.core.at(address, ObjectState.FREED))

    def live(self) -> list[Object]:
        """All that is allocated."""
        return self._all(ObjectState.LIVE)

    def _all(self, state: ObjectState) -> list[Object]:
        return [Object(self, row) for row in self.core.all(state)]

    def _object(self, row: HeapRow | None) -> Object | None:
        return None if row is None else Object(self, row)

    def holding(self, address: int) -> Object | None:
        """The object in whose slot an address lies."""
        return self._object(self.core.holding(address))

    def nearest(self, address: int) -> Object | None:
        """The object that somebody who touched `address` will have meant: the one with that in its slot,
        unless the next one begins just behind it."""
        thing = self.holding(address)
        following = self._object(self.core.beside(address, after=True))
        if thing is None:
            last = self._object(self.core.beside(address, after=False))
            near = last is not None and address < last.address + last.slot + max(last.behind, ROOM)
            thing = last if near else None
        if following is None or following.address - address > max(ROOM, following.before):
            return thing
        if thing is None or following.address - address < address - (thing.address + thing.size) + 1:
            return following
        return thing

    def once_at(self, address: int) -> Object | None:
        """The last vmalloc'ed object that lay at an address, guard page included, and is gone."""
        for thing in reversed(self.vanished):
            if thing.address <= address < thing.address + thing.slot + PAGE:
                return thing
        return None


def _places(box: Box) -> HeapPlaces:
    btf = box.inspect.symbols.btf
    direct, vmemmap, vmalloc = box.inspect.symbols.areas()
    head = "compound_head" if btf.has("page", "compound_head") else "compound_info"
    offsets = int(btf.size("page")), int(btf.offset("page", head)), int(btf.offset("kmem_cache", "object_size"))
    return HeapPlaces(vmemmap, direct, vmalloc, *offsets)


def _reclaimable_caches(box: Box) -> tuple[dict[int, int], list[int]]:
    """kmalloc's caches for reclaimable memory, size -> struct kmem_cache, and the sizes of all. They stay."""
    if "kmalloc's caches" not in box.inspect.cache:
        box.inspect.cache["kmalloc's caches"] = _read_caches(box)
    found: tuple[dict[int, int], list[int]] = box.inspect.cache["kmalloc's caches"]
    return found


def _read_caches(box: Box) -> tuple[dict[int, int], list[int]]:
    """`kmalloc_caches[type][index]`."""
    btf = box.inspect.symbols.btf
    table = box.inspect.symbols.address("kmalloc_caches")
    own: dict[int, int] = {}
    sizes: set[int] = set()
    for n in range(40 * 16):
        try:
            cache = _u64(box, table + 8 * n)
            if not cache:
                continue
            name = c_string(box.inspect.memory.read(_u64(box, cache + btf.offset("kmem_cache", "name")), 20))
            size = struct.unpack("<I", box.inspect.memory.read(cache + btf.offset("kmem_cache", "object_size"), 4))[0]
        except (ValueError, KoboxError):
            break  # past the table's end
        if b"kmalloc-" not in name:
            break
        sizes.add(size)
        if name.startswith(b"kmalloc-rcl-"):
            own[size] = cache
    return own, sorted(sizes)


def _u64(box: Box, address: int) -> int:
    return int.from_bytes(box.inspect.memory.read(address, 8), "little")
