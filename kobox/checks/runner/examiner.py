"""Does the units of a plan in a box: lives, runs with faults, races."""

from __future__ import annotations

import importlib
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kobox.box.events import MachineStep
from kobox.box.guest.scheduler import BLOCKS_A_SECOND
from kobox.box.inspect.init_cause import init_cause
from kobox.box.inspect.init_trace import trace_init
from kobox.checks.coverage.coverage import CoverageCheck
from kobox.checks.faults.fault_injection import Fault, FaultInjection, FaultSites, FaultTable, fault_id
from kobox.checks.fuzz.comparisons import ComparisonTap
from kobox.checks.fuzz.exercise import GenericExercise
from kobox.checks.fuzz.exercise_file import TestFile, exercise_of
from kobox.checks.fuzz.player import Steps
from kobox.checks.fuzz.program import Program
from kobox.checks.module.files import FileTargets, Target
from kobox.checks.phantom.attempt import waits_for_device
from kobox.checks.phantom.search import PhantomSearch
from kobox.checks.phantom.surround import surround
from kobox.checks.races.races import CMDLINE, REMOVE, Interrupted, Race, Traced, points_of
from kobox.checks.report.finding import Chain, Finding, FindingKey, Severity
from kobox.checks.resources.handed_over import NEVER_COMPLETED
from kobox.checks.runner.minimise import Crash, shrink
from kobox.checks.runner.outcome import UnitOutcome
from kobox.checks.runner.plan import BUS_PARTS, HOSTILE_PARTS, CheckPlan, CheckUnit, FoundPhantom
from kobox.checks.runner.session import Check, Examination, Exercise
from kobox.checks.runner.timeline import Timeline
from kobox.checks.variations.bus_errors import bus_errors, on_a_bus_that_fails
from kobox.checks.variations.busy import unload_while_open
from kobox.checks.variations.double_fetch import ChangingUser
from kobox.checks.variations.firmware import CONTENTS, FirmwareFiles, firmware_of
from kobox.checks.variations.hostile_device import PhantomCheck, device_controlled, interrupted, lies, taken_out
from kobox.checks.variations.slow_exit import SlowExit
from kobox.devices.phantom_kinds import Phantom, phantom_of
from kobox.devices.phantom_policy import Lie, LieKind
from kobox.errors import BoxHungError, KoboxError, ModuleLoadError
from kobox.ko.modulefile import ModuleFile
from kobox.machine.native_core import Event

if TYPE_CHECKING:
    from kobox.box.box import Box

_FAULT_CPU = 3.0  # virtual seconds of CPU time that a call may burn in a run with a fault
_LIFE_CPU = 30.0
_FAULT_SECONDS, _LIFE_SECONDS = 5.0, 10.0  # of this process's CPU time that a call may take
_WHOLE = 2  # times the check's time, in CPU time of the box: what one unit gets, whatever its calls answer
_LEAST, _LAST = 30.0, 5.0  # of this process's CPU time that a unit gets at least, and what is left for its end
_SHARES = 6  # a life's exercise takes this part of the check's time at most
_SLEEPS = " blocked for more than "  # kernel/hung_task.c
_LOOPED = 10_000_000  # instructions of the module: what a loop executes that nobody ends
_DEAR = 4  # times as long may a call take that executes fewer
_SLOWER = 4  # times as long as any call took before, it may always take
VARIATIONS = ("busy", "firmware", "fetch", "slow", "unplug", "bus", "hostile")
"""Kinds of units that are lives under other circumstances."""
_SAME = 300
"""So many slices of the CPU's time (some 3 ms each) that end in the same state of the registers, within one call,
are an endless loop: nothing in it counts or changes."""
POINTS = 8
"""At how many points two calls are tried against each other at most."""
WAITS = 20_000  # reads of one register of a device that is made up: the driver waits for it
PHANTOM_ATTEMPTS = 100
_CRASHES = 3  # findings of the generic exercise that are made short


