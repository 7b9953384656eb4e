"""Where in a module's source a place of the kernel's reports is: "function+0x12/0x40" -> file, line, its text."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass

from kobox.errors import KoboxError
from kobox.ko.dwarf.places import Function, Place
from kobox.ko.modulefile import ModuleFile

_LARGEST = 8 << 20  # bytes of a source file that is read


# The crates that the kernel and Rust bring along: core, alloc, kernel and those below it.
_CRATES = re.compile(r"(?:^|/)(?:rust/(?:kernel|pin-init|helpers|macros|ffi)|library/(?:core|alloc))/")


def is_borrowed(file: str) -> bool:
    """Whether a source file is no module's own: a header, or part of the crates that come with the kernel and Rust."""
    return file.endswith(".h") or is_crate(file)


def is_crate(file: str) -> bool:
    """Whether a source file is part of the crates that come with the kernel and Rust."""
    return _CRATES.search(file) is not None


@dataclass(frozen=True, slots=True)
class SourcePlace:
    """A line of a module's source. `file` is relative to the module's directory, `text` the line itself, without the
    white space round it; "" when the file is not there (any more)."""

    function: str
    file: str
    line: int
    text: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def source_place(module: ModuleFile, place: str, *, returns_here: bool = False) -> SourcePlace | None:
    """The source of a place as the kernel writes one: "function+0x12/0x40", a module's name behind it or not. With
    `returns_here` it is a return address, and the line that of the call before it. None when it is not known: no such
    function, or the module has no debugging information."""
    found = re.match(r"([\w.]+)\+0x([0-9a-f]+)/0x([0-9a-f]+)", place)
    if found is None:
        return None
    name, offset, size = found[1], int(found[2], 16), int(found[3], 16)
    with suppress(KoboxError):
        same = [one for one in module.debug.functions if one.name == name]
        exact = [one for one in same if one.size == size]
        for function in (*exact, *same):
            if offset - returns_here <= max(function.size, 1):
                return _line(module, function, offset - returns_here)
    return None


def definition(module: ModuleFile, symbol: str) -> SourcePlace | None:
    """Where a function of a module is defined, by the name of a symbol of it, such as `cleanup_module`."""
    with suppress(KoboxError):
        for one in module.elf.symbols():
            if one.name == symbol.encode() and 0 < one.section < 0xFF00:
                place = module.debug.definition(one.section, one.value)
                return _with_text(place) if place is not None else None
    return None


def _line(module: ModuleFile, function: Function, offset: int) -> SourcePlace | None:
    places = module.debug.lines(function.section, function.offset + offset)
    # What is inlined from a header of the kernel's, or from its crates, is no line of the module's: the call of it is.
    own = next((place for place in places if not is_borrowed(place.file)), places[0] if places else None)
    return _with_text(own) if own is not None and own.line else None


def _with_text(place: Place) -> SourcePlace:
    return SourcePlace(place.function, place.file, place.line, _text(place.path, place.line))


def _text(path: str, line: int) -> str:
    try:
        if os.path.getsize(path) > _LARGEST:
            return ""
        with open(path, errors="replace") as file:
            for number, text in enumerate(file, 1):
                if number == line:
                    return text.strip()
    except (OSError, ValueError):
        pass
    return ""
