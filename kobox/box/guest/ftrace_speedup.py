"""Loads large modules in seconds, not minutes: ftrace is spared a search of all symbols for each function."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from kobox.box.inspect.inspector import Inspector
from kobox.errors import KoboxError

if TYPE_CHECKING:
    from kobox.box.inspect.probes import Hit

LARGE_MODULE = 400  # functions that can be traced


class FtraceSpeedup:
    """Shortens the loading of large modules into one box."""

    def __init__(self, inspect: Inspector) -> None:
        self._inspect = inspect
        self._under_way = False

    @contextmanager
    def loading(self, image: bytes) -> Iterator[None]:
        """While a large module is loaded, ftrace is told that none of its functions is a weak one that the linker has
        left out (test_for_valid_rec(), kernel/trace/ftrace.c): it would search all symbols for each, one after the
        other, for seconds or minutes."""
        probe = None
        if not self._under_way and _traceable(image) >= LARGE_MODULE:
            with suppress(KoboxError):  # this kernel has no such function
                probe = self._inspect.probes.add("test_for_valid_rec", _say_yes)
        if probe is None:
            yield
            return
        self._under_way = True
        try:
            yield
        finally:
            self._under_way = False
            probe.remove()


def _say_yes(hit: Hit) -> None:
    hit.skip(1)


def _traceable(image: bytes) -> int:
    """How many of a module's functions ftrace knows: pointers to their entries are in a section of their own."""
    if len(image) < LARGE_MODULE * 64 or b"__mcount_loc\0" not in image:
        return 0
    from kobox.ko.elf import BytesSource, Elf

    try:
        return len(Elf(BytesSource(image)).section_data(b"__mcount_loc")) // 8
    except KoboxError:
        return 0  # it is for the kernel to say what is wrong with it