class Examiner:
    """Does units of one plan in a box of its own."""

    def __init__(self, plan: CheckPlan, cmdline: str = "", booted: Callable[[], None] = lambda: None) -> None:
        """`booted()` is called when the box is there, before anything of a module is read or run."""
        from kobox.box.boot.boot import boot

        self.plan = plan
        self._racing: Examiner | None = None
        self._undo_limit: Callable[[], None] = lambda: None
        self._end = math.inf  # of the unit that is done, by this process's CPU time
        self._longest = 0.0, 0.0  # that a call took with nothing failing: the box's CPU time, and this process's
        self.box: Box = boot(plan.kernel, memory=plan.memory, cmdline=cmdline)
        booted()
        self.box.events.step.subscribe(self._within_the_unit)
        self.file = ModuleFile(plan.module)
        for path in plan.needs:
            self.box.insmod(path)
        load_dependencies(self.box, self.file)
        self.device: Phantom | None = None
        if plan.device is not None:
            device = phantom_of(plan.device.identity, plan.device.policy)
            surround(self.box, device)
            self.device = self.box.plug(device)
        self.box.set_reset_point()
        btf = self.box.inspect.symbols.btf
        self.sites = FaultSites(
            self.file,
            FaultTable(*map(Path, plan.fault_tables)),
            lambda function: [parameter.name for parameter in btf.parameters(function) or ()],
        )
        self.box.reset()
        self.exercise = exercise_of(plan.exercise) if plan.exercise != "auto" else None
        self.surroundings = FileTargets(self.box) if plan.exercise == "auto" else None

    def examine(self, unit: CheckUnit) -> UnitOutcome:
        """Do one unit."""
        reads = self.device.most_reads if self.device is not None else 0
        self._end = time.process_time() + max(self.plan.seconds, _LEAST)
        outcome = self._examine(unit)
        if self.device is None or unit.kind == "hostile":
            return outcome
        waits = self.device.most_reads - reads > WAITS
        return replace(outcome, findings=tuple(by_what_is_made_up(one, waits) for one in outcome.findings))

    def _examine(self, unit: CheckUnit) -> UnitOutcome:
        begin = time.monotonic()
        if unit.races:
            self._racing = self._racing or Examiner(replace(self.plan, exercise="none"), CMDLINE)
            return self._racing.race(unit.races[0])
        if unit.kind == "warm":
            self.play(None, faulty=False)
            return UnitOutcome()
        if unit.kind == "phantom":
            try:
                return UnitOutcome(device=self._find_phantom())
            except KoboxError as error:
                return UnitOutcome(unchecked=(error.message.split("\n", 1)[0],))
        if unit.kind in VARIATIONS:
            return self._vary(unit)
        faulty = unit.kind == "fault"
        injection = FaultInjection(self.sites, unit.faults, learn=not faulty or self.plan.depth > 1)
        checks, _ = checks_of(self.plan.checks)
        coverage, timeline = CoverageCheck(self.sites.code), Timeline()
        tap = ComparisonTap(self.sites.code)
        taps = [tap] if self.surroundings is not None and not faulty else []
        injection.on_reached = lambda fault: timeline.note("call", f"{fault.function}() at {'/'.join(fault.path)}")
        examination = Examination(
            self.box,
            self.file,
            [*self._attending(), *checks, injection, coverage, *taps, *([] if faulty else [timeline])],
            parameters=self.plan.parameters,
            loads=1 if faulty or self.plan.replay else self.plan.loads,
        )
        examination.fault = fault_id(unit.faults)
        self._limit(faulty)
        exercise = self._exercise(unit, coverage, timeline)
        if isinstance(exercise, GenericExercise):
            exercise.found = lambda: len(examination.findings)
            exercise.variants = tap.variants
        if isinstance(exercise, TestFile):
            self._end = math.inf
            findings = _at_once(examination.drive(exercise.tests(Path(self.plan.module).resolve())))
        else:
            with self.box.guest.processes.budget(max(_WHOLE * self.plan.seconds, _LIFE_CPU)):
                findings = _at_once(examination.run(exercise))
        generic = exercise if isinstance(exercise, GenericExercise) else None
        keys = [finding.key for finding in examination.findings]
        crashes = self._crashes(findings, keys, generic) if generic else ()
        return UnitOutcome(
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
            ended=self._ended(examination.error),
            seconds=time.monotonic() - begin,
            unwatched=max(0, len(self.sites) - injection.limit),
            unchecked=(*examination.unchecked, *_cut_short(generic)),
        )

    def _ended(self, error: Exception | None) -> str:
        """Why an examination has ended early, in a line. An errno that init has returned is told as init's: the load is
        done once more to see which call it came from."""
        said = str(error or "").split("\n", 1)[0]
        if not isinstance(error, ModuleLoadError) or not self.box.alive:
            return said
        with suppress(KoboxError), self.box.checkpoint():
            self.box.reset()
            outcome = trace_init(self.box, self.file.content, self.plan.parameters)
            if outcome.reached:
                cause = init_cause(self.file, outcome, error.errno or 0)
                return f"{self.file.name}: not loaded: all checks passed; {cause}"
        return said

    def _vary(self, unit: CheckUnit) -> UnitOutcome:
        """A life under other circumstances."""
        begin = time.monotonic()
        steps = Steps(*unit.programs) if self.surroundings is not None else self.exercise
        exercise = None if isinstance(steps, TestFile) else steps
        findings: list[Finding] = []
        if unit.kind == "busy" and self.surroundings is not None:
            surroundings, name = self.surroundings, self.file.name
            opener = unload_while_open(name, lambda box: surroundings.new_files(box, name))
            findings = [found for found in self.play(opener) if found.kind == "left-behind"]
        elif unit.kind == "slow":
            findings = self.play(exercise, more=(SlowExit(),))
        elif unit.kind == "fetch":
            changing = ChangingUser()
            findings = self.play(exercise, more=(changing,))
            findings = findings if changing.changed else []
        elif unit.kind == "unplug" and self.device is not None:
            findings = self.play(taken_out(self.device, exercise))
        elif unit.kind == "bus" and self.device is not None:
            findings = self._with_bus_errors(unit, self.device, exercise)
        elif unit.kind == "hostile" and self.device is not None:
            findings = self._with_lies(unit, self.device, exercise)
        elif unit.kind == "firmware":
            for content in CONTENTS:
                found = self.play(exercise, more=(FirmwareFiles(firmware_of(self.file), content),))
                findings += [one for one in found if one.kind != "reload-failed"]
        return UnitOutcome(tuple(findings), release=self.box.release, lives=1, seconds=time.monotonic() - begin)

    def _find_phantom(self) -> FoundPhantom:
        """A device that the module's own table waits for, and what lets it through probe. Raises `KoboxError`."""
        box, file, parameters = self.box, self.file, self.plan.parameters
        self._undo_limit()
        limits = box.limits.cpu, box.limits.timeout
        load: Callable[[], None] | None = None

        def load_it() -> None:
            box.insmod(file.content, parameters)

        try:
            load_it()
            waits = waits_for_device(box, file)
        except ModuleLoadError:
            waits = False
        finally:
            box.limits.cpu, box.limits.timeout = limits
        if not waits:  # it looks for its device while it is loaded
            box.reset()
            load = load_it
        found = PhantomSearch(box, file, load).run(PHANTOM_ATTEMPTS)
        return FoundPhantom(found.best.identity, found.best.policy, str(found.best.result), found.attempts)

    def _with_bus_errors(self, unit: CheckUnit, device: Phantom, exercise: Exercise | None) -> list[Finding]:
        """Lives in which one transfer each fails on the bus, and what only then is found."""
        self.box.reset()
        first = device.transfers
        ordinary: set[object] = {(found.kind, found.where) for found in self.play(exercise, lie=Lie(LieKind.HONEST, 0))}
        findings: list[Finding] = []
        for lie in list(bus_errors(first, device.transfers))[unit.part :: BUS_PARTS]:
            new = on_a_bus_that_fails(self.play(exercise, lie=lie), ordinary, lie)
            ordinary.update((found.kind, found.where) for found in new)
            findings += new
        return findings

    def _with_lies(self, unit: CheckUnit, device: Phantom, exercise: Exercise | None) -> list[Finding]:
        """Lives in which the device lies, and what only then is found."""
        busy = interrupted(device, exercise)
        ordinary: set[object] = {finding.where for finding in self.play(busy, lie=Lie(LieKind.HONEST, 0))}
        findings: list[Finding] = []
        for lie in list(lies(device.reads))[unit.part :: HOSTILE_PARTS]:
            found = self.play(busy, lie=lie)
            new = device_controlled(found, ordinary, lie)
            ordinary.update(finding.where for finding in new)
            findings += new
        return findings

    def _attending(self, lie: Lie | None = None) -> list[Check]:
        """Who attends to the phantom, where there is one."""
        return [PhantomCheck(self.device, lie)] if self.device is not None else []

    def _limit(self, faulty: bool) -> None:
        """Bound each call, in CPU time of the box and of this process: a loop in code that is watched is slow. What the
        machine's other processes do must not make a call look as if it hung, nor may a call that is long by nature."""
        self.box.limits.cpu = max(_FAULT_CPU if faulty else _LIFE_CPU, _SLOWER * self._longest[0])
        patience = max(_FAULT_SECONDS if faulty else _LIFE_SECONDS, _SLOWER * self._longest[1])
        machine, watch, calls, since = self.box.machine, self.box.inspect.watch, -1, (0, 0.0, 0)
        states: dict[object, int] = {}

        def look() -> None:
            nonlocal calls, since, states
            now = machine.work, time.process_time(), watch.count
            burnt, spent = (now[0] - since[0]) / BLOCKS_A_SECOND, now[1] - since[1]
            if (made := machine.progress()) != calls:
                calls, since, states = made, now, {}
                return
            state = machine.registers()
            states[state] = states.get(state, 0) + 1
            if states[state] > _SAME:
                where = self.box.inspect.symbols.describe(machine.pc)
                raise BoxHungError("a call is in a loop in which nothing changes", pc=where)
            # Code that allocates thousands of objects takes long, since each is looked at, and comes to its end.
            if spent > patience and (now[2] - since[2] > _LOOPED or spent > _DEAR * patience):
                where = self.box.inspect.symbols.describe(machine.pc)
                raise BoxHungError(f"a call has not come back after {patience:g} s of CPU time", pc=where)
            if not faulty:
                self._longest = max(self._longest[0], burnt), max(self._longest[1], spent)

        self._undo_limit()
        self._undo_limit = self.box.events.slice.subscribe(look)

    def _within_the_unit(self, run: MachineStep, until: int, blocks: int, stop_when_idle: bool) -> Event:
        """Bound all calls of a unit together, in this process's CPU time: each of them may answer, and none be the
        last. The box's own time does not do, since what kobox does at a probe costs none of it."""
        now = time.process_time()
        if now > self._end:
            self._end = now + _LAST  # for what comes after that, as the unload
            where = self.box.inspect.symbols.describe(self.box.machine.pc)
            raise BoxHungError("all calls of this run together have taken its CPU time", pc=where)
        return run(until, blocks, stop_when_idle)

    def race(self, race: Race) -> UnitOutcome:
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
        return UnitOutcome(
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
        self, findings: Sequence[Finding], keys: Sequence[FindingKey], exercise: GenericExercise
    ) -> tuple[Crash, ...]:
        """What led to the findings of the exercise, made short. `keys` are those of all findings, in order."""
        found = []
        seen = [finding for finding in findings if finding.stage == "exercise"]
        if any(finding.kind in ("hang", "self-deadlock") for finding in seen):
            return ()  # each try would hang as well
        for finding in seen[:_CRASHES]:

            def still(programs: Sequence[Program], key: FindingKey = finding.key) -> bool:
                return any(other.key == key for other in self.play(Steps(*programs)))

            programs = exercise.led_to(keys.index(finding.key) if finding.key in keys else len(keys))
            found.append(Crash(finding, shrink(programs, still)))
        return tuple(found)

    def play(
        self, exercise: Exercise | None, *, faulty: bool = True, more: Sequence[Check] = (), lie: Lie | None = None
    ) -> list[Finding]:
        """One life with an exercise under all checks and some `more`. Without `faulty`, calls may take longer; with a
        `lie`, the module's device tells it."""
        checks = [*self._attending(lie), *more, *checks_of(self.plan.checks)[0]]
        examination = Examination(self.box, self.file, checks, parameters=self.plan.parameters)
        self._limit(faulty)
        return _at_once(examination.run(exercise))

    def _exercise(self, unit: CheckUnit, coverage: CoverageCheck, timeline: Timeline) -> Exercise | TestFile | None:
        """What is done between load and unload: in the first life the generic exercise explores, later runs repeat its
        corpus."""
        if self.surroundings is None:
            return self.exercise
        if unit.faults:
            return Steps(*unit.programs)
        from kobox.checks.fuzz.seeds import material_of

        surroundings, name = self.surroundings, self.file.name
        imports = frozenset(wanted.name for wanted in self.file.imports)
        material = material_of(self.sites.code, imports)

        def files(box: Box) -> list[Target]:
            found = surroundings.new_files(box, name, imports)
            for target in found:
                timeline.note("file", target.path)
            return found

        share = self.plan.seconds / _SHARES
        return GenericExercise(material, files, coverage.count, self.plan.seed, seconds=share, kept=self.plan.corpus)


