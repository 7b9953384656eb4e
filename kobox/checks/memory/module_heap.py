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
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby

from kobox.box.box import Box
from kobox.checks.memory.alloc_table import GFP_DMA, GFP_RECLAIMABLE, MemoryKind
from kobox.checks.report.quantities import sized
from kobox.checks.runner.session import Trace
from kobox.errors import KoboxError
from kobox.ko.binary import c_string, u64
from kobox.machine.watch import Mark

ROOM = 16
APART = 128
"""Bytes behind an object of a slab that are nobody's, as long as there is memory for that."""
_SPREAD = 16 << 20  # bytes that live objects may take with so much room
_CANARY = 0xCC  # what they hold (SLUB_RED_ACTIVE, include/linux/poison.h)
PAGE = 4096
QUARANTINE_OBJECTS = 512
QUARANTINE_BYTES = 4 << 20
_AT_ONCE = 64 << 10  # bytes of freed objects that may be looked at on every occasion


@dataclass(slots=True)
class Object:
    """One piece of memory: `slot` bytes lie behind its address in all, `size` of them were asked for. `before` and
    `behind` are what the allocator has given besides, to guard it; `base` and `order` are what it must get back."""

    address: int
    size: int
    slot: int
    kind: MemoryKind
    function: str
    made: Trace
    stage: str
    cache: int = 0  # struct kmem_cache, or the order of pages
    page: int = 0  # its struct page
    gone: Trace | None = None
    freed: bool = False
    written: bool = False  # zeroed, or made by a constructor
    adopted: bool = False  # made by the kernel for the module: the kernel frees it
    base: int = 0
    order: int = 0
    before: int = 0
    behind: int = 0
    inner: bool = False  # in a slab, and not its first slot
    guarded: int = 0  # bytes behind its size that hold the canary
    content: bytes | None = None  # of a freed object that is not filled: what it held
    freed_at: int = 0  # of the box's time, in ns

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
        self.live: dict[int, Object] = {}
        self.freed: dict[int, Object] = {}  # in quarantine
        self.vanished: list[Object] = []  # vmalloc'ed and freed: their addresses are nobody's
        self._order: list[int] = []  # addresses of both, sorted
        self._quarantine: deque[Object] = deque()
        self.guards: dict[int, Object] = {}  # nobody gets them: what lies beside an object is known by them
        self._held = 0
        self._spread = 0  # bytes of live objects of slabs, with their room
        self._looked = 0  # when all freed objects were looked at last
        self.on_changed: Callable[[Object, int, int, int], None] | None = None
        """Told that a freed object was changed: it, from which of its bytes to which, and since when, in ns of the
        box's time."""
        self._own_caches, self._sizes = _reclaimable_caches(box)
        self._per_cpu = _u64(box, box.inspect.symbols.address("__per_cpu_offset"))

    # -- sizes -------------------------------------------------------------------------------------------------

    def roomy(self, size: int) -> int:
        """What to ask kmalloc for, so that `size` bytes have room behind them: the size of a cache, or whole pages."""
        wanted = size + (APART if self._spread < _SPREAD else ROOM)
        unit = 1 if size & (size - 1) else max(size, 1)  # powers of two are promised to be aligned to their size
        for fits in self._sizes:
            if wanted <= fits and not fits % unit:
                return fits
        if unit > 1:
            wanted = 2 * size
        return PAGE << max(wanted - 1 >> 12, 0).bit_length()

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
        for old in self._at(thing.address):
            self._drop(old)
        self.live[thing.address] = thing
        insort(self._order, thing.address)
        at, rest = thing.address, thing.size - len(known)
        for mark, run in groupby(known):
            size = len(list(run))
            self._watch.mark(at, size, Mark(mark))
            at += size
        if not thing.written:
            self._watch.mark(at, rest, Mark.UNWRITTEN, pattern=True)
        else:
            self._watch.mark(at, rest, Mark.WRITTEN)
        self._watch.mark(thing.address + thing.size, thing.slot - thing.size + thing.behind, Mark.REDZONE)
        before = self._room_before(thing)
        self._watch.mark(thing.address - before, before, Mark.REDZONE)
        if thing.page:
            self._watch.mark(thing.page, 1, Mark.WRITTEN)
        if _is_slab(thing):
            self._spread += thing.slot
            self._set_canary(thing)

    def _set_canary(self, thing: Object) -> None:
        """Fill the room behind an object. The first byte is zero: there a string ends that has no end of its own."""
        thing.guarded = thing.slot - thing.size
        if thing.guarded:
            self._box.machine.write(thing.address + thing.size, b"\0" + bytes((_CANARY,)) * (thing.guarded - 1))

    def overrun(self, thing: Object) -> int:
        """How many bytes behind a live object the kernel's own code has written; 0 for none. It is told once."""
        if not thing.guarded:
            return 0
        room = self._box.machine.read(thing.address + thing.size, thing.guarded)
        thing.guarded = 0
        written = len(room.rstrip(bytes((_CANARY,))))
        return written if written > 1 or room[:1] != b"\0" else 0

    def resize(self, thing: Object, size: int, slot: int, *, zero: bool = False) -> None:
        """krealloc() has left the object where it is."""
        if size > thing.size:
            mark = Mark.WRITTEN if zero else Mark.UNWRITTEN
            self._watch.mark(thing.address + thing.size, size - thing.size, mark, pattern=not zero)
        thing.size, thing.slot = size, max(slot, thing.slot)
        self._watch.mark(thing.address + size, thing.slot - size, Mark.REDZONE)
        if thing.guarded:
            self._set_canary(thing)

    def free(self, thing: Object, trace: Trace, *, as_it_is: bool = False) -> Object | None:
        """An object is freed: it goes to the quarantine, filled or (`as_it_is`) as it is. Returns one that has to be
        freed in its stead, or None."""
        del self.live[thing.address]
        if _is_slab(thing):
            self._spread -= thing.slot
        thing.freed, thing.gone, thing.freed_at = True, trace, self._box.machine.time
        self.freed[thing.address] = thing
        if as_it_is or not self._watch.quarantine(thing.address, thing.size):
            thing.content = self._box.inspect.memory.read(thing.address, thing.size)
        self._watch.mark(thing.address, thing.slot, Mark.FREED)
        self._quarantine.append(thing)
        self._held += thing.slot
        if len(self._quarantine) <= QUARANTINE_OBJECTS and self._held <= QUARANTINE_BYTES:
            return None
        oldest = next((old for old in self._quarantine if old.kind is thing.kind and old.cache == thing.cache), thing)
        self.release(oldest)
        return oldest

    def release(self, thing: Object) -> None:
        """An object leaves the quarantine: whoever gets its memory next may do with it what he likes."""
        if self.guards.get(thing.address) is thing:
            del self.guards[thing.address]
        else:
            self.look(thoroughly=thing.content is not None)
            self._leave_alone(thing)
            self._quarantine.remove(thing)
            self._held -= thing.slot
        self._drop(thing)

    # -- what happens to what is freed -------------------------------------------------------------------------

    def look(self, *, thoroughly: bool = False) -> None:
        """Look whether what is freed is as it was: if it is not much, or with `thoroughly`, all of it."""
        if not thoroughly and self._held > _AT_ONCE:
            return
        while (found := self._watch.find_corrupted(2 * QUARANTINE_BYTES)) is not None:
            address, start, end = found
            self._tell(self.freed[address], start, end)
        if thoroughly:
            for thing in self._quarantine:
                before = thing.content
                now = self._box.inspect.memory.read(thing.address, thing.size) if before is not None else None
                if before is not None and now is not None and now != before:
                    changed = [n for n, (a, b) in enumerate(zip(now, before, strict=True)) if a != b]
                    self._tell(thing, changed[0], changed[-1] + 1)
            self._looked = self._box.machine.time

    def excuse(self, address: int, size: int) -> None:
        """Of a stretch of memory it was told already that it is used after it was freed: look there no more."""
        for thing in self._quarantine:
            if thing.address < address + size and address < thing.address + thing.size:
                self._leave_alone(thing)

    def _tell(self, thing: Object, start: int, end: int) -> None:
        self._leave_alone(thing)
        if self.on_changed is not None:
            self.on_changed(thing, start, end, max(thing.freed_at, self._looked))

    def _leave_alone(self, thing: Object) -> None:
        if thing.content is None:
            self._watch.unquarantine(thing.address)
        thing.content = None

    def held_of(self, cache: int) -> list[Object]:
        """What the quarantine holds of a cache, and its slots that are nobody's."""
        return [thing for thing in (*self.guards.values(), *self._quarantine) if thing.cache == cache]

    def guard(self, thing: Object) -> None:
        """Keep a slot for nobody: the first of a page, so that what lies before any object is known."""
        self.guards[thing.address] = thing
        self._watch.mark(thing.address, thing.slot, Mark.REDZONE)

    def forget(self, thing: Object, trace: Trace | None = None) -> None:
        """An object is gone, and its memory is the kernel's at once."""
        thing.freed, thing.gone = True, trace
        if thing.kind is MemoryKind.VMALLOC:
            self.vanished.append(thing)
        self._drop(thing)

    def _room_before(self, thing: Object) -> int:
        """How many bytes before an object are nobody's: given to guard it, or the end of a slot that is free."""
        slab = thing.inner and thing.size < thing.slot and self.holding(thing.address - ROOM) is None
        return min(thing.slot, APART) if slab else thing.before

    def _drop(self, thing: Object) -> None:
        before = self._room_before(thing)
        self._watch.mark(thing.address - before, before + thing.slot + thing.behind, Mark.UNKNOWN)
        if thing.page:
            self._watch.mark(thing.page, 1, Mark.UNKNOWN)
        if self.live.pop(thing.address, None) is not None and _is_slab(thing):
            self._spread -= thing.slot
        self.freed.pop(thing.address, None)
        at = bisect_right(self._order, thing.address) - 1
        if at >= 0 and self._order[at] == thing.address:
            del self._order[at]

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

    def _at(self, address: int) -> Iterator[Object]:
        for table in (self.live, self.freed):
            if address in table:
                yield table[address]

    def holding(self, address: int) -> Object | None:
        """The object in whose slot an address lies."""
        at = bisect_right(self._order, address) - 1
        if at < 0:
            return None
        thing = next(self._at(self._order[at]), None)
        return thing if thing is not None and address < thing.address + thing.slot else None

    def nearest(self, address: int) -> Object | None:
        """The object that somebody who touched `address` will have meant: the one with that in its slot,
        unless the next one begins just behind it."""
        thing = self.holding(address)
        at = bisect_right(self._order, address)
        following = next(self._at(self._order[at]), None) if at < len(self._order) else None
        if thing is None and at:
            last = next(self._at(self._order[at - 1]), None)
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


def _is_slab(thing: Object) -> bool:
    return thing.kind in (MemoryKind.KMALLOC, MemoryKind.CACHE) and thing.slot <= 2 * PAGE and not thing.adopted


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
