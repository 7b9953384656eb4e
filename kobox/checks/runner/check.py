"""A whole check of a module: load, exercise and unload it under all checks, then once again for each call of its that
can fail.

    report = check(Plan("hello.ko", kernel="6.1.0-56-cloud-amd64"))
    for finding in report.findings:
        print(finding)

    life:  the module lives `loads` times with nothing failing          -> findings, coverage, the places where a call
    could fail fault: for each place (depth 2: each pair) a clean box, and that call fails  -> findings

A plan and a unit of it are small values that can be pickled: a worker needs them and a kernel's snapshot, nothing else.
"""

from __future__ import annotations

import importlib
import itertools
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kobox.box.guest.scheduler import BLOCKS_A_SECOND
from kobox.checks.coverage.coverage import Coverage, CoverageCheck, Executed
from kobox.checks.faults.fault_injection import Fault, FaultInjection, Faults, FaultSites, FaultTable, fault_id
from kobox.checks.fuzz.exercise import GenericExercise, Program, Steps, TestFile, exercise_of
from kobox.checks.module.files import Surroundings, Target
from kobox.checks.races.races import CMDLINE, REMOVE, Interrupted, Race, Traced, calls_of, points_of
from kobox.checks.report.finding import Chain, Finding, Severity, worst_first
from kobox.checks.runner.minimise import Crash, shrink
from kobox.checks.runner.other_kernels import Elsewhere, look_elsewhere
from kobox.checks.runner.session import Check, Examination, Exercise
from kobox.checks.runner.timeline import Event, Timeline
from kobox.checks.runner.worker_pool import Pool, WorkerDied
from kobox.errors import BoxHungError, KoboxError
from kobox.ko.modulefile import ModuleFile

if TYPE_CHECKING:
    from kobox.box.box import Box

Progress = Callable[[str, int, int], None]

CHECKS = (
    "kobox.checks.memory.memory:Memory",
    "kobox.checks.resources.left_behind:LeftBehind",
    "kobox.checks.context.context:Context",
    "kobox.checks.lint:Rules",
)
"""The checks that watch every run, as module:class."""

_FAULT_CPU = 3.0  # virtual seconds of CPU time that a call may burn in a run with a fault
_LIFE_CPU = 30.0
_FAULT_SECONDS, _LIFE_SECONDS = 6.0, 20.0  # of this process's CPU time that a call may take
_SLOWER = 4  # times as long as any call took before, it may always take
POINTS = 8
"""At how many points two calls are tried against each other at most."""
_PARTS = {"race": "races", "elsewhere": "elsewhere"}
_CRASHES = 4  # findings of the generic exercise that are made short


@dataclass(frozen=True, slots=True)
class Plan:
    """What to check, and how. `module` is the path of a .ko file, `needs` those that are loaded before it; `kernel` a
    name in the cache; `exercise` is none, auto or the path of a Python file; `seconds` bounds the whole check in wall
    time. `elsewhere` are other kernels of the cache that are asked whether they would load it; with the `source` that
    it was built from, it is built for each. That they refuse a file which was built for another is a finding only when
    they were named (`elsewhere_named`)."""

    module: str
    kernel: str | None = None
    needs: tuple[str, ...] = ()
    parameters: str = ""
    exercise: str = "auto"
    loads: int = 3
    faults: bool = True
    depth: int = 1
    fault_tables: tuple[str, ...] = ()
    replay: Faults = ()
    preempt: int = 0
    race: Race | None = None
    seed: int = 0
    seconds: float = 60.0
    workers: int = 0
    checks: tuple[str, ...] = CHECKS
    memory: int = 256 << 20
    elsewhere: tuple[str, ...] = ()
    elsewhere_named: bool = False
    source: str = ""


@dataclass(frozen=True, slots=True)
class Unit:
    """One run: a module's life, with what fails in it."""

    kind: str  # life, fault, race; elsewhere: no run; warm: nothing comes of it but a worker that is ready
    faults: Faults = ()
    programs: tuple[Program, ...] = ()
    races: tuple[Race, ...] = ()  # one; at point 0: at all points that matter, POINTS of them at most

    def __str__(self) -> str:
        return fault_id(self.faults) or (self.races[0].words if self.races else self.kind)


