"""Patterns of aliases: `*`, `?` and `[...]` as fnmatch(3) has them without flags (`*` crosses `/`, `\\` quotes)."""

from __future__ import annotations

from functools import lru_cache

from kobox.startup import TYPE_CHECKING

if TYPE_CHECKING:
    import re


def matches(pattern: str, text: str) -> bool:
    """Whether the whole text matches the pattern.

    Nearly all patterns of modules have only `*` in them, and for those a regular expression would cost more than
    all the rest: each piece between two stars is simply searched for behind the one before.
    """
    if "?" in pattern or "[" in pattern or "\\" in pattern:
        return _compiled(pattern).fullmatch(text) is not None
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


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    import re

    parts, rest = [], pattern
    while rest:
        character, rest = rest[0], rest[1:]
        if character == "*":
            parts.append(".*")
            rest = rest.lstrip("*")
        elif character == "?":
            parts.append(".")
        elif character == "\\" and rest:
            parts.append(re.escape(rest[0]))
            rest = rest[1:]
        elif character == "[" and "]" in rest[1:]:
            # A `]` that comes first, or first after `!`, stands for itself.
            skip = 2 if rest[0] in "!^" else 1
            end = rest.find("]", skip)
            inside, rest = (rest[:end], rest[end + 1 :]) if end > 0 else (rest, "")
            parts.append(_bracket(inside))
        else:
            parts.append(re.escape(character))
    try:
        return re.compile("".join(parts), re.DOTALL)
    except re.error:
        # A range that runs backwards matches nothing, as in fnmatch(3).
        return re.compile(r"(?!)")


def _bracket(inside: str) -> str:
    import re

    negated = inside[0] in "!^"
    if negated:
        inside = inside[1:]
    parts = []
    while inside:
        # A dash between two characters makes a range of them; any other stands for itself.
        ends = inside[::2] if inside[1:2] == "-" and len(inside) > 2 else inside[:1]
        parts.append("-".join(re.escape(character) for character in ends[:2]))
        inside = inside[3:] if len(ends) > 1 else inside[1:]
    return f"[{'^' if negated else ''}{''.join(parts)}]"
