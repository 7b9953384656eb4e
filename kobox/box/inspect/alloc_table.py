"""The kernel's allocators, as data: which functions give memory out and take it back, and how.

A row names a function without the suffix `_noprof` that kernels have added since 6.10; what a kernel does not have is
left out. Which argument is what is told by its name in the source, by BTF. (Sources: include/linux/slab.h,
vmalloc.h, gfp.h, percpu.h, mm/slub.c, mm/vmalloc.c, mm/page_alloc.c, mm/percpu.c.)
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

GFP_ZERO = 0x100
GFP_RECLAIMABLE = 0x10
GFP_DMA = 0x1
SLAB_NOLEAKTRACE = 0x00800000  # of no effect here but that caches with it are not merged with others
SLAB_TYPESAFE_BY_RCU = 0x00080000


class MemoryKind(StrEnum):
    """What kind of memory an allocator gives, by what must take it back."""

    KMALLOC = "kmalloc"
    CACHE = "kmem_cache"
    VMALLOC = "vmalloc"
    PAGES = "pages"
    PERCPU = "percpu"


class Allocator(NamedTuple):
    """A function that allocates: `how` is the way its size is told and made larger."""

    name: str
    kind: MemoryKind
    how: str


def _rows(kind: MemoryKind, how: str, names: str) -> tuple[Allocator, ...]:
    return tuple(Allocator(name, kind, how) for name in names.split())


ALLOCATORS = (
    *_rows(
        MemoryKind.KMALLOC,
        "cache and size",
        "kmalloc_trace kmalloc_node_trace kmem_cache_alloc_trace kmem_cache_alloc_node_trace __kmalloc_cache "
        "__kmalloc_cache_node",
    ),
    *_rows(
        MemoryKind.KMALLOC,
        "size",
        "__kmalloc __kmalloc_node __kmalloc_track_caller __kmalloc_node_track_caller __kmalloc_flags kmalloc_large "
        "kmalloc_large_node __kmalloc_large __kmalloc_large_node kvmalloc_node __kvmalloc_node",
    ),
    *_rows(MemoryKind.KMALLOC, "again", "krealloc krealloc_node_align"),
    *_rows(MemoryKind.CACHE, "cache", "kmem_cache_alloc kmem_cache_alloc_node kmem_cache_alloc_lru"),
    *_rows(
        MemoryKind.VMALLOC,
        "size",
        "vmalloc vzalloc __vmalloc vmalloc_node vzalloc_node vmalloc_user vmalloc_32 vmalloc_32_user vmalloc_huge "
        "vmalloc_huge_node __vmalloc_node vmalloc_array __vmalloc_array",
    ),
    *_rows(MemoryKind.PAGES, "order, a page", "__alloc_pages alloc_pages folio_alloc"),
    *_rows(MemoryKind.PAGES, "order", "__get_free_pages get_free_pages"),
    *_rows(MemoryKind.PAGES, "exact pages", "alloc_pages_exact"),
    *_rows(MemoryKind.PERCPU, "per CPU", "__alloc_percpu __alloc_percpu_gfp pcpu_alloc"),
)


def _names(names: str) -> tuple[str, ...]:
    return tuple(names.split())


# Functions that allocate for their caller by one of the above.
ON_BEHALF = _names(
    "kstrdup kstrdup_const kstrndup kmemdup kmemdup_nul kmemdup_array kasprintf kvasprintf kvasprintf_const "
    "memdup_user memdup_user_nul strndup_user vmemdup_user kmalloc_array kvrealloc kvrealloc_node_align devm_kmalloc "
    "devm_krealloc devm_kmemdup devm_kstrdup devm_kasprintf bitmap_alloc bitmap_zalloc bitmap_alloc_node "
    "bitmap_zalloc_node kstrdup_quotable kstrdup_and_replace get_zeroed_page"
)

# Of these, what writes all that it gives.
FILLING = frozenset(
    _names(
        "kstrdup kstrdup_const kstrndup kmemdup kmemdup_nul kmemdup_array kasprintf kvasprintf kvasprintf_const "
        "memdup_user memdup_user_nul strndup_user vmemdup_user devm_kmemdup devm_kstrdup devm_kasprintf "
        "kstrdup_quotable"
    )
)

# What they give is cleared, though no flag says so.
ZEROING = frozenset(
    _names("vzalloc vzalloc_node vmalloc_user vmalloc_32_user __alloc_percpu __alloc_percpu_gfp pcpu_alloc")
)

# What a module's author wrote, where the kernel's headers make another call of it.
PLAIN = {
    row.name: "krealloc" if row.how == "again" else "kvmalloc" if "kvmalloc" in row.name else "kmalloc"
    for row in ALLOCATORS
    if row.kind is MemoryKind.KMALLOC
} | {"__alloc_percpu": "alloc_percpu", "__alloc_percpu_gfp": "alloc_percpu", "pcpu_alloc": "alloc_percpu"}

# What takes which kind back, for errors and advice.
RELEASE = {
    MemoryKind.KMALLOC: "kfree",
    MemoryKind.CACHE: "kmem_cache_free",
    MemoryKind.VMALLOC: "vfree",
    MemoryKind.PAGES: "__free_pages or free_pages",
    MemoryKind.PERCPU: "free_percpu",
}
