"""The compiler's messages about a kernel interface, as data: gcc's of 10 to 16, and clang's.

    thing.c:7:29: error: implicit declaration of function 'del_timer_sync' [-Wimplicit-function-declaration]
        7 | static void __exit e(void){ del_timer_sync(&t);}
          |                             ^~~~~~~~~~~~~~
    thing.c:6:45: error: initialization of 'A' from incompatible pointer type 'B' [-Wincompatible-pointer-types]
    thing.c:6:45: note: (near initialization for 'b.match')

Quotation marks are taken in any form. What is not about an interface is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

Kind = Literal[
    "function", "name", "syntax", "type", "member", "arguments", "argument", "callback", "header", "read-only"
]

_MESSAGE = re.compile(
    r"(?P<file>[^:\n]+):(?P<line>\d+):(?:\d+:)? (?P<level>fatal error|error|warning|note): (?P<text>.*)"
)
_SNIPPET = re.compile(r"\s*\d+ \| (.*)")
_QUOTES = str.maketrans(dict.fromkeys("\u2018\u2019`", "'") | dict.fromkeys("\u201c\u201d", '"'))
# How each kind of message reads; `name` is what it is about.
_PATTERNS: tuple[tuple[Kind, str], ...] = (
    ("header", r"(?P<name>[\w./+-]+\.h): No such file or directory"),
    ("header", r"'(?P<name>[\w./+-]+\.h)' file not found"),
    ("function", r"implicit declaration of function '(?P<name>\w+)'"),
    ("function", r"call to undeclared (library )?function '(?P<name>\w+)'"),
    ("arguments", r"too (many|few) arguments to function '(?P<name>[\w.>-]+)'"),
    ("arguments", r"macro ['\"](?P<name>\w+)['\"] (passed|requires) \d+ arguments"),
    ("arguments", r"too (many|few) arguments provided to function-like macro invocation.*"),
    ("argument", r"(passing argument \d+ of|incompatible type for argument \d+ of) '(?P<name>\w+)'"),
    ("read-only", r"(assignment of|increment of|decrement of) read-only (member|location) '(?P<name>[^']+)'"),
    ("callback", r"initialization of '(?P<expected>[^']+)'.* from incompatible pointer type '(?P<actual>[^']+)'.*"),
    ("callback", r"assignment to '(?P<expected>[^']+)'.* from incompatible pointer type '(?P<actual>[^']+)'.*"),
    ("callback", r"incompatible function pointer types (initializing|assigning to) '(?P<expected>[^']+)'.*"),
    ("callback", r"initialization of '(?P<expected>[^']+)' from incompatible pointer type.*"),
    ("member", r"'(const |volatile )*(struct|union) (?P<container>\w+)' has no member named '(?P<name>\w+)'"),
    ("member", r"'\w+' \{aka '(const )?(struct|union) (?P<container>\w+)'\} has no member named '(?P<name>\w+)'"),
    ("member", r"no member named '(?P<name>\w+)' in '(struct |union )?(?P<container>\w+)'"),
    ("member", r"field designator '(?P<name>\w+)' does not refer to any field in type '(struct )?(?P<container>\w+)'"),
    ("type", r"unknown type name '(?P<name>\w+)'"),
    (
        "type",
        r"(invalid use of undefined type|dereferencing pointer to incomplete type) '(struct |union )(?P<name>\w+)'",
    ),
    ("type", r"(variable|parameter) '\w+' has (initializer but )?incomplete type( 'struct (?P<name>\w+)')?"),
    ("type", r"invalid application of 'sizeof' to incomplete type 'struct (?P<name>\w+)'"),
    ("name", r"'(?P<name>\w+)' undeclared"),
    ("name", r"use of undeclared identifier '(?P<name>\w+)'"),
    ("name", r"type defaults to 'int' in declaration of '(?P<name>\w+)'"),
    ("syntax", r"expected .* before '(?P<name>[A-Za-z_]\w+)'"),
    ("name", r"static declaration of '(?P<name>\w+)' follows non-static declaration"),
    ("name", r"conflicting types for '(?P<name>\w+)'"),
)
_Declared = Callable[[str, str], str]  # the structure that a variable of a file is
_NEAR = re.compile(r"\(near initialization for '(?P<place>[^']+)'\)")


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One message. `name` is the function, macro, member, type or header that it is about, `container` the structure
    that a member or callback belongs to ("" where that is not known), `code` the line of the source, `text` the
    message. `line` counts from 1."""

    kind: Kind
    name: str
    file: str
    line: int
    text: str
    container: str = ""
    code: str = ""

    @property
    def key(self) -> str:
        """How the table of changes calls it: `del_timer`, `inode.i_ctime`, `linux/genhd.h`."""
        return f"{self.container}.{self.name}" if self.container else self.name


