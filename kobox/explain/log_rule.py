"""A rule that reads logs: the text that the kernel or a tool prints, what it means, and what to do.

A text is written as the kernel's printk() has it, with a name in braces where a value stands:

    {module}: version magic '{has}' should be '{wants}'

    {module}   a module's name: letters, digits, - and _
    {ko}       a module's file, with or without directories: gives the module's name
    {symbol}   a C name
    {number}   decimal digits, with a sign
    {hex}      hexadecimal digits
    {word}     anything without blanks
    {other}    any other name: as little as fits

The text may stand anywhere in the line; a $ at its end stands for the line's end. Runs of blanks count as one, and
typographic quotes as ASCII's. A name that occurs twice counts where it is first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from kobox.explain.cause import Possibility

LONGEST_LINE = 1000  # characters that are looked at: printk() has 1,024 bytes
_PLACES = {
    "module": r"(?<![\w./-])%s[\w-]+)",
    "symbol": r"%s[\w.$@]+)",
    "number": r"%s[-+]?\d+)",
    "hex": r"%s(?:0x)?[0-9a-fA-F]+)",
    "word": r"%s\S+)",
    "ko": r"(?:\S*/)?%s[\w-]+)\.ko(?:\.\w+)?",
}
_WORD = re.compile(r"\w+")
_PLACE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class LogRule:
    """One row of a table of rules.

    `texts` are what is printed, `why` and `advice` may name the values of the text, and {where} in a report of a crash.
    `source` is the kernel's file or the tool that prints it. `errnos` are what a call that is refused for this reason
    answers: with one of these a tool's own message about the same load says nothing new. `only` tells for which
    kernels or architectures the text is, where it is not for all. `report` marks the first line of a report with
    registers and a call trace. `vague` rules count only where no other fatal one fits. `fatal` is false for what only
    taints or warns.
    """

    rule: str
    texts: tuple[str, ...]
    why: str
    advice: str
    source: str
    errnos: tuple[str, ...] = ()
    only: str = ""
    fatal: bool = True
    report: bool = False
    vague: bool = False
    alternatives: tuple[Possibility, ...] = ()


@dataclass(frozen=True, slots=True)
class LogMatch:
    """A rule that a line fits, and the values in the line by their names."""

    rule: LogRule
    values: Mapping[str, str]


class RuleTable:
    """Rules in an order: the first that fits a line counts.

    A text is tried only on lines that have a certain word of it.
    """

    def __init__(self, rules: Iterable[LogRule]) -> None:
        self.rules = tuple(rules)
        self._texts = [(rule, text) for rule in self.rules for text in rule.texts]
        self._by_word: dict[str, list[int]] = {}
        for number, (_, text) in enumerate(self._texts):
            self._by_word.setdefault(_longest_word(text), []).append(number)

    def match(self, line: str) -> LogMatch | None:
        """The first rule that fits a line whose blanks are single; None for none."""
        line = line[:LONGEST_LINE]
        words = {"", *_WORD.findall(line)}
        for number in sorted(number for word in words for number in self._by_word.get(word, ())):
            rule, text = self._texts[number]
            if (found := _pattern(text).search(line)) is not None:
                return LogMatch(rule, {name: value or "" for name, value in found.groupdict().items()})
        return None


def _parts(text: str) -> Iterator[tuple[str, str]]:
    """(literal, the place's name behind it, "" at the end) of a text."""
    at = 0
    for place in _PLACE.finditer(text):
        yield text[at : place.start()], place[1]
        at = place.end()
    yield text[at:], ""


def _longest_word(text: str) -> str:
    """A word that is in every line that fits a text; "" where the places may touch all of its words."""
    literals = [literal for literal, _ in _parts(text.removesuffix("$"))]
    words = []
    for number, literal in enumerate(literals):
        inner = literal if number == 0 else re.sub(r"^\w+", "", literal)
        inner = inner if number == len(literals) - 1 else re.sub(r"\w+$", "", inner)
        words += _WORD.findall(inner)
    return max(words, key=len, default="")


@cache
def _pattern(text: str) -> re.Pattern[str]:
    written, seen = "", set()
    parts = list(_parts(text.removesuffix("$")))
    for number, (literal, place) in enumerate(parts):
        written += re.escape(literal)
        if not place:
            break
        name = "module" if place == "ko" else place
        opening = "(?:" if name in seen else f"(?P<{name}>"
        seen.add(name)
        at_end = number == len(parts) - 2 and not parts[-1][0]
        written += (_PLACES.get(place) or (r"%s.+)" if at_end else r"%s.+?)")) % opening
    return re.compile(written + ("$" if text.endswith("$") else ""))
