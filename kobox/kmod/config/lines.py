"""Lines of a configuration file of modprobe or depmod: comments, blank lines and `\\`.

Both tools read their files by the same rules (modprobe.d(5), depmod.d(5)): a line whose first character that is
not blank is `#` is a comment. A backslash at the end of a line joins the next one on; before any other character it is
dropped, and that character stays.
"""

from __future__ import annotations

from kobox.startup import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


class Line(NamedTuple):
    """One logical line: its text without leading blanks, and the number of its first physical line."""

    text: str
    number: int


def logical_lines(text: str) -> Iterator[Line]:
    """The lines that are neither blank nor a comment, continued ones joined."""
    for line, number in _wrapped(text) if "\\" in text else _numbered(text):
        whole = line.lstrip()
        if whole and whole[0] != "#":
            yield Line(whole, number)


def _numbered(text: str) -> Iterator[tuple[str, int]]:
    """The lines of a text, with their numbers from 1 on."""
    for number, line in enumerate(text.split("\n"), 1):
        yield line, number


def _wrapped(text: str) -> Iterator[tuple[str, int]]:
    """(a line with those that continue it, the number of its first physical line)."""
    line, number, start = "", 1, 1
    characters = iter(text)
    for character in characters:
        if character == "\\":
            character = next(characters, "")
            number += character == "\n"
            line += "" if character == "\n" else character
        elif character == "\n":
            yield line, start
            number += 1
            line, start = "", number
        else:
            line += character
    yield line, start
