"""The kernel's array of `struct page`, one for each page of RAM: which stands for what address, and how many hold it.

Sources: include/asm-generic/memory_model.h (CONFIG_SPARSEMEM_VMEMMAP), include/linux/mm_types.h.
"""

from __future__ import annotations

from kobox.box.box import Box
from kobox.checks.memory.module_heap import PAGE


class StructPages:
    """Those of one box."""

    def __init__(self, box: Box) -> None:
        self._btf = box.inspect.symbols.btf
        self._machine = box.machine
        self.direct_start, self.start, self.vmalloc_start = box.inspect.symbols.areas()
        self.size = int(self._btf.size("page"))

    def address_of(self, page: int) -> int:
        """Where the kernel's direct mapping has the page that a `struct page` stands for."""
        return int(self.direct_start + (page - self.start) // self.size * PAGE)

    def page_of(self, address: int) -> int:
        """The `struct page` of an address of the direct mapping."""
        return self.start + (address - self.direct_start) // PAGE * self.size

    def refcount(self, page: int) -> int:
        """How many references there are to a page; 0 where there is no such page."""
        place = page + self._btf.offset("page", "_refcount")
        try:
            return int.from_bytes(self._machine.read(place, 4), "little", signed=True)
        except ValueError:
            return 0

    def set_refcount(self, page: int, count: int) -> None:
        """Change that."""
        place = page + self._btf.offset("page", "_refcount")
        self._machine.write(place, count.to_bytes(4, "little"))

    def head_offset(self) -> int:
        """Where a `struct page` says which page its block begins with: bit 0 is set in all but the first."""
        return int(
            self._btf.offset("page", "compound_head" if self._btf.has("page", "compound_head") else "compound_info")
        )

    def offsets(self) -> tuple[int, int, int]:
        """Where the count, the type and the block's first page stand in a `struct page`."""
        return self._btf.offset("page", "_refcount"), self._btf.offset("page", "page_type"), self.head_offset()

    def is_tail(self, address: int) -> bool:
        """Whether an address lies in another page than the first of a slab or compound page."""
        try:
            return bool(self._machine.read(self.page_of(address) + self.head_offset(), 1)[0] & 1)
        except ValueError:
            return False
