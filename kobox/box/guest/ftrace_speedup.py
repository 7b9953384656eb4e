"""Loads large modules in seconds, not minutes: ftrace is spared a search of all symbols for each function."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from kobox.box.inspect.inspector import Inspector
from kobox.errors import KoboxError

if TYPE_CHECKING:
    from kobox.box.inspect.probes import Hit, Probe

LARGE_MODULE = 400  # functions that can be traced


class FtraceSpeedup:
    """Shortens the loading of large modules into one box."""

    def __init__(self, inspect: Inspector) -> None:
        self._inspect = inspect
        self._probe: Probe | None = None

    @contextmanager
    def loading(self, image: bytes) -> Iterator[None]:
        """While a large module is loaded, ftrace is told that none of its functions is a weak one that the linker has
        left out (test_for_valid_rec(), kernel/trace/ftrace.c): it would search all symbols for each, one after the
        other, for seconds or minutes."""
        begun = _traceable(image) >= LARGE_MODULE and self._begin()
        try:
            yield
        finally:
            if begun:
                self._end()

    def loads_of_programs(self) -> None:
        """The same for what programs in the box load from now on: insmod and modprobe of a shell."""

        def entered(hit: Hit) -> None:
            hit.awaited = self._begin()

        with suppress(KoboxError):
            self._inspect.probes.add("load_module", entered, lambda hit: self._end())

    def _begin(self) -> bool:
        if self._probe is None:
            with suppress(KoboxError):  # this kernel has no such function
                self._probe = self._inspect.probes.add("test_for_valid_rec", _say_yes)
                return True
        return False

    def _end(self) -> None:
        if self._probe is not None:
            self._probe.remove()
            self._probe = None


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
