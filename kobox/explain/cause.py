"""What an explanation says: the cause of a refused load or unload, or of a crash, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Possibility:
    """One thing that an errno can mean: the rule's name, why the kernel refused, and what to do."""

    rule: str
    why: str
    advice: str


@dataclass(frozen=True, slots=True)
class Cause:
    """One cause found in a log.

    `rule` names it. `module` is "" when the log does not say which module it is about. `line` is the line of the log
    that shows it. `fatal` is false for what only taints or warns. `alternatives` are the other things that the same
    line can mean, the likeliest first: without them the cause is certain. `symbols` are the symbols that it is about.
    """

    rule: str
    module: str
    why: str
    advice: str
    line: str
    fatal: bool = True
    alternatives: tuple[Possibility, ...] = ()
    symbols: tuple[str, ...] = ()
