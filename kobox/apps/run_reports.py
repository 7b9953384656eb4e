"""What the kernel has reported while a module was loaded or unloaded, as the field reads it: what, where, by whom."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from kobox.arch.registry import oops_place
from kobox.box.inspect.module_memory import ModuleMemory
from kobox.box.inspect.module_messages import ModuleMessages, kernel_warnings
from kobox.box.inspect.oops import KernelReport, findings_in, is_detail
from kobox.box.inspect.printk import LogRecord
from kobox.errors import KoboxError
from kobox.explain.oops_source import oopses_in
from kobox.ko.modulefile import ModuleFile
from kobox.ko.parameter_names import parameter_names
from kobox.ko.source_place import SourcePlace, definition, source_place

_UNKNOWN = re.compile(r"^([\w-]+): unknown parameter '(.*)' ignored")
_SHOWN_CALLS = 6
# Where the kernel is entered: what stands above is the same for every call.
_ENTRIES = re.compile(r"^(?:do_syscall|entry_|el0|ret_from_|asm_|invoke_syscall|__do_sys_|__se_sys_|__[a-z0-9]+_sys_)")


@dataclass(frozen=True, slots=True)
class RunReport:
    """One report. `kind` and `severity` as `KernelReport` has them; `what` says in one sentence what happened; `place`
    is "function+0x12/0x40 [module]" or "", `source` its line; `calls` the functions that led there, the innermost
    first; `advice` the next step, or ""."""

    kind: str
    severity: str
    what: str
    place: str = ""
    source: SourcePlace | None = None
    calls: tuple[str, ...] = ()
    advice: str = ""

    def __str__(self) -> str:
        where = ""
        if self.place:
            function, _, module = self.place.partition(" ")
            where = f" in {function.partition('+')[0]} {module}".rstrip()
        return f"{self.severity}: {self.what}{where}{f' at {self.source}' if self.source else ''}"


def reports(
    records: Sequence[LogRecord],
    modules: Sequence[ModuleFile],
    *,
    entered_by: str = "",
    gone: Sequence[ModuleMemory] = (),
) -> Iterator[RunReport]:
    """The kernel's reports in a stretch of its log, and its other warnings, in order; what repeats is told once.

    `modules` are those that were loaded; `entered_by` is the symbol by which the kernel has called the last of them,
    "init_module" or "cleanup_module". `gone` is the memory of the modules that were unloaded.
    """
    by_name = {module.name: module for module in modules}
    last = modules[-1] if modules else None
    found: list[tuple[int, RunReport]] = []
    covered: set[int] = set()
    for report in findings_in(records):
        covered.update(record.seq for record in report.records)
        one = _of_report(report, by_name, last, entered_by)
        if advice := _ran_after_its_end(report, gone):
            one = replace(one, advice=advice)
        found.append((report.records[0].seq, one))
    rest = [record for record in records if record.seq not in covered and not is_detail(record.text)]
    loud = [record for record in rest if record.level <= 4]
    for record in kernel_warnings(loud, [ModuleMessages(module) for module in modules]) if loud else ():
        found.append((record.seq, RunReport("kernel-message", "warning", _flat(record.text))))
    told: set[str] = set()
    for _, one in sorted(found, key=lambda row: row[0]):
        key = re.sub(r"\d+", "", one.what)
        if key not in told:
            told.add(key)
            yield one


def _ran_after_its_end(report: KernelReport, gone: Sequence[ModuleMemory]) -> str:
    """What to do where a report is about the memory of a module that is gone; "" where it is not."""
    for address in (int(digits, 16) for digits in re.findall(r"\baddress: ([0-9a-f]{16})\b", report.message)):
        for module in gone:
            if address in module:
                return (
                    f"{address:#x} was memory of {module.name}, which is unloaded: something still calls it. Its exit "
                    "function has to stop every timer, work item and thread, and to take back every callback."
                )
    return ""


def _of_report(
    report: KernelReport, by_name: dict[str, ModuleFile], last: ModuleFile | None, entered_by: str
) -> RunReport:
    unknown = _UNKNOWN.match(report.message)
    if unknown:
        return _unknown_parameter(unknown[1], unknown[2], by_name)
    place, source = report.place, None
    module = by_name.get(place.partition("[")[2].rstrip("]")) if place else None
    if module is not None:
        source = source_place(module, place, returns_here=not _is_pc(report, place))
    elif not place and last is not None and entered_by and _in_the_module(report):
        source = definition(last, entered_by)
        place = f"{source.function}+0x0/0x0 [{last.name}]" if source is not None else ""
    advice = _which_pointer(report, module) if module is not None and report.kind == "oops" else ""
    return RunReport(report.kind, report.severity, _what(report), place, source, tuple(_calls(report)), advice)


def _which_pointer(report: KernelReport, module: ModuleFile) -> str:
    """Which variable of the module was a bad pointer, as far as its debugging information tells."""
    with suppress(KoboxError):
        found = oopses_in("\n".join(record.text for record in report.records), [module])
        return next((oops.why for oops in found if oops.why), "")
    return ""


def _what(report: KernelReport) -> str:
    """The kernel's sentence with the place where the kernel says it, as one line."""
    warned = re.match(r"WARNING: (?:CPU: \d+ PID: \d+ )?at (.*)", report.message)
    said = f"WARNING at {warned[1]}" if warned else report.message
    return f"{_flat(report.sentence)} ({_flat(said)})" if report.sentence else _flat(said)


def _is_pc(report: KernelReport, place: str) -> bool:
    return any(place.split()[0] in oops_place(record.text) for record in report.records)


def _in_the_module(report: KernelReport) -> bool:
    """Whether the kernel had called the module's init or exit when it made a report: their own frames are missing where
    they end in a jump to a function of the kernel's, and where the report is of what init returned."""
    names = {call.partition("+")[0] for call in report.calls}
    if "do_one_initcall" in names or "suspiciously returned" in report.message:
        return True
    return any("delete_module" in name for name in names) and "free_module" not in names


def _calls(report: KernelReport) -> Iterator[str]:
    for call in report.calls[:_SHOWN_CALLS]:
        function, _, module = call.partition(" ")
        name = function.partition("+")[0]
        yield f"{name} {module}".rstrip()
        if _ENTRIES.match(name):
            return


def _unknown_parameter(module: str, name: str, by_name: dict[str, ModuleFile]) -> RunReport:
    file = by_name.get(module)
    known = parameter_names(file) if file is not None else []
    near = difflib.get_close_matches(name, known, 1, 0.5)
    advice = f"It has: {', '.join(known)}." if known else "It has no parameters."
    if near:
        advice = f"Did you mean {near[0]!r}?"
    elif not file:
        advice = ""
    return RunReport("unknown-parameter", "error", f"{module} has no parameter {name!r}; it was ignored", advice=advice)


def _flat(text: str) -> str:
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())


def lines(report: RunReport, phase: str) -> Iterable[str]:
    """A report in a few lines: what, where with the source, and by whom."""
    yield f"{report.severity} {phase}: {report.what}"
    if report.place:
        source = f", {report.source}" if report.source else ""
        text = f": {report.source.text}" if report.source and report.source.text else ""
        yield f"at {report.place.replace('+0x0/0x0', '')}{source}{text}"
    elif report.source:
        yield f"at {report.source}: {report.source.text}"
    if report.calls:
        yield f"called by {' <- '.join(report.calls)}"
    if report.advice:
        yield report.advice
