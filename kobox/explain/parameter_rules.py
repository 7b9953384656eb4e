"""What the kernel makes of a module's parameters: parse_args() and the types of kernel/params.c, without a kernel.

    name=value "name=value with blanks" name="value with blanks" flag -- what is ignored

next_arg() (lib/cmdline.c) takes the words apart, parse_one() looks for the name, where - and _ are one, and the type's
function takes the value. All words are gone through; the last error is the answer.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

_BLANKS = " \t\n\v\f\r\xa0"  # isspace() of the kernel
# bits, negative for signed types
_INTEGERS = {"byte": 8, "hexint": 32, "short": -16, "ushort": 16, "int": -32, "uint": 32, "long": -64, "ulong": 64}
_INTEGERS |= {"ullong": 64}
_NUMBER = re.compile(r"([+-]?)(?:0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([1-9][0-9]*))\n?")
_WITHOUT_VALUE = ("bool", "bint", "bool_enable_only")  # KERNEL_PARAM_OPS_FL_NOARG
_EVERY_MODULE_HAS = ("dyndbg", "async_probe")  # unknown_module_param_cb()
_LONGEST_STRING = 1024


class Trouble(NamedTuple):
    """A parameter that is refused, or ignored (`errno` is "" then); `log` is what the kernel says of it."""

    rule: str
    text: str
    errno: str
    log: tuple[str, ...]


def words_of(text: str) -> Iterator[tuple[str, str | None, str]]:
    """(name, value or None without `=`, what follows) of each word, as next_arg() takes a text apart."""
    rest = text.lstrip(_BLANKS)
    while rest:
        name, value, rest = _next_arg(rest)
        yield name, value, rest


def _next_arg(text: str) -> tuple[str, str | None, str]:
    whole = text.startswith('"')
    text = text[1:] if whole else text
    quoted, equals, end = whole, 0, len(text)
    for at, character in enumerate(text):
        if character in _BLANKS and not quoted:
            end = at
            break
        if character == "=" and not equals:  # one at the very start is not seen: 0 means none
            equals = at
        if character == '"':
            quoted = not quoted
    rest = text[end + 1 :].lstrip(_BLANKS)
    closed = end > 0 and text[end - 1] == '"'
    if not equals:
        return text[: end - 1 if whole and closed else end], None, rest
    start = equals + 1
    opened = text[start : start + 1] == '"' and start < end
    value = text[start + 1 if opened else start : end - 1 if closed and (opened or whole) else end]
    return text[:equals], value, rest


def troubles(text: str, types: Mapping[str, str], module: str) -> Iterator[Trouble]:
    """What a module with these parameters (name to type, as modinfo has it) has against a text of parameters."""
    known = {_plain(name): kind for name, kind in types.items()}
    for name, value, rest in words_of(text):
        if name == "--" and value is None:
            if rest:
                log = f"{module}: parameters '{rest}' after `--' ignored"
                yield Trouble("unknown-parameter", f"what follows `--` is ignored: {rest}", "", (log,))
            return
        kind = known.get(_plain(name))
        if kind is not None:
            yield from _refusal(kind, name, value, module)
        elif name.partition(".")[2] != "dyndbg" and name not in _EVERY_MODULE_HAS:
            # ddebug_dyndbg_param_cb() looks for MODULE.dyndbg, and leaves the name cut off at its dot.
            log = f"{module}: unknown parameter '{name.partition('.')[0]}' ignored"
            has = f" (it has: {', '.join(types)})" if types else " (it has none)"
            near = difflib.get_close_matches(name.replace("-", "_"), known, 1, 0.6)
            meant = f"; is {near[0]} meant?" if near else ""
            yield Trouble("unknown-parameter", f"no parameter {name}{has}: it is ignored{meant}", "", (log,))


def _with_article(kind: str) -> str:
    return f"an {kind}" if kind[:1] in "aeiou" and not kind.startswith("u") else f"a {kind}"


def _plain(name: str) -> str:
    return name.replace("-", "_")


def _refusal(kind: str, name: str, value: str | None, module: str) -> Iterator[Trouble]:
    errno = answer(kind, value)
    if not errno:
        return
    shown = value if value is not None else ""
    log = f"{module}: `{shown}' invalid for parameter `{name}'"
    if errno == "ENOSPC":
        log = (
            f"{_plain(name)}: string parameter too long"  # what follows, with the string, is longer than a line can be
        )
        text = f"parameter {name} takes {_LONGEST_STRING} bytes, and is given {len(shown)}"
    elif value is None:
        text = f"parameter {name} takes a value ({kind}): {name}=…"
    else:
        wrong = f"is not {_with_article(kind)}" if errno == "EINVAL" else f"is out of the range of {kind}"
        text = f"parameter {name}: `{value}` {wrong}"
    yield Trouble("bad-parameter", text, errno, (log,))


def answer(kind: str, value: str | None) -> str:
    """The errno's name that a parameter of a type answers to a value; "" when it takes it, or nobody can know."""
    if value is None:
        return "" if kind in (*_WITHOUT_VALUE, "") else "EINVAL"
    if kind.startswith("array of "):
        each = (answer(kind.removeprefix("array of "), part) for part in value.split(","))
        return next(filter(None, each), "")
    if kind in ("bool", "invbool", "bint", "bool_enable_only"):
        fine = re.match(r"[yYnNtTfF01]|[oO][nNfF]", value)
        return "" if fine else "EINVAL"
    if kind == "charp":
        return "ENOSPC" if len(value.encode(errors="surrogateescape")) > _LONGEST_STRING else ""
    return _integer_answer(_INTEGERS[kind], value) if kind in _INTEGERS else ""


def _integer_answer(bits: int, value: str) -> str:
    match = _NUMBER.fullmatch(value)
    if match is None or (match[1] == "-" and bits > 0):
        return "EINVAL"
    number = int(match[2], 16) if match[2] else int(match[3], 8) if match[3] else int(match[4])
    number = -number if match[1] == "-" else number
    low, high = (-(1 << -bits - 1), 1 << -bits - 1) if bits < 0 else (0, 1 << bits)
    return "" if low <= number < high else "ERANGE"
