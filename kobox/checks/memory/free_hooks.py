"""What a module frees: a free that is right goes to the quarantine (`module_heap.py`), one that is wrong is reported
and not carried out.

    kfree(p)        p is that of a live object of kmalloc(): another object, whose free is due, is freed instead
                    p was freed, is of another allocator, or was not allocated: reported, and the call is left out
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress

from kobox.box.inspect import alloc_table as allocators
from kobox.box.inspect.alloc_table import MemoryKind
from kobox.box.inspect.probes import DECLINED, FROM_MODULE, TRACKED_0, Hit
from kobox.checks.memory.allocator_probes import AllocatorProbes, AllocRecord
from kobox.checks.memory.bad_free import BadFree
from kobox.checks.memory.module_heap import PAGE, Heap, Object
from kobox.checks.memory.slab_caches import SlabCaches
from kobox.checks.memory.struct_pages import StructPages
from kobox.checks.report.quantities import quantity
from kobox.checks.resources.shown import is_there
from kobox.checks.runner.session import Examination, Trace
from kobox.errors import KoboxError
from kobox.machine.watch_heap import How

EXACT = (1 << 64) - 1
"""In the place of an order: of alloc_pages_exact()."""

_ZERO_SIZE = 16  # ZERO_SIZE_PTR: what kmalloc(0) gives


class Frees:
    """The probes of one examination. `name_of(address)` says which variable of the module lies at an address."""

    def __init__(
        self,
        examination: Examination,
        heap: Heap,
        bad: BadFree,
        name_of: Callable[[int], str],
        *,
        probes: AllocatorProbes,
        caches: SlabCaches,
        pages: StructPages,
        record: AllocRecord,
    ) -> None:
        self._examination = examination
        self._box = examination.box
        self._addresses = self._box.machine.arch.addresses
        self._watch = self._box.inspect.watch
        self._heap = heap
        self._bad = bad
        self._name_of = name_of
        self._probes = probes
        self._caches = caches
        self._pages = pages
        self._record = record
        self._probe_frees()

    def _probe_frees(self) -> None:
        tracked = FROM_MODULE | TRACKED_0
        self._probes.probe("kfree", self._kfree, None, DECLINED)
        self._probes.probe("kfree_sensitive", self._clears_all)
        self._probes.probe("vfree", self._vfree, None, tracked)
        self._probes.probe("kmem_cache_free", self._cache_free, None, DECLINED)
        for name, how in (("kfree", How.FREES), ("kmem_cache_free", How.FREES_TO_CACHE)):
            if (found := self._probes.found(name)) is not None:
                self._heap.core.allocator(self._box.inspect.symbols.address(found), how)
        self._probes.probe("kmem_cache_free_bulk", self._free_bulk, None, 0)
        self._probes.probe("__free_pages", self._free_page, None, tracked)
        self._probes.probe("free_pages", self._free_pages, None, tracked)
        self._probes.probe("split_page", lambda hit: self._record.split.add(hit.registers.argument(0)))
        self._probes.probe("free_pages_exact", self._free_exact, None, tracked)
        self._probes.probe("__folio_put", self._folio_put, None, TRACKED_0)
        self._probes.probe("free_percpu", self._free_percpu, None, 0)
        self._probes.probe("kvfree_call_rcu", self._free_by_rcu)

    def _take_back(self, hit: Hit, address: int, how: str, kinds: tuple[MemoryKind, ...]) -> Object | None:
        """The live object that is freed; else what is wrong is reported, and the function is not run."""
        thing = self._heap.live_at(address)
        if thing is not None and thing.kind in kinds:
            return thing
        if thing is not None:
            right = allocators.RELEASE[thing.kind]
            self._bad_free(hit, f"{thing.what} is freed with {how}()", thing, f"Free it with {right}().")
        elif (thing := self._heap.freed_at(address)) is not None:
            self._second_free(hit, thing, how)
        elif (thing := self._heap.holding(address)) is not None and address != thing.address:
            inside = address - thing.address
            message = f"{how}() is given a pointer {quantity(inside, 'byte')} into {thing.what}"
            self._bad_free(hit, message, thing, "Free the pointer that was allocated.")
        elif self._examination.in_module(address):
            name = self._name_of(address) or "the module's own memory"
            self._bad_free(hit, f"{how}() is given a pointer to {name}", None, "Only what was allocated can be freed.")
        elif self._addresses.stack_of(address) == self._addresses.stack_of(hit.registers.sp):
            self._bad_free(
                hit, f"{how}() is given a pointer to the stack", None, "Only what was allocated can be freed."
            )
        return None

    def _bad_free(self, hit: Hit, message: str, thing: Object | None, advice: str) -> None:
        self._bad("invalid-free", message, self._probes.trace(hit), thing, advice)
        hit.skip()

    def _second_free(self, hit: Hit, thing: Object, how: str) -> None:
        message = f"{thing.what} is freed a second time, with {how}()"
        advice = "Free it once: set the pointer to NULL, or make one place its owner."
        self._bad("double-free", message, self._probes.trace(hit), thing, advice)
        hit.skip()

    def _kfree(self, hit: Hit) -> None:
        address = hit.registers.argument(0)
        if address <= _ZERO_SIZE:
            return
        thing = self._take_back(hit, address, "kfree", (MemoryKind.KMALLOC, MemoryKind.CACHE))
        if thing is not None:
            self._quarantine(hit, thing, 0)

    def _cache_free(self, hit: Hit) -> None:
        cache, address = hit.registers.argument(0), hit.registers.argument(1)
        thing = self._take_back(hit, address, "kmem_cache_free", (MemoryKind.CACHE,)) if address else None
        if thing is None:
            return
        if thing.cache != cache:
            self._bad_free(hit, f"{thing.what} is freed to another cache", thing, "Free it to its own cache.")
        elif self._caches.is_rcu_typed(cache):
            self._heap.forget(thing)  # with SLAB_TYPESAFE_BY_RCU it may be read until the grace period is over
        else:
            self._quarantine(hit, thing, 1)

    def _quarantine(self, hit: Hit, thing: Object, argument: int) -> None:
        instead = self._to_quarantine(hit, thing)
        if instead is None:
            hit.skip()
        else:
            hit.set_argument(argument, instead.address)

    def _to_quarantine(self, hit: Hit, thing: Object) -> Object | None:
        """What has to be freed instead. What a constructor has made must stay what it is, and so must a timer or a work
        item that may still be queued: whoever finds that one can say more about it."""
        self._heap.look()
        trace = self._probes.trace(hit)
        self.look_behind(thing, trace)
        self._holds_counted(thing, hit)
        self._holds_shown(thing, hit)
        armed = any(thing.address <= address < thing.address + thing.size for address in self._examination.armed)
        made = thing.kind is MemoryKind.CACHE and self._caches.is_constructed(thing.cache)
        return self._heap.free(thing, trace, as_it_is=armed or made)

    def _holds_counted(self, thing: Object, hit: Hit) -> None:
        """Report that what is freed holds a kobject that somebody has a reference to: its name is lost, and whoever
        puts the last reference uses what is freed."""
        counted = self._examination.counted
        for address in [one for one in counted if thing.address <= one < thing.address + thing.size]:
            found = counted.pop(address)
            objects = self._box.inspect.objects
            with suppress(KoboxError, ValueError):
                held = objects.number(address, "kobject.kref.refcount")
                if 0 < held < 1 << 31 and objects.number(address, "kobject.name"):
                    self._bad(
                        "invalid-free",
                        f"{thing.what} is freed while its {found.what} has {quantity(held, 'reference')}",
                        self._probes.trace(hit),
                        thing,
                        "Give the reference back with kobject_put() or put_device(): the release function frees it.",
                    )

    def _holds_shown(self, thing: Object, hit: Hit) -> None:
        """Report that what is freed holds a variable that a file shows, which is still there."""
        shown = self._examination.shown
        for address in [one for one in shown if thing.address <= one < thing.address + thing.size]:
            found = shown.pop(address)
            if is_there(self._box.inspect.objects, found):
                self._bad(
                    "use-after-free",
                    f"{thing.what} is freed while the file {found.name} of debugfs shows what is in it",
                    self._probes.trace(hit),
                    thing,
                    "Remove the file first, with debugfs_remove().",
                )

    def look_behind(self, thing: Object, trace: Trace) -> None:
        """Report what the kernel's own code has written behind an object."""
        if size := self._heap.overrun(thing):
            self._bad(
                "out-of-bounds",
                f"kernel code that the module has called wrote {quantity(size, 'byte')} past the end of {thing.what}",
                trace,
                thing,
                "Allocate as much as the function needs that gets this object.",
            )

    def _clears_all(self, hit: Hit) -> None:
        """kfree_sensitive() clears the whole slot first."""
        if thing := self._heap.live_at(hit.registers.argument(0)):
            thing.guarded = 0

    def _free_bulk(self, hit: Hit) -> None:
        count, array = min(hit.registers.argument(1), 4096), hit.registers.argument(2)
        with suppress(ValueError):
            for address in struct.unpack(f"<{count}Q", hit.read(array, 8 * count)):
                if thing := self._heap.live_at(address):
                    self._heap.forget(thing, self._probes.trace(hit))

    def _free_by_rcu(self, hit: Hit) -> None:
        for pointer in (hit.registers.argument(0), hit.registers.argument(1)):
            if self._addresses.is_kernel(pointer) and (thing := self._heap.holding(pointer)) and not thing.freed:
                self._heap.forget(thing, self._probes.trace(hit))  # it may be read until the grace period is over
                return

    def _vfree(self, hit: Hit) -> None:
        address = hit.registers.argument(0)
        gone = self._heap.once_at(address) if address and self._heap.live_at(address) is None else None
        if gone is not None and gone.address == address:
            self._second_free(hit, gone, "vfree")
        elif address and (thing := self._take_back(hit, address, "vfree", (MemoryKind.VMALLOC,))):
            self._heap.forget(thing, self._probes.trace(hit))

    def _free_page(self, hit: Hit) -> None:
        thing = self._record.pages.get(hit.registers.argument(0))
        if thing is None or (not thing.freed and self._pages.refcount(thing.page) != 1):
            return
        if self._heap.freed_at(thing.address) is not None:
            self._second_free(hit, thing, "__free_pages")
        elif not thing.freed:
            self._put_pages(hit, thing, of_pages=True)

    def _free_pages(self, hit: Hit) -> None:
        address = hit.registers.argument(0)
        thing = self._take_back(hit, address, "free_pages", (MemoryKind.PAGES,)) if address else None
        if thing is not None and self._pages.refcount(thing.page) == 1:
            self._put_pages(hit, thing, of_pages=False)

    def _put_pages(self, hit: Hit, thing: Object, *, of_pages: bool) -> None:
        """Into the quarantine; the block that leaves it is freed whole."""
        order = hit.registers.argument(1) & 0xFFFFFFFF
        if order != thing.cache and (thing.page in self._record.split or thing.cache == EXACT):
            self._heap.forget(thing, self._probes.trace(hit))  # some of it
            return
        if order != thing.cache:
            message = f"{thing.what} is freed with order {order}, and has order {thing.cache}"
            self._bad("invalid-free", message, self._probes.trace(hit), thing, f"Free it with order {thing.cache}.")
        instead = self._to_quarantine(hit, thing)
        if instead is None:
            hit.skip()
            return
        if instead.before:
            self._record.block_bytes -= instead.span
            self._pages.set_refcount(instead.page, 0)
        hit.set_argument(0, self._pages.page_of(instead.base) if of_pages else instead.base)
        hit.set_argument(1, instead.order)

    def _free_exact(self, hit: Hit) -> None:
        address, size = hit.registers.argument(0), hit.registers.argument(1)
        thing = self._take_back(hit, address, "free_pages_exact", (MemoryKind.PAGES,)) if address else None
        if thing is None:
            return
        if thing.cache != EXACT or size + PAGE - 1 & -PAGE != thing.slot:
            self._heap.forget(thing, self._probes.trace(hit))
            return
        instead = self._to_quarantine(hit, thing)
        if instead is None:
            hit.skip()
            return
        self._record.block_bytes -= instead.span if instead.before else 0
        hit.set_argument(0, instead.base)
        hit.set_argument(1, instead.span)

    def _folio_put(self, hit: Hit) -> None:
        if (thing := self._record.pages.get(hit.registers.argument(0))) and not thing.freed:
            self._heap.forget(thing, self._probes.trace(hit))

    def _free_percpu(self, hit: Hit) -> None:
        """Of all callers: the kernel may free what a module has allocated, and only here its pointer is known."""
        pointer = hit.registers.argument(0)
        thing = self._record.per_cpu.get(pointer)
        if thing is None:
            there = self._heap.per_cpu_address(pointer)
            thing = self._heap.holding(there) if pointer and self._watch.from_module else None
            if thing is not None and thing.kind is MemoryKind.PERCPU:
                message = (
                    f"free_percpu() is given a pointer {quantity(there - thing.address, 'byte')} into {thing.what}"
                )
                self._bad_free(hit, message, thing, "Free the pointer that was allocated.")
        elif self._heap.freed_at(thing.address) is not None:
            self._second_free(hit, thing, "free_percpu")
        elif not thing.freed:
            instead = self._to_quarantine(hit, thing)
            if instead is None:
                hit.skip()
            else:
                hit.set_argument(0, instead.base)
