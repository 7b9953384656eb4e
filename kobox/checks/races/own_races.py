"""Data races of what a module does by itself: its init and exit, and the threads, timers and work that they begin.

    trace:  a life: loaded by a process on one CPU, left alone, unloaded by one on the other -> who touches what
    pair:   the same bytes, two stacks, one of them a thread's or an interrupt's, one a write  -> conflicts
    hold:   the same life again; the CPU that comes to the access is held, while the others go on

A life from the same state is the same up to the moment when a CPU is held, so the addresses of the trace hold good.
Who writes what another one has read before, and not yet written back, loses that update: this needs no comparison.
"""

from __future__ import annotations

import json
import struct
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from kobox.box.box import Box
from kobox.box.events import MachineStep
from kobox.box.guest.process import Limits
from kobox.checks.races.clash import FREED, Clash, ClashWatch, RaceWords, is_update, warm_workers, words_of
from kobox.checks.races.conflicts import Conflict, conflicts
from kobox.checks.races.race_marks import RaceMarks
from kobox.checks.races.schedule_writer import ScheduleWriter
from kobox.checks.report.finding import Finding, Severity, TwoCpuSchedule, own_frame
from kobox.checks.runner.session import Examination, Trace
from kobox.errors import KoboxError
from kobox.json_text import parse_json
from kobox.machine.native_core import Event
from kobox.machine.watch import Access, TracedAccess, WatchReport

_BLOCKS, _WAIT = 200_000, 1_600_000  # what the others may execute while a CPU is held, and the time of 0.1 s
_QUIET = struct.pack("<qq", 0, 300_000_000)  # struct timespec: the virtual time that the module is left alone
_LIMITS = Limits(timeout=30.0, cpu=2.0)
_SCHEDULES = 40
_SHORTENED = 4  # errors of which the shortest hold is searched
_TRIES = 3  # for two source lines
_NONBLOCK = 0o4000
_MOST_ROWS = 6000


@dataclass(frozen=True, slots=True)
class OwnRace:
    """One schedule: the module is loaded by a process on CPU `loader` and unloaded by one on the other; the CPU is held
    that comes, on the stack at `stack`, to the code at `offset` of `section`, before it touches `size` bytes at
    `address` for the time `skip` + 1, while the others execute `blocks` basic blocks at most."""

    loader: int
    section: int
    offset: int
    address: int
    size: int
    stack: int
    skip: int
    blocks: int = _BLOCKS

    def __str__(self) -> str:
        numbers = [self.loader, self.section, self.offset, self.address, self.size, self.stack, self.skip]
        numbers += [self.blocks] * (self.blocks != _BLOCKS)
        return f"ownrace:{urlsafe_b64encode(zlib.compress(json.dumps(numbers).encode(), 9)).decode()}"


def parse_own_race(text: str) -> OwnRace:
    """Undo `str()`. Raises `KoboxError`."""
    try:
        numbers = parse_json(zlib.decompress(urlsafe_b64decode(text.removeprefix("ownrace:"))))
        return OwnRace(*map(int, numbers))
    except (ArithmeticError, LookupError, ValueError, TypeError, zlib.error) as error:
        raise KoboxError(f"{text!r} is no ID of a data race", hint="The report has them, behind `fault`.") from error


