"""Reports: what the kernel itself says went wrong, read from its log.

A report starts with a line of `_STARTS` and goes on to its end marker, or as long as the following lines are of the
same moment. (Sources: lib/bug.c, arch/*/kernel/traps.c, mm/slub.c, lib/list_debug.c, kernel/panic.c.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from kobox.arch.registry import EXCEPTION_STARTS, OOPS_STARTS, oops_place, shows_registers
from kobox.box.inspect.printk import LogRecord

_CUT = "------------[ cut here ]------------"
_BRACKETED = "[<"  # a call with its address, as some architectures print it
_FROM = re.compile(r" \S+(?: \[\w+\])? from (\S+\+0x.*)")  # a call as ARMv7's unwinder prints it
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


# Sentences that are no report, with or without a stack behind them: (severity, a part of the text).
_SENTENCES = (
    ("warning", re.compile(r"->init suspiciously returned -?\d+")),  # kernel/module/main.c, do_init_module()
    ("warning", re.compile(r": unknown parameter '.*' ignored")),  # kernel/module/main.c, unknown_module_param_cb()
    ("warning", re.compile(r"^seq_file: buggy \.next function ")),  # fs/seq_file.c, seq_read_iter()
)
# Lines of a report that say neither what nor why: registers, code, the stack, marks, nothing.
_DETAIL = re.compile(
    r" *$|={20,}$|-{20,}$|"
    r"8<--- cut here ---|[0-9a-f]{4}: [ 0-9a-f]{8}|"
    r"CPU: \d| *Tainted: |task:\S+ +state:|Hardware name: |Workqueue: |Modules linked in: |Unloaded tainted modules: |"
    r"Call [Tt]race:|"
    r" *</?(?:TASK|IRQ|NMI|SOFTIRQ|EOI|#\w+)>|Code: |note: .* exited with|-+\[ cut here|-+\[ end |Kernel Offset: |"
    r" +(?:\? )?(?:[\w.]+\+0x[0-9a-f]+/)?0x|Stack: ?|Fixing recursive fault|"
    r"(?:[A-Za-z][A-Za-z0-9_]{1,5}: +\(?(?:null|[0-9a-fx]{4,})\)? *)+|PGD |Mem abort info|Data abort info"
)
_SAME_MOMENT = 0.002  # seconds between a sentence of the kernel's and the BUG() behind it


class KernelReport(NamedTuple):
    """Something that is wrong. `kind` is a short name (`oops`, `kernel-warning`, `kernel-bug`, `panic`,
    `atomic-sleep`); `severity` error, warning or note; `where` the module function concerned ("function [module]"), if
    any is named; `records` the kernel's whole report. `sentence` is what the kernel says of the reason: a WARN() has a
    text of its own, and before a BUG() a line says why.
    """

    kind: str
    severity: str
    message: str
    where: str = ""
    records: tuple[LogRecord, ...] = ()
    sentence: str = ""

    def __str__(self) -> str:
        why = f": {self.sentence}" if self.sentence else ""
        return f"{self.severity}: {self.message}{why}" + (f" in {self.where}" if self.where else "")

    @property
    def place(self) -> str:
        """Where in a module it happened: "function+0x12/0x40 [module]", the first such place of the report."""
        places = (_place(record.text) for record in self.records if not record.text.lstrip().startswith("? "))
        return next((place for place in places if place.endswith("]")), "")

    @property
    def calls(self) -> list[str]:
        """The functions of the call trace, the innermost first, as far as the kernel is sure of them."""
        lines = [record.text for record in self.records]
        start = next((n for n, line in enumerate(lines) if line.startswith(("Call Trace:", "Call trace:"))), None)
        if start is None:  # RV64's reports of crashes have no such line, nor have ARMv7's
            arm = [_place(call[1]) for line in lines if (call := _FROM.match(line))]
            return arm or [_place(line) for line in lines if line.startswith(_BRACKETED) and "+0x" in line]
        found = []
        for line in lines[start + 1 :]:
            if line.startswith((" ", _BRACKETED)) and "+0x" in line and "? " not in line:
                found.append(_place(line))
            elif not line.startswith((" ", _BRACKETED)):
                break
        return found


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
        begin = _with_reason(lines, begin, at, found[-1].records[-1].seq if found else -1)
        end = _end_of(lines, at)
        report = tuple(lines[begin:end])
        kind, severity = _worst(hit, report)
        sentence = "; ".join(record.text.strip() for record in lines[begin:at] if not is_detail(record.text))
        found.append(KernelReport(kind, severity, lines[at].text, _where(report), report, sentence))
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


def is_detail(text: str) -> bool:
    """Whether a line of a report shows registers, code, the stack or a mark, and says nothing else."""
    return _DETAIL.match(text) is not None or shows_registers(text)


def _with_reason(lines: list[LogRecord], begin: int, at: int, told: int) -> int:
    """Where a report begins: with the line before it, when that says why BUG() is reached. `told` is the last record of
    the report before."""
    if begin == 0 or _kind(lines[at].text) != "kernel-bug":
        return begin
    before = lines[begin - 1]
    near = 0 <= lines[begin].time - before.time < _SAME_MOMENT
    return begin - 1 if near and before.level <= 4 and before.seq > told and not is_detail(before.text) else begin


def _kind(text: str) -> str:
    hit = _classify(text)
    return hit[0] if hit is not None else ""


def _classify(text: str) -> tuple[str, str] | None:
    for kind, severity, starts in _STARTS:
        if text.startswith(starts):
            return kind, severity
    if text.startswith(_EXCEPTIONS) and "[#" in text:
        return "oops", "error"
    return next((("kernel-warning", severity) for severity, pattern in _SENTENCES if pattern.search(text)), None)


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
    if any(pattern.search(lines[start].text) for _, pattern in _SENTENCES):
        return next((n for n in range(start + 1, len(lines)) if not is_detail(lines[n].text)), len(lines))
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
