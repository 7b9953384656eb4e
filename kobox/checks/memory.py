"""The memory check: bad accesses, bad frees, unwritten bytes shown to user space, and memory that is never freed.

Every instruction of the module is looked at before it is executed, and so are the kernel's functions that it calls
(`interceptors.py`), against what is known of memory: the objects that the module has allocated (`heap.py`), its own variables,
and the page tables. The kernel's own code is not slowed down, and what it does by itself is not judged.
"""

from __future__ import annotations

import errno
import struct
from contextlib import suppress
from typing import Any

from kobox.checks import allocators
from kobox.checks.allocators import GFP_ZERO, SLAB_NOLEAKTRACE, SLAB_TYPESAFE_BY_RCU, Allocator, Kind
from kobox.checks.examination import Check, Examination, Stage
from kobox.checks.finding import Chain, Severity, Thing
from kobox.checks.heap import PAGE, ROOM, Heap, Object, Trace
from kobox.checks.interceptors import INTERCEPTORS, PRINTERS
from kobox.checks.variables import Variables
from kobox.errors import KoboxError
from kobox.kernel.probes import FROM_MODULE, INSIDE, TRACKED_0, TRACKED_1
from kobox.kernel.stack import Unwinder
from kobox.machine.watch import CONSTANT, OBJECT, Mark, Part, Report, What

_WORD = (1 << 64) - 1
_SUFFIXES = ("", "_noprof")
_ZERO_SIZE = 16  # ZERO_SIZE_PTR: what kmalloc(0) gives


