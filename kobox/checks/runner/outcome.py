"""What came of one unit of a check, and the report of the whole check."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from kobox.checks.coverage.coverage import Coverage, Executed
from kobox.checks.faults.fault_injection import Fault
from kobox.checks.fuzz.program import Program
from kobox.checks.report.finding import Finding, Severity
from kobox.checks.report.known import KnownFinding
from kobox.checks.runner.minimise import Crash
from kobox.checks.runner.plan import CheckPlan, FoundPhantom
from kobox.checks.runner.timeline import TimelineEvent


@dataclass(frozen=True, slots=True)
class UnitOutcome:
    """What came of a unit. `reached` are the places where a call could fail, and the stage in which each was; `after`
    those reached after the fault; `injected` tells whether every fault had its turn; `ended` why it ended early."""

    findings: tuple[Finding, ...] = ()
    reached: tuple[tuple[Fault, str], ...] = ()
    after: tuple[Fault, ...] = ()
    injected: bool = True
    executed: Executed = field(default_factory=dict)
    programs: tuple[Program, ...] = ()
    calls: int = 0
    abandoned: int = 0
    files: tuple[str, ...] = ()
    crashes: tuple[Crash, ...] = ()
    left_out: tuple[str, ...] = ()
    events: tuple[TimelineEvent, ...] = ()
    release: str = ""
    lives: int = 0
    ended: str = ""
    seconds: float = 0.0
    unwatched: int = 0
    unchecked: tuple[str, ...] = ()
    raced: int = 0
    switched: int = 0
    schedules: int = 0
    asked: tuple[str, ...] = ()  # other kernels
    refused: tuple[str, ...] = ()  # those of them that refuse the file as it is
    device: FoundPhantom | None = None


@dataclass(slots=True)
class CheckReport:
    """What a check has found. `unchecked` says in sentences what was not looked at; `places` are the calls that could
    fail, with their stages; `tried` the faults that were injected; `elsewhere` the other kernels that were asked,
    `refused` those of them that refuse the file as it is;
    `seconds` wall time, by part."""

    plan: CheckPlan
    module: str
    release: str = ""
    findings: list[Finding] = field(default_factory=list)
    places: dict[Fault, str] = field(default_factory=dict)
    tried: int = 0
    skipped: int = 0
    lives: int = 0
    runs: int = 0
    ended: str = ""
    raced: int = 0
    switched: int = 0
    schedules: int = 0
    calls: int = 0
    abandoned: int = 0
    files: list[str] = field(default_factory=list)
    programs: tuple[Program, ...] = ()  # that the exercise found worth doing
    crashes: list[Crash] = field(default_factory=list)
    events: list[TimelineEvent] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    coverage: Coverage | None = None
    date: str = field(
        default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    )  # of its beginning, UTC
    unchecked: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    known: list[KnownFinding] = field(default_factory=list)  # found, and not counted

    def worst(self) -> Severity | None:
        """The severity of the worst finding; None when nothing was found."""
        return min((finding.severity for finding in self.findings), key=lambda one: one.rank, default=None)
