"""Buffers that the kernel lends to functions of a module for as long as those run: what lies behind them is nobody's.

    __vfs_getxattr(dentry, inode, name, buffer, size)      →  xattr_handler.get(…, buffer, size)
    sysfs_kf_bin_read(file, buffer, count, offset)         →  bin_attribute.read(…, buffer, offset, count)

A buffer may be smaller than the slot of the slab that it lies in. The rest of the slot is marked for the time of the
call, if nothing of the module's own lies there.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from kobox.box.inspect.probes import Hit
from kobox.checks.report.quantities import beside, sized
from kobox.checks.runner.session import Examination
from kobox.errors import KoboxError
from kobox.machine.watch import Mark

LENDERS = {
    "__vfs_getxattr": (3, 4),
    "vfs_getxattr": (3, 4),  # the other one may be a part of it
    "vfs_listxattr": (1, 2),
    "sysfs_kf_bin_read": (1, 2),
    "sysfs_kf_bin_write": (1, 2),
    "rng_get_data": (1, 2),
}
"""Functions of the kernel that hand a buffer on: which argument it is, and which says its size in bytes."""
_PAGE = 4096
_MOST = 64  # bytes behind a buffer that are marked


@dataclass(frozen=True, slots=True)
class LentBuffer:
    """Bytes from `base` to `start` are lent, and called `what`; from there to `end` they are marked."""

    base: int
    start: int
    end: int
    what: str


class LentBuffers:
    """What is lent at this moment. `slot_end(address)` says where the slab's slot ends that an address lies in; 0 for
    what is in none."""

    def __init__(self, examination: Examination, slot_end: Callable[[int], int]) -> None:
        self._watch = examination.box.inspect.watch
        self._slot_end = slot_end
        self._lent: list[LentBuffer] = []
        for name, (buffer, size) in LENDERS.items():
            if name in examination.box.inspect.symbols:
                examination.probe(name, partial(self._hands_on, buffer, size), self.returned)

    def linked(self) -> None:
        """Another life begins."""
        self._lent.clear()

    def _hands_on(self, buffer: int, size: int, hit: Hit) -> None:
        if hit.args[buffer] and 0 < hit.args[size] < 1 << 31:
            hit.data = self.lend(hit.args[buffer], hit.args[size], "buffer of the kernel's")

    def lend(
        self, base: int, size: int, what: str, others: tuple[int, ...] = (), *, pages: bool = False
    ) -> LentBuffer | None:
        """Mark what lies behind a buffer, if a slab cache has made it and none of `others` points there. With `pages`,
        one that no slab cache has made is marked as well: it takes whole pages."""
        start = base + size
        with suppress(KoboxError, ValueError):
            end = min(self._end(base) or (pages and start + _PAGE - 1 & -_PAGE), start + _MOST)
            if not start < end or any(start <= other < end for other in others):
                return None
            if any(mark != Mark.UNKNOWN for mark in self._watch.marks(start, end - start)):
                return None
            self._watch.mark(start, end - start, Mark.BEHIND_LENT)
            self._lent.append(lent := LentBuffer(base, start, end, what))
            return lent
        return None

    def _end(self, base: int) -> int:
        """Where the slot of a slab ends; 0 for what is in none, such as what comes from vmalloc()."""
        with suppress(KoboxError, ValueError):
            return self._slot_end(base)
        return 0

    def returned(self, hit: Hit) -> None:
        """The function has returned that got what `hit.data` is."""
        if hit.data in self._lent:
            self._lent.remove(hit.data)
            self._unmark(hit.data.start, hit.data.end)

    def _unmark(self, start: int, end: int) -> None:
        self._watch.exchange(start, end - start, Mark.BEHIND_LENT, Mark.UNKNOWN)

    def judge(self, address: int, size: int) -> str:
        """What is wrong with an access of marked bytes, in words; "" if nothing is."""
        lent = next((one for one in self._lent if one.start < address + size and address < one.end), None)
        if lent is None:
            self._unmark(address, address + size)
            return ""
        self._unmark(lent.start, lent.end)
        return beside(max(address, lent.start), lent.base, lent.start, sized(lent.start - lent.base, lent.what))
