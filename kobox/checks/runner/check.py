"""A whole check of a module: load, exercise and unload it under all checks, then once more for every call that can
fail.

    report = check(CheckPlan("hello.ko", kernel="6.1.0-56-cloud-amd64"))
    for finding in report.findings:
        print(finding)

    life:  the module lives `loads` times with nothing failing          -> findings, coverage, the places where a call
    could fail fault: for each place (depth 2: each pair) a clean box, and that call fails  -> findings

A plan and a unit of it are small values that can be pickled: a worker needs them and a kernel's snapshot, nothing else.
"""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kobox.arch.registry import ARCHITECTURES, architecture
from kobox.box.boot.boot import boot
from kobox.checks.coverage.coverage import Coverage
from kobox.checks.faults.fault_injection import Faults, fault_id
from kobox.checks.fuzz.program import Program
from kobox.checks.phantom.buses import bus_of
from kobox.checks.races.data_races import CMDLINE as RACE_CMDLINE
from kobox.checks.races.data_races import CPUS
from kobox.checks.races.races import CMDLINE, Race, calls_of
from kobox.checks.report.finding import Finding, Severity, worst_first
from kobox.checks.runner.examiner import POINTS, VARIATIONS, Examiner, checks_of
from kobox.checks.runner.other_kernels import Elsewhere, look_elsewhere
from kobox.checks.runner.outcome import CheckReport, UnitOutcome
from kobox.checks.runner.plan import BUS_PARTS, HOSTILE_PARTS, CheckPlan, CheckUnit, FoundPhantom
from kobox.checks.runner.session import Exercise
from kobox.checks.runner.two_cpus import TwoCpuExaminer
from kobox.checks.runner.worker_pool import Pool, WorkerDied
from kobox.checks.variations.bus_errors import on_wires
from kobox.checks.variations.firmware import firmware_of
from kobox.checks.variations.slow_exit import STOPS
from kobox.errors import KoboxError
from kobox.images.store import Store
from kobox.isolation.wall import Wall
from kobox.ko.modulefile import ModuleFile
from kobox.machine.boards import machine_class

Progress = Callable[[str, int, int], None]

CIRCUMSTANCES = {
    "fetch": "; user space changes memory between two reads of it",
    "unplug": "; the device was taken out by surprise",
}
"""What is added to a finding that only a life under other circumstances has."""

_PARTS = {"race": "races", "datarace": "data races", "elsewhere": "elsewhere"} | dict.fromkeys(VARIATIONS, "variations")


def examine(plan: CheckPlan, exercise: Exercise | None = None) -> list[Finding]:
    """Load a module once, do the exercise, and unload it, in a box of its own and under all checks: what was found."""
    examiner = Examiner(replace(plan, exercise="none"))
    try:
        return worst_first(examiner.play(exercise))
    finally:
        examiner.box.close()


def check(plan: CheckPlan, progress: Progress | None = None) -> CheckReport:
    """Do the whole plan. Raises `KoboxError` when it cannot even begin; what goes wrong later is in the report."""
    return _Checking(plan, progress or (lambda *_: None)).run()