@dataclass(frozen=True, slots=True)
class Outcome:
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
    events: tuple[Event, ...] = ()
    release: str = ""
    lives: int = 0
    ended: str = ""
    seconds: float = 0.0
    unwatched: int = 0
    unchecked: tuple[str, ...] = ()
    raced: int = 0
    switched: int = 0
    asked: tuple[str, ...] = ()  # other kernels
    refused: tuple[str, ...] = ()  # those of them that refuse the file as it is


@dataclass(slots=True)
class Report:
    """What a check has found. `unchecked` says in sentences what was not looked at; `places` are the calls that could
    fail, with their stages; `tried` the faults that were injected; `elsewhere` the other kernels that were asked,
    `refused` those of them that refuse the file as it is;
    `seconds` wall time, by part."""

    plan: Plan
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
    calls: int = 0
    abandoned: int = 0
    files: list[str] = field(default_factory=list)
    crashes: list[Crash] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    coverage: Coverage | None = None
    unchecked: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def worst(self) -> Severity | None:
        """The severity of the worst finding; None when nothing was found."""
        return min((finding.severity for finding in self.findings), key=lambda one: one.rank, default=None)


class Examiner:
    """Does units of one plan in a box of its own."""

    def __init__(self, plan: Plan, cmdline: str = "") -> None:
        from kobox.box.boot.boot import boot

        self.plan = plan
        self._racing: Examiner | None = None
        self._longest = 0.0, 0.0  # that a call took with nothing failing: the box's CPU time, and this process's
        self.file = ModuleFile(plan.module)
        self.box: Box = boot(plan.kernel, memory=plan.memory, cmdline=cmdline)
        for path in plan.needs:
            self.box.insmod(path)
        _load_dependencies(self.box, self.file)
        self.box.keep_as_start()
        btf = self.box.symbols.btf
        self.sites = FaultSites(
            self.file,
            FaultTable(*map(Path, plan.fault_tables)),
            lambda function: [parameter.name for parameter in btf.parameters(function) or ()],
        )
        self.box.reset()
        self.exercise = exercise_of(plan.exercise) if plan.exercise != "auto" else None
        self.surroundings = Surroundings(self.box) if plan.exercise == "auto" else None

    def examine(self, unit: Unit) -> Outcome:
        """Do one unit."""
        begin = time.monotonic()
        if unit.races:
            self._racing = self._racing or Examiner(replace(self.plan, exercise="none"), CMDLINE)
            return self._racing.race(unit.races[0])
        if unit.kind == "warm":
            self.play(None, faulty=False)
            return Outcome()
        faulty = unit.kind == "fault"
        injection = FaultInjection(self.sites, unit.faults, learn=not faulty or self.plan.depth > 1)
        checks, _ = checks_of(self.plan.checks)
        coverage, timeline = CoverageCheck(self.sites.code), Timeline()
        injection.on_reached = lambda fault: timeline.note("call", f"{fault.function}() at {'/'.join(fault.path)}")
        examination = Examination(
            self.box,
            self.file,
            [*checks, injection, coverage, *([] if faulty else [timeline])],
            parameters=self.plan.parameters,
            loads=1 if faulty or self.plan.replay else self.plan.loads,
        )
        examination.fault = fault_id(unit.faults)
        self._limit(faulty)
        exercise = self._exercise(unit, coverage, timeline)
        if isinstance(exercise, GenericExercise):
            exercise.found = lambda: len(examination.findings)
        if isinstance(exercise, TestFile):
            findings = _at_once(examination.drive(exercise.tests(Path(self.plan.module).resolve())))
        else:
            findings = _at_once(examination.run(exercise))
        generic = exercise if isinstance(exercise, GenericExercise) else None
        keys = [finding.key for finding in examination.findings]
        crashes = self._crashes(findings, keys, generic) if generic else ()
        return Outcome(
            findings=tuple(_blame(finding, injection) for finding in findings),
            reached=tuple(injection.reached.items()),
            after=tuple(injection.after),
            executed=coverage.executed,
            programs=tuple(generic.corpus) if generic else (),
            calls=generic.made if generic else 0,
            abandoned=generic.abandoned if generic else 0,
            files=tuple(generic.files) if generic else (),
            crashes=crashes,
            left_out=tuple(exercise.left_out) if isinstance(exercise, TestFile) else (),
            events=timeline.events if not faulty else (),
            injected=len(injection.injected) == len(unit.faults),
            release=self.box.release,
            lives=examination.lives,
            ended=str(examination.error or "").split("\n", 1)[0],
            seconds=time.monotonic() - begin,
            unwatched=max(0, len(self.sites) - injection.limit),
            unchecked=tuple(examination.unchecked),
        )

    def _limit(self, faulty: bool) -> None:
        """Bound each call, in CPU time of the box and of this process: a loop in code that is watched is slow. What the
        machine's other processes do must not make a call look as if it hung, nor may a call that is long by nature."""
        self.box.limits.cpu = max(_FAULT_CPU if faulty else _LIFE_CPU, _SLOWER * self._longest[0])
        patience = max(_FAULT_SECONDS if faulty else _LIFE_SECONDS, _SLOWER * self._longest[1])
        machine, calls, since = self.box.machine, -1, (0, 0.0)

        def look() -> None:
            nonlocal calls, since
            now = machine.blocks, time.process_time()
            burnt, spent = (now[0] - since[0]) / BLOCKS_A_SECOND, now[1] - since[1]
            if (made := machine.progress()) != calls:
                calls, since = made, now
            elif spent > patience:
                where = self.box.symbols.describe(machine.pc)
                raise BoxHungError(f"a call has not come back after {patience:g} s of CPU time", pc=where)
            elif not faulty:
                self._longest = max(self._longest[0], burnt), max(self._longest[1], spent)

        self.box.on_slice = look

    def race(self, race: Race) -> Outcome:
        """Interrupt a call at its point, or, where that is 0, at each point that matters."""
        begin = time.monotonic()
        points = [race.point] if race.point else self._points(race)
        findings: list[Finding] = []
        switched = 0
        for point in points:
            exercise = Interrupted(replace(race, point=point), self.file.name)
            stages = ("exercise", "exit", "after") if race.second == REMOVE else ("exercise",)
            found = [finding for finding in self.play(exercise) if finding.stage in stages or finding.records]
            findings += [
                replace(finding, fault=str(exercise.race), message=f"{finding.message}; {exercise.race.words}")
                for finding in found
            ]
            switched += exercise.switched
        return Outcome(
            findings=tuple(findings),
            release=self.box.release,
            lives=1,
            seconds=time.monotonic() - begin,
            raced=len(points),
            switched=switched,
        )

    def _points(self, race: Race) -> list[int]:
        traced = Traced(race.setup, race.first)
        coverage = CoverageCheck(self.sites.code)
        examination = Examination(self.box, self.file, [coverage], parameters=self.plan.parameters)
        examination.run(traced)
        if examination.placement is None:
            return []
        located = self.sites.code.located(examination.placement)
        chance = random.Random(f"{self.plan.seed} {race}")
        return points_of(traced.addresses, self.sites.code, located, POINTS, chance)

    def _crashes(
        self, findings: Sequence[Finding], keys: Sequence[Any], exercise: GenericExercise
    ) -> tuple[Crash, ...]:
        """What led to the findings of the exercise, made short. `keys` are those of all findings, in order."""
        found = []
        for finding in [finding for finding in findings if finding.stage == "exercise"][:_CRASHES]:

            def still(programs: Sequence[Program], key: Any = finding.key) -> bool:
                return any(other.key == key for other in self.play(Steps(*programs)))

            programs = exercise.led_to(keys.index(finding.key) if finding.key in keys else len(keys))
            found.append(Crash(finding, shrink(programs, still)))
        return tuple(found)

    def play(self, exercise: Exercise | None, *, faulty: bool = True) -> list[Finding]:
        """One life with an exercise under all checks. Without `faulty`, calls may take longer."""
        examination = Examination(self.box, self.file, checks_of(self.plan.checks)[0], parameters=self.plan.parameters)
        self._limit(faulty)
        return _at_once(examination.run(exercise))

    def _exercise(self, unit: Unit, coverage: CoverageCheck, timeline: Timeline) -> Exercise | TestFile | None:
        """What is done between load and unload: in the first life the generic exercise explores, later runs repeat its
        corpus."""
        if self.surroundings is None:
            return self.exercise
        if unit.faults:
            return Steps(*unit.programs)
        from kobox.checks.fuzz.seeds import material_of

        surroundings, name = self.surroundings, self.file.name
        material = material_of(self.sites.code)

        def files(box: Box) -> list[Target]:
            found = surroundings.new_files(box, name)
            for target in found:
                timeline.note("file", target.path)
            return found

        return GenericExercise(material, files, coverage.count, self.plan.seed)


