"""The table of things that a module makes and must undo (`resources.toml`), read and made ready for one kernel.

"KEY = class_create(NAME)"   -> ResourceCall("class_create", ("NAME",), result="KEY", success="pointer")
"misc_register(KEY) = 0"     -> ResourceCall("misc_register", ("KEY",), success="= 0")
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kobox.errors import KoboxError

_CALL = re.compile(
    r"(?:(?P<result>KEY\??)(?:@(?P<kobject>[\w.]+))? = )?(?P<function>\w+)(?:\((?P<arguments>[^)]*)\))?"
    r"(?: (?P<success>= 0|>= 0|!= 0))?"
)
_TOKEN = re.compile(r"_|\*?KEY[2]?(?:32)?(?:@[\w.]+)?|KEY2\[\w+\]|KEYS|COUNT|NAME|PARENT|ATTRIBUTE|GROUP")


class ResourceTableError(KoboxError, ValueError):
    """The table of things that modules make says something that makes no sense."""


@dataclass(frozen=True, slots=True)
class ResourceCall:
    """One function that makes or undoes a thing. `arguments` are the tokens for its arguments, `result` is KEY or
    "KEY?" when the result tells it, with `kobject` where its kobject lies; `success` is "pointer", "= 0", ">= 0",
    "!= 0" or "" (it cannot fail)."""

    function: str
    arguments: tuple[str, ...] = ()
    result: str = ""
    kobject: str = ""
    success: str = ""

    @property
    def keyed(self) -> bool:
        """Whether it says which thing it is about."""
        return bool(self.result) or any("KEY" in token for token in self.arguments)

    @property
    def returns(self) -> bool:
        """Whether its result must be known."""
        return bool(self.result or self.success or any(token.startswith("*") for token in self.arguments))

    def succeeded(self, result: int) -> bool:
        """Whether it has done what it says, by its result (signed)."""
        if self.success == "pointer":
            return result != 0 and not -4096 < result < 0
        if self.success == "!= 0":
            return result != 0
        return result >= 0 if self.success == ">= 0" else result == 0 if self.success else True


@dataclass(frozen=True, slots=True)
class ResourceKind:
    """One kind of thing: see the top of resources.toml."""

    what: str
    advice: str
    made: tuple[ResourceCall, ...] = ()
    undone: tuple[ResourceCall, ...] = ()
    wrong: tuple[ResourceCall, ...] = ()
    name: str = ""
    mine: str = ""
    path: str = ""
    pending: str = ""
    code: bool = False
    own: bool = False
    static: bool = False  # only objects that lie in the module itself count: a pair known by its names


@dataclass(frozen=True, slots=True)
class Pairs:
    """How functions that belong together are named: (pattern, that of the counterpart); and those that only look so."""

    names: tuple[tuple[str, str], ...]
    never: tuple[str, ...]

    def counterparts(self, function: str) -> Iterator[str]:
        """What may undo a function, by its name."""
        if any(_matches(pattern, function) for pattern in self.never):
            return
        for pattern, other in self.names:
            if found := re.fullmatch(pattern.replace("*", "(.+)"), function):
                parts = iter(found.groups())
                yield re.sub(r"\*", lambda _, parts=parts: next(parts), other)  # type: ignore[misc]


@dataclass(frozen=True, slots=True)
class ResourceTable:
    """All kinds of things, the names of pairs, and all functions that are named with a thing."""

    resources: tuple[ResourceKind, ...]
    pairs: Pairs
    functions: frozenset[str]


@cache
def resource_table() -> ResourceTable:
    """The table, read once. Raises `ResourceTableError`."""
    path = Path(__file__).with_name("resources.toml")
    try:
        data = tomllib.loads(path.read_text())
        resources = tuple(
            ResourceKind(
                **{name: value for name, value in row.items() if name not in ("made", "undone", "wrong")},
                made=tuple(map(parse_call, row.get("made", ()))),
                undone=tuple(map(parse_call, row.get("undone", ()))),
                wrong=tuple(map(parse_call, row.get("wrong", ()))),
            )
            for row in data["thing"]
        )
        names = tuple((one, other) for one, other in map(str.split, data["pairs"]["names"]))
        functions = frozenset(call.function for one in resources for call in (*one.made, *one.undone))
        return ResourceTable(resources, Pairs(names, tuple(data["pairs"]["never"])), functions)
    except (KeyError, TypeError, ValueError) as error:
        raise ResourceTableError(f"{path}: {error}") from error


def parse_call(text: str) -> ResourceCall:
    """Read one call of the table. Raises `ValueError`."""
    found = _CALL.fullmatch(text)
    arguments = tuple(part.strip() for part in ((found and found["arguments"]) or "").split(",")) if found else ()
    arguments = () if arguments == ("",) else arguments
    if found is None or not all(map(_TOKEN.fullmatch, arguments)):
        raise ValueError(f"{text!r} is no call as this table has them")
    success = found["success"] or ("pointer" if found["result"] == "KEY" else "")
    return ResourceCall(found["function"], arguments, found["result"] or "", found["kobject"] or "", success)


def _matches(pattern: str, name: str) -> bool:
    return re.fullmatch(pattern.replace("*", ".*"), name) is not None


def relevant(table: ResourceTable, imports: Iterable[str]) -> list[ResourceKind]:
    """What a module with these imports may make: those whose maker it calls, and those that are known to be its own
    whoever calls."""
    called = set(imports)
    return [one for one in table.resources if one.mine or any(call.function in called for call in one.made)]
