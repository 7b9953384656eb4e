"""The kernel's allocators, as data: which functions give memory out and take it back, and how.

A row names a function without the suffix `_noprof` that kernels have added since 6.10; what a kernel does not have is left
out. Which argument is what is told by its name in the source, by BTF. (Sources: include/linux/slab.h, vmalloc.h, gfp.h,
percpu.h, mm/slub.c, mm/vmalloc.c, mm/page_alloc.c, mm/percpu.c.)
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

GFP_ZERO = 0x100
GFP_RECLAIMABLE = 0x10
GFP_DMA = 0x1
SLAB_NOLEAKTRACE = 0x00800000  # of no effect here but that caches with it are not merged with others
SLAB_TYPESAFE_BY_RCU = 0x00080000


class Kind(StrEnum):
    """What kind of memory an allocator gives, by what must take it back."""

    KMALLOC = "kmalloc"
    CACHE = "kmem_cache"
    VMALLOC = "vmalloc"
    PAGES = "pages"
    PERCPU = "percpu"


class Allocator(NamedTuple):
    """A function that allocates: `how` is the way its size is told and made larger."""

    name: str
    kind: Kind
    how: str


ALLOCATORS = (
    *(
        Allocator(name, Kind.KMALLOC, "cache and size")
        for name in (
            "kmalloc_trace kmalloc_node_trace kmem_cache_alloc_trace kmem_cache_alloc_node_trace "
            "__kmalloc_cache __kmalloc_cache_node"
        ).split()
    ),
    *(
        Allocator(name, Kind.KMALLOC, "size")
        for name in (
            "__kmalloc __kmalloc_node __kmalloc_track_caller __kmalloc_node_track_caller __kmalloc_flags "
            "kmalloc_large kmalloc_large_node __kmalloc_large __kmalloc_large_node kvmalloc_node __kvmalloc_node"
        ).split()
    ),
    *(Allocator(name, Kind.KMALLOC, "again") for name in ("krealloc", "krealloc_node_align")),
    *(
        Allocator(name, Kind.CACHE, "cache")
        for name in ("kmem_cache_alloc", "kmem_cache_alloc_node", "kmem_cache_alloc_lru")
    ),
    *(
        Allocator(name, Kind.VMALLOC, "size")
        for name in (
            "vmalloc vzalloc __vmalloc vmalloc_node vzalloc_node vmalloc_user vmalloc_32 vmalloc_32_user "
            "vmalloc_huge vmalloc_huge_node __vmalloc_node vmalloc_array __vmalloc_array"
        ).split()
    ),
    *(Allocator(name, Kind.PAGES, "order, a page") for name in ("__alloc_pages", "alloc_pages", "folio_alloc")),
    *(Allocator(name, Kind.PAGES, "order") for name in ("__get_free_pages", "get_zeroed_page")),
    Allocator("get_free_pages", Kind.PAGES, "order"),
    Allocator("alloc_pages_exact", Kind.PAGES, "size"),
    *(Allocator(name, Kind.PERCPU, "size") for name in ("__alloc_percpu", "__alloc_percpu_gfp", "pcpu_alloc")),
)

# Functions that allocate for their caller by one of the above.
ON_BEHALF = tuple(
    (
        "kstrdup kstrdup_const kstrndup kmemdup kmemdup_nul kmemdup_array kasprintf kvasprintf kvasprintf_const "
        "memdup_user memdup_user_nul strndup_user vmemdup_user kmalloc_array kvrealloc kvrealloc_node_align "
        "devm_kmalloc devm_krealloc devm_kmemdup devm_kstrdup devm_kasprintf bitmap_alloc bitmap_zalloc "
        "bitmap_alloc_node bitmap_zalloc_node kstrdup_quotable kfree_strarray kstrdup_and_replace"
    ).split()
)

ZEROING = frozenset("vzalloc vzalloc_node vmalloc_user vmalloc_32_user get_zeroed_page __alloc_percpu "
                    "__alloc_percpu_gfp pcpu_alloc".split())  # fmt: skip

# What takes which kind back, for errors and advice.
RELEASE = {
    Kind.KMALLOC: "kfree",
    Kind.CACHE: "kmem_cache_free",
    Kind.VMALLOC: "vfree",
    Kind.PAGES: "__free_pages or free_pages",
    Kind.PERCPU: "free_percpu",
}
