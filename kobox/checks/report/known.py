"""Findings that somebody knows of already: in a baseline file, or allowed by a comment in the source.

    /* kobox: allow(leak): freed by the firmware */      on the line of the finding, or on the line above it
    // kobox: allow(leak, data-race): as above

A reason is needed. A baseline is a JSON file that `kobox check --write-baseline FILE` writes; a finding is recognised
by its module, kind, function and object, not by its line, so that code may move.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kobox.checks.report.finding import Finding, Frame, own_frame
from kobox.errors import KoboxError
from kobox.json_text import parse_json

_FORMAT = 1
_COMMENT = re.compile(r"(?://|/\*)\s*kobox:\s*allow\(\s*([\w-]+(?:\s*,\s*[\w-]+)*)\s*\)\s*:?\s*(.*?)\s*(?:\*/|$)")
_MOST = 4 << 20  # bytes of a source file that is looked at
Signature = tuple[str, str, str, str]
"""Module, kind, function, and the function that made the object."""


@dataclass(frozen=True, slots=True)
class KnownFinding:
    """A finding that does not count. `how` is "baseline" or "comment"; `reason` is the comment's text."""

    finding: Finding
    how: str
    reason: str


def signature(module: str, finding: Finding) -> Signature:
    """What a finding is recognised by."""
    made = own_frame(finding.object.made_at) if finding.object is not None else None
    where = finding.where.function if finding.where is not None else finding.message
    return module, finding.kind, where, made.function if made is not None else ""


def read_baseline(path: Path) -> frozenset[Signature]:
    """The signatures in a baseline file. Raises `OSError`; `KoboxError` for any other file."""
    hint = "Write it anew: `kobox check MODULE --write-baseline FILE`."
    try:
        read = parse_json(path.read_bytes())
        if read["format"] != _FORMAT:
            raise KoboxError(
                f"{path}: a baseline of format {read['format']!r}, and this kobox reads {_FORMAT}", hint=hint
            )
        rows = read["findings"]
        return frozenset((str(r["module"]), str(r["kind"]), str(r["function"]), str(r["made_by"])) for r in rows)
    except (ValueError, KeyError, TypeError) as error:
        raise KoboxError(f"{path}: not a baseline ({type(error).__name__}: {error})", hint=hint) from error


def baseline_text(found: Iterable[tuple[str, Finding]]) -> str:
    """A baseline file of (module, finding) pairs."""
    rows: dict[Signature, dict[str, Any]] = {}
    for module, finding in found:
        key = signature(module, finding)
        names = dict(zip(("module", "kind", "function", "made_by"), key, strict=True))
        rows[key] = {**names, "message": finding.message}
    return json.dumps({"format": _FORMAT, "findings": [rows[key] for key in sorted(rows)]}, indent=2) + "\n"


def split_known(
    module: str, findings: Sequence[Finding], baseline: frozenset[Signature], source: Path
) -> tuple[list[Finding], list[KnownFinding]]:
    """(the findings that count, those that are known). `source`: the directory below which source files are read."""
    new, known = [], []
    for finding in findings:
        if signature(module, finding) in baseline:
            known.append(KnownFinding(finding, "baseline", ""))
        elif (reason := _allowed(finding, source)) is not None:
            known.append(KnownFinding(finding, "comment", reason))
        else:
            new.append(finding)
    return new, known


def _allowed(finding: Finding, source: Path) -> str | None:
    """The reason in a comment that allows a finding: where it is, or where its object was made."""
    made = own_frame(finding.object.made_at) if finding.object is not None else None
    for frame in (finding.where, made):
        for line in _lines(frame, source) if frame is not None else ():
            comment = _COMMENT.search(line)
            if comment and comment[2] and finding.kind in re.split(r"\s*,\s*", comment[1]):
                return comment[2]
    return None


def _lines(frame: Frame, source: Path) -> list[str]:
    """The line of a frame and the one above it, from a file below `source`: the name comes from the module, and is not
    believed."""
    if not (frame.file and frame.line):
        return []
    root = source.resolve()
    for place in (root / frame.file, root / Path(frame.file).name):
        try:
            place = place.resolve()
            if place.is_relative_to(root) and place.is_file() and place.stat().st_size <= _MOST:
                lines = place.read_text(errors="replace").splitlines()
                return lines[max(0, frame.line - 2) : frame.line]
        except (OSError, ValueError):
            continue
    return []
