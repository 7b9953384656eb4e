"""What a module allocates, as it happens: probes on the kernel's allocators keep the heap's record. What it frees is
followed in `free_hooks.py`.

Requests are made larger on their way. Most calls are looked at by the core (native/watch/heap_calls.c): what comes here
is the rest, pages and per-CPU memory and what is larger than a slab's slots.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from kobox.box.box import Box
from kobox.box.inspect import alloc_table as allocators
from kobox.box.inspect.alloc_table import GFP_ZERO, Allocator, MemoryKind
from kobox.box.inspect.probes import DECLINED, FROM_MODULE, INSIDE, Hit
from kobox.checks.memory.allocator_probes import AllocatorProbes, AllocRecord
from kobox.checks.memory.bad_free import BadFree
from kobox.checks.memory.free_hooks import EXACT, Frees
from kobox.checks.memory.module_heap import PAGE, ROOM, Heap, Object
from kobox.checks.memory.slab_caches import SlabCaches
from kobox.checks.memory.struct_pages import StructPages
from kobox.checks.runner.session import Examination, Trace
from kobox.machine.watch_heap import How

_WORD = (1 << 64) - 1
_GFP_ATOMIC = 0xA20
_GFP_NOWARN, _GFP_NOFAIL, _GFP_COMP = 0x2000, 0x8000, 0x40000
_BLOCK_ORDER = 3  # of pages that get guards on both sides, at most
_APART = 64 << 10  # what has more bytes gets no guards that its allocator must be called again for
_TRIED = 256 << 10  # bytes that may be taken until one lies between others
_MOST_GUARDS = 64  # more slots than a slab has
_BLOCK_BYTES = 16 << 20  # what the pages round them may take in all
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
        self._record = AllocRecord()
        self._pages = StructPages(self._box)
        self.probes = AllocatorProbes(examination)
        self._caches = SlabCaches(examination, heap, bad, self.probes)
        self._plain: set[int] = set()  # stacks on which an allocator is called again after it had no memory
        self._tried: dict[int, list[Object]] = {}  # by stack: what an allocator has given, and the module has not got
        self._waiting: dict[int, _Waiting] = {}  # by stack: a krealloc() that guards are taken for
        self._guarded: set[int] = set()  # slots of which one was taken for krealloc()
        self.undo = self._watch.allocation_traces.subscribe(self._number_of_trace)
        self._probe_allocators()
        self.frees = Frees(
            examination,
            heap,
            bad,
            name_of,
            probes=self.probes,
            caches=self._caches,
            pages=self._pages,
            record=self._record,
        )

    def _number_of_trace(self) -> int:
        trace = self._examination.trace(caller=self._watch.caller)
        return self._heap.keep(replace(trace, frames=trace.frames[1:]))

    def referenced(self, things: Sequence[Object]) -> list[int]:
        """How many words in the kernel point to each of these objects, in order of address: not counted are free
        memory, and what is left of their calls on the stacks of those who allocated them."""
        places = range(0, self._addresses.thread_size, PAGE)
        pages = [self._machine.translate(stack + at) for stack in self._heap.core.stacks() for at in places]
        return list(
            self._watch.referenced(
                [(thing.address, thing.address + max(thing.size, 1)) for thing in things],
                (self._pages.start, self._pages.size, *self._pages.offsets(), self._pages.direct_start),
                [page // PAGE for page in pages if page is not None],
            )
        )

    def is_destroyed(self, thing: Object) -> bool:
        """Whether the cache of an object was destroyed while the object was allocated."""
        return thing.kind is MemoryKind.CACHE and thing.cache in self._caches.destroyed

    def given_back(self, thing: Object) -> bool:
        """Whether an object that nobody was seen to free is free: pages can go with their last reference."""
        return thing.kind is MemoryKind.PAGES and self._pages.refcount(thing.page) < 1

    def _probe_allocators(self) -> None:
        for row in allocators.ALLOCATORS:
            when = DECLINED if self._leave_to_core(row) else FROM_MODULE | INSIDE

            def enter(hit: Hit, row: Allocator = row) -> None:
                self._allocating(hit, row)

            self.probes.probe(row.name, enter, self._allocated, when)
        for name in allocators.ON_BEHALF:
            if (found := self.probes.found(name)) is not None:
                address = self._box.inspect.symbols.address(found)
                fills = name in allocators.FILLING
                self._heap.core.allocator(address, How.ON_BEHALF, name=self._heap.name(name), fills=fills)
        if (found := self.probes.found("handle_mm_fault")) is not None:  # of a copy from user space, in memdup_user()
            self._heap.core.allocator(self._box.inspect.symbols.address(found), How.PAUSES)
        self.probes.probe("ksize", lambda hit: self._is_gone(hit, "ksize"), self._ksize)

    def _leave_to_core(self, row: Allocator) -> bool:
        """Tell the core of an allocator of slabs' objects; False for others."""
        found = self.probes.found(row.name)
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
        request = _Request(row, name, self.probes.trace(hit), stack, stack in self._plain)
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
                trace, slot = self.probes.trace(hit), waiting.slot
                self._heap.guard(self._heap.object(address, slot, slot, MemoryKind.KMALLOC, "kmalloc", trace))
                if waiting.left and (address % PAGE or self._pages.is_tail(address)):
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
        request.slot = self._caches.size_of(request.cache)
        request.size, constructed, _ = self._caches.known.get(request.cache, (request.slot, False, False))
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
                request.slot = self._caches.size_of(hit.args[0])
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
        request.size, request.slot, request.cache = size, size + PAGE - 1 & -PAGE, EXACT
        shift = PAGE << max(size - 1 >> 12, 0).bit_length()
        if 0 < size <= PAGE << _BLOCK_ORDER and self._record.block_bytes < _BLOCK_BYTES and not request.plain:
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
        if "order" not in names or order > _BLOCK_ORDER or self._record.block_bytes >= _BLOCK_BYTES or request.plain:
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
            thing.inner = bool(thing.address % PAGE) or self._pages.is_tail(thing.address)
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
            self._record.pages[thing.page] = thing
        if thing.kind is MemoryKind.PERCPU:
            self._record.per_cpu[(hit.result or 0) & _WORD] = thing

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
        more = len(tried) < _TRIED // max(thing.slot, PAGE) and self._record.block_bytes < _BLOCK_BYTES
        if chosen is None and more and request.row.how != "again":
            self._record.block_bytes += thing.slot
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
            units = request.shift // PAGE * self._pages.size if row.how == "order, a page" else request.shift
            address = base + units & _WORD
            hit.set_result(address)
        kind, slot = row.kind, request.slot
        if row.how == "order, a page":
            page, address, base = address, self._pages.address_of(address), self._pages.address_of(base)
        elif kind is MemoryKind.PAGES:
            page = self._pages.page_of(address)
        elif kind is MemoryKind.PERCPU:
            address = self._heap.per_cpu_address(address)
        elif kind is MemoryKind.KMALLOC and address >= self._pages.vmalloc_start:
            kind, slot = MemoryKind.VMALLOC, slot + PAGE - 1 & -PAGE
        thing = self._heap.object(address, request.size, slot, kind, request.name, request.trace, request.cache)
        thing.page, thing.base, thing.order, thing.before = page, base, request.order, request.shift
        thing.written = request.zero
        if kind is MemoryKind.PAGES and request.shift:
            exact = request.cache == EXACT
            thing.behind = PAGE if exact else 2 * slot
            self._record.block_bytes += thing.span
            if not exact:
                self._pages.set_refcount(page, 1)
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
            self._bad("use-after-free", message, self.probes.trace(hit), thing, advice)
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


def _flags_at(names: Sequence[str]) -> int | None:
    """Which argument of an allocator has the GFP flags."""
    return next((n for n, name in enumerate(names) if name in ("flags", "gfpflags", "gfp", "gfp_mask")), None)


def _name_of(row: Allocator) -> str:
    """What the author of a module has written, where the kernel's headers make another call of it."""
    return allocators.PLAIN.get(row.name, row.name)
