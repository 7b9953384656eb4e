"""What a module allocates and frees, as it happens: probes on the kernel's allocators keep the heap's record.

Requests are made larger on their way, frees go to the quarantine (`heap.py`), and a free that is wrong is reported
and not carried out.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from kobox.checks import allocators
from kobox.checks.allocators import GFP_ZERO, SLAB_NOLEAKTRACE, SLAB_TYPESAFE_BY_RCU, Allocator, Kind
from kobox.checks.examination import Examination, Trace
from kobox.checks.heap import PAGE, ROOM, Heap, Object
from kobox.errors import KoboxError
from kobox.kernel.box import Box
from kobox.kernel.probes import FROM_MODULE, INSIDE, TRACKED_0, TRACKED_1
from kobox.machine.watch import Mark

_WORD = (1 << 64) - 1
_SUFFIXES = ("", "_noprof")
_ZERO_SIZE = 16  # ZERO_SIZE_PTR: what kmalloc(0) gives

BadFree = Callable[[str, str, Trace, Object | None, str], None]
"""Told of a free that is wrong: kind, message, chain, object, advice."""


class Allocations:
    """The probes of one examination. `name_of(address)` says which variable of the module lies at an address."""

    def __init__(self, examination: Examination, heap: Heap, bad: BadFree, name_of: Callable[[int], str]) -> None:
        self._examination = examination
        self._box: Box = examination.box
        self._machine = self._box.machine
        self._watch = self._box.watch
        self._heap = heap
        self._bad = bad
        self._name_of = name_of
        self._caches: dict[int, tuple[int, bool, bool]] = {}  # cache -> size asked for, has a constructor, RCU-typed
        self._pages: dict[int, Object] = {}  # struct page -> object
        self._per_cpu: dict[int, Object] = {}  # per-CPU pointer -> object
        self._open: set[int] = set()  # stacks in an allocator already
        self._behalf: list[str] = []
        self._destroying: dict[int, tuple[int, int]] = {}
        self._vmemmap = _u64(self._box, "vmemmap_base")
        self._direct = _u64(self._box, "page_offset_base")
        self._vmalloc = _u64(self._box, "vmalloc_base")
        self._page_size = int(self._box.symbols.btf.size("page"))
        self._probe_allocators()
        self._probe_frees()

    def trace(self, hit: Any) -> Trace:
        """The call chain at a function's entry, without the function itself."""
        trace = self._examination.trace(hit)
        return replace(trace, frames=trace.frames[1:])

    def given_back(self, thing: Object) -> bool:
        """Whether an object that nobody was seen to free is free: pages can go with their last reference."""
        return thing.kind is Kind.PAGES and self._refcount(thing.page) < 1

    def _probe(self, name: str, enter: Any, leave: Any = None, when: int = FROM_MODULE) -> None:
        """A probe on a function, under whichever of its names this kernel has it."""
        for found in (name + suffix for suffix in _SUFFIXES):
            address = self._box.symbols.find(found)
            if address is not None and not address & 15:  # else it is some file's own copy of an inline function
                self._examination.probe(found, enter, leave, when=when)
                return

    def _probe_allocators(self) -> None:
        for row in allocators.ALLOCATORS:
            when = FROM_MODULE | INSIDE
            if row.kind is Kind.CACHE:
                when = FROM_MODULE | TRACKED_0

            def enter(hit: Any, row: Allocator = row) -> None:
                self._allocating(hit, row)

            self._probe(row.name, enter, self._allocated, when)
        for name in allocators.ON_BEHALF:
            self._probe(name, self._begin_behalf, self._end_behalf)
        for name in ("kmem_cache_create", "kmem_cache_create_usercopy", "__kmem_cache_create_args"):
            self._probe(name, self._creating_cache, self._created_cache)
        self._probe("ksize", None, self._ksize)

    def _probe_frees(self) -> None:
        tracked = FROM_MODULE | TRACKED_0
        self._probe("kfree", self._kfree, None, tracked)
        self._probe("vfree", self._vfree, None, tracked)
        self._probe("kmem_cache_free", self._cache_free, None, FROM_MODULE | TRACKED_1)
        self._probe("kmem_cache_free_bulk", self._free_bulk, None, 0)
        self._probe("kmem_cache_destroy", self._destroy, None, 0)  # it is also met anew, with other arguments
        self._probe("__free_pages", self._free_page, None, tracked)
        self._probe("free_pages", self._free_pages, None, tracked)
        self._probe("free_pages_exact", self._free_exact, None, tracked)
        self._probe("__folio_put", self._folio_put, None, TRACKED_0)
        self._probe("free_percpu", self._free_percpu)
        self._probe("kvfree_call_rcu", self._free_by_rcu)

    # -- allocation --------------------------------------------------------------------------------------------

    def _allocating(self, hit: Any, row: Allocator) -> None:
        stack = hit.registers.rsp & ~0x3FFF
        if stack in self._open:
            return
        names = hit.probe.parameter_names
        flags_at = next(
            (n for n, name in enumerate(names[:6]) if name in ("flags", "gfpflags", "gfp", "gfp_mask")), None
        )
        flags = hit.args[flags_at] if flags_at is not None else 0
        size, slot, cache = self._make_room(hit, row, names, flags_at, flags)
        if not size:
            return
        self._open.add(stack)
        zero = bool(flags & GFP_ZERO and flags_at is not None) or row.name in allocators.ZEROING
        if row.kind is Kind.CACHE and cache in self._caches and self._caches[cache][1]:
            zero = True
        name = self._behalf[-1] if self._behalf else allocators.PLAIN.get(row.name, row.name)
        hit.data = (row, name, size, slot, cache, zero, self.trace(hit), stack)

    def _make_room(
        self, hit: Any, row: Allocator, names: tuple[str, ...], flags_at: int | None, flags: int
    ) -> tuple[int, int, int]:
        """Make an allocation larger: (size asked for, size of the slot, cache or order); no size: leave it alone."""
        heap = self._heap
        if row.how == "order" or row.how == "order, a page":
            order = hit["order"] if "order" in names else 0
            return PAGE << min(order, 20), PAGE << min(order, 20), order
        if row.how == "cache":
            cache = hit.args[0]
            slot = self._cache_size(cache)
            return self._caches.get(cache, (slot, False, False))[0], slot, cache
        at = next((n for n, name in enumerate(names[:6]) if name in ("size", "new_size")), None)
        if at is None:
            return 0, 0, 0
        size = hit.args[at] * (hit["n"] if "n" in names[:6] else 1)
        if not size or size > 1 << 30 or (row.how == "again" and not size):
            return 0, 0, 0
        if row.kind is Kind.VMALLOC:
            return size, size + PAGE - 1 & -PAGE, 0
        if row.kind is Kind.PAGES:
            return size, size + PAGE - 1 & -PAGE, 0
        if row.kind is Kind.PERCPU:
            hit.set_argument(at, size + ROOM)
            return size, size + ROOM, 0
        slot = heap.roomy(size)
        if row.how == "cache and size":
            cache = heap.cache_for(slot)
            if cache is None:
                return size, self._cache_size(hit.args[0]), 0
            hit.set_argument(0, cache)
        else:
            if row.how == "again":
                size |= hit.args[0] << 64  # the old object comes along
            hit.set_argument(at, slot)
            if flags_at is not None:
                hit.set_argument(flags_at, heap.flags_for(flags))
        return size, slot, 0

    def _allocated(self, hit: Any) -> None:
        if hit.data is None:
            return
        row, name, size, slot, cache, zero, trace, stack = hit.data
        self._open.discard(stack)
        address = hit.result & _WORD
        old, size = size >> 64, size & _WORD
        if row.how == "again" and old > _ZERO_SIZE and self._reallocated(old, address, size, slot, trace):
            return
        if not address or (row.kind is not Kind.PERCPU and not _WORD - 4095 > address >= 1 << 63):
            return
        kind, page = row.kind, 0
        if row.how == "order, a page":
            page, address = address, self._address_of(address)
        elif kind is Kind.PAGES:
            page = self._page_of(address)
        elif kind is Kind.PERCPU:
            pointer, address = address, self._heap.per_cpu_address(address)
        elif kind is Kind.KMALLOC and address >= self._vmalloc:
            kind, slot = Kind.VMALLOC, slot + PAGE - 1 & -PAGE
        thing = Object(address, size, slot, kind, name, trace, str(self._examination.stage), cache, page, written=zero)
        if row.how in ("cache and size", "size", "cache") and not address % PAGE and slot <= PAGE // 2:
            self._again(hit, thing)
            return
        self._heap.add(thing)
        if page:
            self._pages[page] = thing
        if kind is Kind.PERCPU:
            self._per_cpu[pointer] = thing

    def _again(self, hit: Any, guard: Object) -> None:
        """The first slot of a page becomes a guard, and the allocator is called once more."""
        self._heap.guard(guard)
        self._machine.set_register("rsp", hit.registers.rsp)
        for number, value in enumerate(hit.args):
            hit.set_argument(number, value)
        self._machine.set_register("rip", hit.probe.address)

    def _reallocated(self, old: int, address: int, size: int, slot: int, trace: Trace) -> bool:
        thing = self._heap.live.get(old)
        if address == old and thing is not None:
            self._heap.resize(thing, size, slot)
            return True
        return not address

    def _begin_behalf(self, hit: Any) -> None:
        self._behalf.append(str(hit.probe.where).removesuffix("_noprof"))
        self._watch.inside(True)

    def _end_behalf(self, hit: Any) -> None:
        if self._behalf:
            self._behalf.pop()
        if not self._behalf:
            self._watch.inside(False)

    def _ksize(self, hit: Any) -> None:
        thing = self._heap.live.get(hit.registers.rdi)
        if thing is not None:
            self._heap.resize(thing, thing.slot, thing.slot)

    # -- caches ------------------------------------------------------------------------------------------------

    def _creating_cache(self, hit: Any) -> None:
        names = hit.probe.parameter_names
        at = names.index("object_size") if "object_size" in names else names.index("size")
        flags_at, size = names.index("flags"), hit.args[at]
        flags = hit.args[flags_at]
        ctor = hit["ctor"] if "ctor" in names[:6] else 0
        if "args" in names and hit["args"] >> 63:
            with suppress(KoboxError, ValueError):
                place = hit["args"] + self._box.symbols.btf.offset("kmem_cache_args", "ctor")
                ctor = int.from_bytes(hit.read(place, 8), "little")
        if "useroffset" in names and hit.probe.where == "kmem_cache_create_usercopy":
            ctor = int.from_bytes(hit.read(hit.registers.rsp + 8, 8), "little")  # the seventh argument
        hit.set_argument(at, size + ROOM)
        hit.set_argument(flags_at, flags | SLAB_NOLEAKTRACE)
        hit.data = size, bool(ctor), bool(flags & SLAB_TYPESAFE_BY_RCU)

    def _created_cache(self, hit: Any) -> None:
        cache = hit.result & _WORD
        if hit.data is not None and cache >> 63 and cache < _WORD - 4095:
            self._caches[cache] = hit.data
            self._watch.mark(cache, 1, Mark.WRITTEN)

    def _cache_size(self, cache: int) -> int:
        offset = self._box.symbols.btf.offset("kmem_cache", "object_size")
        try:
            return int(struct.unpack("<I", self._machine.read(cache + offset, 4))[0])
        except ValueError:
            return 0

    def _destroy(self, hit: Any) -> None:
        """Before a cache goes, the quarantine must give back what it holds of it: the kernel is made to call
        kmem_cache_free() for each, and each time comes back here."""
        entry, rsp = hit.probe.address, hit.registers.rsp
        cache = hit.registers.rdi
        if entry in self._destroying:
            cache, rsp = self._destroying[entry]
        held = self._heap.held_of(cache)
        if held:
            self._destroying[entry] = cache, rsp
            self._heap.release(held[0])
            hit.write(rsp - 8, entry.to_bytes(8, "little"))
            self._machine.set_register("rsp", rsp - 8)
            hit.set_argument(0, cache)
            hit.set_argument(1, held[0].address)
            self._machine.set_register("rip", self._box.symbols.address("kmem_cache_free"))
            return
        if self._destroying.pop(entry, None):
            hit.set_argument(0, cache)
        if self._caches.pop(cache, None):
            self._watch.mark(cache, 1, Mark.UNKNOWN)

    # -- freeing -----------------------------------------------------------------------------------------------

    def _take_back(self, hit: Any, address: int, how: str, kinds: tuple[Kind, ...]) -> Object | None:
        """The live object that is freed; else what is wrong is reported, and the function is not run."""
        thing = self._heap.live.get(address)
        if thing is not None and thing.kind in kinds:
            return thing
        if thing is not None:
            right = allocators.RELEASE[thing.kind]
            self._bad_free(hit, f"{thing.what} is freed with {how}()", thing, f"Free it with {right}().")
        elif address in self._heap.freed:
            self._second_free(hit, self._heap.freed[address], how)
        elif (thing := self._heap.holding(address)) is not None and address != thing.address:
            inside = address - thing.address
            message = f"{how}() gets a pointer {inside} bytes into {thing.what}"
            self._bad_free(hit, message, thing, "Free the pointer that was allocated.")
        elif self._examination.in_module(address):
            name = self._name_of(address) or "the module's own memory"
            self._bad_free(hit, f"{how}() gets a pointer to {name}", None, "Only what was allocated can be freed.")
        elif (address ^ hit.registers.rsp) < 0x4000:
            self._bad_free(hit, f"{how}() gets a pointer to the stack", None, "Only what was allocated can be freed.")
        return None

    def _bad_free(self, hit: Any, message: str, thing: Object | None, advice: str) -> None:
        self._bad("invalid-free", message, self.trace(hit), thing, advice)
        hit.skip()

    def _second_free(self, hit: Any, thing: Object, how: str) -> None:
        message = f"{thing.what} is freed a second time, with {how}()"
        advice = "Free it once: set the pointer to NULL, or make one place its owner."
        self._bad("double-free", message, self.trace(hit), thing, advice)
        hit.skip()

    def _kfree(self, hit: Any) -> None:
        address = hit.registers.rdi
        if address <= _ZERO_SIZE:
            return
        thing = self._take_back(hit, address, "kfree", (Kind.KMALLOC, Kind.CACHE))
        if thing is not None:
            self._quarantine(hit, thing, 0)

    def _cache_free(self, hit: Any) -> None:
        cache, address = hit.registers.rdi, hit.registers.rsi
        thing = self._take_back(hit, address, "kmem_cache_free", (Kind.CACHE,)) if address else None
        if thing is None:
            return
        if thing.cache != cache:
            self._bad_free(hit, f"{thing.what} is freed to another cache", thing, "Free it to its own cache.")
        elif self._caches.get(cache, (0, False, False))[2]:
            self._heap.forget(thing)  # with SLAB_TYPESAFE_BY_RCU it may be read until the grace period is over
        else:
            self._quarantine(hit, thing, 1)

    def _quarantine(self, hit: Any, thing: Object, argument: int) -> None:
        instead = self._heap.free(thing, self.trace(hit))
        if instead is None:
            hit.skip()
        else:
            hit.set_argument(argument, instead.address)

    def _free_bulk(self, hit: Any) -> None:
        count, array = min(hit.registers.rsi, 4096), hit.registers.rdx
        with suppress(ValueError):
            for address in struct.unpack(f"<{count}Q", hit.read(array, 8 * count)):
                if thing := self._heap.live.get(address):
                    self._heap.forget(thing, self.trace(hit))

    def _free_by_rcu(self, hit: Any) -> None:
        for pointer in (hit.registers.rdi, hit.registers.rsi):
            if pointer >> 63 and (thing := self._heap.holding(pointer)) and not thing.freed:
                self._heap.forget(thing, self.trace(hit))  # it may be read until the grace period is over
                return

    def _vfree(self, hit: Any) -> None:
        address = hit.registers.rdi
        gone = self._heap.once_at(address) if address and address not in self._heap.live else None
        if gone is not None and gone.address == address:
            self._second_free(hit, gone, "vfree")
        elif address and (thing := self._take_back(hit, address, "vfree", (Kind.VMALLOC,))):
            self._heap.forget(thing, self.trace(hit))

    def _free_page(self, hit: Any) -> None:
        thing = self._pages.get(hit.registers.rdi)
        if thing is None or (not thing.freed and self._refcount(thing.page) != 1):
            return
        if thing.address in self._heap.freed:
            self._second_free(hit, thing, "__free_pages")
        elif not thing.freed:
            instead = self._heap.free(thing, self.trace(hit))
            if instead is None:
                hit.skip()
            else:
                hit.set_argument(0, instead.page)

    def _free_pages(self, hit: Any) -> None:
        address = hit.registers.rdi
        thing = self._take_back(hit, address, "free_pages", (Kind.PAGES,)) if address else None
        if thing is not None and self._refcount(thing.page) == 1:
            self._quarantine(hit, thing, 0)

    def _free_exact(self, hit: Any) -> None:
        if thing := self._take_back(hit, hit.registers.rdi, "free_pages_exact", (Kind.PAGES,)):
            self._heap.forget(thing, self.trace(hit))

    def _folio_put(self, hit: Any) -> None:
        if (thing := self._pages.get(hit.registers.rdi)) and not thing.freed:
            self._heap.forget(thing, self.trace(hit))

    def _free_percpu(self, hit: Any) -> None:
        if thing := self._per_cpu.pop(hit.registers.rdi, None):
            self._heap.forget(thing, self.trace(hit))

    # -- pages -------------------------------------------------------------------------------------------------

    def _address_of(self, page: int) -> int:
        return int(self._direct + (page - self._vmemmap) // self._page_size * PAGE)

    def _page_of(self, address: int) -> int:
        return self._vmemmap + (address - self._direct) // PAGE * self._page_size

    def _refcount(self, page: int) -> int:
        place = page + self._box.symbols.btf.offset("page", "_refcount")
        try:
            return int.from_bytes(self._machine.read(place, 4), "little", signed=True)
        except ValueError:
            return 0


def _u64(box: Box, symbol: str) -> int:
    return int.from_bytes(box.memory.read(box.symbols.address(symbol), 8), "little")