def examine(plan: Plan, exercise: Exercise | None = None) -> list[Finding]:
    """Load a module once, do the exercise, and unload it, in a box of its own and under all checks: what was found."""
    examiner = Examiner(replace(plan, exercise="none"))
    try:
        return worst_first(examiner.play(exercise))
    finally:
        examiner.box.close()


def check(plan: Plan, progress: Progress | None = None) -> Report:
    """Do the whole plan. Raises `KoboxError` when it cannot even begin; what goes wrong later is in the report."""
    return _Checking(plan, progress or (lambda *_: None)).run()


class _Worker:
    """What one process of the pool does: units of one plan, in a box where it takes one."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._examiner: Examiner | None = None

    def do(self, unit: Unit) -> Outcome:
        """Do one unit."""
        if unit.kind == "elsewhere":
            return self._ask_elsewhere()
        self._examiner = self._examiner or Examiner(self._plan)
        return self._examiner.examine(unit)

    def _ask_elsewhere(self) -> Outcome:
        begin, plan = time.monotonic(), self._plan
        source = Path(plan.source) if plan.source else None
        try:
            needs = [Path(path) for path in plan.needs]
            told = look_elsewhere(Path(plan.module), needs, plan.elsewhere, source, news=plan.elsewhere_named)
        except KoboxError as error:  # such as no compiler: the check of this kernel goes on
            told = Elsewhere(unchecked=(f"other kernels: {error.message}",))
        return Outcome(
            told.findings,
            asked=told.asked,
            refused=told.refused,
            unchecked=told.unchecked,
            seconds=time.monotonic() - begin,
        )


class _Checking:
    """One check under way."""

    def __init__(self, plan: Plan, progress: Progress) -> None:
        self.plan = plan
        self.progress = progress
        self.begin = time.monotonic()
        file = ModuleFile(plan.module)
        if file.elf.architecture != "x86_64":
            raise KoboxError(f"{plan.module}: a module for {file.elf.architecture}; boxes run those for x86_64")
        self.report = Report(plan, file.name, coverage=Coverage(file))
        self.keys: set[Any] = set()
        self.queued: set[Faults] = set()
        self.done = 0
        self.programs: tuple[Program, ...] = ()
        self.races = 0

    def run(self) -> Report:
        plan, report = self.plan, self.report
        assert report.coverage is not None
        report.unchecked += checks_of(plan.checks)[1]
        workers = plan.workers or min(os.cpu_count() or 1, 8)
        with Pool[Unit, Outcome](lambda: _Worker(plan).do, workers) as pool:
            if plan.race is not None:
                pool.submit(Unit("race", races=(plan.race,)))
            else:
                # What the generic exercise does in a run with a fault, it must find out in a life without one.
                alone = plan.replay and plan.exercise != "auto"
                pool.submit(Unit("fault", plan.replay) if alone else Unit("life"))
                if plan.faults and not plan.replay:  # while one worker lives that life, the others get ready
                    for _ in range(1, workers):
                        pool.submit(Unit("warm"))
            if plan.elsewhere and not plan.replay and plan.race is None:
                pool.submit(Unit("elsewhere"))
            for unit, outcome in pool.results():
                self._take(pool, unit, outcome)
                if time.monotonic() - self.begin > plan.seconds:
                    report.skipped += len(pool.withdraw())
        if not report.coverage.file.debug.available:
            report.unchecked.append(
                "lines and local variables: the module has no debugging information (build it with -g)"
            )
        if never := report.coverage.never_reached():
            what = "1 function" if len(never) == 1 else f"{len(never)} functions"
            report.unchecked.append(f"{what} that no run reached: {', '.join(never[:6])}{' …' * (len(never) > 6)}")
        report.findings = worst_first(report.findings)
        report.seconds["all"] = time.monotonic() - self.begin
        if report.raced and not report.switched:
            report.unchecked.append("races: this kernel did not switch to another process within the module's code")
        if report.skipped:
            report.unchecked.append(f"{report.skipped} runs: the time was over after {plan.seconds:g} s (--time)")
        return report

    def _take(self, pool: Pool[Unit, Outcome], unit: Unit, outcome: Outcome | WorkerDied) -> None:
        if unit.kind == "warm":
            return
        self.done += 1
        if isinstance(outcome, WorkerDied):
            self.report.unchecked.append(f"{unit}: {outcome}")
            advice = (
                "The mistake is kobox's, but this run has brought it about: what the module did in it is not known."
            )
            message = f"{outcome}: {unit}"
            self.report.findings.append(
                Finding("not-finished", Severity.ERROR, message, fault=fault_id(unit.faults), advice=advice)
            )
            return
        for finding in () if unit.kind == "life" and self.plan.replay else outcome.findings:
            if finding.key not in self.keys:
                self.keys.add(finding.key)
                self.report.findings.append(finding)
        part = _PARTS.get(unit.kind, "faults" if unit.faults else "lives")
        self.report.seconds[part] = self.report.seconds.get(part, 0.0) + outcome.seconds
        if unit.kind == "elsewhere":
            self.report.elsewhere += outcome.asked
            self.report.refused += outcome.refused
            self.report.unchecked += outcome.unchecked
            return
        self.report.runs += 1
        self.report.release = outcome.release
        assert self.report.coverage is not None
        self.report.coverage.add(outcome.executed)
        if unit.kind == "life":
            self._learn(pool, outcome)
        elif unit.races:
            self.report.raced += outcome.raced
            self.report.switched += outcome.switched
        elif not outcome.injected:
            self.report.unchecked.append(f"{unit}: this place was not reached again")
        else:
            self.report.tried += 1
            if self.plan.depth > 1 and len(unit.faults) < self.plan.depth and not self.plan.replay:
                self._submit(pool, [(*unit.faults, other) for other in outcome.after])
        self.progress("faults" if unit.faults else "runs", self.done, len(self.queued) + self.races + 1)

    def _learn(self, pool: Pool[Unit, Outcome], outcome: Outcome) -> None:
        report = self.report
        report.lives, report.ended = outcome.lives, outcome.ended
        report.calls, report.abandoned, report.files = outcome.calls, outcome.abandoned, list(outcome.files)
        report.crashes, report.events = list(outcome.crashes), list(outcome.events)
        self.programs = outcome.programs
        report.places = dict(outcome.reached)
        if outcome.unwatched:
            report.unchecked.append(f"{outcome.unwatched} calls that could fail: too many in one module to watch")
        report.unchecked += outcome.unchecked
        report.unchecked += [f"test left out: {text}" for text in outcome.left_out]
        if outcome.ended:
            report.unchecked.append(f"what comes after: {outcome.ended}")
        if self.plan.replay:
            report.places.clear()
            self._submit(pool, [self.plan.replay])
            return
        if self.plan.faults:
            self._submit(pool, [(fault,) for fault in report.places])
        if self.plan.preempt:
            pairs = itertools.islice(
                calls_of(outcome.programs, random.Random(self.plan.seed)), self.plan.preempt // POINTS
            )
            for setup, first, second in pairs:
                self.races += 1
                pool.submit(Unit("race", races=(Race(setup, first, second, 0),)))
            if self.races == 1:  # what the module does by itself
                report.unchecked.append("races: the exercise found no calls that two processes could make at once")

    def _submit(self, pool: Pool[Unit, Outcome], runs: Sequence[Faults]) -> None:
        for faults in runs:
            if faults not in self.queued:
                self.queued.add(faults)
                pool.submit(Unit("fault", faults, self.programs))


def checks_of(names: Sequence[str]) -> tuple[list[Check], list[str]]:
    """New checks by their names, and sentences about those that there are not."""
    found, missing = [], []
    for name in names:
        module, _, kind = name.partition(":")
        try:
            found.append(getattr(importlib.import_module(module), kind)())
        except ImportError as error:
            missing.append(f"{kind}: {error}")
    return found, missing


def _load_dependencies(box: Box, file: ModuleFile) -> None:
    """Load what the module needs of the kernel's own tree."""
    present = set(box.modules())
    for name in file.depends:
        if name.replace("-", "_") not in present:
            try:
                box.modprobe(name)
            except LookupError:  # the kernel will say what it misses
                continue