class _CheckWorker:
    """What one process of the pool does: units of one plan, in a box where it takes one.

    It is behind the wall (`kobox.isolation.wall`) from the moment that its box has booted. Two have none: one that
    builds the module for other kernels, since compilers are programs, and those of a check with an exercise file, which
    is Python of the user's own and may want more.
    """

    def __init__(self, plan: CheckPlan) -> None:
        self._plan = plan
        self._examiner: Examiner | None = None
        self._two_cpus: TwoCpuExaminer | None = None
        self._behind_wall = False

    def do(self, unit: CheckUnit) -> UnitOutcome:
        """Do one unit."""
        if unit.kind == "elsewhere":
            if not self._plan.source:
                self._raise_wall()
            return self._ask_elsewhere()
        if unit.kind == "datarace":
            self._two_cpus = self._two_cpus or TwoCpuExaminer(self._plan, self._raise_wall_once)
            return self._two_cpus.examine(unit)
        own_python = self._plan.exercise not in ("none", "auto")
        self._examiner = self._examiner or Examiner(
            self._plan, booted=(lambda: None) if own_python else self._raise_wall_once
        )
        return self._examiner.examine(unit)

    def _raise_wall_once(self) -> None:
        if not self._behind_wall:
            self._behind_wall = True
            self._raise_wall()

    def _raise_wall(self) -> None:
        if self._plan.races and has_two_cpus(self._plan):
            boot(self._plan.kernel, memory=self._plan.memory, cpus=CPUS, cmdline=RACE_CMDLINE).close()
        if self._plan.preempt or self._plan.race is not None:
            boot(self._plan.kernel, memory=self._plan.memory, cmdline=CMDLINE).close()  # behind it, no snapshot is kept
        store, plan = Store(), self._plan
        files = [plan.module, *plan.needs, *plan.fault_tables]
        kernels = [store.get(name) for name in (plan.kernel, *plan.elsewhere) if name is not None]
        places = [place for one in kernels for place in (one.modules, one.directory) if place is not None]
        Wall((store.root, *places, *(Path(file).resolve().parent for file in files))).raise_here()

    def _ask_elsewhere(self) -> UnitOutcome:
        begin, plan = time.monotonic(), self._plan
        source = Path(plan.source) if plan.source else None
        try:
            needs = [Path(path) for path in plan.needs]
            told = look_elsewhere(Path(plan.module), needs, plan.elsewhere, source, news=plan.elsewhere_named)
        except KoboxError as error:  # such as no compiler: the check of this kernel goes on
            told = Elsewhere(unchecked=(f"other kernels: {error.message}",))
        return UnitOutcome(
            told.findings,
            asked=told.asked,
            refused=told.refused,
            unchecked=told.unchecked,
            seconds=time.monotonic() - begin,
        )


def has_two_cpus(plan: CheckPlan) -> bool:
    """Whether boxes of the module's architecture have two CPUs."""
    return machine_class(architecture(ModuleFile(plan.module).elf.architecture)).most_cpus >= CPUS


def _is_elsewhere(unit: CheckUnit) -> bool:
    return unit.kind == "elsewhere"


