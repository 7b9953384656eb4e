"""Lines of a configuration file of modprobe or depmod: comments, blank lines and `\\` at a line's end.

Both tools read their files by the same rules (modprobe.d(5), depmod.d(5)): a line whose first character that is
not blank is `#` is a comment, and a backslash at the end joins the next line on.
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
    """The lines that say something, continued ones joined."""
    pending, start = "", 0
    for number, physical in enumerate(text.split("\n"), 1):
        if not pending:
            start = number
        if physical.endswith("\\"):
            pending += physical[:-1]
            continue
        whole = (pending + physical).lstrip()
        pending = ""
        if whole and whole[0] != "#":
            yield Line(whole, start)
    whole = pending.lstrip()
    if whole and whole[0] != "#":
        yield Line(whole, start)
