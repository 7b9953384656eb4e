"""Memory on a PCI card, a frame buffer say: the CPU reads and writes it without a call of Python (`native/pci.c`)."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable, Mapping


class CardMemory:
    """Memory on cards, which the CPU reaches without a call of Python. `store(address, size, where)` tells the machine
    of some, whether there is room for it; `forget` takes all away."""

    def __init__(self, store: Callable[[int, int, int], bool], forget: Callable[[], None]) -> None:
        self._store, self._forget = store, forget
        self._kept: list[tuple[int, mmap.mmap, object]] = []  # address, content, whose it is

    @property
    def regions(self) -> list[tuple[int, bytes]]:
        """What there is: addresses, and the content."""
        return [(address, bytes(kept)) for address, kept, _ in self._kept]

    def put(self, address: int, content: Mapping[int, int], size: int, owner: object = None) -> bool:
        """From an address on there are `size` bytes of memory of `owner`, zeros but for `content`; False when there is
        no room."""
        try:
            kept = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except OSError:
            return False
        for offset, byte in content.items():
            kept[offset] = byte
        if not self._store(address, size, _start(kept)):
            return False
        self._kept.append((address, kept, owner))
        return True

    def forget(self, owner: object = None) -> None:
        """All of it is registers again, or that of one owner."""
        left = [row for row in self._kept if owner is not None and row[2] is not owner]
        if len(left) == len(self._kept):
            return
        self._forget()
        for address, kept, _ in left:
            self._store(address, len(kept), _start(kept))
        self._kept = left


def _start(kept: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(kept))
