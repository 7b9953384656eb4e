"""The table of interfaces of the kernel that changed, 4.19 to today: `changes.toml`, read when it is first asked.

    [[change]]
    name = "del_timer_sync"            as the compiler names it: a function, macro, type, header, or struct.member
    kind = "gone"                      gone | changed | header (gone) | unexported
    since = "6.15"                     the first release with the new form; "6.13-7.2": one of these
    new = "use timer_delete_sync()"    what to do, after "NAME is gone since 6.15: "
    commit = '8fa7292fee5c ("…")'      the change, by its hash or its subject
    include = ["linux/timer.h"]
    given = "struct timer_list *t"     the parameters of a function in which the examples stand
    before = "del_timer_sync(t);"
    after = "timer_delete_sync(t);"

`before_since` is the first release that the old example holds for, `after_since` and `after_until` are those of the
new one, where that is not every release before and since the change. `needs` is the CONFIG option without which a
kernel has neither form. An example that begins with `static` stands outside of functions. The test of this file
compiles every example on the cached kernels.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kobox.errors import KoboxError

TABLE = Path(__file__).with_name("changes.toml")
# Examples that say no more than the sentence: a value that is only named, a pointer that is only set.
_FOR_THE_TEST = re.compile(r"\(void\)|\bthing_set\(")
KINDS = ("gone", "changed", "header", "unexported")


@dataclass(frozen=True, slots=True)
class InterfaceChange:
    """One row of the table. `since` is a release ("6.15"), or two that enclose it ("6.13-7.2")."""

    name: str
    kind: str
    since: str
    new: str
    commit: str = ""
    include: tuple[str, ...] = ()
    given: str = ""
    before: str = ""
    after: str = ""
    before_since: str = ""
    after_since: str = ""
    after_until: str = ""
    needs: str = ""

    @property
    def when(self) -> str:
        """`since`, in words."""
        first, dash, last = self.since.partition("-")
        return f"a release from {first} to {last}" if dash else first

    def sentence(self) -> str:
        """What changed, in one sentence, with the commit behind it."""
        called = f"{self.name}()" if f"{self.name}(" in self.before else self.name
        verb = {
            "gone": "is gone since {}: ",
            "header": "is gone since {}: ",
            "changed": ": since {} it ",
            "unexported": "is not exported to modules since {}: ",
        }[self.kind]
        called = f"<{self.name}>" if self.kind == "header" else called
        text = f"{called} {verb.format(self.when)}{self.new}.".replace(" : ", ": ")
        return f"{text} [{self.commit}]" if self.commit else text

    def lines(self) -> Iterator[str]:
        """The sentence, and the examples below it."""
        yield self.sentence()
        for label, example in (("before", self.before), ("now", self.after)):
            if example and not _FOR_THE_TEST.search(example):
                yield f"  {label + ':':<8}{example}"


@cache
def changes() -> tuple[InterfaceChange, ...]:
    """Every row, in the order of the file. Raises KoboxError for a table that cannot be read."""
    try:
        rows = tomllib.loads(TABLE.read_text())["change"]
        return tuple(_row(row) for row in rows)
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise KoboxError(f"{TABLE}: {error}", hint="Install kobox again.") from error


def _row(row: Mapping[str, object]) -> InterfaceChange:
    include = row.get("include", [])
    texts = {name: value for name, value in row.items() if name != "include" and isinstance(value, str)}
    if not isinstance(include, Sequence) or len(texts) + ("include" in row) != len(row):
        raise ValueError(f"{row.get('name')}: a value of the wrong type")
    return InterfaceChange(include=tuple(str(one) for one in include), **texts)


@cache
def _by_name() -> Mapping[str, tuple[InterfaceChange, ...]]:
    found: dict[str, list[InterfaceChange]] = {}
    for change in changes():
        found.setdefault(change.name, []).append(change)
    return {name: tuple(rows) for name, rows in found.items()}


def changes_of(name: str) -> tuple[InterfaceChange, ...]:
    """The changes of a function, macro, type, header or `struct.member`."""
    return _by_name().get(name, ())
