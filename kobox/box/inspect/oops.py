"""Reports: what the kernel itself says went wrong, read from its log.

A report starts with a line of `_STARTS` and goes on to its end marker, or as long as the following lines are of the
same moment. (Sources: lib/bug.c, arch/*/kernel/traps.c, mm/slub.c, lib/list_debug.c, kernel/panic.c.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from kobox.arch.registry import EXCEPTION_STARTS, OOPS_STARTS, oops_place
from kobox.box.inspect.printk import LogRecord

_CUT = "------------[ cut here ]------------"
_STARTS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    # kind, severity, how the line starts
    ("panic", "error", ("Kernel panic - not syncing",)),
    ("kernel-warning", "warning", ("WARNING: ",)),
    ("oops", "error", OOPS_STARTS),
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
_EXCEPTIONS = EXCEPTION_STARTS
_ENDS = ("---[ end trace", "---[ end Kernel panic")


class KernelReport(NamedTuple):
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


def findings_in(records: Iterable[LogRecord]) -> list[KernelReport]:
    """The reports in a stretch of the kernel log, in order."""
    found: list[KernelReport] = []
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
        found.append(KernelReport(kind, severity, lines[at].text, _where(report), report))
        at = end
    return found


def place_in(lines: Sequence[str]) -> str:
    """Where the CPU was when the kernel made the last report in these lines: "function+0x12/0x40 [module]"; "" if it
    does not say.

    A plain panic() prints no registers: then the first module function of its call trace.
    """
    start = next((n for n, line in enumerate(lines) if line.startswith("Kernel panic - not syncing")), None)
    if start is not None and "Fatal exception" not in lines[start]:
        return next((place for line in lines[start:] if (place := _place(line)).endswith("]")), "")
    return next((_place(rest) or rest for rest in map(oops_place, reversed(lines)) if rest), "")


def _classify(text: str) -> tuple[str, str] | None:
    for kind, severity, starts in _STARTS:
        if text.startswith(starts):
            return kind, severity
    return ("oops", "error") if text.startswith(_EXCEPTIONS) and "[#" in text else None


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
        if lines[n].text.startswith(_ENDS):
            return n + 1
    n = start + 1
    while n < len(lines) and lines[n].time - lines[n - 1].time < 0.005 and not lines[n].text.startswith(_CUT):
        n += 1
    return n


def _place(line: str) -> str:
    """The code address in a line as the kernel prints one: "function+0x12/0x40", with " [module]" when it has one."""
    words = line.split()
    for word, following in pairwise([*words, ""]):
        if "+0x" in word and "/0x" in word:
            place = word.rpartition(":")[2]
            return (
                f"{place} {following.partition(']')[0]}]"
                if following[:1] == "[" and following[1:2].isalpha()
                else place
            )
    return ""


def _where(report: Iterable[LogRecord]) -> str:
    """The first module function that the report names: "function [module]"."""
    for record in report:
        place, _, module = _place(record.text).partition(" ")
        if module:
            return f"{place.partition('+')[0]} {module}"
    return ""
