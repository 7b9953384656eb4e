"""A corpus that is kept between checks: the programs that the exercise found worth doing, by module.

{"format": 1, "modules": {"hello": [[["open", 0, ["/dev/hello", 2]], ["write", 0, [{"hex": "78"}]]]]}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kobox.checks.fuzz.program import ExerciseStep, Program, plain_step, step_of
from kobox.errors import KoboxError
from kobox.json_text import parse_json

_FORMAT = 1
_MOST = 16 << 20  # bytes of such a file
_MOST_STEPS = 256  # of a program
_LARGEST = 1 << 20  # bytes that one call reads
_READS = ("read", "pread", "recv")

Corpus = dict[str, tuple[Program, ...]]
"""Programs, by the name of the module."""


def read_corpus(path: Path) -> Corpus:
    """The programs of a file; none where there is no such file yet. Raises `OSError`; `KoboxError` for any other
    file."""
    if not path.exists():
        return {}
    try:
        if path.stat().st_size > _MOST:
            raise ValueError(f"more than {_MOST >> 20} MiB")
        read = parse_json(path.read_bytes())
        if read["format"] != _FORMAT:
            raise ValueError(f"its format is {read['format']!r}, and this kobox reads {_FORMAT}")
        return {
            str(name): tuple(tuple(_step(row) for row in rows[:_MOST_STEPS]) for rows in programs)
            for name, programs in read["modules"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise KoboxError(
            f"{path}: not a corpus ({type(error).__name__}: {error})",
            hint="Remove the file, or name another: `kobox check MODULE --corpus FILE` writes it.",
        ) from error


def _step(row: Sequence[Any]) -> ExerciseStep:
    """One step. Raises `ValueError` and `TypeError` for what is none, or would read more than there is room for."""
    found = step_of(row)
    if not isinstance(found.call, str) or type(found.slot) is not int:
        raise ValueError(f"no step: {row!r:.60}")
    if not all(isinstance(one, int | float | str | bytes) for one in found.arguments):
        raise ValueError(f"no arguments of a step: {row!r:.60}")
    if found.call in _READS and not 0 <= int(found.arguments[0]) <= _LARGEST:
        raise ValueError(f"a call that reads {found.arguments[0]} bytes")
    return found


def corpus_text(corpus: Mapping[str, Sequence[Program]]) -> str:
    """The content of such a file."""
    modules = {name: [[plain_step(one) for one in program] for program in corpus[name]] for name in sorted(corpus)}
    return json.dumps({"format": _FORMAT, "modules": modules}) + "\n"