def _blame(finding: Finding, injection: FaultInjection) -> Finding:
    """A wild access with the very value that the failed call has returned: its result is used unchecked."""
    if not injection.injected or finding.kind not in ("oops", "wild-access"):
        return finding
    address = _address_in(finding)
    for fault in reversed(injection.injected):
        failure = injection.sites.failure(fault)
        if failure is None or address is None or not _near(address, failure.value):
            continue
        called, where = _called_by(injection.chain, fault)
        return replace(
            finding,
            kind="unchecked-return",
            message=f"what {called}() returned is used unchecked: it failed and returned {failure.text}",
            advice=f"Test what {called}() returns at {where}, and leave by the error path.",
        )
    return finding


def _called_by(chain: Chain, fault: Fault) -> tuple[str, str]:
    """(what the source calls the function that was made to fail, where it does so): kmalloc() is an inline function."""
    own = next((n for n, frame in enumerate(chain) if not frame.inlined), None)
    if not chain or own is None or not chain[0].line:
        return fault.function, fault.site
    where = next((frame for frame in chain if frame.line and not frame.file.startswith("include/")), chain[0])
    outside = [frame.function for frame in chain[: chain.index(where)]]
    return (outside[-1] if outside else fault.function), f"{where.file}:{where.line}"


def _at_once(findings: list[Finding]) -> list[Finding]:
    """What the checks saw coming and the kernel then said as well is one finding: that of the check, with the kernel's
    lines."""
    seen = {_spot(finding): n for n, finding in enumerate(findings) if not finding.records and finding.where}
    out: list[Finding | None] = list(findings)
    for n, finding in enumerate(findings):
        first = seen.get(_spot(finding)) if finding.records and finding.kind in ("oops", "panic") else None
        if first is not None and (other := out[first]) is not None:
            out[first] = replace(other, records=finding.records)
            out[n] = None
    return [finding for finding in out if finding is not None]


def _spot(finding: Finding) -> tuple[str, str, int]:
    where = finding.where
    return ("", "", 0) if where is None else (where.module, where.function, where.line or where.offset)


def _near(address: int, value: int) -> bool:
    """Whether an address is a failed call's result plus the offset of a member."""
    return 0 <= (address - value) & (1 << 64) - 1 < 0x10000 and (value == 0 or value >> 63 == 1)


def _address_in(finding: Finding) -> int | None:
    """The address that an access was refused for."""
    import re

    if finding.thing is not None and finding.thing.address:
        return finding.thing.address
    for text in [finding.message, *(record.text for record in finding.records)]:
        if found := re.search(r"address:? (?:0x)?([0-9a-f]{1,16})\b", text):
            return int(found[1], 16)
    return None
