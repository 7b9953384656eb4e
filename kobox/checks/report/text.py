"""A report as plain data, for `--json`, and findings as text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kobox.checks.report.finding import Chain, Finding, Frame, TwoCpuSchedule, own_frame
from kobox.checks.report.kinds import kind_of

if TYPE_CHECKING:
    from kobox.checks.runner.outcome import CheckReport


def plain_report(report: CheckReport, command: str = "") -> dict[str, Any]:
    """A report as what `json.dumps` takes. `command` is the one that repeats the check."""
    import kobox

    places: dict[str, int] = {}
    for stage in report.places.values():
        places[stage] = places.get(stage, 0) + 1
    return {
        "kobox": kobox.__version__,
        "date": report.date,
        "command": command,
        "seed": report.plan.seed,
        "module": report.module,
        "file": report.plan.module,
        "kernel": report.release,
        "findings": [plain_finding(finding) for finding in report.findings],
        "known": [{**plain_finding(one.finding), "how": one.how, "reason": one.reason} for one in report.known],
        "faults": {"places": places, "tried": report.tried, "skipped": report.skipped},
        "races": {"interruptions": report.raced, "switched": report.switched, "schedules": report.schedules},
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
    found = finding.object
    return {
        "kind": finding.kind,
        "severity": str(finding.severity),
        "message": finding.message,
        "where": plain_frame(finding.where) if finding.where else None,
        "chain": [plain_frame(frame) for frame in finding.chain],
        "object": None
        if found is None
        else {
            "what": found.what,
            "address": hex(found.address),
            "size": found.size,
            "made_at": [plain_frame(frame) for frame in found.made_at],
            "freed_at": [plain_frame(frame) for frame in found.freed_at],
        },
        "other_chain": [plain_frame(frame) for frame in finding.other],
        "schedule": plain_schedule(finding.schedule) if finding.schedule else None,
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


def plain_schedule(schedule: TwoCpuSchedule) -> dict[str, Any]:
    """A schedule of two CPUs as what `json.dumps` takes."""
    return {
        "cpus": [
            {"cpu": side.cpu, "runs": side.runs, "locks": None if side.locks is None else list(side.locks)}
            for side in schedule.sides
        ],
        "common_locks": None if schedule.common is None else list(schedule.common),
        "steps": [{"cpu": schedule.sides[step.side].cpu, "text": step.text} for step in schedule.steps],
        "blocks": schedule.blocks,
    }


def origin_of(finding: Finding) -> str:
    """What the place is called that the finding's object comes from."""
    return "allocated at" if finding.kind in _MEMORY else "made at"


def advice_of(finding: Finding) -> str:
    """What to do about a finding."""
    return finding.advice or kind_of(finding.kind).advice


_STAGES = {
    "before": "before load",
    "init": "in init",
    "exercise": "in the exercise",
    "exit": "in exit",
    "failed": "after init failed",
    "after": "after unload",
}
_MEMORY = frozenset(
    ("out-of-bounds", "use-after-free", "double-free", "invalid-free", "uninitialised-read", "leak", "oops")
)


def chains_of(finding: Finding) -> Iterator[tuple[str, Chain]]:
    """The calls that led to a finding, by name: "at" first, then where its object was made and where it was freed, if
    that is another place."""
    made, freed = (finding.object.made_at, finding.object.freed_at) if finding.object is not None else ((), ())
    is_where_made = bool(made) and made == finding.chain  # as of a leak
    yield "at", _from_own_line(finding.chain) if is_where_made else finding.chain
    if made and not is_where_made:
        yield origin_of(finding), _from_own_line(made)
    if freed:
        yield "freed at", _from_own_line(freed)


def _from_own_line(chain: Chain) -> Chain:
    """From the module's own line on: functions of the kernel's headers that are inlined there, as kmalloc(), say
    nothing more."""
    own = own_frame(chain)
    first = next((n for n, frame in enumerate(chain) if frame.module), 0)
    return chain[chain.index(own) :] if own is not None and first == 0 else chain


def finding_lines(finding: Finding, *, replay: str = "") -> Iterator[str]:
    """A finding as a person reads it. `replay` is the command that shows it again, up to the fault's ID."""
    yield f"{finding.severity}: {finding.kind}: {finding.message}"
    at, *others = chains_of(finding)
    yield from _chain(*at)
    if finding.object is not None:
        yield _row("object", finding.object.what)
    for name, chain in others:
        yield from _chain(name, chain)
    yield from _chain("other CPU", finding.other)
    if finding.schedule is not None:
        yield from _schedule(finding.schedule)
    if finding.fault:
        yield _row("fault", finding.fault)
        if replay:
            yield _row("repeat", f"{replay} --replay '{finding.fault}'")
    elif finding.stage:
        yield _row("when", _STAGES.get(finding.stage, finding.stage))
    for number, line in enumerate(advice_of(finding).splitlines()):
        yield _row("" if number else "fix", line)


_COLUMN = 38  # characters


def _schedule(schedule: TwoCpuSchedule) -> Iterator[str]:
    """The locks of both CPUs, and two columns of what they do."""
    for number, side in enumerate(schedule.sides):
        if side.locks is not None:
            yield _row("" if number else "locks held", f"CPU {side.cpu}: {', '.join(side.locks) or 'none'}")
    if schedule.common is not None:
        yield _row("", f"in common: {', '.join(schedule.common) or 'none'}")
    if schedule.blocks:
        first, second = schedule.sides
        yield _row(
            "held for", f"{schedule.blocks} basic blocks of CPU {second.cpu}, while CPU {first.cpu} stands still"
        )
    heads = [f"CPU {side.cpu}: {side.runs}" for side in schedule.sides]
    yield _row("schedule", _two_columns(heads[0], heads[1]))
    yield _row("", _two_columns("-" * _COLUMN, "-" * _COLUMN))
    for step in schedule.steps:
        for line in textwrap.wrap(step.text, _COLUMN):
            yield _row("", _two_columns(*(("", line) if step.side else (line, ""))))


def _two_columns(left: str, right: str) -> str:
    return f"{left:<{_COLUMN}} | {right}".rstrip()


def _row(name: str, text: str) -> str:
    return f"    {name:<13}{text}"


def _chain(name: str, chain: Chain) -> Iterator[str]:
    for number, frame in enumerate(chain[:12]):
        yield _row(("" if number else name), str(frame))
