"""The slab caches that a module creates and destroys: their objects are made larger, and what the quarantine holds of a
cache goes before the cache does.

Sources: mm/slab_common.c (kmem_cache_create_usercopy, __kmem_cache_create_args since 6.12, kmem_cache_destroy).
"""

from __future__ import annotations

import struct
from contextlib import suppress

from kobox.box.inspect.alloc_table import SLAB_NOLEAKTRACE, SLAB_TYPESAFE_BY_RCU
from kobox.box.inspect.probes import Hit
from kobox.checks.memory.allocator_probes import AllocatorProbes
from kobox.checks.memory.bad_free import BadFree
from kobox.checks.memory.module_heap import PAGE, ROOM, Heap
from kobox.checks.runner.session import Examination
from kobox.errors import KoboxError
from kobox.machine.watch import Mark

_WORD = (1 << 64) - 1
_APART_IN_CACHE = 128  # bytes behind objects of a cache of the module's own


class SlabCaches:
    """Those of one examination. `known` has, of each cache, the size that was asked for, whether it has a constructor,
    and whether its objects may be read until a grace period is over (SLAB_TYPESAFE_BY_RCU); `destroyed` those that were
    destroyed."""

    def __init__(self, examination: Examination, heap: Heap, bad: BadFree, probes: AllocatorProbes) -> None:
        self._box = examination.box
        self._machine = self._box.machine
        self._addresses = self._machine.arch.addresses
        self._watch = self._box.inspect.watch
        self._heap = heap
        self._bad = bad
        self._probes = probes
        self.known: dict[int, tuple[int, bool, bool]] = {}
        self.destroyed: set[int] = set()
        self._destroying: dict[int, tuple[int, int]] = {}
        # Since 6.10 the flags are numbered by configuration.
        bits = self._box.inspect.symbols.btf.enumerators("_slab_flag_bits")
        self._unmerged = 1 << bits["_SLAB_NOLEAKTRACE"] if bits else SLAB_NOLEAKTRACE
        self._rcu_typed = 1 << bits["_SLAB_TYPESAFE_BY_RCU"] if bits else SLAB_TYPESAFE_BY_RCU
        for name in ("kmem_cache_create", "kmem_cache_create_usercopy", "__kmem_cache_create_args"):
            probes.probe(name, self._creating_cache, self._created_cache)
        probes.probe("kmem_cache_destroy", self._destroy, None, 0)  # it is also met anew, with other arguments

    def is_constructed(self, cache: int) -> bool:
        """Whether a cache's objects are made by a constructor; a cache that is not the module's may have one."""
        return self.known.get(cache, (0, True, False))[1]

    def is_rcu_typed(self, cache: int) -> bool:
        """Whether an object that is freed may still be read until a grace period is over."""
        return self.known.get(cache, (0, False, False))[2]

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
            self.known[cache] = hit.data
            size, constructed, by_rcu = hit.data
            self._heap.core.cache(cache, size, constructed=constructed, by_rcu=by_rcu)
            self.destroyed.discard(cache)
            self._watch.mark(cache, 1, Mark.WRITTEN)

    def size_of(self, cache: int) -> int:
        """How many bytes an object of a cache has, with what was added to it; 0 where there is no such cache."""
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
        if entry not in self._destroying and cache in self.destroyed and self._watch.from_module:
            message, advice = (
                "a cache is destroyed a second time",
                "Destroy it once, and set the pointer to NULL there.",
            )
            self._bad("double-free", message, self._probes.trace(hit), None, advice)
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
        if self.known.pop(cache, None):
            self._heap.core.cache(cache, 0)
            self._watch.mark(cache, 1, Mark.UNKNOWN)
            self.destroyed.add(cache)
