"""Objects that the kernel makes for a module: packets, devices, classes, handles.

    skb = alloc_skb(64, GFP_KERNEL);     the kernel allocates, from a cache of its own
    kfree_skb(skb);                      and frees
    return skb->len;                     use after free

What a function gives that makes something (resources.toml), and each packet, is followed from then on like memory that
the module has allocated itself: when the kernel frees it, it goes to the quarantine, and the module must not touch it
any more. Nobody calls it a leak: whoever made it has its own way of undoing it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kobox.box.box import Box
from kobox.box.inspect.alloc_table import SLAB_TYPESAFE_BY_RCU, MemoryKind
from kobox.checks.memory.module_heap import PAGE, Heap
from kobox.checks.memory.private_areas import MAKERS
from kobox.checks.resources.resource_table import resource_table
from kobox.checks.runner.session import Trace
from kobox.errors import KoboxError
from kobox.machine.watch import Mark

_LARGEST = 2 * PAGE  # what is larger is no part of a slab
_PACKET = "struct sk_buff *"
_NOT_MADE = frozenset(("fget", "filp_open"))  # files are freed by RCU types, and opened by others too


class Adoption:
    """Follows objects of the kernel's own in a heap."""

    def __init__(self, box: Box, heap: Heap) -> None:
        self._box = box
        self._heap = heap
        self._objects = box.inspect.objects
        btf = box.inspect.symbols.btf
        bits = btf.enumerators("_slab_flag_bits")
        self._typed = 1 << bits["_SLAB_TYPESAFE_BY_RCU"] if bits else SLAB_TYPESAFE_BY_RCU
        self._direct, self._vmemmap, _ = self._box.inspect.symbols.areas()
        self._page_size = int(btf.size("page"))
        self._head = btf.offset("page", "compound_head" if btf.has("page", "compound_head") else "compound_info")
        self._cache_at = btf.offset("slab", "slab_cache") if btf.has("slab", "slab_cache") else 0
        self._caches: dict[int, tuple[int, int, str] | None] = {}

    def makers(self, imports: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Functions that a module calls and that give such objects, with what they are called in the source."""
        btf = self._box.inspect.symbols.btf
        made = {call.function for row in resource_table().resources for call in row.made if call.result == "KEY"}
        for name in imports:
            kind = btf.return_type(name) or ""
            if (
                kind == _PACKET
                or name in MAKERS
                or (name in made and name not in _NOT_MADE and kind.startswith("struct "))
            ):
                yield name, kind.removeprefix("struct ").rstrip("* ")

    def adopt(self, pointer: int, what: str, trace: Trace, end: int = 0) -> None:
        """An object is the module's from now on, up to `end` if that is known. A packet's data is adopted with it."""
        self._adopt_one(pointer, what, trace, end)
        if what == "sk_buff":
            try:
                self._adopt_one(self._objects.number(pointer, "sk_buff.head"), "sk_buff's data", trace)
            except (KoboxError, ValueError):
                return

    def slot_end(self, address: int) -> int:
        """Where the slot of a slab ends that an address lies in; 0 for what is in none."""
        found = self._slot(address)
        return found[0] + found[1] if found is not None else 0

    def _adopt_one(self, pointer: int, what: str, trace: Trace, end: int = 0) -> None:
        try:
            found = self._slot(pointer)
        except (KoboxError, ValueError):
            return
        if found is None:
            return
        address, size, cache, name = found
        holder = self._heap.holding(pointer)
        if holder is not None and (not holder.freed or holder.address != address):
            return
        kind = MemoryKind.KMALLOC if name.startswith(("kmalloc-", "dma-kmalloc-")) else MemoryKind.CACHE
        own = 0 if kind is MemoryKind.KMALLOC else cache
        thing = self._heap.object(address, size, size, kind, what, trace, own)
        thing.written = thing.adopted = True
        self._heap.add(thing)
        if pointer < end < address + size:
            self._box.inspect.watch.mark(end, address + size - end, Mark.REDZONE)
            thing.size = end - address

    def _slot(self, pointer: int) -> tuple[int, int, int, str] | None:
        """The slot of a slab that an address lies in: where it begins, its size, its cache and that one's name."""
        if not self._cache_at or not self._box.arch.addresses.is_kernel(pointer) or pointer >= self._vmemmap:
            return None
        page = self._vmemmap + (pointer - self._direct) // PAGE * self._page_size
        head = self._objects.u64(page + self._head)
        page = head - 1 if head & 1 else page
        cache = self._objects.u64(page + self._cache_at)
        known = self._cache(cache)
        if known is None:
            return None
        step, size, name = known
        start = self._direct + (page - self._vmemmap) // self._page_size * PAGE
        return start + (pointer - start) // step * step, size, cache, name

    def _cache(self, cache: int) -> tuple[int, int, str] | None:
        """Of a cache: how far its slots lie apart, their size, its name. None for what is no cache, or has slots that
        may be read after they were freed, or that a constructor has made."""
        if cache not in self._caches:
            self._caches[cache] = None
            number = self._objects.number
            if cache in set(self._objects.list(self._objects.address("slab_caches"), "kmem_cache.list")):
                size, flags = number(cache, "kmem_cache.object_size"), number(cache, "kmem_cache.flags")
                usable = not flags & self._typed and not number(cache, "kmem_cache.ctor") and size <= _LARGEST
                if usable:
                    name = self._objects.text(cache, "kmem_cache.name")
                    self._caches[cache] = number(cache, "kmem_cache.size"), size, name
        return self._caches[cache]
