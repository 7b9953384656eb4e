"""What `--json` prints: each object says in `format` which version it is of; `kobox schema` prints what is in it.
Integers are below 2 ** 53, which all readers of JSON keep (RFC 8259, section 6); addresses are strings, "0x…"."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

_SCHEMAS = Path(__file__).with_name("schemas")
_LATER = {"check": 3, "trace": 2}  # all others are of version 1


def format_of(kind: str) -> int:
    """The version of what is printed under the name `kind`. It rises when a field changes its meaning or goes."""
    return _LATER.get(kind, 1)


def to_json(kind: str, value: Mapping[str, object] | Sequence[Mapping[str, object]], *, indent: int | None = 2) -> str:
    """An object, or a list of them, as JSON, each with its version."""
    version = {"format": format_of(kind)}
    marked = {**version, **value} if isinstance(value, Mapping) else [{**version, **row} for row in value]
    return json.dumps(marked, indent=indent)


def kinds() -> list[str]:
    """The names of all that is printed."""
    return sorted(path.stem for path in _SCHEMAS.glob("*.json"))


def schema(kind: str) -> str:
    """A schema (JSON Schema, draft 2020-12) as text. Raises `KeyError` for a name that is none of `kinds()`."""
    if kind not in kinds():
        raise KeyError(kind)
    return (_SCHEMAS / f"{kind}.json").read_text()