def _cut_short(exercise: GenericExercise | None) -> Iterator[str]:
    if exercise is not None and exercise.cut_short:
        yield f"what more than {exercise.made} calls would do: they are long, and their share of --time was over"


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


def load_dependencies(box: Box, file: ModuleFile) -> None:
    """Load what the module needs of the kernel's own tree."""
    present = set(box.modules)
    for name in file.depends:
        if name.replace("-", "_") not in present:
            try:
                box.modprobe(name)
            except LookupError:  # the kernel will say what it misses
                continue


def by_what_is_made_up(finding: Finding, waits: bool) -> Finding:
    """With a phantom: a driver's own WARN() says that the device is not what it should be, and so it is; and one that
    waits for a bit of it for ever, or sleeps until it answers (check_hung_task()), waits for real hardware."""
    warns = finding.kind == "kernel-warning" and finding.chain and finding.chain[0].module
    sleeps = finding.kind == "kernel-warning" and _SLEEPS in finding.message
    lost = finding.kind == "hang" and NEVER_COMPLETED in finding.message
    if not warns and not sleeps and not lost and not (finding.kind == "hang" and waits):
        return finding
    tail = "; the device is made up, and does not say what it should"
    return replace(finding, severity=Severity.NOTE, message=finding.message + tail)


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

    if finding.object is not None and finding.object.address:
        return finding.object.address
    for text in [finding.message, *(record.text for record in finding.records)]:
        if found := re.search(r"address:? (?:0x)?([0-9a-f]{1,16})\b", text):
            return int(found[1], 16)
    return None
