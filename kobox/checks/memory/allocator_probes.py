"""Probes on the kernel's allocators, under whichever of its names a kernel has each.

kmalloc()      kmalloc_trace, or __kmalloc_cache_noprof since 6.10
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from kobox.box.inspect.probes import DECLINED, FROM_MODULE, Callback, Hit
from kobox.checks.memory.module_heap import Object
from kobox.checks.runner.session import Examination, Trace

_SUFFIXES = ("", "_noprof")


@dataclass(slots=True)
class AllocRecord:
    """What is known of pages and per-CPU memory that the module has allocated."""

    pages: dict[int, Object] = field(default_factory=dict)  # struct page -> object
    split: set[int] = field(default_factory=set)  # struct page of blocks that were split
    per_cpu: dict[int, Object] = field(default_factory=dict)  # per-CPU pointer -> object
    block_bytes: int = 0  # bytes of pages with guards, and of these


class AllocatorProbes:
    """The probes of one examination."""

    def __init__(self, examination: Examination) -> None:
        self._examination = examination
        self._symbols = examination.box.inspect.symbols
        self._watch = examination.box.inspect.watch

    def trace(self, hit: Hit) -> Trace:
        """The call chain at a function's entry, without the function itself."""
        trace = self._examination.trace(hit)
        return replace(trace, frames=trace.frames[1:])

    def found(self, name: str) -> str | None:
        """A function's name in this kernel, if it has it."""
        for found in (name + suffix for suffix in _SUFFIXES):
            address = self._symbols.of_kernel(found)
            if address is not None and not address & 15:  # else it is some file's own copy of an inline function
                return found
        return None

    def probe(self, name: str, enter: Callback, leave: Callback | None = None, when: int = FROM_MODULE) -> None:
        """A probe on a function, under whichever of its names this kernel has it."""
        if (found := self.found(name)) is None:
            return

        def declined(hit: Hit) -> None:
            hit.awaited = self._watch.declined
            if hit.awaited:
                enter(hit)

        self._examination.probe(found, declined if when == DECLINED else enter, leave, when=when)
