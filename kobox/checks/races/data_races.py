"""Data races: two calls into the module on two CPUs, one of them held before an access while the other is made.

    trace:    each call alone, from one checkpoint        -> which memory it touches, and where in the code
    pair:     the same bytes, one of them written         -> conflicts (`conflicts.py`)
    hold:     the first call on CPU 1, held before its access; the second on CPU 0, to its end
                  who touches the same bytes meanwhile shares no lock with the one that is held  -> a data race
    compare:  what both calls leave and answer, with what they do one after the other (`race_cost.py`)

A lock that both take needs no special knowledge: the second call waits for it, and touches nothing. Where calls
conflict, the first is held before its own calls as well: it may have dropped the lock between a look and a change.
Accesses that the source marks as meant to race are left out (`race_marks.py`). The same race from the same state gives
the same run: its ID replays it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from kobox.box.box import Box, BoxCheckpoint
from kobox.box.guest.box_process import BoxProcess
from kobox.box.inspect.printk import LogRecord
from kobox.checks.fuzz.program import ExerciseStep, Program
from kobox.checks.races.clash import FREED, Clash, ClashWatch, RaceWords, is_update, words_of
from kobox.checks.races.conflicts import Conflict, conflicts
from kobox.checks.races.race_calls import (
    LIMITS,
    TIME,
    DataRace,
    RaceCalls,
    answer_of,
    call_of,
    files_of,
    opened,
    title_of,
)
from kobox.checks.races.race_cost import Cost, Outcome, both_passed, cost_of, without_pointers
from kobox.checks.races.race_marks import RaceMarks
from kobox.checks.report.finding import Chain, Severity
from kobox.checks.runner.session import Examination, Trace, kernel_findings
from kobox.errors import BoxError
from kobox.ko.elf import SHT_RELA
from kobox.machine.watch import Access, TracedAccess

CPUS = 2
CMDLINE = "slub_debug=FP"
"""What the kernel is booted with: freed objects are filled with a pattern, and what is freed twice is told of."""
_HOLD, _HOLD_FOR_TIME = 200_000, 1_600_000  # blocks of the other CPU
_SCHEDULES = 120
_TRIES = 2  # for one pair of source lines
_READERS = 3
_CALLS = 8  # calls of the first call that it is held before
_READS = ("read", "pread64", "recvfrom", "ioctl")


@dataclass(frozen=True, slots=True)
class _FoundRace:
    """What is to be reported: errors first, since one place is told of once."""

    kind: str
    severity: Severity
    message: str
    chain: Chain
    other: Chain
    fault: str
    advice: str = ""
    records: tuple[LogRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class _Schedule:
    """What one schedule is made of: where it starts, who makes the calls, on which files, where the first is held."""

    start: BoxCheckpoint
    process: BoxProcess
    calls: RaceCalls
    fds: tuple[int, int]
    access: TracedAccess
    readers: tuple[ExerciseStep, ...] = ()  # calls that read what is raced for

    @property
    def names(self) -> str:
        """The two calls in a sentence."""
        return f"{title_of(self.calls.first)} and {title_of(self.calls.second)}"


class DataRaceSearch:
    """The exercise that looks for data races between the calls of `programs`, in a box with two CPUs; or replays one.

    Findings are reported to the examination that it is the exercise of (`examination`). `schedules` counts the runs.
    """

    def __init__(self, programs: Sequence[Program], replay: DataRace | None = None) -> None:
        self.programs = programs
        self.replay = replay
        self.examination: Examination | None = None
        self.schedules = 0
        self._seen: dict[tuple[object, ...], int] = {}
        self._found: list[_FoundRace] = []
        self._traces: dict[ExerciseStep, list[TracedAccess]] = {}

    def __call__(self, box: Box) -> None:
        assert self.examination is not None
        self._box, self._told, self._marks = box, self.examination, RaceMarks(self.examination)
        self._watch, self._words = ClashWatch(self._told, self._marks), RaceWords(self._told, self._marks)
        self._watch.begin()
        before = box.limits.timeout, box.limits.cpu
        box.limits.timeout, box.limits.cpu = LIMITS.timeout, LIMITS.cpu
        try:
            if self.replay is not None:
                self._replay(self.replay)
            else:
                for setups, steps in files_of(self.programs):
                    for setup in setups:
                        self._search(setup, steps)
        finally:
            self._tell_found()
            self._watch.end()
            box.limits.timeout, box.limits.cpu = before
            box.inspect.watch.hold_no_more()

    # -- the search --------------------------------------------------------------------------------------------

    def _search(self, setup: Program, steps: Sequence[ExerciseStep]) -> None:
        box = self._box
        try:
            fds = opened(box, setup)
        except OSError:
            return
        self._seen.clear()
        with box.process(cpu=1) as process, box.checkpoint() as start:
            traces = {(step, same): self._trace(start, step, fds[not same]) for step in steps for same in (True, False)}
            self._traces = {step: traces[step, True] for step in steps}
            traces[TIME, False] = traces[TIME, True] = self._trace(start, TIME, -1)
            traces = {key: self._plain(rows) for key, rows in traces.items()}
            pairs: list[tuple[RaceCalls, Conflict]] = []
            for calls in _pairs(setup, steps):
                found = conflicts(traces[calls.first, True], traces[calls.second, calls.same])
                pairs += [(calls, one) for one in found]
            pairs.sort(key=lambda row: row[1].rank)
            for calls, conflict in pairs:
                if self._is_worth(conflict) and not self._try(
                    self._schedule(start, process, calls, fds, conflict.held)
                ):
                    return
            for calls in dict.fromkeys(calls for calls, _ in pairs):
                for access in self._calls_in(traces[calls.first, True]):
                    if not self._try(self._schedule(start, process, calls, fds, access)):
                        return

    def _schedule(
        self, start: BoxCheckpoint, process: BoxProcess, calls: RaceCalls, fds: tuple[int, int], access: TracedAccess
    ) -> _Schedule:
        readers = tuple(step for step, rows in self._traces.items() if any(_reads(row, access) for row in rows))
        return _Schedule(start, process, calls, (fds[0], fds[not calls.same]), access, readers[:_READERS])

    def _trace(self, start: BoxCheckpoint, step: ExerciseStep, fd: int) -> list[TracedAccess]:
        """What one call touches."""
        box = self._box
        start.restore()
        box.inspect.watch.trace_accesses()
        with suppress(OSError, BoxError):
            name, arguments = call_of(step, fd)
            box.syscall(name, *arguments, limits=LIMITS)
        return box.inspect.watch.traced()

    def _plain(self, traced: Sequence[TracedAccess]) -> list[TracedAccess]:
        """Without what is meant to race."""
        return [one for one in traced if one.access == Access.CALLED or not self._marks.is_marked(one.pc)]

    def _calls_in(self, trace: Sequence[TracedAccess]) -> list[TracedAccess]:
        """The calls that a traced call made between its first and its last access: where it may hold no lock."""
        touched = [one.order for one in trace if one.access != Access.CALLED]
        calls = [one for one in trace if one.access == Access.CALLED and touched and one.order > min(touched)]
        fresh = [
            one for one in sorted(calls, key=lambda one: one.order) if self._seen.setdefault((one.pc,), 0) < _TRIES
        ]
        for one in fresh[:_CALLS]:
            self._seen[(one.pc,)] += 1
        return fresh[:_CALLS]

    def _is_worth(self, conflict: Conflict) -> bool:
        """Whether these two places have not been tried often enough: by source lines, where they are known."""
        if conflict.held.size == FREED:
            return False
        key = (self._marks.place(conflict.held.pc), self._marks.place(conflict.other.pc))
        self._seen[key] = self._seen.get(key, 0) + 1
        return self._seen[key] <= _TRIES

    def _try(self, schedule: _Schedule) -> bool:
        """One schedule; what it shows is kept. False: there were enough of them."""
        race = self._race_of(schedule)
        if race is None:
            return True
        if self.schedules >= _SCHEDULES:
            self._told.leave_out(f"data races: more than {_SCHEDULES} schedules; the rest was not tried")
            return False
        raced = self._together(schedule)
        clash = self._watch.take()
        if clash.held is None or self._died(race, clash):
            return True
        if clash.freed:
            self._keep_freed(race, clash)
            return True
        at_call = schedule.access.access == Access.CALLED
        touched = any(not self._marks.is_marked(report.pc) for report, _ in clash.others)
        if raced is None or not (touched or at_call):
            return True
        orders = self._in_order(schedule), self._in_order(schedule, swapped=True)
        later = self._in_order(schedule, later=True)
        if orders[0] is not None and orders[1] is not None and later is not None:
            self._judge(race, schedule, clash, raced, (orders[0], orders[1]), later)
        return True

    # -- one schedule ------------------------------------------------------------------------------------------

    def _together(self, schedule: _Schedule) -> Outcome | None:
        """Both calls at the same moment, with the first held. None when the box has died of it."""
        box, watch, access = self._box, self._box.inspect.watch, schedule.access
        schedule.start.restore()
        self.schedules += 1
        self._watch.take()
        first, second = call_of(schedule.calls.first, schedule.fds[0]), call_of(schedule.calls.second, schedule.fds[1])
        blocks = _HOLD_FOR_TIME if schedule.calls.second == TIME else _HOLD
        try:
            watch.hold_before(1, access.pc, access.address, access.address + access.size, blocks=blocks)
            pending = box.schedule.together(
                (schedule.process, first[0], *first[1]), (None, second[0], *second[1]), lead=blocks
            )
            watch.hold_no_more()
            one, two = pending
            answers = answer_of(schedule.calls.first, lambda: one.result(timeout=1.0))
            results = (answers, answer_of(schedule.calls.second, lambda: two.result(timeout=1.0)))
            return self._outcome(schedule, results, (first, second), wrote=False)
        except (BoxError, ValueError):
            watch.hold_no_more()
            return None

    def _in_order(self, schedule: _Schedule, *, swapped: bool = False, later: bool = False) -> Outcome | None:
        """Both calls, one after the other. None when the box has died of it."""
        box, watch, access = self._box, self._box.inspect.watch, schedule.access
        schedule.start.restore()
        if later:
            box.machine.pass_time(3_000_001)
        first, second = call_of(schedule.calls.first, schedule.fds[0]), call_of(schedule.calls.second, schedule.fds[1])

        def one() -> int | None:
            return answer_of(schedule.calls.first, lambda: schedule.process.syscall(first[0], *first[1], limits=LIMITS))

        def two() -> int | None:
            return answer_of(schedule.calls.second, lambda: box.syscall(second[0], *second[1], limits=LIMITS))

        begun = (two if swapped else one)()
        watch.trace_accesses()
        ended = (one if swapped else two)()
        end = access.address + access.size
        wrote = any(
            row.access & Access.WRITE and row.address < end and access.address < row.address + row.size
            for row in watch.traced()
        )
        try:
            results = (ended, begun) if swapped else (begun, ended)
            return self._outcome(schedule, results, (first, second), wrote=wrote)
        except ValueError:
            return None

    def _outcome(
        self,
        schedule: _Schedule,
        results: tuple[int | None, ...],
        calls: Sequence[tuple[str, tuple[object, ...]]],
        *,
        wrote: bool,
    ) -> Outcome:
        read, access = self._box.machine.read, schedule.access
        buffers = [
            one for name, arguments in calls if name in _READS for one in arguments if isinstance(one, bytearray)
        ]
        left = read(access.address, min(access.size, 64))
        nearby = without_pointers(read(*self._around(access)))
        seen = tuple(self._seen_by(step, schedule.fds[0]) for step in schedule.readers)
        return Outcome(results, tuple(map(bytes, buffers)), left, nearby, seen, wrote)

    def _seen_by(self, step: ExerciseStep, fd: int) -> object:
        """What a call that reads what was raced for gives to user space."""
        name, arguments = call_of(step, fd)
        answer = answer_of(step, lambda: self._box.syscall(name, *arguments, limits=LIMITS))
        return answer, tuple(bytes(one) for one in arguments if isinstance(one, bytearray))

    def _is_exposed(self, address: int) -> bool:
        """Whether user space reads what is there as a parameter of the module: the relocations of __param name it."""
        section, offset = self._words.place(address)
        elf = self._told.file.elf
        if section < 0:
            return False
        symbols = list(elf.symbols())
        for number, row in enumerate(elf.sections):
            if row.type != SHT_RELA or elf.section_name(row.info) != b"__param":
                continue
            for _, _, symbol, addend in elf.relocations(number, symbols):
                if symbol is not None and symbol.section == section and 0 <= offset - symbol.value - addend < 8:
                    return True
        return False

    def _around(self, access: TracedAccess) -> tuple[int, int]:
        """Address and size of the variable that is touched, or of the line of 64 bytes where it is not the module's."""
        section, offset = self._words.place(access.address)
        for variable in self._told.file.debug.variables:
            behind = offset - variable.offset
            if variable.section == section and 0 <= behind < variable.size <= 256:
                return access.address - behind, variable.size
        return access.address & -64, 64

    def _replay(self, race: DataRace) -> None:
        placement = self._told.placement
        if placement is None or race.section not in placement.starts:
            return
        fds = opened(self._box, race.calls.setup)
        access = Access.READ if race.size else Access.CALLED
        at = TracedAccess(placement.starts[race.section] + race.offset, race.address, max(race.size, 1), access, 1, 0)
        with self._box.process(cpu=1) as process, self._box.checkpoint() as start:
            self._try(self._schedule(start, process, race.calls, fds, at))

    def _race_of(self, schedule: _Schedule) -> DataRace | None:
        section, offset = self._words.place(schedule.access.pc)
        size = 0 if schedule.access.access == Access.CALLED else schedule.access.size
        return DataRace(schedule.calls, section, offset, schedule.access.address, size) if section >= 0 else None

    # -- what is reported --------------------------------------------------------------------------------------

    def _tell_found(self) -> None:
        """Report what was found, the worst first: of one place in the source, one finding is kept."""
        for one in sorted(self._found, key=lambda one: one.severity.rank):
            self._told.fault = one.fault
            self._told.report(
                one.kind,
                one.severity,
                one.message,
                chain=one.chain,
                other=one.other,
                advice=one.advice,
                records=one.records,
            )
        self._told.fault = ""
        self._found.clear()

    def _judge(
        self,
        race: DataRace,
        schedule: _Schedule,
        clash: Clash,
        raced: Outcome,
        orders: tuple[Outcome, Outcome],
        later: Outcome,
    ) -> None:
        assert clash.held is not None
        held, names = clash.held, schedule.names
        chain = self._chain(clash.held_by)
        if schedule.access.access == Access.CALLED:
            if broken := both_passed(raced, orders, later, names):
                message = f"{broken}: {title_of(race.calls.first)} was held here while the other ran on another CPU"
                advice = "Hold one lock from the first look at the shared data to its last change."
                self._found.append(_FoundRace("race", Severity.ERROR, message, chain, (), str(race), advice))
            return
        others = [row for row in clash.others if not self._marks.is_marked(row[0].pc)]
        report, other = next((row for row in others if row[0].writes), others[0])
        both_wrote = held.writes and any(row.writes for row, _ in others)
        # A count that only one instruction adds to, and that nothing but a parameter shows, may miss some.
        counts = is_update(held) and all(row.pc == held.pc for row, _ in others)
        exposed = self._is_exposed(held.address) and not counts
        cost = cost_of(raced, orders, later, names, both_wrote=both_wrote, exposed=exposed)
        if not cost.shows and held.writes and (name := self._marks.list_function(held.pc)):
            cost = Cost(f"{name}() on a list that another changes at the same time breaks its links", True)
        message = (
            f"{words_of(held)} {self._words.named(held)}, and {words_of(report)} at {self._words.where(report, other)}"
        )
        message += f" on another CPU, with no lock that both hold{f': {cost.words}' if cost.words else ''}"
        self._found.append(
            _FoundRace(
                "data-race",
                Severity.ERROR if cost.shows else Severity.NOTE,
                message,
                chain,
                self._chain(other) if report.pc else (),
                str(race),
                "Take one lock in both, or use atomic operations; READ_ONCE() and WRITE_ONCE() mark what is meant.",
            )
        )

    def _keep_freed(self, race: DataRace, clash: Clash) -> None:
        assert clash.held is not None
        what, who = f"{words_of(clash.held)} {self._words.named(clash.held)}", title_of(race.calls.second)
        self._found.append(
            _FoundRace(
                "use-after-free",
                Severity.ERROR,
                f"{what}, which {who} has freed on another CPU meanwhile",
                self._chain(clash.held_by),
                self._chain(clash.frees),
                str(race),
                "Hold a lock or a reference for as long as the object is used, or free it after an RCU grace period.",
            )
        )

    def _died(self, race: DataRace, clash: Clash) -> bool:
        """Whether the kernel has something to say; it is kept, with the schedule that led to it."""
        assert clash.held is not None
        found = kernel_findings(self._box)
        first, second = title_of(race.calls.first), title_of(race.calls.second)
        for one in found:
            own = any(frame.module == self._told.file.name for frame in one.chain)
            if own or one.severity is Severity.ERROR:
                severity = Severity.ERROR if own else one.severity
                message = f"{one.message}; {first} was held while {second} ran on another CPU"
                chain, other = self._lined(one.chain), self._chain(clash.held_by)
                self._found.append(
                    _FoundRace(one.kind, severity, message, chain, other, str(race), one.advice, one.records)
                )
        return bool(found)

    def _chain(self, trace: Trace | None) -> Chain:
        return self._told.chain(trace) if trace is not None else ()

    def _lined(self, chain: Chain) -> Chain:
        return tuple(part for number, frame in enumerate(chain) for part in self._told.with_lines(frame, not number))


def _pairs(setup: Program, steps: Sequence[ExerciseStep]) -> list[RaceCalls]:
    """Each call against each, and against time; on another open file, and on the same one."""
    return [
        RaceCalls(setup, first, second, same) for first in steps for second in (*steps, TIME) for same in (False, True)
    ]


def _reads(row: TracedAccess, access: TracedAccess) -> bool:
    """Whether a traced access reads some of the bytes, and does not only change them."""
    overlaps = row.address < access.address + access.size and access.address < row.address + row.size
    return overlaps and bool(row.access & Access.READ) and not row.access & Access.WRITE
