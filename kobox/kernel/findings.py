"""Findings: what the kernel itself says went wrong, read from its log.

A report of the kernel's starts with a line of `_STARTS` and goes on to its end marker, or as long as the
following lines
are of the same moment. (Sources: lib/bug.c, arch/x86/kernel/dumpstack.c, mm/slub.c, lib/list_debug.c, kernel/panic.c.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kobox.kernel.log import LogRecord

_CUT = "------------[ cut here ]------------"
_STARTS: tuple[tuple[str, str, str], ...] = (
    # kind, severity, what the line looks like
    ("panic", "error", r"Kernel panic - not syncing"),
    ("kernel-warning", "warning", r"WARNING: "),
    (
        "oops",
        "error",
        r"BUG: (?:unable to handle|kernel NULL pointer|stack guard page|TASK stack guard|IRQ stack guard)",
    ),
    ("kernel-bug", "error", r"kernel BUG at "),
    ("atomic-sleep", "error", r"BUG: (?:sleeping function called|scheduling while atomic|workqueue leaked lock)"),
    ("kernel-bug", "error", r"BUG[: ]"),
    (
        "oops",
        "error",
        r"(?:Oops|general protection fault|divide error|stack segment|invalid opcode|double fault|int3|traps?)\b"
        r".*(?:: [0-9a-f]{4}|\[#\d+\])",
    ),
    ("kernel-warning", "warning", r"(?:list_(?:add|del) corruption|refcount_t: |ODEBUG: |INFO: (?:task|rcu_))"),
    ("kernel-warning", "error", r"watchdog: BUG|rcu: INFO|sysfs: cannot create duplicate|kobject_add_internal failed"),
)
_COMPILED = tuple((kind, severity, re.compile(pattern)) for kind, severity, pattern in _STARTS)
_END = re.compile(r"---\[ end (?:trace|Kernel panic)|^Kernel Offset")
_MODULE_AT = re.compile(r"(?:RIP: \d+:)?(\w[\w.]*)\+0x[0-9a-f]+/0x[0-9a-f]+ \[(\w+)[^\]]*\]")
_RIP = re.compile(r"RIP: 0010:(\S+(?: \[[^\]]+\])?)")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong. `kind` is a short name (`oops`, `kernel-warning`, `kernel-bug`, `panic`,
    `atomic-sleep`);
    `severity` error, warning or note; `where` the module function concerned ("function [module]"), if any is named;
    `records` the kernel's whole report."""

    kind: str
    severity: str
    message: str
    where: str = ""
    records: tuple[LogRecord, ...] = ()

    def __str__(self) -> str:
        return f"{self.severity}: {self.message}" + (f" in {self.where}" if self.where else "")


def findings_in(records: Iterable[LogRecord]) -> list[Finding]:
    """The reports in a stretch of the kernel log, in order."""
    found: list[Finding] = []
    lines = list(records)
    at = 0
    while at < len(lines):
        begin = at
        if lines[at].text.startswith(_CUT):
            at = _first_report(lines, at)
        hit = _classify(lines[at].text)
        if hit is None:
            at += 1
            continue
        end = _end_of(lines, at)
        report = tuple(lines[begin:end])
        kind, severity = _worst(hit, report)
        found.append(Finding(kind, severity, lines[at].text, _where(report), report))
        at = end
    return found


def place_in(lines: Sequence[str]) -> str:
    """Where the CPU was when the kernel made the last report in these lines: "function+0x12/0x40 [module]"; "" if it
    does not say.

    A plain panic() prints no RIP: then the first module function of its call trace.
    """
    start = next((n for n, line in enumerate(lines) if line.startswith("Kernel panic - not syncing")), None)
    if start is not None and "Fatal exception" not in lines[start]:
        named = next((found for line in lines[start:] if (found := _MODULE_AT.search(line))), None)
        return named[0] if named else ""
    return next((found[1] for line in reversed(lines) if (found := _RIP.search(line))), "")


def _classify(text: str) -> tuple[str, str] | None:
    for kind, severity, pattern in _COMPILED:
        if pattern.match(text):
            return kind, severity
    return None


def _first_report(lines: list[LogRecord], cut: int) -> int:
    """The line after a "cut here" that says what it is: WARN()'s own message stands before that (kernel/panic.c)."""
    for n in range(cut + 1, min(cut + 20, len(lines))):
        if lines[n].text.startswith(_CUT):
            break
        if _classify(lines[n].text):
            return n
    return min(cut + 1, len(lines) - 1)


def _worst(first: tuple[str, str], report: Iterable[LogRecord]) -> tuple[str, str]:
    """What a report is that starts as a warning: on many kernels a corrupted list ends in BUG()."""
    if first[1] == "error":
        return first
    return next((hit for record in report if (hit := _classify(record.text)) and hit[1] == "error"), first)


def _end_of(lines: list[LogRecord], start: int) -> int:
    """One past the last line of the report that starts at `start`."""
    for n in range(start, min(start + 400, len(lines))):
        if _END.search(lines[n].text):
            return n + 1
    n = start + 1
    while n < len(lines) and lines[n].time - lines[n - 1].time < 0.005 and not lines[n].text.startswith(_CUT):
        n += 1
    return n


def _where(report: Iterable[LogRecord]) -> str:
    for record in report:
        named = _MODULE_AT.search(record.text)
        if named:
            return f"{named[1]} [{named[2]}]"
    return ""