class Memory(Check):
    """See the module's docstring."""

    name = "memory"

    def attach(self, examination: Examination) -> None:
        self._examination = examination
        self._box = box = examination.box
        self._machine = box.machine
        self._watch = box.watch
        self._watch.forget()
        self._watch.on_report = self._reported
        self._heap = Heap(box)
        self._unwinder = Unwinder(box)
        self._variables = Variables(box, examination.file)
        self._caches: dict[int, tuple[int, bool, bool]] = {}  # cache -> size asked for, has a constructor, RCU-typed
        self._pages: dict[int, Object] = {}  # struct page -> object
        self._per_cpu: dict[int, Object] = {}  # per-CPU pointer -> object
        self._open: set[int] = set()  # stacks in an allocator already
        self._behalf: list[str] = []
        self._fixups: set[int] | None = None
        self._destroying: dict[int, tuple[int, int]] = {}
        btf = box.symbols.btf
        self._vmemmap = _u64(box, "vmemmap_base")
        self._direct = _u64(box, "page_offset_base")
        self._vmalloc = _u64(box, "vmalloc_base")
        self._page_size = btf.size("page")
        self._probe_allocators()
        self._probe_frees()
        self._set_rules()

    def linked(self, examination: Examination) -> None:
        assert examination.module is not None
        self._fixups = None
        for start, size in examination.module.code:
            self._watch.code(start, start + size)
        self._variables.place(examination.module)
        for start, size in self._variables.gaps():
            self._watch.mark(start, size, Mark.GAP)
        self._watch.bounds(self._variables.bounds())

    def leaving(self, examination: Examination) -> None:
        for start, size in self._variables.gaps():
            self._watch.mark(start, size, Mark.UNKNOWN)

    def gone(self, examination: Examination) -> None:
        self._watch.leave()
        self._report_leaks()
        for thing in list(self._heap.live.values()):
            self._heap.forget(thing)

    def detach(self, examination: Examination) -> None:
        self._watch.forget()

    # -- probes ------------------------------------------------------------------------------------------------

    def _probe(self, name: str, enter: Any, leave: Any = None, when: int = FROM_MODULE) -> bool:
        """A probe on a function, under whichever of its names this kernel has it."""
        for suffix in _SUFFIXES:
            if name + suffix in self._box.symbols:
                probe = self._box.probe(name + suffix, enter, leave, when=when)
                self._examination.keep(probe)
                return True
        return False

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
        self._probe("kmem_cache_destroy", self._destroy, None, tracked)
        self._probe("__free_pages", self._free_page, None, tracked)
        self._probe("free_pages", self._free_pages, None, tracked)
        self._probe("free_pages_exact", self._free_exact, None, tracked)
        self._probe("__folio_put", self._folio_put, None, TRACKED_0)
        self._probe("free_percpu", self._free_percpu)
        self._probe("kvfree_call_rcu", self._free_by_rcu)

    def _set_rules(self) -> None:
        symbols = self._box.symbols
        ruled = set()
        for names, parts, copies in INTERCEPTORS:
            for name in names.split():
                if name in symbols and symbols.address(name) not in ruled:
                    ruled.add(symbols.address(name))
                    self._watch.rule(symbols.address(name), *parts, copies=copies)
        for name, buffer in PRINTERS.items():
            self._probe(name, lambda hit, n=buffer: setattr(hit, "data", hit.args[n]), self._printed)
        known = {name + suffix for row in allocators.ALLOCATORS for name in (row.name,) for suffix in _SUFFIXES}
        for name in (wanted.name for wanted in self._examination.file.imports):
            if name in known or name not in symbols or (address := symbols.address(name)) in ruled or address & 15:
                continue
            numbers = [n for n, p in enumerate((symbols.btf.parameters(name) or ())[:6]) if _points_to_struct(p.type)]
            if numbers:
                self._watch.rule(address, *(Part(OBJECT, n, CONSTANT, 1) for n in numbers[:3]))

    # -- allocation --------------------------------------------------------------------------------------------

    def _trace(self, hit: Any, *, jumped: bool = True) -> Trace:
        """The call chain at a function's entry, without the function itself."""
        frames = self._unwinder.walk(hit.registers)
        trace = tuple(frame.inside for frame in frames[1:])
        if jumped and (caller := self._watch.caller) and hit.caller != caller and self._examination.in_module(caller):
            return (caller, *trace)  # it was reached by a jump, which leaves nothing on the stack
        return trace

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
        name = self._behalf[-1] if self._behalf else row.name
        hit.data = (row, name, size, slot, cache, zero, self._trace(hit), stack)

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
            if slot not in heap._own_caches:
                return size, self._cache_size(hit.args[0]), 0
            hit.set_argument(0, heap.cache_for(hit.args[0], slot))
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
        if not address >> 63 or address >= _WORD - 4095:
            if row.kind is not Kind.PERCPU or not address:
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
        self._heap.add(thing)
        if page:
            self._pages[page] = thing
        if kind is Kind.PERCPU:
            self._per_cpu[pointer] = thing

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
            thing = self._heap.freed[address]
            self._error(hit, "double-free", f"{thing.what} is freed a second time, with {how}()", thing,
                        "Free it once: set the pointer to NULL, or make one place its owner.")  # fmt: skip
            hit.skip()
        elif (thing := self._heap.holding(address)) is not None and address != thing.address:
            inside = address - thing.address
            self._bad_free(hit, f"{how}() gets a pointer {inside} bytes into {thing.what}", thing,
                           "Free the pointer that was allocated.")  # fmt: skip
        elif self._examination.in_module(address):
            name = self._variables.describe(address) or "the module's own memory"
            self._bad_free(hit, f"{how}() gets a pointer to {name}", None, "Only what was allocated can be freed.")
        elif (address ^ hit.registers.rsp) < 0x4000:
            self._bad_free(hit, f"{how}() gets a pointer to the stack", None, "Only what was allocated can be freed.")
        return None

    def _bad_free(self, hit: Any, message: str, thing: Object | None, advice: str) -> None:
        self._error(hit, "invalid-free", message, thing, advice)
        hit.skip()

    def _error(self, hit: Any, kind: str, message: str, thing: Object | None, advice: str) -> None:
        chain = self._examination.chain_of(self._trace(hit))
        self._examination.report(
            kind, Severity.ERROR, message, chain=chain, thing=self._shown(thing), advice=advice
        )  # fmt: skip

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
        instead = self._heap.free(thing, self._trace(hit))
        if instead is None:
            hit.skip()
        else:
            hit.set_argument(argument, instead.address)

    def _free_bulk(self, hit: Any) -> None:
        count, array = min(hit.registers.rsi, 4096), hit.registers.rdx
        with suppress(ValueError):
            for address in struct.unpack(f"<{count}Q", hit.read(array, 8 * count)):
                if thing := self._heap.live.get(address):
                    self._heap.forget(thing, self._trace(hit))

    def _free_by_rcu(self, hit: Any) -> None:
        for pointer in (hit.registers.rdi, hit.registers.rsi):
            if pointer >> 63 and (thing := self._heap.holding(pointer)) and not thing.freed:
                self._heap.forget(thing, self._trace(hit))  # it may be read until the grace period is over
                return

    def _vfree(self, hit: Any) -> None:
        address = hit.registers.rdi
        if address and (thing := self._take_back(hit, address, "vfree", (Kind.VMALLOC,))):
            self._heap.forget(thing, self._trace(hit))
        elif gone := self._heap.once_at(address) if address not in self._heap.live and not hit.skipped else None:
            if gone.address == address:
                self._error(hit, "double-free", f"{gone.what} is freed a second time, with vfree()", gone,
                            "Free it once: set the pointer to NULL, or make one place its owner.")  # fmt: skip
                hit.skip()

    def _free_page(self, hit: Any) -> None:
        page = hit.registers.rdi
        thing = self._pages.get(page)
        if thing is None or self._refcount(page) != 1:
            if thing is not None and thing.freed and thing.address in self._heap.freed:
                self._take_back(hit, thing.address, "__free_pages", (Kind.PAGES,))
            return
        if thing.freed:
            if thing.address in self._heap.freed:
                self._take_back(hit, thing.address, "__free_pages", (Kind.PAGES,))
            return
        instead = self._heap.free(thing, self._trace(hit))
        if instead is None:
            hit.skip()
        else:
            hit.set_argument(0, instead.page)

    def _free_pages(self, hit: Any) -> None:
        address = hit.registers.rdi
        if address and (thing := self._take_back(hit, address, "free_pages", (Kind.PAGES,))):
            if self._refcount(thing.page) == 1:
                self._quarantine(hit, thing, 0)

    def _free_exact(self, hit: Any) -> None:
        if thing := self._take_back(hit, hit.registers.rdi, "free_pages_exact", (Kind.PAGES,)):
            self._heap.forget(thing, self._trace(hit))

    def _folio_put(self, hit: Any) -> None:
        if (thing := self._pages.get(hit.registers.rdi)) and not thing.freed:
            self._heap.forget(thing, self._trace(hit))

    def _free_percpu(self, hit: Any) -> None:
        if thing := self._per_cpu.pop(hit.registers.rdi, None):
            self._heap.forget(thing, self._trace(hit))

    # -- pages -------------------------------------------------------------------------------------------------

    def _address_of(self, page: int) -> int:
        return self._direct + (page - self._vmemmap) // self._page_size * PAGE

    def _page_of(self, address: int) -> int:
        return self._vmemmap + (address - self._direct) // PAGE * self._page_size

    def _refcount(self, page: int) -> int:
        place = page + self._box.symbols.btf.offset("page", "_refcount")
        try:
            return int.from_bytes(self._machine.read(place, 4), "little", signed=True)
        except ValueError:
            return 0

    # -- what the watcher sees ---------------------------------------------------------------------------------

    def _printed(self, hit: Any) -> None:
        written = (hit.result or 0) + 1
        if not hit.data >> 63 or not 0 < written < 1 << 20:
            return
        marks = self._watch.marks(hit.data, written)
        bad = next((n for n, mark in enumerate(marks) if mark & 0x80 and mark != 0xFF), None)
        if bad is not None:
            frames = self._unwinder.walk()
            self._bad_mark(hit.data + bad, written - bad, True, marks[bad], tuple(f.inside for f in frames), "")

    def _reported(self, report: Report) -> bool:
        frames = self._unwinder.walk()
        trace = tuple(frame.inside for frame in frames)
        if not self._examination.in_module(trace[0] if trace else 0) and self._examination.in_module(report.pc):
            if len(trace) < 2 or not self._examination.in_module(trace[1]):
                trace = (trace[0], report.pc, *trace[1:])  # a function that was jumped to
        what = report.what
        through = (
            "" if self._examination.in_module(trace[0]) else self._box.symbols.describe(trace[0]).partition("+")[0]
        )
        if what in (What.USER, What.UNMAPPED) and self._may_fault(report.pc):
            return True
        if what is What.SHADOW:
            self._bad_mark(report.address, report.size, report.writes, report.detail, trace, through)
        elif what is What.BOUND:
            self._beyond_bound(report, trace)
        elif what is What.UNINITIALISED:
            self._unwritten(report, trace)
        else:
            self._wild(report, trace, through)
        return False

    def _bad_mark(self, address: int, size: int, writes: bool, mark: int, trace: Trace, through: str) -> None:
        verb = "written" if writes else "read"
        by = f" by {through}()" if through else ""
        thing = self._heap.nearest(address)
        if mark == Mark.GAP:
            where = self._variables.near(address)
            self._found("out-of-bounds", f"{_bytes(size)} {verb} {where}{by}", trace, None,
                        "Check the index or the length against the size of the variable.")  # fmt: skip
        elif thing is None:
            self._found("out-of-bounds", f"{_bytes(size)} {verb} where nothing may be{by}", trace, None, "")
        elif mark == Mark.FREED or thing.freed:
            at = address - thing.address
            self._found("use-after-free", f"{_bytes(size)} {verb} at offset {at} of {thing.what}, which is freed{by}",
                        trace, thing, "Free it only when nobody can reach it any more, or hold a reference.")  # fmt: skip
        else:
            self._found("out-of-bounds", f"{_bytes(size)} {verb} {_beside(address, thing)}{by}", trace, thing,
                        "Check the index or the length against the size that was allocated.")  # fmt: skip

    def _beyond_bound(self, report: Report, trace: Trace) -> None:
        verb = "written" if report.writes else "read"
        where = self._variables.beyond(report.detail, report.address)
        self._found("out-of-bounds", f"{_bytes(report.size)} {verb} {where}", trace, None,
                    "Check the index against the size of the variable.")  # fmt: skip

    def _unwritten(self, report: Report, trace: Trace) -> None:
        thing = self._heap.holding(report.address)
        if thing is not None:
            where = f"at offset {report.address - thing.address} of {thing.what}"
        else:
            where = "on the stack"
        message = f"{_bytes(report.size)} {where} are shown to user space, and were never written"
        self._found("uninitialised-read", message, trace, thing,
                    "Clear it first (kzalloc, memset), padding included, or copy only what was written.")  # fmt: skip

    def _wild(self, report: Report, trace: Trace, through: str) -> None:
        address, verb = report.address, "write to" if report.writes else "read from"
        by = f" by {through}()" if through else ""
        if report.what is What.UNMAPPED and (gone := self._heap.once_at(address)):
            self._found("use-after-free", f"{verb} offset {address - gone.address} of {gone.what}, which is freed{by}",
                        trace, gone, "Free it only when nobody can reach it any more.")  # fmt: skip
            return
        if (
            report.what is What.UNMAPPED
            and (thing := self._heap.nearest(address - PAGE))
            and thing.kind is Kind.VMALLOC
        ):
            if 0 <= address - thing.address - thing.slot < PAGE:
                self._found("out-of-bounds", f"{_bytes(report.size)} {_beside(address, thing)}: {verb} there{by}", trace,
                            thing, "Check the index or the length against the size that was allocated.")  # fmt: skip
                return
        if address < PAGE:
            what, advice = (
                f"{verb} address {address:#x}, a NULL pointer{by}",
                "Check what the function before returned.",
            )
            self._found("wild-access", what, trace, None, advice)
        elif address > _WORD - 4095:
            code = errno.errorcode.get((1 << 64) - address, "")
            self._found("wild-access", f"{verb} {address:#x}: an error code ({code}) taken for a pointer{by}", trace, None,
                        "Check the pointer with IS_ERR() first.")  # fmt: skip
        elif report.what is What.USER:
            self._found("user-pointer", f"{verb} address {address:#x} of user space without copy_to_user() or its kin{by}",
                        trace, None, "Use copy_from_user(), copy_to_user(), get_user() or put_user().")  # fmt: skip
        else:
            self._found("wild-access", f"{verb} {address:#x}, where nothing is mapped{by}", trace, None, "")

    def _found(self, kind: str, message: str, trace: Trace, thing: Object | None, advice: str) -> None:
        chain = self._examination.chain_of(trace)
        self._examination.report(kind, Severity.ERROR, message, chain=chain, thing=self._shown(thing), advice=advice)

    def _shown(self, thing: Object | None) -> Thing | None:
        if thing is None:
            return None
        chain = self._examination.chain_of
        return Thing(thing.what, thing.address, thing.size, chain(thing.made), chain(thing.gone))

    def _may_fault(self, pc: int) -> bool:
        """Whether the module's exception table says that the instruction may fault: then it is a copy function's."""
        if self._fixups is None:
            self._fixups = set()
            module, btf = self._examination.module, self._box.symbols.btf
            if module is not None:
                with suppress(KoboxError, ValueError):
                    count = self._machine.read(module.address + btf.offset("module", "num_exentries"), 4)
                    table = self._machine.read(module.address + btf.offset("module", "extable"), 8)
                    at = int.from_bytes(table, "little")
                    data = self._machine.read(at, 12 * int.from_bytes(count, "little"))
                    for n, (instruction, _, _) in enumerate(struct.iter_unpack("<iii", data)):
                        self._fixups.add(at + 12 * n + instruction & _WORD)
        return pc in self._fixups

    # -- leaks -------------------------------------------------------------------------------------------------

    def _report_leaks(self) -> None:
        left = [thing for thing in self._heap.live.values() if not self._given_back(thing)]
        left.sort(key=lambda thing: thing.address)
        if not left:
            return
        held = self._watch.referenced([(thing.address, thing.address + max(thing.size, 1)) for thing in left])
        for thing, reachable in zip(left, held, strict=True):
            when = "init has failed" if self._examination.stage is Stage.FAILED else "unload"
            message = f"{thing.what} is still allocated after {when}"
            advice = f"Free it with {allocators.RELEASE[thing.kind]}() in the exit function and on every error path."
            if reachable:
                advice += " Something in the kernel still points to it; if it was handed over for good, all is well."
            self._examination.report(
                "leak",
                Severity.WARNING if reachable else Severity.ERROR,
                message,
                chain=self._examination.chain_of(thing.made),
                thing=self._shown(thing),
                advice=advice,
            )

    def _given_back(self, thing: Object) -> bool:
        return thing.kind is Kind.PAGES and self._refcount(thing.page) < 1


def _points_to_struct(kind: str) -> bool:
    words = kind.split()
    return kind.endswith("*") and kind.count("*") == 1 and ("struct" in words)


def _bytes(size: int) -> str:
    return "1 byte" if size == 1 else f"{size} bytes"


def _beside(address: int, thing: Object) -> str:
    """ "2 bytes behind 64 bytes from kmalloc"."""
    if address < thing.address:
        return f"{_bytes(thing.address - address)} before {thing.what}"
    past = address - thing.address - thing.size
    return f"just behind {thing.what}" if not past else f"{_bytes(past)} behind {thing.what}"


def _u64(box: Any, symbol: str) -> int:
    return int.from_bytes(box.memory.read(box.symbols.address(symbol), 8), "little")
