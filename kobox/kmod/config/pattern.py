"""Patterns of aliases: `*`, `?` and `[...]` as fnmatch(3) has them without flags (`*` crosses `/`, `\\` quotes).

A pattern comes from a module's file, so matching must end soon whatever it is. It is cut at its stars, and each piece
is searched for behind the one before: that takes no longer than the length of the pattern times that of the text. A
regular expression would try all ways to divide the text among the stars.
"""

from __future__ import annotations

from kobox.startup import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_CACHED = 4096
_pieces_of: dict[str, list[tuple[_Element, ...]]] = {}


def matches(pattern: str, text: str) -> bool:
    """Whether the whole text matches the pattern."""
    if "?" in pattern or "[" in pattern or "\\" in pattern:
        return _matches(_cut(pattern), text)
    # Nearly all patterns of modules have only `*` in them.
    first, *pieces = pattern.split("*")
    if not pieces:
        return pattern == text
    if not text.startswith(first):
        return False
    last = pieces.pop()
    at, end = len(first), len(text) - len(last)
    for piece in pieces:
        at = text.find(piece, at, end)
        if at < 0:
            return False
        at += len(piece)
    return at <= end and text.endswith(last)


class _Element(NamedTuple):
    """What one character of the text must be: in one of the ranges, or with `negated` in none of them."""

    ranges: tuple[tuple[str, str], ...]
    negated: bool = False

    def fits(self, character: str) -> bool:
        """Whether this character does."""
        return any(low <= character <= high for low, high in self.ranges) != self.negated


_ANY = _Element((), True)


def _matches(pieces: Sequence[tuple[_Element, ...]], text: str) -> bool:
    first, *middle = pieces
    if not _fits(first, text, 0):
        return False
    if not middle:
        return len(first) == len(text)
    last = middle.pop()
    at, end = len(first), len(text) - len(last)
    for piece in middle:
        while at + len(piece) <= end and not _fits(piece, text, at):
            at += 1
        if at + len(piece) > end:
            return False
        at += len(piece)
    return at <= end and _fits(last, text, end)


def _fits(piece: tuple[_Element, ...], text: str, at: int) -> bool:
    """Whether the piece is what stands at this place of the text."""
    return len(text) - at >= len(piece) and all(element.fits(text[at + n]) for n, element in enumerate(piece))


def _cut(pattern: str) -> list[tuple[_Element, ...]]:
    """The pieces between the stars of a pattern; one more than there are stars."""
    found = _pieces_of.get(pattern)
    if found is None:
        if len(_pieces_of) >= _CACHED:
            _pieces_of.clear()
        found = _pieces_of[pattern] = _parse(pattern)
    return found


def _parse(pattern: str) -> list[tuple[_Element, ...]]:
    pieces: list[tuple[_Element, ...]] = []
    piece: list[_Element] = []
    rest = pattern
    while rest:
        character, rest = rest[0], rest[1:]
        if character == "*":
            pieces.append(tuple(piece))
            piece = []
        elif character == "?":
            piece.append(_ANY)
        elif character == "\\" and rest:
            piece.append(_Element(((rest[0], rest[0]),)))
            rest = rest[1:]
        elif character == "[" and (end := _end_of_bracket(rest)) > 0:
            piece.append(_bracket(rest[:end]))
            rest = rest[end + 1 :]
        else:
            piece.append(_Element(((character, character),)))
    return [*pieces, tuple(piece)]


def _end_of_bracket(rest: str) -> int:
    """Where the `]` is. One that comes first, or first after `!` or `^`, is a character like others; -1 without one."""
    return rest.find("]", 2 if rest[:1] in ("!", "^") else 1)


def _bracket(inside: str) -> _Element:
    negated = inside[0] in "!^"
    if negated:
        inside = inside[1:]
    ranges = []
    while inside:
        # A dash between two characters makes a range of them; any other is a character.
        if inside[1:2] == "-" and len(inside) > 2:
            ranges.append((inside[0], inside[2]))
            inside = inside[3:]
        else:
            ranges.append((inside[0], inside[0]))
            inside = inside[1:]
    return _Element(tuple(ranges), negated)
