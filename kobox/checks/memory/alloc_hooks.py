"""What a module allocates and frees, as it happens: probes on the kernel's allocators keep the heap's record.

Requests are made larger on their way, frees go to the quarantine (`module_heap.py`), and a free that is wrong is
reported and not carried out. Most calls are looked at by the core (native/watch/heap_calls.c): what comes here is the
rest, pages and per-CPU memory and what is larger than a slab's slots, and every free that may be wrong.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

from kobox.box.box import Box
from kobox.box.inspect import alloc_table as allocators
from kobox.box.inspect.alloc_table import GFP_ZERO, SLAB_NOLEAKTRACE, SLAB_TYPESAFE_BY_RCU, Allocator, MemoryKind
from kobox.box.inspect.probes import DECLINED, FROM_MODULE, INSIDE, TRACKED_0, Callback, Hit
from kobox.checks.memory.module_heap import PAGE, ROOM, Heap, Object
from kobox.checks.report.quantities import quantity
from kobox.checks.resources.shown import is_there
from kobox.checks.runner.session import Examination, Trace
from kobox.errors import KoboxError
from kobox.machine.watch import Mark
from kobox.machine.watch_heap import How

_WORD = (1 << 64) - 1
_SUFFIXES = ("", "_noprof")
_APART_IN_CACHE = 128  # bytes behind objects of a cache of the module's own
_ZERO_SIZE = 16  # ZERO_SIZE_PTR: what kmalloc(0) gives
_GFP_ATOMIC = 0xA20
_GFP_NOWARN, _GFP_NOFAIL, _GFP_COMP = 0x2000, 0x8000, 0x40000
_BLOCK_ORDER = 3  # of pages that get guards on both sides, at most
_APART = 64 << 10  # what has more bytes gets no guards that its allocator must be called again for
_TRIED = 256 << 10  # bytes that may be taken until one lies between others
_MOST_GUARDS = 64  # more slots than a slab has
_BLOCK_BYTES = 16 << 20  # what the pages round them may take in all
_EXACT = _WORD  # in the place of an order: of alloc_pages_exact()
_LARGEST_SLOT = 2 * PAGE  # what is larger is no part of a slab (KMALLOC_MAX_CACHE_SIZE)
_UNIT = 0x8000  # PCPU_MIN_UNIT_SIZE: no per-CPU object is larger


class _Waiting(NamedTuple):
    """A krealloc() that waits while guards are taken: its arguments, their size, who gives them, how many more."""

    arguments: tuple[int, ...]
    slot: int
    function: int
    left: int


@dataclass(slots=True)
class _Request:
    """An allocation on its way: what was asked for, and what is asked for instead. What the module gets lies `shift`
    bytes behind what the allocator gives; `order` is that of the block then."""

    row: Allocator
    name: str
    trace: Trace
    stack: int
    plain: bool = False  # no room round it: there was not enough memory for that
    size: int = 0
    slot: int = 0
    cache: int = 0
    zero: bool = False
    shift: int = 0
    order: int = 0
    old: Object | None = None  # for krealloc()
    known: bytes = b""  # marks of that


Names = tuple[str, ...]
BadFree = Callable[[str, str, Trace, Object | None, str], None]
"""Told of a free that is wrong: kind, message, chain, object, advice."""


class Allocations:
    """The probes of one examination. `name_of(address)` says which variable of the module lies at an address."""

    def __init__(self, examination: Examination, heap: Heap, bad: BadFree, name_of: Callable[[int], str]) -> None:
        self._examination = examination
        self._box: Box = examination.box
        self._machine = self._box.machine
        self._addresses = self._machine.arch.addresses
        self._watch = self._box.inspect.watch
        self._heap = heap
        self._bad = bad
        self._name_of = name_of
        self._caches: dict[int, tuple[int, bool, bool]] = {}  # cache -> size asked for, has a constructor, RCU-typed
        self._pages: dict[int, Object] = {}  # struct page -> object
        self._split: set[int] = set()  # struct page of blocks that were split
        self._per_cpu: dict[int, Object] = {}  # per-CPU pointer -> object
        self._plain: set[int] = set()  # stacks on which an allocator is called again after it had no memory
        self._tried: dict[int, list[Object]] = {}  # by stack: what an allocator has given, and the module has not got
        self._waiting: dict[int, _Waiting] = {}  # by stack: a krealloc() that guards are taken for
        self._guarded: set[int] = set()  # slots of which one was taken for krealloc()
        self._blocks = 0  # bytes of pages with guards, and of these
        self._destroyed: set[int] = set()
        self._destroying: dict[int, tuple[int, int]] = {}
        self._direct, self._vmemmap, self._vmalloc = self._box.inspect.symbols.areas()
        # Since 6.10 they are numbered by configuration.
        bits = self._box.inspect.symbols.btf.enumerators("_slab_flag_bits")
        self._unmerged = 1 << bits["_SLAB_NOLEAKTRACE"] if bits else SLAB_NOLEAKTRACE
        self._rcu_typed = 1 << bits["_SLAB_TYPESAFE_BY_RCU"] if bits else SLAB_TYPESAFE_BY_RCU
        self._page_size = int(self._box.inspect.symbols.btf.size("page"))
        self.undo = self._watch.allocation_traces.subscribe(self._number_of_trace)
        self._probe_allocators()
        self._probe_frees()

    def trace(self, hit: Hit) -> Trace:
        """The call chain at a function's entry, without the function itself."""
        trace = self._examination.trace(hit)
        return replace(trace, frames=trace.frames[1:])

    def _number_of_trace(self) -> int:
        trace = self._examination.trace(caller=self._watch.caller)
        return self._heap.keep(replace(trace, frames=trace.frames[1:]))

    def referenced(self, things: Sequence[Object]) -> list[int]:
        """How many words in the kernel point to each of these objects, in order of address: not counted are free
        memory, and what is left of their calls on the stacks of those who allocated them."""
        btf = self._box.inspect.symbols.btf
        offsets = btf.offset("page", "_refcount"), btf.offset("page", "page_type"), self._head_offset()
        places = range(0, self._addresses.thread_size, PAGE)
        pages = [self._machine.translate(stack + at) for stack in self._heap.core.stacks() for at in places]
        return list(
            self._watch.referenced(
                [(thing.address, thing.address + max(thing.size, 1)) for thing in things],
                (self._vmemmap, self._page_size, *offsets),
                [page // PAGE for page in pages if page is not None],
            )
        )

    def is_destroyed(self, thing: Object) -> bool:
        """Whether the cache of an object was destroyed while the object was allocated."""
        return thing.kind is MemoryKind.CACHE and thing.cache in self._destroyed

    def given_back(self, thing: Object) -> bool:
        """Whether an object that nobody was seen to free is free: pages can go with their last reference."""
        return thing.kind is MemoryKind.PAGES and self._refcount(thing.page) < 1

    def _found(self, name: str) -> str | None:
        """A function's name in this kernel, if it has it."""
        for found in (name + suffix for suffix in _SUFFIXES):
            address = self._box.inspect.symbols.of_kernel(found)
            if address is not None and not address & 15:  # else it is some file's own copy of an inline function
                return found
        return None

    def _probe(self, name: str, enter: Callback, leave: Callback | None = None, when: int = FROM_MODULE) -> None:
        """A probe on a function, under whichever of its names this kernel has it."""
        if (found := self._found(name)) is None:
            return

        def declined(hit: Hit) -> None:
            hit.awaited = self._watch.declined
            if hit.awaited:
                enter(hit)

        self._examination.probe(found, declined if when == DECLINED else enter, leave, when=when)

    def _probe_allocators(self) -> None:
        for row in allocators.ALLOCATORS:
            when = DECLINED if self._leave_to_core(row) else FROM_MODULE | INSIDE

            def enter(hit: Hit, row: Allocator = row) -> None:
                self._allocating(hit, row)

            self._probe(row.name, enter, self._allocated, when)
        for name in allocators.ON_BEHALF:
            if (found := self._found(name)) is not None:
                address = self._box.inspect.symbols.address(found)
                fills = name in allocators.FILLING
                self._heap.core.allocator(address, How.ON_BEHALF, name=self._heap.name(name), fills=fills)
        if (found := self._found("handle_mm_fault")) is not None:  # of a copy from user space, in memdup_user()
            self._heap.core.allocator(self._box.inspect.symbols.address(found), How.PAUSES)
        for name in ("kmem_cache_create", "kmem_cache_create_usercopy", "__kmem_cache_create_args"):
            self._probe(name, self._creating_cache, self._created_cache)
        self._probe("ksize", lambda hit: self._is_gone(hit, "ksize"), self._ksize)

    def _leave_to_core(self, row: Allocator) -> bool:
        """Tell the core of an allocator of slabs' objects; False for others."""
        found = self._found(row.name)
        if row.kind not in (MemoryKind.KMALLOC, MemoryKind.CACHE) or row.how == "again" or found is None:
            return False
        names = self._box.inspect.probes.parameter_names(found)[:6]
        sizes = [n for n, name in enumerate(names) if name in ("size", "new_size")]
        if row.kind is MemoryKind.KMALLOC and (not sizes or "n" in names):
            return False
        how = {"cache": How.ALLOCATES_FROM_CACHE, "cache and size": How.ALLOCATES_FROM_SIZED}
        self._heap.core.allocator(
            self._box.inspect.symbols.address(found),
            how.get(row.how, How.ALLOCATES),
            name=self._heap.name(_name_of(row)),
            size_at=sizes[0] if sizes else 0,
            flags_at=_flags_at(names),
        )
        return True

    def _probe_frees(self) -> None:
        tracked = FROM_MODULE | TRACKED_0
        self._probe("kfree", self._kfree, None, DECLINED)
        self._probe("kfree_sensitive", self._clears_all)
        self._probe("vfree", self._vfree, None, tracked)
        self._probe("kmem_cache_free", self._cache_free, None, DECLINED)
        for name, how in (("kfree", How.FREES), ("kmem_cache_free", How.FREES_TO_CACHE)):
            if (found := self._found(name)) is not None:
                self._heap.core.allocator(self._box.inspect.symbols.address(found), how)
        self._probe("kmem_cache_free_bulk", self._free_bulk, None, 0)
        self._probe("kmem_cache_destroy", self._destroy, None, 0)  # it is also met anew, with other arguments
        self._probe("__free_pages", self._free_page, None, tracked)
        self._probe("free_pages", self._free_pages, None, tracked)
        self._probe("split_page", lambda hit: self._split.add(hit.registers.argument(0)))
        self._probe("free_pages_exact", self._free_exact, None, tracked)
        self._probe("__folio_put", self._folio_put, None, TRACKED_0)
        self._probe("free_percpu", self._free_percpu, None, 0)
        self._probe("kvfree_call_rcu", self._free_by_rcu)

    # -- allocation --------------------------------------------------------------------------------------------

    def _allocating(self, hit: Hit, row: Allocator) -> None:
        stack = self._addresses.stack_of(hit.registers.sp)
        if self._heap.core.is_open(stack):
            return
        self._heap.look()
        self._heap.core.note_stack(stack)
        if row.how == "again" and (self._is_gone(hit, "krealloc") or self._guards_first(hit)):
            return
        names = hit.probe.parameter_names[:6]
        flags_at = _flags_at(names)
        flags = hit.args[flags_at] if flags_at is not None else 0
        behalf = self._heap.core.behalf(stack)
        name = self._heap.names[behalf] if behalf is not None else _name_of(row)
        request = _Request(row, name, self.trace(hit), stack, stack in self._plain)
        self._plain.discard(stack)
        request.zero = bool(flags & GFP_ZERO) or row.name in allocators.ZEROING
        make_room: Callable[..., None] = {
            "order": self._make_block,
            "order, a page": self._make_block,
            "cache": self._find_cache,
            "exact pages": self._make_exact,
            "per CPU": self._make_per_cpu,
        }.get(row.how, self._make_room)
        make_room(hit, request, names, flags_at, flags)
        if request.size:
            self._heap.core.set_open(stack, is_open=True)
            hit.data = request

    def _guards_first(self, hit: Hit) -> bool:
        """Before krealloc(), which cannot be called twice: take slots of the cache that it will use until one is the
        first of a slab, so that what it gives has a guard on its left. Whether krealloc() must wait for that."""
        stack = hit.registers.sp
        if (waiting := self._waiting.pop(stack, None)) is not None:
            address = hit.registers.result
            if self._addresses.is_kernel(address) and address < _WORD - 4095:
                trace, slot = self.trace(hit), waiting.slot
                self._heap.guard(self._heap.object(address, slot, slot, MemoryKind.KMALLOC, "kmalloc", trace))
                if waiting.left and (address % PAGE or self._is_tail(address)):
                    return self._take_guard(hit, stack, waiting._replace(left=waiting.left - 1))
            for number, value in enumerate(waiting.arguments):
                hit.set_argument(number, value)
            hit.registers = self._machine.registers()
            return False
        names = hit.probe.parameter_names[:6]
        size = hit.args[names.index("new_size")] if "new_size" in names else 0
        slot = self._heap.roomy(size) if 0 < size <= _LARGEST_SLOT // 2 else 0
        function = next(
            (f for n in ("__kmalloc", "__kmalloc_noprof") if (f := self._box.inspect.symbols.of_kernel(n))), 0
        )
        if not slot or not function or slot in self._guarded or not self._examination.in_module(hit.caller):
            return False
        self._guarded.add(slot)
        return self._take_guard(hit, stack, _Waiting(hit.args, slot, function, _MOST_GUARDS))

    def _take_guard(self, hit: Hit, stack: int, waiting: _Waiting) -> bool:
        """Call kmalloc() in the place of the function that was reached, which is reached again afterwards."""
        self._waiting[stack] = waiting
        hit.set_argument(0, waiting.slot)
        hit.set_argument(1, self._heap.flags_for(_GFP_ATOMIC))
        assert hit.probe.address is not None
        self._machine.arch.calls.call(self._machine, waiting.function, stack, returns_to=hit.probe.address)
        return True

    def _find_cache(
        self, hit: Hit, request: _Request, names: tuple[str, ...], flags_at: int | None, flags: int
    ) -> None:
        request.cache = hit.args[0]
        request.slot = self._cache_size(request.cache)
        request.size, constructed, _ = self._caches.get(request.cache, (request.slot, False, False))
        request.zero |= constructed

    def _make_room(self, hit: Hit, request: _Request, names: Names, flags_at: int | None, flags: int) -> None:
        """Ask for more than the module does, and from caches for reclaimable memory."""
        heap, row = self._heap, request.row
        at = next((n for n, name in enumerate(names) if name in ("size", "new_size")), None)
        size = hit.args[at] * (hit["n"] if "n" in names else 1) if at is not None else 0
        if at is None or not size or size > 1 << 30:
            return
        request.size = size
        request.slot = size + PAGE - 1 & -PAGE
        if row.kind is MemoryKind.VMALLOC:
            return
        slot = heap.roomy(size)
        if row.how == "cache and size":
            cache = heap.cache_for(slot)
            if cache is None:
                request.slot = self._cache_size(hit.args[0])
                return
            hit.set_argument(0, cache)
        else:
            if row.how == "again" and (old := heap.live_at(hit.args[0])):
                request.old, request.known = old, self._watch.marks(old.address, min(old.size, size))
            hit.set_argument(at, slot)
            if flags_at is not None:
                hit.set_argument(flags_at, heap.flags_for(flags))
        request.slot = slot

    def _make_per_cpu(
        self, hit: Hit, request: _Request, names: tuple[str, ...], flags_at: int | None, flags: int
    ) -> None:
        """Room on both sides: the pointer that the module gets is not the allocator's."""
        size, align = hit["size"], hit["align"]
        request.size = request.slot = size
        shift = max(ROOM, align)
        if size and not align & (align - 1) and size + shift + ROOM <= _UNIT and not request.plain:
            request.shift, request.slot = shift, size + ROOM
            hit.set_argument(names.index("size"), shift + size + ROOM)

    def _make_exact(
        self, hit: Hit, request: _Request, names: tuple[str, ...], flags_at: int | None, flags: int
    ) -> None:
        size = hit["size"]
        request.size, request.slot, request.cache = size, size + PAGE - 1 & -PAGE, _EXACT
        shift = PAGE << max(size - 1 >> 12, 0).bit_length()
        if 0 < size <= PAGE << _BLOCK_ORDER and self._blocks < _BLOCK_BYTES and not request.plain:
            request.shift = shift
            hit.set_argument(names.index("size"), shift + request.slot + PAGE)
            hit.set_argument(flags_at or 0, flags | _GFP_NOWARN)

    def _make_block(
        self, hit: Hit, request: _Request, names: tuple[str, ...], flags_at: int | None, flags: int
    ) -> None:
        """Ask for a block of four times as many pages. The second quarter becomes the module's, as split_page() makes
        pages of a block independent; the others are its guards."""
        order = hit["order"] if "order" in names else 0
        if order > 20:
            return
        request.size = request.slot = PAGE << order
        request.cache = request.order = order
        if "order" not in names or order > _BLOCK_ORDER or self._blocks >= _BLOCK_BYTES or request.plain:
            return
        if flags & _GFP_NOFAIL or (flags & _GFP_COMP and order) or "folio" in request.row.name:
            return
        request.shift, request.order = PAGE << order, order + 2
        hit.set_argument(names.index("order"), order + 2)
        hit.set_argument(flags_at or 0, flags & ~_GFP_COMP | _GFP_NOWARN)

    def _allocated(self, hit: Hit) -> None:
        if hit.data is None:
            return
        request: _Request = hit.data
        row = request.row
        self._heap.core.set_open(request.stack, is_open=False)
        address = (hit.result or 0) & _WORD
        if request.old is not None and address == request.old.address:
            self._heap.resize(request.old, request.size, request.slot, zero=request.zero)
            return
        if not address or (row.kind is not MemoryKind.PERCPU and not self._addresses.is_pointer(address)):
            if request.shift:
                self._plain.add(request.stack)
                self._once_more(hit)
            elif tried := self._tried.pop(request.stack, None):
                self._take(hit, request, tried[-1])
            return
        thing = self._object(hit, request, address)
        if self._is_apart(thing):
            self._choose(hit, request, thing)
            return
        if thing.kind in (MemoryKind.KMALLOC, MemoryKind.CACHE) and thing.slot <= _LARGEST_SLOT:
            thing.inner = bool(thing.address % PAGE) or self._is_tail(thing.address)
            if not thing.inner and row.how != "again":
                self._heap.guard(thing)  # the first slot of a slab: nobody gets it
                self._once_more(hit)
                return
        self._take(hit, request, thing)

    def _take(self, hit: Hit, request: _Request, thing: Object) -> None:
        """This is what the module gets."""
        if thing.is_guard:
            self._heap.release(thing)
            hit.set_result(thing.page if request.row.how == "order, a page" else thing.address)
        self._heap.add(thing, request.known)
        if thing.page:
            self._pages[thing.page] = thing
        if thing.kind is MemoryKind.PERCPU:
            self._per_cpu[(hit.result or 0) & _WORD] = thing

    # -- what lies alone ---------------------------------------------------------------------------------------

    @staticmethod
    def _is_apart(thing: Object) -> bool:
        """Whether whole pages were given, of which the allocator could not be asked for more."""
        large = thing.kind is MemoryKind.KMALLOC and thing.slot > _LARGEST_SLOT
        return (large or (thing.kind is MemoryKind.PAGES and not thing.before)) and thing.slot <= _APART

    def _choose(self, hit: Hit, request: _Request, thing: Object) -> None:
        """Allocate again and again until one lies between others: those are its guards, and stay allocated. An
        allocator that splits larger blocks gives one after the other, so that three mostly do; before that it gives
        away what lies scattered in a CPU's lists, of small blocks a dozen and more."""
        tried = self._tried.pop(request.stack, [])
        self._heap.guard(thing)
        tried.append(thing)
        chosen = next((one for one in reversed(tried) if self._is_guarded(one)), None)
        more = len(tried) < _TRIED // max(thing.slot, PAGE) and self._blocks < _BLOCK_BYTES
        if chosen is None and more and request.row.how != "again":
            self._blocks += thing.slot
            self._tried[request.stack] = tried
            self._once_more(hit)
            return
        self._take(hit, request, chosen or thing)

    def _is_guarded(self, thing: Object) -> bool:
        def known(address: int) -> bool:
            return bool(0x80 <= self._watch.marks(address, 1)[0] < 0xFF)

        return known(thing.address - 1) and (thing.kind is MemoryKind.KMALLOC or known(thing.address + thing.slot))

    def _object(self, hit: Hit, request: _Request, base: int) -> Object:
        """What was given: from here on the pointer is the one that the module gets."""
        row, address, page = request.row, base, 0
        if request.shift:
            units = request.shift // PAGE * self._page_size if row.how == "order, a page" else request.shift
            address = base + units & _WORD
            hit.set_result(address)
        kind, slot = row.kind, request.slot
        if row.how == "order, a page":
            page, address, base = address, self._address_of(address), self._address_of(base)
        elif kind is MemoryKind.PAGES:
            page = self._page_of(address)
        elif kind is MemoryKind.PERCPU:
            address = self._heap.per_cpu_address(address)
        elif kind is MemoryKind.KMALLOC and address >= self._vmalloc:
            kind, slot = MemoryKind.VMALLOC, slot + PAGE - 1 & -PAGE
        thing = self._heap.object(address, request.size, slot, kind, request.name, request.trace, request.cache)
        thing.page, thing.base, thing.order, thing.before = page, base, request.order, request.shift
        thing.written = request.zero
        if kind is MemoryKind.PAGES and request.shift:
            exact = request.cache == _EXACT
            thing.behind = PAGE if exact else 2 * slot
            self._blocks += thing.span
            if not exact:
                self._set_refcount(page, 1)
        return thing

    def _once_more(self, hit: Hit) -> None:
        """Have the allocator called again, with the arguments that the module gave."""
        hit.data = None
        self._machine.sp = hit.registers.sp
        for number, value in enumerate(hit.args):
            hit.set_argument(number, value)
        assert hit.probe.address is not None
        self._machine.pc = hit.probe.address

    def _is_gone(self, hit: Hit, how: str) -> bool:
        """Whether a function that wants an object gets one that is freed: then that is reported, and it is not run."""
        thing = self._heap.freed_at(hit.registers.argument(0))
        if thing is not None:
            message = f"{how}() is given {thing.what} that is freed"
            advice = "Free it only when nobody can reach it any more."
            self._bad("use-after-free", message, self.trace(hit), thing, advice)
            hit.skip()
        return thing is not None

    def _ksize(self, hit: Hit) -> None:
        thing = self._heap.live_at(hit.registers.argument(0))
        if thing is None or thing.kind is MemoryKind.VMALLOC:
            return
        hit.set_result(thing.slot - ROOM)
        # Until 38931d8989b5 ("mm: Make ksize() a reporting-only function") it might be used whole, and what follows
        # not. slab_build_skb() was made in the same release, for the one caller who lived by that.
        if self._box.inspect.symbols.of_kernel("slab_build_skb") is None:
            self._heap.resize(thing, thing.slot - ROOM, thing.slot)

    # -- caches ------------------------------------------------------------------------------------------------

    def _creating_cache(self, hit: Hit) -> None:
        names = hit.probe.parameter_names
        at = names.index("object_size") if "object_size" in names else names.index("size")
        flags_at, size = names.index("flags"), hit.args[at]
        flags = hit.args[flags_at]
        ctor = hit["ctor"] if "ctor" in names[:6] else 0
        if "args" in names and self._addresses.is_kernel(hit["args"]):
            with suppress(KoboxError, ValueError):
                place = hit["args"] + self._box.inspect.symbols.btf.offset("kmem_cache_args", "ctor")
                ctor = int.from_bytes(hit.read(place, 8), "little")
        if "useroffset" in names and hit.probe.where == "kmem_cache_create_usercopy":
            ctor = hit.argument(6)
        hit.set_argument(at, size + (_APART_IN_CACHE if size <= PAGE // 2 else ROOM))
        hit.set_argument(flags_at or 0, flags | self._unmerged)
        hit.data = size, bool(ctor), bool(flags & self._rcu_typed)

    def _created_cache(self, hit: Hit) -> None:
        cache = (hit.result or 0) & _WORD
        if hit.data is not None and self._addresses.is_pointer(cache):
            self._caches[cache] = hit.data
            size, constructed, by_rcu = hit.data
            self._heap.core.cache(cache, size, constructed=constructed, by_rcu=by_rcu)
            self._destroyed.discard(cache)
            self._watch.mark(cache, 1, Mark.WRITTEN)

    def _cache_size(self, cache: int) -> int:
        offset = self._box.inspect.symbols.btf.offset("kmem_cache", "object_size")
        try:
            return int(struct.unpack("<I", self._machine.read(cache + offset, 4))[0])
        except ValueError:
            return 0

    def _destroy(self, hit: Hit) -> None:
        """Before a cache goes, the quarantine must give back what it holds of it: the kernel is made to call
        kmem_cache_free() for each, and each time comes back here."""
        entry, sp = hit.probe.address or 0, hit.registers.sp
        cache = hit.registers.argument(0)
        if entry in self._destroying:
            cache, sp = self._destroying[entry]
        if entry not in self._destroying and cache in self._destroyed and self._watch.from_module:
            message, advice = (
                "a cache is destroyed a second time",
                "Destroy it once, and set the pointer to NULL there.",
            )
            self._bad("double-free", message, self.trace(hit), None, advice)
            hit.skip()
            return
        held = self._heap.held_of(cache) if cache else []  # it takes NULL too
        if held:
            self._destroying[entry] = cache, sp
            self._heap.release(held[0])
            hit.set_argument(0, cache)
            hit.set_argument(1, held[0].address)
            function = self._box.inspect.symbols.address("kmem_cache_free")
            self._machine.arch.calls.call(self._machine, function, sp, returns_to=entry)
            return
        if self._destroying.pop(entry, None):
            hit.set_argument(0, cache)
        if self._caches.pop(cache, None):
            self._heap.core.cache(cache, 0)
            self._watch.mark(cache, 1, Mark.UNKNOWN)
            self._destroyed.add(cache)

    # -- freeing -----------------------------------------------------------------------------------------------

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
        self._bad("invalid-free", message, self.trace(hit), thing, advice)
        hit.skip()

    def _second_free(self, hit: Hit, thing: Object, how: str) -> None:
        message = f"{thing.what} is freed a second time, with {how}()"
        advice = "Free it once: set the pointer to NULL, or make one place its owner."
        self._bad("double-free", message, self.trace(hit), thing, advice)
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
        elif self._caches.get(cache, (0, False, False))[2]:
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
        self.look_behind(thing, self.trace(hit))
        self._holds_counted(thing, hit)
        self._holds_shown(thing, hit)
        armed = any(thing.address <= address < thing.address + thing.size for address in self._examination.armed)
        made = thing.kind is MemoryKind.CACHE and self._caches.get(thing.cache, (0, True, False))[1]
        return self._heap.free(thing, self.trace(hit), as_it_is=armed or made)

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
                        self.trace(hit),
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
                    self.trace(hit),
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
                    self._heap.forget(thing, self.trace(hit))

    def _free_by_rcu(self, hit: Hit) -> None:
        for pointer in (hit.registers.argument(0), hit.registers.argument(1)):
            if self._addresses.is_kernel(pointer) and (thing := self._heap.holding(pointer)) and not thing.freed:
                self._heap.forget(thing, self.trace(hit))  # it may be read until the grace period is over
                return

    def _vfree(self, hit: Hit) -> None:
        address = hit.registers.argument(0)
        gone = self._heap.once_at(address) if address and self._heap.live_at(address) is None else None
        if gone is not None and gone.address == address:
            self._second_free(hit, gone, "vfree")
        elif address and (thing := self._take_back(hit, address, "vfree", (MemoryKind.VMALLOC,))):
            self._heap.forget(thing, self.trace(hit))

    def _free_page(self, hit: Hit) -> None:
        thing = self._pages.get(hit.registers.argument(0))
        if thing is None or (not thing.freed and self._refcount(thing.page) != 1):
            return
        if self._heap.freed_at(thing.address) is not None:
            self._second_free(hit, thing, "__free_pages")
        elif not thing.freed:
            self._put_pages(hit, thing, of_pages=True)

    def _free_pages(self, hit: Hit) -> None:
        address = hit.registers.argument(0)
        thing = self._take_back(hit, address, "free_pages", (MemoryKind.PAGES,)) if address else None
        if thing is not None and self._refcount(thing.page) == 1:
            self._put_pages(hit, thing, of_pages=False)

    def _put_pages(self, hit: Hit, thing: Object, *, of_pages: bool) -> None:
        """Into the quarantine; the block that leaves it is freed whole."""
        order = hit.registers.argument(1) & 0xFFFFFFFF
        if order != thing.cache and (thing.page in self._split or thing.cache == _EXACT):
            self._heap.forget(thing, self.trace(hit))  # some of it
            return
        if order != thing.cache:
            message = f"{thing.what} is freed with order {order}, and has order {thing.cache}"
            self._bad("invalid-free", message, self.trace(hit), thing, f"Free it with order {thing.cache}.")
        instead = self._to_quarantine(hit, thing)
        if instead is None:
            hit.skip()
            return
        if instead.before:
            self._blocks -= instead.span
            self._set_refcount(instead.page, 0)
        hit.set_argument(0, self._page_of(instead.base) if of_pages else instead.base)
        hit.set_argument(1, instead.order)

    def _free_exact(self, hit: Hit) -> None:
        address, size = hit.registers.argument(0), hit.registers.argument(1)
        thing = self._take_back(hit, address, "free_pages_exact", (MemoryKind.PAGES,)) if address else None
        if thing is None:
            return
        if thing.cache != _EXACT or size + PAGE - 1 & -PAGE != thing.slot:
            self._heap.forget(thing, self.trace(hit))
            return
        instead = self._to_quarantine(hit, thing)
        if instead is None:
            hit.skip()
            return
        self._blocks -= instead.span if instead.before else 0
        hit.set_argument(0, instead.base)
        hit.set_argument(1, instead.span)

    def _folio_put(self, hit: Hit) -> None:
        if (thing := self._pages.get(hit.registers.argument(0))) and not thing.freed:
            self._heap.forget(thing, self.trace(hit))

    def _free_percpu(self, hit: Hit) -> None:
        """Of all callers: the kernel may free what a module has allocated, and only here its pointer is known."""
        pointer = hit.registers.argument(0)
        thing = self._per_cpu.get(pointer)
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

    # -- pages -------------------------------------------------------------------------------------------------

    def _address_of(self, page: int) -> int:
        return int(self._direct + (page - self._vmemmap) // self._page_size * PAGE)

    def _page_of(self, address: int) -> int:
        return self._vmemmap + (address - self._direct) // PAGE * self._page_size

    def _refcount(self, page: int) -> int:
        place = page + self._box.inspect.symbols.btf.offset("page", "_refcount")
        try:
            return int.from_bytes(self._machine.read(place, 4), "little", signed=True)
        except ValueError:
            return 0

    def _set_refcount(self, page: int, count: int) -> None:
        place = page + self._box.inspect.symbols.btf.offset("page", "_refcount")
        self._machine.write(place, count.to_bytes(4, "little"))

    def _head_offset(self) -> int:
        btf = self._box.inspect.symbols.btf
        return int(btf.offset("page", "compound_head" if btf.has("page", "compound_head") else "compound_info"))

    def _is_tail(self, address: int) -> bool:
        """Whether an address lies in another page than the first of a slab or compound page."""
        place = self._page_of(address) + self._head_offset()
        try:
            return bool(self._machine.read(place, 1)[0] & 1)
        except ValueError:
            return False


def _flags_at(names: Sequence[str]) -> int | None:
    """Which argument of an allocator has the GFP flags."""
    return next((n for n, name in enumerate(names) if name in ("flags", "gfpflags", "gfp", "gfp_mask")), None)


def _name_of(row: Allocator) -> str:
    """What the author of a module has written, where the kernel's headers make another call of it."""
    return allocators.PLAIN.get(row.name, row.name)