class _Checking:
    """One check under way."""

    def __init__(self, plan: CheckPlan, progress: Progress) -> None:
        self.plan = plan
        self.progress = progress
        self.begin = time.monotonic()
        file = ModuleFile(plan.module)
        watched = [arch.name for arch in ARCHITECTURES if arch.watched]
        if file.elf.architecture not in watched:
            runs = any(arch.elf_machine == file.elf.machine for arch in ARCHITECTURES)
            raise KoboxError(
                f"{plan.module}: a module for {file.elf.architecture}; kobox checks those for {', '.join(watched)}",
                hint="`kobox run` loads it and shows what the kernel says." if runs else "",
            )
        self.report = CheckReport(plan, file.name, coverage=Coverage(file))
        self.keys: set[Any] = set()
        self.queued: set[Faults] = set()
        self.done = 0
        self.programs: tuple[Program, ...] = ()
        self.races = 0

    def run(self) -> CheckReport:
        if self._wants_phantom():
            self._find_phantom()
        plan, report = self.plan, self.report
        assert report.coverage is not None
        report.unchecked += checks_of(plan.checks)[1]
        workers = plan.workers or min(os.cpu_count() or 1, 8)
        with Pool[CheckUnit, UnitOutcome](lambda: _CheckWorker(plan).do, workers, apart=_is_elsewhere) as pool:
            if plan.race is not None:
                pool.submit(CheckUnit("race", races=(plan.race,)))
            elif plan.data_race is not None:
                pool.submit(CheckUnit("datarace"))
            else:
                # What the generic exercise does in a run with a fault, it must find out in a life without one.
                alone = plan.replay and plan.exercise != "auto"
                pool.submit(CheckUnit("fault", plan.replay) if alone else CheckUnit("life"))
                if plan.faults and not plan.replay:  # while one worker lives that life, the others get ready
                    for _ in range(1, workers):
                        pool.submit(CheckUnit("warm"))
                if not plan.replay and firmware_of(ModuleFile(plan.module)):
                    pool.submit(CheckUnit("firmware"))
            if plan.elsewhere and not plan.replay and plan.race is None and plan.data_race is None:
                pool.submit(CheckUnit("elsewhere"))
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

    def _wants_phantom(self) -> bool:
        plan = self.plan
        return plan.phantom and plan.device is None and bus_of(ModuleFile(plan.module)) is not None

    def _find_phantom(self) -> None:
        """A device for a driver, found in a worker of its own: all other workers plug it in."""
        with Pool[CheckUnit, UnitOutcome](lambda: _CheckWorker(self.plan).do, 1) as pool:
            pool.submit(CheckUnit("phantom"))
            for _, outcome in pool.results():
                found = outcome.device if isinstance(outcome, UnitOutcome) else None
                if isinstance(found, FoundPhantom):
                    self.plan = self.report.plan = replace(self.plan, device=found)
                else:
                    why = "; ".join(outcome.unchecked) if isinstance(outcome, UnitOutcome) else str(outcome)
                    self.report.unchecked.append(f"with a device: {why or 'no phantom was found'}"[:300])

    def _take(self, pool: Pool[CheckUnit, UnitOutcome], unit: CheckUnit, outcome: UnitOutcome | WorkerDied) -> None:
        if unit.kind == "warm":
            return
        self.done += 1
        if not isinstance(outcome, UnitOutcome | WorkerDied):  # from a worker that its module has taken over
            outcome = WorkerDied(f"it answered with a {type(outcome).__name__}")
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
                self.report.findings.append(
                    replace(finding, message=finding.message + CIRCUMSTANCES.get(unit.kind, ""))
                )
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
        elif unit.kind in VARIATIONS:
            pass
        elif unit.kind == "datarace":
            self.report.schedules += outcome.schedules
            self.report.unchecked += outcome.unchecked
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

    def _learn(self, pool: Pool[CheckUnit, UnitOutcome], outcome: UnitOutcome) -> None:
        report = self.report
        report.lives, report.ended = outcome.lives, outcome.ended
        report.calls, report.abandoned, report.files = outcome.calls, outcome.abandoned, list(outcome.files)
        report.crashes, report.events = list(outcome.crashes), list(outcome.events)
        self.programs = report.programs = outcome.programs
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
        if outcome.lives:
            self._submit_variations(pool, outcome)
        if self.plan.races and outcome.lives and has_two_cpus(self.plan):
            pool.submit(CheckUnit("datarace", programs=outcome.programs if outcome.files else ()))
        if self.plan.preempt:
            pairs = itertools.islice(
                calls_of(outcome.programs, random.Random(self.plan.seed)), self.plan.preempt // POINTS
            )
            for setup, first, second in pairs:
                self.races += 1
                pool.submit(CheckUnit("race", races=(Race(setup, first, second, 0),)))
            if self.races == 1:  # what the module does by itself
                report.unchecked.append("races: the exercise found no calls that two processes could make at once")

    def _submit_variations(self, pool: Pool[CheckUnit, UnitOutcome], outcome: UnitOutcome) -> None:
        """Lives under other circumstances, where they can make a difference."""
        imports = {wanted.name for wanted in ModuleFile(self.plan.module).imports}
        for kind, matters in (
            ("busy", bool(outcome.files)),
            ("fetch", bool(outcome.programs) and any("from_user" in name or "get_user" in name for name in imports)),
            ("firmware", bool(outcome.programs) and bool(firmware_of(ModuleFile(self.plan.module)))),
            ("slow", not imports.isdisjoint(STOPS)),
            ("unplug", self.plan.device is not None),
        ):
            if matters:
                pool.submit(CheckUnit(kind, programs=outcome.programs))
        if self.plan.device is not None and on_wires(self.plan.device.identity):
            for part in range(BUS_PARTS):
                pool.submit(CheckUnit("bus", programs=outcome.programs, part=part))
        if self.plan.hostile and self.plan.device is not None:
            for part in range(HOSTILE_PARTS):
                pool.submit(CheckUnit("hostile", programs=outcome.programs, part=part))

    def _submit(self, pool: Pool[CheckUnit, UnitOutcome], runs: Sequence[Faults]) -> None:
        for faults in runs:
            if faults not in self.queued:
                self.queued.add(faults)
                pool.submit(CheckUnit("fault", faults, self.programs))
