"""Findings: what the kernel itself says went wrong, read from its log.

A report of the kernel's starts with a line of `_STARTS` and goes on to its end marker, or as long as the
following lines
are of the same moment. (Sources: lib/bug.c, arch/x86/kernel/dumpstack.c, mm/slub.c, lib/list_debug.c, kernel/panic.c.)
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from kobox.kernel.log import LogRecord

_CUT = "------------[ cut here ]------------"
_STARTS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    # kind, severity, how the line starts
    ("panic", "error", ("Kernel panic - not syncing",)),
    ("kernel-warning", "warning", ("WARNING: ",)),
    ("oops", "error", ("BUG: unable to handle", "BUG: kernel NULL pointer", "BUG: TASK stack guard", "BUG: IRQ stack")),
    ("oops", "error", ("BUG: stack guard page", "Oops: ", "Oops - ")),
    ("atomic-sleep", "error", ("BUG: sleeping function called", "BUG: scheduling while atomic")),
    ("kernel-bug", "error", ("kernel BUG at ", "BUG: ", "BUG ")),
    ("kernel-warning", "warning", ("list_add corruption", "list_del corruption", "refcount_t: ", "ODEBUG: ")),
    (
        "kernel-warning",
        "warning",
        ("INFO: task ", "INFO: rcu_", "rcu: INFO: ", "watchdog: BUG", "sysfs: cannot create dup"),
    ),
)
# Exceptions that no handler wanted; the number of the oops follows.
_EXCEPTIONS = ("general protection fault", "divide error", "stack segment", "invalid opcode", "double fault", "int3: ")
_ENDS = ("---[ end trace", "---[ end Kernel panic")


class Finding(NamedTuple):
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
        cut = lines[at].text.startswith(_CUT)
        if cut and at + 1 < len(lines):
            at += 1
        hit = _classify(lines[at].text)
        if hit is None:
            at += 1
            continue
        end = _end_of(lines, at)
        report = tuple(lines[begin:end])
        found.append(Finding(hit[0], hit[1], lines[at].text, _where(report), report))
        at = end
    return found


def _classify(text: str) -> tuple[str, str] | None:
    for kind, severity, starts in _STARTS:
        if text.startswith(starts):
            return kind, severity
    return ("oops", "error") if text.startswith(_EXCEPTIONS) and "[#" in text else None


def _end_of(lines: list[LogRecord], start: int) -> int:
    """One past the last line of the report that starts at `start`."""
    for n in range(start, min(start + 400, len(lines))):
        if lines[n].text.startswith(_ENDS):
            return n + 1
    n = start + 1
    while n < len(lines) and lines[n].time - lines[n - 1].time < 0.005 and not lines[n].text.startswith(_CUT):
        n += 1
    return n


def _where(report: Iterable[LogRecord]) -> str:
    """The first module function that the report names, as the kernel prints one: "function+0x12/0x40 [module]"."""
    for record in report:
        for word, following in pairwise(record.text.split()):
            if following.startswith("[") and "+0x" in word and "/0x" in word and following[1:2].isalpha():
                return f"{word.rpartition(':')[2].partition('+')[0]} [{following.strip('[]')}]"
    return ""