def plain(text: str) -> str:
    """A message with ASCII quotation marks."""
    return text.translate(_QUOTES)


def parse(output: str, *, sources: bool = True) -> list[Diagnostic]:
    """The errors, and warnings about discarded results, that are about an interface; each once, in their order.

    `sources`: the files that the messages name are here, and are read for the types of their variables.
    """
    declared = struct_of if sources else _not_here
    lines = plain(output).splitlines()
    found: dict[tuple[str, str], Diagnostic] = {}
    for index, line in enumerate(lines):
        message = _MESSAGE.match(line)
        if message is None or message["level"] not in ("error", "fatal error", "warning"):
            continue
        for one in _read(message, lines[index + 1 : index + 8], declared):
            found.setdefault((one.kind, one.key), one)
    return list(found.values())


def _read(message: re.Match[str], following: Sequence[str], declared: _Declared) -> Iterator[Diagnostic]:
    text = message["text"]
    code = next((match[1] for match in map(_SNIPPET.match, following) if match), "")
    base = Diagnostic("name", "", message["file"], int(message["line"]), text, code=code)
    if "void value not ignored" in text or "ignoring return value of" in text:
        yield from (replace(base, kind="arguments", name=name) for name in re.findall(r"(\w+)\s*\(", code))
        return
    for kind, pattern in _PATTERNS:
        match = re.match(pattern, text)
        if match is None:
            continue
        groups = match.groupdict()
        one = replace(base, kind=kind, name=groups.get("name") or "", container=groups.get("container") or "")
        if kind == "callback":
            one = _with_place(one, following, declared)
        elif kind == "argument" and "discards 'const'" in text and (members := re.findall(r"(?:->|\.)(\w+)", code)):
            yield from (replace(one, kind="read-only", name=member) for member in members)
            return
        elif kind == "read-only":
            one = _read_only(one, declared)
        elif kind == "arguments" and not one.name.isidentifier():  # a call through a pointer: sock->ops->accept()
            one = replace(_read_only(one, declared), kind="callback")
        if one.name:
            yield one
        return


def _with_place(one: Diagnostic, following: Sequence[str], declared: _Declared) -> Diagnostic:
    """A callback with the member it is assigned to, and that member's structure as the source declares it."""
    near = next((match["place"] for match in map(_NEAR.search, following) if match), "")
    if not near:  # gcc says it of initialisers only; of an assignment the source line has it
        assigned = re.search(r"([\w.\->]+?)(?:->|\.)(\w+)\s*=[^=]", one.code)
        near = f"{assigned[1]}.{assigned[2]}" if assigned else ""
    elements = re.sub(r"\[\d+\]", "", near).replace("->", ".").split(".")
    if len(elements) < 2:
        return one
    return replace(one, name=elements[-1], container=declared(elements[-2], one.file))


def _read_only(one: Diagnostic, declared: _Declared) -> Diagnostic:
    """What `*dev->dev_addr` or `vm_flags` is a member of."""
    elements = re.split(r"->|\.", one.name.lstrip("*("))
    member = re.sub(r"\W.*", "", elements[-1])
    return replace(one, name=member, container=declared(elements[-2], one.file) if len(elements) > 1 else "")


def struct_of(variable: str, file: str) -> str:
    """The name of the structure that a variable of a source file is declared as; "" where it cannot be told."""
    try:
        source = Path(file).read_text(errors="replace")
    except OSError:
        return ""
    match = re.search(rf"struct\s+(\w+)\s+(?:\w+\s+)?\**\s*{re.escape(variable)}\b", source)
    return match[1] if match else ""


def _not_here(_variable: str, _file: str) -> str:
    return ""
