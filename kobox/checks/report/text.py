"""A report as plain data, for `--json`, and findings as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kobox.checks.report.finding import Chain, Finding, Frame
from kobox.checks.report.kinds import kind_of

if TYPE_CHECKING:
    from kobox.checks.runner.check import Report


def plain_report(report: Report) -> dict[str, Any]:
    """A report as what `json.dumps` takes."""
    places: dict[str, int] = {}
    for stage in report.places.values():
        places[stage] = places.get(stage, 0) + 1
    return {
        "module": report.module,
        "file": report.plan.module,
        "kernel": report.release,
        "findings": [plain_finding(finding) for finding in report.findings],
        "faults": {"places": places, "tried": report.tried, "skipped": report.skipped},
        "races": {"interruptions": report.raced, "switched": report.switched},
        "exercise": {"calls": report.calls, "abandoned": report.abandoned, "files": report.files},
        "elsewhere": report.elsewhere,
        "refused_elsewhere": report.refused,
        "loads": report.lives,
        "runs": report.runs,
        "ended": report.ended,
        "coverage": report.coverage.plain() if report.coverage else None,
        "unchecked": report.unchecked,
        "seconds": {part: round(value, 3) for part, value in report.seconds.items()},
    }


def plain_finding(finding: Finding) -> dict[str, Any]:
    """A finding as what `json.dumps` takes."""
    thing = finding.thing
    return {
        "kind": finding.kind,
        "severity": str(finding.severity),
        "message": finding.message,
        "where": plain_frame(finding.where) if finding.where else None,
        "chain": [plain_frame(frame) for frame in finding.chain],
        "thing": None
        if thing is None
        else {
            "what": thing.what,
            "address": thing.address,
            "size": thing.size,
            "made": [plain_frame(frame) for frame in thing.made],
            "gone": [plain_frame(frame) for frame in thing.gone],
        },
        "stage": finding.stage,
        "fault": finding.fault,
        "advice": advice_of(finding),
        "log": [record.text for record in finding.records],
    }


def plain_frame(frame: Frame) -> dict[str, Any]:
    """A frame as what `json.dumps` takes."""
    return {
        "function": frame.function,
        "offset": frame.offset,
        "module": frame.module,
        "file": frame.file,
        "line": frame.line,
        "inlined": frame.inlined,
    }


def advice_of(finding: Finding) -> str:
    """What to do about a finding."""
    return finding.advice or kind_of(finding.kind).advice


def finding_lines(finding: Finding, *, replay: str = "") -> Iterator[str]:
    """A finding as a person reads it. `replay` is the command that shows it again, up to the fault's ID."""
    yield f"{finding.severity}: {finding.kind}: {finding.message}"
    yield from _chain("at", finding.chain)
    if finding.thing is not None:
        yield _row("object", finding.thing.what)
        yield from _chain("made", finding.thing.made if finding.thing.made != finding.chain else ())
        yield from _chain("freed", finding.thing.gone)
    if finding.fault:
        yield _row("fault", finding.fault)
        if replay:
            yield _row("again", f"{replay} --replay '{finding.fault}'")
    elif finding.stage:
        yield _row(
            "during", {"after": "after unload", "failed": "after init had failed"}.get(finding.stage, finding.stage)
        )
    if advice := advice_of(finding):
        yield _row("do", advice)


def _row(name: str, text: str) -> str:
    return f"    {name:<8}{text}"


def _chain(name: str, chain: Chain) -> Iterator[str]:
    for number, frame in enumerate(chain[:12]):
        yield _row(("" if number else name), str(frame))