class OwnRaceSearch:
    """Lives of a module in a box with two CPUs, for the races of its own contexts; or (`replay`) one of them again.

    `schedules` counts the lives with a CPU held.
    """

    def __init__(self, examination: Examination, replay: OwnRace | None = None) -> None:
        self._told = examination
        self._box = examination.box
        self._marks = RaceMarks(examination)
        self._watch, self._words = ClashWatch(examination, self._marks), RaceWords(examination, self._marks)
        self._writer = ScheduleWriter(examination, self._words)
        self._replay = replay
        self._rows: list[TracedAccess] = []
        self._seen: dict[tuple[object, object], int] = {}
        self._blocks = _BLOCKS  # of the schedule that is made
        self.schedules = 0

    def run(self) -> None:
        """Search, report to the examination, and put the shortest hold that shows the same in the place of each."""
        self._search()
        if self._replay is None and self._box.alive:
            errors = [one for one in self._told.findings if one.severity is Severity.ERROR and one.fault]
            for found in errors[:_SHORTENED]:
                self._told.findings[self._told.findings.index(found)] = self._shorter(found)

    def _shorter(self, found: Finding) -> Finding:
        """What a shorter hold shows of the same mistake; each of them was made."""
        race, fails, best = parse_own_race(found.fault), 0, found
        shows = race.blocks
        for blocks in (16, 64, 256, 1024, 4096, 16384):
            if (one := self._again(replace(race, blocks=blocks), found)) is not None:
                shows, best = blocks, one
                break
            fails = blocks
        while best is not found and shows - fails > max(shows // 16, 1):
            middle = (fails + shows) // 2
            again = self._again(replace(race, blocks=middle), found)
            fails, shows, best = (middle, shows, best) if again is None else (fails, middle, again)
        return best

    def _again(self, race: OwnRace, found: Finding) -> Finding | None:
        """The finding of one schedule that tells the same, if there is one."""
        examination = Examination(self._box, self._told.file, [], parameters=self._told.parameters)
        OwnRaceSearch(examination, race).run()
        place = own_frame(found.chain)
        return next(
            (one for one in examination.findings if one.kind == found.kind and own_frame(one.chain) == place), None
        )

    def _search(self) -> None:
        for loader in (0, 1) if self._replay is None else (self._replay.loader,):
            self._live(loader, self._box.inspect.watch.trace_accesses, self._keep_trace)
            if self._told.placement is None or self._told.error is not None:
                return
            if self._replay is not None:
                self._try(self._replay)
                return
            for conflict in self._conflicts():
                for race in self._races_of(loader, conflict):
                    if not self._is_worth(conflict):
                        break
                    if self.schedules >= _SCHEDULES:
                        self._told.leave_out(f"own data races: more than {_SCHEDULES} schedules; not all were tried")
                        return
                    known = len(self._told.findings)
                    self._try(race)
                    if len(self._told.findings) > known:
                        break

    # -- a life ------------------------------------------------------------------------------------------------

    def _live(self, loader: int, arm: Callable[[], None], after: Callable[[], None]) -> None:
        """Load the module, let it run by itself, and unload it. `arm` is called before, `after` in the end."""

        def life(box: Box) -> None:
            warm_workers(box)
            self._watch.begin()
            undo = box.events.step.subscribe(_go_on_when_held)
            try:
                with box.process(cpu=1) as second:
                    calls = (box.syscall, second.syscall)
                    content, parameters = self._told.file.content, self._told.parameters.encode() + b"\0"
                    arm()
                    with suppress(OSError):
                        calls[loader]("init_module", content, len(content), parameters, limits=_LIMITS)
                        # By the process that unloads it: the CPU of the other one may be held.
                        calls[not loader]("nanosleep", _QUIET, None, limits=_LIMITS)
                        name = self._told.file.name.encode() + b"\0"
                        calls[not loader]("delete_module", name, _NONBLOCK, limits=_LIMITS)
            finally:
                undo()
                self._watch.end()
                if box.alive:
                    after()
                box.inspect.watch.hold_no_more()

        self._told.drive([life])

    def _keep_trace(self) -> None:
        self._rows = self._box.inspect.watch.traced()

    def _conflicts(self) -> list[Conflict]:
        """Of the last trace: those of two stacks, one of them not a process's that loads or unloads the module, in
        which the other can still come when the first one is held."""
        own = [one for one in self._rows if one.access != Access.CALLED and not self._marks.is_marked(one.pc)]
        ours = {one.stack for one in self._rows if self._is_init_or_exit(one.pc)}
        by_stack: dict[int, list[TracedAccess]] = {}
        for one in own[:_MOST_ROWS]:
            by_stack.setdefault(one.stack, []).append(one)
        found = [
            conflict
            for first, mine in by_stack.items()
            for second, theirs in by_stack.items()
            if first != second and not {first, second} <= ours
            for conflict in conflicts(mine, theirs)
            if conflict.held.size != FREED and conflict.other.last > conflict.held.order
        ]
        return sorted(found, key=lambda one: (one.rank, not self._meet(one), one.held.order))

    def _is_init_or_exit(self, pc: int) -> bool:
        section, _ = self._words.place(pc)
        return section >= 0 and self._told.file.elf.section_name(section).startswith((b".init", b".exit"))

    @staticmethod
    def _meet(conflict: Conflict) -> bool:
        """Whether the two were made by turns."""
        held, other = conflict
        return held.order < other.last and other.order < held.last

    def _is_worth(self, conflict: Conflict) -> bool:
        key = (self._marks.place(conflict.held.pc), self._marks.place(conflict.other.pc))
        self._seen[key] = self._seen.get(key, 0) + 1
        return self._seen[key] <= _TRIES

    def _races_of(self, loader: int, conflict: Conflict) -> list[OwnRace]:
        """The likeliest time to hold the CPU, and two others: when both come again and again, it depends on when."""
        held, other = conflict
        section, offset = self._words.place(held.pc)
        if section < 0:
            return []
        skip = held.times - 1 if held.last < other.order else held.times // 2 if held.order < other.order else 0
        skips = dict.fromkeys((skip, held.times // 2, held.times // 4))
        return [OwnRace(loader, section, offset, held.address, held.size, held.stack, one) for one in skips]

    # -- one schedule ------------------------------------------------------------------------------------------

    def _try(self, race: OwnRace) -> None:
        placement = self._told.placement
        if placement is None or race.section not in placement.starts:
            return
        pc = placement.starts[race.section] + race.offset

        def arm() -> None:
            self._watch.take()
            self._box.inspect.watch.hold_before(
                None, pc, race.address, race.address + race.size, blocks=race.blocks, wait=_WAIT, skip=race.skip,
                stack=race.stack, stops=True,
            )  # fmt: skip

        self.schedules += 1
        known = len(self._told.findings)
        self._told.fault, self._blocks = str(race), race.blocks
        try:
            self._live(race.loader, arm, lambda: None)
            self._told.error = None
            clash = self._watch.take()
            if len(self._told.findings) > known:  # the kernel itself has said what has happened
                self._tell_who_was_held(clash, known)
            else:
                self._judge(clash)
        finally:
            self._told.fault = ""

    def _tell_who_was_held(self, clash: Clash, known: int) -> None:
        """What the kernel has said since there were `known` findings came of a schedule."""
        if clash.held is None or clash.held_by is None:
            return
        other = self._told.chain(clash.held_by)
        words = f"; a {words_of(clash.held)} {self._words.named(clash.held, clash.registers)} was held on another CPU"
        findings = self._told.findings
        findings[known:] = [
            replace(
                one,
                message=one.message + words,
                other=other,
                schedule=self._written(clash, f"the kernel reports: {one.message}"),
            )
            for one in findings[known:]
        ]

    def _judge(self, clash: Clash) -> None:
        held, told = clash.held, self._told
        if held is None or clash.held_by is None:
            return
        chain, named = told.chain(clash.held_by), self._words.named(held, clash.registers)
        if clash.freed:
            told.report(
                "use-after-free",
                Severity.ERROR,
                f"{words_of(held)} {named}, which another CPU has freed meanwhile",
                chain=chain,
                other=told.chain(clash.frees) if clash.frees is not None else (),
                advice="Hold a lock or a reference while the object is used, or free it after an RCU grace period.",
                schedule=self._written(clash),
            )
            return
        others = [row for row in clash.others if not self._marks.is_marked(row.report.pc)]
        if not others:
            return
        report, other = next((row for row in others if row.report.writes), others[0])[:2]
        cost = self._cost(clash, [row.report for row in others])
        message = f"{words_of(held)} {named}, and {words_of(report)} at {self._words.where(report, other)}"
        message += f" on another CPU, with no lock that both hold{f': {cost}' if cost else ''}"
        told.report(
            "data-race",
            Severity.ERROR if cost else Severity.NOTE,
            message,
            chain=chain,
            other=told.chain(other) if report.pc else (),
            advice="Take one lock in both, or use atomic operations; READ_ONCE() and WRITE_ONCE() mark what is meant.",
            schedule=self._written(clash),
        )

    def _written(self, clash: Clash, ends: str = "") -> TwoCpuSchedule | None:
        other = clash.others[0].trace if clash.others else clash.frees
        runs = self._context_of(clash.held_by), self._context_of(other)
        return self._writer.write(clash, runs, ends=ends, blocks=self._blocks if self._blocks != _BLOCKS else 0)

    def _context_of(self, trace: Trace | None) -> str:
        """The outermost function of the module's on a stack: what the kernel has called."""
        own = [frame for frame in self._told.chain(trace) if frame.module] if trace is not None else []
        return f"{own[-1].function}()" if own else "the kernel"

    def _cost(self, clash: Clash, others: Sequence[WatchReport]) -> str:
        """What is lost or broken for certain; "" when nothing is."""
        held = clash.held
        assert held is not None
        if not held.writes:
            return ""
        if name := self._marks.list_function(held.pc):
            return f"{name}() on a list that another changes at the same time breaks its links"
        if held.detail & Access.CALLED or not any(row.writes for row in others):
            return ""
        if not is_update(held) and (not self._has_read(held) or self._marks.stores_constant(held.pc)):
            return ""
        # A count that only one instruction adds to, and that nothing reads, may miss some.
        if all(row.pc == held.pc for row in others) and not self._is_read_elsewhere(held):
            return ""
        return "it writes back what it has read before the other wrote, and the other's update is lost"

    def _has_read(self, held: WatchReport) -> bool:
        """Whether the function that is about to write has read the same bytes before."""
        function = self._words.function(held.pc)
        return function is not None and any(
            row.address == held.address and row.access & Access.READ and self._words.function(row.pc) == function
            for row in self._rows
        )

    def _is_read_elsewhere(self, held: WatchReport) -> bool:
        return any(
            row.pc != held.pc and row.access & Access.READ and row.address <= held.address < row.address + row.size
            for row in self._rows
        )


def _go_on_when_held(run: MachineStep, until: int, blocks: int, idle: bool) -> Event:
    event = run(until, blocks, idle)
    return Event.SLICE if event is Event.STOPPED else event
