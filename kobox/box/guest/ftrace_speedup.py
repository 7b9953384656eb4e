"""What loading a module file takes besides the call: its plain bytes, its name, and, for a large one, time."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING

from kobox.errors import KoboxError
from kobox.ko import compression

if TYPE_CHECKING:
    from kobox.box.box import Box

LARGE_MODULE = 400  # functions that can be traced


class Loading:
    """Shortens the loading of large modules into one box."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self._under_way = False

    @contextmanager
    def of(self, image: bytes) -> Iterator[None]:
        """While a large module is loaded, ftrace is told that none of its functions is a weak one that the linker has
        left out (test_for_valid_rec(), kernel/trace/ftrace.c): it would search all symbols for each, one after the
        other, for seconds or minutes. For its own functions the kernel is told so by the command line."""
        function, machine = None, self._box.machine
        if not self._under_way and _traceable(image) >= LARGE_MODULE:
            with suppress(KoboxError):  # this kernel has no such function
                function = self._box.symbols.address("test_for_valid_rec")
        if function is None:
            yield
            return

        def valid() -> None:
            machine.return_from_function(1)

        machine.add_probe(function, valid, entry=True)
        self._under_way = True
        try:
            yield
        finally:
            self._under_way = False
            machine.remove_probe(function, valid)


def module_bytes(source: str | os.PathLike[str] | bytes | IO[bytes]) -> tuple[str, bytes]:
    """(path or "", the module's plain bytes)."""
    path = ""
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        data = compression.read_file(path)
    elif isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
    else:
        path, data = getattr(source, "name", ""), source.read()
    return str(path), compression.decompress(data, path=str(path))


def _traceable(image: bytes) -> int:
    """How many of a module's functions ftrace knows: pointers to their entries are in a section of their own."""
    if len(image) < LARGE_MODULE * 64 or b"__mcount_loc\0" not in image:
        return 0
    from kobox.ko.elf import BytesSource, Elf

    try:
        return len(Elf(BytesSource(image)).section_data(b"__mcount_loc")) // 8
    except KoboxError:
        return 0  # it is for the kernel to say what is wrong with it


def module_name(image: bytes, path: str) -> str:
    """The name in the module's own modinfo; else, for a damaged one, what its file is called."""
    # "name=" may be part of any text of the module; in modinfo it begins a string, and a module's name follows.
    found = re.search(rb"\0name=([\w-]+)\0", image) or re.search(rb"(?<!\w)name=([\w-]+)\0", image)
    if found:
        return found[1].decode()
    return os.path.basename(path).split(".")[0].replace("-", "_")
