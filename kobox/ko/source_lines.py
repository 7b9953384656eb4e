"""The lines of a source file around one of them."""

from __future__ import annotations

import os
from typing import NamedTuple

_LARGEST = 8 << 20  # bytes of a source file that is read
_LONGEST = 200  # characters of a line that are shown


class SourceLine(NamedTuple):
    """One line: its number, its text without what ends it, and whether it is the one that was asked for."""

    number: int
    text: str
    is_here: bool


def source_around(path: str, line: int, around: int = 3) -> tuple[SourceLine, ...]:
    """The line and `around` lines before and after it; () when the file is not there (any more)."""
    found = []
    try:
        if not os.path.isfile(path) or os.path.getsize(path) > _LARGEST:
            return ()
        with open(path, errors="replace") as file:
            for number, text in enumerate(file, 1):
                if number > line + around:
                    break
                if number >= line - around:
                    found.append(SourceLine(number, text.rstrip().expandtabs(4)[:_LONGEST], number == line))
    except (OSError, ValueError):
        return ()
    return tuple(found)
