r"""Standard output and error of the commands: what is printed is escaped, except what kobox itself painted.

    print(text)                  control characters in it come out as \xNN (`kobox.printable`)
    print(paint("31;1", text))   the same in red: the escape sequences are kobox's own

The streams do it, so that no command can forget it. A character that the terminal's encoding lacks is escaped, too.
"""

from __future__ import annotations

import io
import sys

from kobox.printable import printable
from kobox.startup import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO


class Painted(str):
    """Text with control sequences of kobox's own, which an `EscapingStream` writes as they are.

    What comes from elsewhere has to be escaped before it is put in. Joined or formatted, it is ordinary text again.
    """

    __slots__ = ()

    def __str__(self) -> Painted:  # print() asks for it; `str` would give a plain one
        return self


def paint(code: str, text: str) -> Painted:
    """The text, escaped, in a colour: `code` holds the numbers of an SGR sequence (console_codes(4))."""
    return Painted(f"\x1b[{code}m{printable(text)}\x1b[0m")


class EscapingStream(io.TextIOWrapper):
    """A text stream that escapes control characters in all that is written, but in `Painted` text."""

    def write(self, text: str) -> int:
        """Write the text; the number of characters given."""
        super().write(text if isinstance(text, Painted) else printable(text))
        return len(text)


def escape_standard_streams() -> None:
    """Put an `EscapingStream` in place of standard output and standard error."""
    for name in ("stdout", "stderr"):
        setattr(sys, name, _escaping(getattr(sys, name)))


def _escaping(stream: TextIO) -> TextIO:
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.flush()
    encoding, buffered_by_line, through = stream.encoding, stream.line_buffering, stream.write_through
    return EscapingStream(
        stream.detach(),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=buffered_by_line,
        write_through=through,
    )
