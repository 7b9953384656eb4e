"""Data races: two calls into the module on two CPUs, one of them held before an access while the other is made.

    trace:    each call alone, from one checkpoint        -> which memory it touches, and where in the code
    pair:     the same bytes, one of them written         -> conflicts (`conflicts.py`)
    hold:     the first call on CPU 1, held before its access; the second on CPU 0, to its end
                  who touches the same bytes meanwhile shares no lock with the one that is held  -> a data race
    compare:  what both calls leave and answer, with what they do one after the other (`race_cost.py`)

States are made ready by each call of the corpus. The second call is traced after the first as well: it may touch what
the first has made. What the module does by itself is a first "call", too (TIME): the other one is then made when a CPU
is held in it.

A lock that both take needs no special knowledge: the second call waits for it, and touches nothing. Where calls
conflict, the first is held before its own calls as well, and after a read: it may have dropped the lock between a look
and a change. Accesses that the source marks as meant to race (`race_marks.py`) are places to hold at, and no data
races. The same race from the same state gives the same run: its ID replays it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TypeAlias

from kobox.box.box import Box, BoxCheckpoint
from kobox.box.guest.box_process import BoxProcess
from kobox.box.guest.syscall import Argument, PendingCall
from kobox.box.inspect.probes import FROM_MODULE, Hit
from kobox.checks.fuzz.network import frames
from kobox.checks.fuzz.program import ExerciseStep, Program
from kobox.checks.races.clash import FREED, Clash, ClashWatch, RaceWords, warm_workers
from kobox.checks.races.conflicts import Conflict, conflicts
from kobox.checks.races.race_calls import (
    CLOSE,
    HOLD_BLOCKS,
    LIMITS,
    TIME,
    AccessPlace,
    DataRace,
    FileCalls,
    OpenFiles,
    RaceCalls,
    answer_of,
    call_of,
    files_of,
    opened,
    removal,
    swapped,
    together,
)
from kobox.checks.races.race_cost import Outcome, without_pointers
from kobox.checks.races.race_judge import FoundRace, RaceJudge
from kobox.checks.races.race_marks import RaceMarks
from kobox.checks.runner.session import Examination
from kobox.errors import BoxError
from kobox.machine.watch import Access, CodeAccess, TracedAccess

CPUS = 2
CMDLINE = "slub_debug=FP"
"""What the kernel is booted with: freed objects are filled with a pattern, and what is freed twice is told of."""
_WAIT = 1_600_000  # how long a CPU is held at most: the time of so many blocks, 0.1 s
_SCHEDULES = 250
_TRIES, _MOST_TRIES = 2, 6  # for one pair of source lines: while the same code is executed, and in all
_READERS = 3
_SHORTENED = 8  # errors of which the shortest schedule is searched
_CALLS = 8  # places of the first call, beside the conflicts, that it is held at
_CHANGES = 2  # of what both calls change, after one test
_ANYWHERE = (1 << 64) - 1
_BEGINS = re.compile(
    r"_*(tasklet_\w*schedule|queue_\w*work|mod_delayed_work|schedule_\w*work|(mod|add)_timer|hrtimer_start|wake_up|complete|"
    r"call_rcu|kthread_queue|raise_softirq|napi_schedule|irq_work_queue)"
)
_LOCKS = re.compile(r"_*(raw_)?(spin|read|write|mutex)_lock|down(_|$)")
_READS = ("read", "pread64", "recvfrom", "ioctl")
_NOT_BEGINNING = (TIME.call, CLOSE.call, "rmmod")
_QUEUES = ("queue_work_on", "queue_delayed_work_on", "mod_delayed_work_on")
_PATIENCE = 1.5  # virtual seconds for a call to come back
Made: TypeAlias = "tuple[str, tuple[Argument, ...]]"
Orders: TypeAlias = "tuple[tuple[Outcome | None, Outcome | None], Outcome | None]"


@dataclass(frozen=True, slots=True)
class _Schedule:
    """What one schedule is made of: where it starts, on which files the calls are made, and the race."""

    start: BoxCheckpoint
    process: BoxProcess
    files: OpenFiles
    race: DataRace
    pc: int

    @property
    def calls(self) -> RaceCalls:
        return self.race.calls

    def made(self, step: ExerciseStep) -> Made:
        """The system call that one of its two is."""
        return call_of(step, self.files.of(step, same=self.calls.same or step is not self.calls.second))


@dataclass(frozen=True, slots=True)
class _Traces:
    """What calls touch in one state: alone, and after one another."""

    alone: dict[tuple[ExerciseStep, bool], list[TracedAccess]]
    after: dict[RaceCalls, list[TracedAccess]]

    def behaviour(self, calls: RaceCalls) -> int:
        """Equal for pairs of calls that execute the same code, on the same memory or on other memory."""
        first, second = self.alone[calls.first, True], self.second_of(calls)
        code = frozenset(row.pc for row in first), frozenset(row.pc for row in second)
        return hash((code, bool(_crosswise({calls.first: first, calls.second: self.alone[calls.second, calls.same]}))))

    def second_of(self, calls: RaceCalls) -> list[TracedAccess]:
        """What the second of two calls touches."""
        return [*self.alone[calls.second, calls.same], *self.after.get(calls, ())]


class DataRaceSearch:
    """The exercise that looks for data races between the calls of `programs`, in a box with two CPUs; or replays one.

    Findings are reported to the examination that it is the exercise of (`examination`). `schedules` counts the runs.
    Without `split`, a read and write in one instruction stays whole.
    """

    def __init__(self, programs: Sequence[Program], replay: DataRace | None = None, *, split: bool = True) -> None:
        self._split = split
        self.programs = programs
        self.replay = replay
        self.examination: Examination | None = None
        self.schedules = 0
        self.known_interfaces: frozenset[str] = frozenset(("lo",))
        self._seen: dict[tuple[object, ...], int] = {}
        self._orders: dict[RaceCalls, Orders] = {}
        self._elsewhere = True  # work goes to the other CPU
        self._changing: set[ExerciseStep] = set()  # calls that write something
        self._per_cpu: list[range] = []  # where the variables of each CPU lie
        self._read_by: dict[int, set[int]] = {}  # which code reads an address, and does not only change it

    def __call__(self, box: Box) -> None:
        assert self.examination is not None
        self._box, self._told, self._marks = box, self.examination, RaceMarks(self.examination)
        self._watch, self._words = ClashWatch(self._told, self._marks), RaceWords(self._told, self._marks)
        self._judge = RaceJudge(self._told, self._marks, self._words)
        self._watch.begin()
        before = box.limits.timeout, box.limits.cpu
        box.limits.timeout, box.limits.cpu = LIMITS.timeout, LIMITS.cpu
        warm_workers(box)
        try:
            with self._work_elsewhere():
                if self.replay is not None:
                    self._interfaces()  # are brought up
                    self._replay(self.replay)
                else:
                    self._search_all()
        finally:
            self._judge.tell()
            self._watch.end()
            box.limits.timeout, box.limits.cpu = before
            box.inspect.watch.hold_no_more()

    @contextmanager
    def _work_elsewhere(self) -> Iterator[None]:
        """Work that is queued for any CPU goes to the other one: it may, and a CPU that is held runs none
        (Documentation/admin-guide/kernel-parameters.txt, workqueue.debug_force_rr_cpu)."""

        def queued(hit: Hit) -> None:
            if self._elsewhere and hit.argument(0) & 0xFFFFFFFF >= CPUS:  # WORK_CPU_UNBOUND
                hit.set_argument(0, int(not self._box.machine.cpu))

        probes = []
        for name in _QUEUES:
            if self._box.inspect.symbols.of_kernel(name) is not None:
                probes.append(self._box.probe(name, queued, when=FROM_MODULE))
        try:
            yield
        finally:
            for probe in probes:
                probe.remove()

    # -- the search --------------------------------------------------------------------------------------------

    def _search_all(self) -> None:
        files = files_of([*self.programs, *self._interfaces()])
        with self._box.checkpoint() as fresh:
            self._search_from(files, fresh)
            self._shorten_all(fresh)

    def _search_from(self, files: Sequence[FileCalls], fresh: BoxCheckpoint) -> None:
        """All calls, from the state of the box in which nothing was called yet, until there were enough schedules."""
        if not self._search((), (TIME, removal(self._told.file.name)), fresh):
            return
        best = [self._best(fresh, file.opens, file) for file in files]
        fresh.restore()
        for file, steps in zip(files, best, strict=True):
            opening = file.opening
            if opening is not None and opening.call == "open":
                fresh.restore()
                alone = tuple(one for one in file.opens if one is not opening)
                if not self._search(alone, [opening], fresh):
                    return
            if not self._search_file(file, steps, fresh):
                return
        if (several := together(files)) is not None:
            self._search_file(several, self._best(fresh, several.opens, several), fresh)

    def _shorten_all(self, fresh: BoxCheckpoint) -> None:
        """Put the shortest schedule that shows the same in the place of each error's."""
        made, judge = self.schedules, self._judge
        for found in judge.errors[:_SHORTENED]:
            if not self._box.alive:
                break
            shorter = self._shorter(found, fresh)
            judge.put(found, shorter)
        self.schedules, self._judge = made, judge

    def _shorter(self, found: FoundRace, fresh: BoxCheckpoint) -> FoundRace:
        """With fewer calls before it, then with a CPU that is held for less; each of them was made, and shows it."""
        setup = found.race.calls.setup
        for n in reversed(range(len(setup))):
            if setup[n].call in ("open", "socket", "mknod"):
                continue
            calls = found.race.calls._replace(setup=(*setup[:n], *setup[n + 1 :]))
            if (fewer := self._again(replace(found.race, calls=calls), found.key, fresh)) is not None:
                return self._shorter(fewer, fresh)
        fails, shows, best = 0, HOLD_BLOCKS, found
        for blocks in (16, 64, 256, 1024, 4096, 16384):
            if (one := self._again(replace(found.race, blocks=blocks), found.key, fresh)) is not None:
                shows, best = blocks, one
                break
            fails = blocks
        while best is not found and shows - fails > max(shows // 16, 1):
            middle = (fails + shows) // 2
            one = self._again(replace(found.race, blocks=middle), found.key, fresh)
            fails, shows, best = (middle, shows, best) if one is None else (fails, middle, one)
        return best

    def _again(self, race: DataRace, key: tuple[object, ...], fresh: BoxCheckpoint) -> FoundRace | None:
        """What one schedule shows of the place and kind of `key`."""
        self._judge = RaceJudge(self._told, self._marks, self._words)
        self._orders.clear()
        fresh.restore()
        self._told.came_back()
        with suppress(OSError, BoxError):
            self._replay(race)
        return next((one for one in self._judge.found if one.key == key), None)

    def _search_file(self, file: FileCalls, steps: Sequence[ExerciseStep], fresh: BoxCheckpoint) -> bool:
        """The calls on a file, in each state that they make ready. False: there were enough schedules."""
        opening = file.opening
        for setup in file.setups([one for one in steps if one in self._changing]):
            calls = self._best(fresh, setup, file)
            calls.append(removal(self._told.file.name))
            if opening is not None:
                calls += [CLOSE._replace(slot=opening.slot), *([opening] * (opening.call == "open"))]
            fresh.restore()
            if not self._search(setup, calls, fresh):
                return False
        return True

    def _interfaces(self) -> list[Program]:
        """Calls that use the module's network interfaces, which are brought up."""
        box, found = self._box, list[Program]()
        for place in box.path("/sys/class/net").iterdir():
            if place.name in self.known_interfaces:
                continue
            index = int((place / "ifindex").read_text())
            sends = [step._replace(slot=0) for step in frames(index) if step.call == "sendto"]
            up = place.name.encode().ljust(16, b"\0") + (1).to_bytes(24, "little")
            with suppress(OSError):
                fd = box.syscall("socket", 17, 3, 0)  # AF_PACKET, SOCK_RAW
                box.syscall("ioctl", fd, 0x8914, bytearray(up))  # SIOCSIFFLAGS, IFF_UP
                box.syscall("close", fd)
                found.append((ExerciseStep("socket", 0, (17, 3, 0)), *sends[:2]))
                shown = ExerciseStep("open", 0, (f"{place}/statistics/tx_packets", 0))
                found.append((shown, ExerciseStep("pread", 0, (64, 0))))
        return found

    def _best(self, fresh: BoxCheckpoint, setup: Program, file: FileCalls) -> list[ExerciseStep]:
        """Of each kind of call on a file, the arguments with which it executes the most of the module after `setup`."""
        found = []
        fresh.restore()
        try:
            files = opened(self._box, setup)
        except OSError:
            return []
        with self._box.checkpoint() as start:
            for kind in file.kinds:
                traces = {one: self._trace(start, one, files.of(one)) for one in file.variants(kind)}
                best = max(traces, key=lambda one: len({row.pc for row in traces[one]}))
                touched = [row for row in traces[best] if row.access != Access.CALLED]
                if not touched:  # it cannot race
                    continue
                if any(row.access & Access.WRITE for row in touched) or self._begins_something(traces[best]):
                    self._changing.add(best)
                found.append(best)
                if best.call in ("write", "pwrite") and (longest := max(traces, key=_length)) != best:
                    found.append(longest)
                if len(self._lock_calls(traces[best])) > 1:
                    others = {one: self._trace(start, one, files.of(one)) for one in swapped(best) if one not in traces}
                    found += [one for one in _crosswise({**traces, **others}) if one not in found]
        return found

    def _lock_calls(self, trace: Sequence[TracedAccess]) -> list[TracedAccess]:
        """Where a call takes locks, in order."""
        calls = sorted((row for row in trace if row.access == Access.CALLED), key=lambda row: row.order)
        return [row for row in calls if _LOCKS.match(self._words.called(row.pc))]

    def _begins_something(self, trace: Sequence[TracedAccess]) -> bool:
        """Whether a call begins what the module does by itself: a timer, work, a tasklet, a thread that it wakes."""
        calls = (self._words.called(row.pc) for row in trace if row.access == Access.CALLED)
        return any(_BEGINS.match(name) for name in calls)

    def _search(self, setup: Program, steps: Sequence[ExerciseStep], fresh: BoxCheckpoint) -> bool:
        """Look for races between `steps` in the state that `setup` makes. False: there were enough schedules."""
        box = self._box
        self._orders.clear()
        with box.process(cpu=1) as process:  # before the calls, which may begin what must not be over yet
            try:
                files = opened(box, setup)
            except OSError:
                return True
            with box.checkpoint() as start:
                return self._search_state(start, process, setup, steps, files)

    def _search_state(
        self, start: BoxCheckpoint, process: BoxProcess, setup: Program, steps: Sequence[ExerciseStep], files: OpenFiles
    ) -> bool:
        """Look for races in one state. False: there were enough schedules."""
        traces = self._traces(start, setup, steps, files)
        pairs: list[tuple[RaceCalls, Conflict]] = []
        all_calls = _pairs(setup, steps, files)
        for calls in all_calls:
            found = self._conflicts(traces.alone[calls.first, True], traces.second_of(calls), calls)
            pairs += [(calls, one) for one in found]
        pairs.sort(key=lambda row: (self._rank(row[1]), row[1].rank))
        return self._try_all(_Place(start, process, files, traces, all_calls), pairs)

    def _try_all(self, place: _Place, pairs: Sequence[tuple[RaceCalls, Conflict]]) -> bool:
        for calls, conflict in pairs:
            behaviour = place.traces.behaviour(calls)
            if self._is_worth(conflict, behaviour) and not self._try(self._schedule(place, calls, conflict.held)):
                return False
        for schedule in (*self._of_one_cpu(place), *self._of_what_calls_begin(place)):
            if not self._try(schedule):
                return False
        raced = dict.fromkeys(calls for calls, _ in pairs if calls.first != TIME)
        for calls in (*raced, *(one for one in self._unloads(place) if one not in raced)):
            trace = place.traces.alone[calls.first, True]
            mine = [conflict for found, conflict in pairs if found == calls]
            behaviour = place.traces.behaviour(calls)
            for access in (*self._after_reads(trace, mine, behaviour), *self._calls_in(trace, behaviour)):
                if not self._try(self._schedule(place, calls, access)):
                    return False
            for schedule in (
                *self._one_after_other(place, calls, mine),
                *self._with_delayed_stores(place, calls, mine),
            ):
                if not self._try(schedule):
                    return False
        return True

    def _unloads(self, place: _Place) -> list[RaceCalls]:
        """Calls that are under way when the module is unloaded, and its exit frees something."""
        return [
            calls
            for calls in place.calls
            if calls.second.call == "rmmod" and any(row.size == FREED for row in place.traces.second_of(calls))
        ]

    def _of_one_cpu(self, place: _Place) -> Iterator[_Schedule | None]:
        """Calls alone, held before they change a variable of the CPU that they run on."""
        for calls in place.calls:
            trace = place.traces.alone[calls.first, True]
            for row in trace if calls.same and calls.first == calls.second != TIME else ():
                own = row.access & Access.WRITE and not row.access & (Access.ATOMIC | Access.CALLED)
                if not own or not self._is_per_cpu(row) or not self._has_read(trace, row):
                    continue
                found = self._schedule(place, calls, row) if self._is_rare(("alone", row.pc), 0) else None
                if found is not None:
                    yield replace(found, race=replace(found.race, alone=True))

    def _of_what_calls_begin(self, place: _Place) -> Iterator[_Schedule | None]:
        """Three contexts: a call has begun work, woken a thread or armed a timer; that is held, and another call is
        made. What the module does without a call as well, TIME shows."""
        traces = place.traces
        known = {row.pc for row in traces.alone[TIME, True]}
        closes = {calls.second for calls in place.calls if calls.second.call == CLOSE.call}
        pairs = [calls for calls in place.calls if calls.same and calls.first.call not in _NOT_BEGINNING]
        pairs += [calls._replace(second=one) for one in closes for calls in pairs if calls.second == calls.first]
        for calls in pairs:
            first, second = calls.first, calls.second
            if second == TIME or second.call == "rmmod" or not self._begins_something(traces.alone[first, True]):
                continue
            begun = [row for row in self._trace_begun(place, first) if row.pc not in known]
            found = [one for one in conflicts(begun, traces.alone[second, True]) if self._may_show(one)]
            places = [one.held for one in found if not self._marks.is_marked(one.held.pc)]
            places += [row._replace(access=Access.CALLED) for row in self._behind_reads(begun, found)]
            for held in places:
                one = self._schedule(place, calls, held) if self._is_rare(("begun", held.pc, held.access), 0) else None
                if one is not None:
                    reads = self._has_read(begun, held)
                    yield replace(one, race=replace(one.race, stack=held.stack, cpu=held.cpu, reads=reads))

    def _may_show(self, conflict: Conflict) -> bool:
        """Whether neither access is marked as meant to race, or both are: those are places to hold at."""
        marked = {self._marks.is_marked(row.pc) for row in conflict}
        return len(marked) == 1 and conflict.held.size != FREED and not conflict.held.access & Access.CALLED

    def _trace_begun(self, place: _Place, step: ExerciseStep) -> list[TracedAccess]:
        """What a call of the process on CPU 1 begins, on other stacks than its own."""
        box = self._box
        self._restore(place.start)
        self._elsewhere = False
        name, arguments = call_of(step, place.files.of(step))
        box.inspect.watch.trace_accesses()
        with suppress(OSError, BoxError):
            place.process.start(name, *arguments).wait(_PATIENCE)
        with suppress(OSError, BoxError):
            self._start(call_of(TIME, -1)).wait(_PATIENCE)
        rows = sorted(box.inspect.watch.traced(), key=lambda row: row.order)
        return [row for row in rows if row.stack != rows[0].stack]

    def _is_per_cpu(self, row: TracedAccess) -> bool:
        if not self._per_cpu:
            starts = self._box.inspect.objects.percpu_all("__per_cpu_start")
            self._per_cpu = [range(start, start + max(starts[1] - starts[0], 0)) for start in starts]
        return row.address in self._per_cpu[row.cpu]

    def _one_after_other(
        self, place: _Place, calls: RaceCalls, found: Sequence[Conflict]
    ) -> Iterator[_Schedule | None]:
        """Both calls pass a test before either of them changes anything: the first is held behind what it has read, the
        second before it changes what both change."""
        if calls.second.call in (TIME.call, CLOSE.call, "rmmod"):
            return
        trace, second = place.traces.alone[calls.first, True], place.traces.second_of(calls)
        changes = [
            one.held
            for one in conflicts(second, trace)
            if one.rank < 2 and one.other.size != FREED and not self._marks.is_marked(one.held.pc)
        ]
        behaviour = place.traces.behaviour(calls)
        for behind in self._behind_reads(trace, found):
            later = [row for row in changes if row.size != FREED and row.pc != behind.pc]
            for change in sorted(later, key=lambda row: row.order)[:_CHANGES]:
                key = ("then", self._marks.place(behind.pc), self._marks.place(change.pc))
                if self._is_rare(key, behaviour):
                    yield self._schedule_then(place, calls, behind, change)

    def _with_delayed_stores(
        self, place: _Place, calls: RaceCalls, found: Sequence[Conflict]
    ) -> Iterator[_Schedule | None]:
        """The first call has stored, and reads something else before its store is written: it is held behind that read,
        and before what it changes after it."""
        trace = sorted(place.traces.alone[calls.first, True], key=lambda row: row.order)
        read = [row for row in place.traces.second_of(calls) if row.access & Access.READ]
        behaviour = place.traces.behaviour(calls)
        for n, store in enumerate(trace):
            plain = store.access == Access.WRITE
            if not plain or store.size > 8 or not any(_overlaps(row, store) for row in read):
                continue
            behind = self._reads_behind(trace[n + 1 :], store)
            changes = [one.held for one in found if behind and one.held.order > behind[0].order]
            changes = [row for row in changes if not row.access & Access.CALLED and not self._marks.is_marked(row.pc)]
            for access in (*(self._next(row) for row in behind[:2]), *changes[:_CHANGES]):
                key = ("store", self._marks.place(store.pc), access and self._marks.place(access.pc))
                if access is not None and self._is_rare(key, behaviour):
                    yield self._schedule_delayed(place, calls, store, access)

    @staticmethod
    def _reads_behind(rows: Sequence[TracedAccess], store: TracedAccess) -> list[TracedAccess]:
        """What is read, of other memory, before the next call or atomic access."""
        found = []
        for row in rows:
            if row.access & (Access.CALLED | Access.ATOMIC):
                break
            if row.access == Access.READ and not _overlaps(row, store):
                found.append(row)
        return found

    def _next(self, row: TracedAccess) -> TracedAccess | None:
        """The instruction behind one, as a place to hold a CPU at."""
        section, offset = self._words.place(row.pc)
        if section < 0:
            return None
        found = self._box.arch.code.decode(self._told.file.elf.data(section), offset)
        return row._replace(pc=row.pc + found.length, access=Access.CALLED) if found is not None else None

    def _traces(self, start: BoxCheckpoint, setup: Program, steps: Sequence[ExerciseStep], files: OpenFiles) -> _Traces:
        alone = {
            (step, same): self._trace(start, step, files.of(step, same=same))
            for step in (*steps, TIME)
            for same in (True, False)
        }
        after = {}
        changing = {step for (step, _), rows in alone.items() if any(row.access & Access.WRITE for row in rows)}
        for calls in _pairs(setup, steps, files):
            if (
                calls.first in changing
                and calls.second.call not in (TIME.call, CLOSE.call)
                and calls.first != TIME
                and calls.first.call != "rmmod"
            ):
                before = call_of(calls.first, files.of(calls.first))
                fd = files.of(calls.second, same=calls.same)
                after[calls] = self._trace(start, calls.second, fd, before)
        return _Traces(alone, after)

    def _trace(
        self, start: BoxCheckpoint, step: ExerciseStep, fd: int, before: Made | None = None
    ) -> list[TracedAccess]:
        """What one call touches, and what the module does by itself meanwhile; after the call `before`."""
        box = self._box
        self._restore(start)
        if before is not None:
            with suppress(OSError, BoxError):
                self._start(before).wait(_PATIENCE)
        box.inspect.watch.trace_accesses()
        with suppress(OSError, BoxError):
            self._start(call_of(step, fd)).wait(_PATIENCE)
        rows = box.inspect.watch.traced()
        for row in rows:
            if row.access & Access.READ and not row.access & Access.WRITE:
                self._read_by.setdefault(row.address, set()).add(row.pc)
        return rows

    def _start(self, call: Made) -> PendingCall:
        """Begin a call of the main process."""
        return self._box.guest.calls.start(self._box.guest.main(), *call)

    def _restore(self, start: BoxCheckpoint) -> None:
        start.restore()
        self._elsewhere = True
        self._watch.locks.reset()
        self._told.came_back()

    def _conflicts(
        self, first: Sequence[TracedAccess], second: Sequence[TracedAccess], calls: RaceCalls
    ) -> list[Conflict]:
        """Those of two calls that can show something: of marked accesses, only where the memory is freed, or where both
        are marked."""
        if calls.second == TIME:  # what it does by itself: on other stacks than the call's
            stacks = {row.stack for row in sorted(first, key=lambda row: row.order)[:1]}
            second = [row for row in (*second, *first) if row.stack not in stacks]
            first = [row for row in first if row.stack in stacks]
        elif calls.first != TIME and first:  # what it begins is held by schedules of their own
            own = min(first, key=lambda row: row.order).stack
            first = [row for row in first if row.stack == own]
        found = []
        for one in conflicts(first, second):
            if one.held.size == FREED and one.other.size != FREED:
                continue
            if len({self._words.exclusive(row.pc) for row in one if row.access & Access.CALLED and row.size == 8}) > 1:
                continue
            sides = ((one.held, one.other), (one.other, one.held))
            marked = [self._marks.is_marked(row.pc, by.pc) for row, by in sides if row.access != Access.CALLED]
            if one.other.size == FREED or all(marked) or not any(marked):
                found.append(one)
        return found

    def _rank(self, conflict: Conflict) -> int:
        """Plain accesses come first, then what is freed, then what is meant to race."""
        if conflict.other.size == FREED:
            return 1
        return 2 if self._marks.is_marked(conflict.held.pc) else 0

    def _schedule(self, place: _Place, calls: RaceCalls, access: TracedAccess) -> _Schedule | None:
        section, offset = self._words.place(access.pc)
        if section < 0:
            return None
        alone = place.traces.alone
        readers = tuple(
            step
            for (step, same), rows in alone.items()
            if same and step.call not in (TIME.call, CLOSE.call, "rmmod") and any(_reads(row, access) for row in rows)
        )
        used = bool(self._read_by.get(access.address, set()) - {access.pc})
        size = 0 if access.access == Access.CALLED else access.size
        reads = self._has_read(alone[calls.first, True], access)
        race = DataRace(calls, section, offset, access.address, size, access.cpu, used, reads, readers[:_READERS])
        return _Schedule(place.start, place.process, place.files, race, access.pc)

    def _schedule_then(
        self, place: _Place, calls: RaceCalls, first: TracedAccess, access: TracedAccess
    ) -> _Schedule | None:
        """The first call is held at `first`, until the second comes to `access`, and is held in its place."""
        found, (section, offset) = self._schedule(place, calls, access), self._words.place(first.pc)
        if found is None or section < 0:
            return None
        race = found.race
        then = AccessPlace(race.section, race.offset, access.address, access.size)
        reads = self._has_read(place.traces.second_of(calls), access)
        race = replace(race, section=section, offset=offset, reads=reads, then=then)
        return replace(found, race=race, pc=first.pc)

    def _schedule_delayed(
        self, place: _Place, calls: RaceCalls, store: TracedAccess, access: TracedAccess
    ) -> _Schedule | None:
        """The first call is held at `access`, and its `store` before that is still in its CPU's buffer."""
        found, (section, offset) = self._schedule(place, calls, access), self._words.place(store.pc)
        if found is None or section < 0:
            return None
        delayed = AccessPlace(section, offset, store.address, store.size)
        return replace(found, race=replace(found.race, store=delayed))

    def _has_read(self, trace: Sequence[TracedAccess], access: TracedAccess) -> bool:
        """Whether the function that writes has read the same bytes before, in one instruction with that or another. A
        function of the kernel that it calls, as copy_from_user(), writes what it was given."""
        if access.access & Access.CALLED:
            return False
        function = self._words.function(access.pc)
        return bool(access.access & Access.WRITE) and any(
            row.address == access.address
            and row.access & Access.READ
            and row.order <= access.order
            and self._words.function(row.pc) == function
            for row in trace
        )

    def _calls_in(self, trace: Sequence[TracedAccess], behaviour: int) -> list[TracedAccess]:
        """The calls that a traced call made after its first access: where it may hold no lock; and those that take a
        second one."""
        touched = [one.order for one in trace if one.access != Access.CALLED]
        second = set(self._lock_calls(trace)[1:])
        calls = [
            one
            for one in trace
            if one.access == Access.CALLED and touched and (one.order > min(touched) or one in second)
        ]
        return self._fresh(sorted(calls, key=lambda one: one.order), behaviour)

    def _after_reads(
        self, trace: Sequence[TracedAccess], found: Sequence[Conflict], behaviour: int
    ) -> list[TracedAccess]:
        """What comes right after a conflicting read: the value that was read may be old by then."""
        behind = self._behind_reads(trace, found)
        return [row._replace(access=Access.CALLED) for row in self._fresh(behind, behaviour)]

    @staticmethod
    def _behind_reads(trace: Sequence[TracedAccess], found: Sequence[Conflict]) -> list[TracedAccess]:
        """For each conflicting read, the access that comes next, the first time and the last."""
        ordered = sorted((one for one in trace if one.access & ~Access.CALLED), key=lambda one: one.order)
        behind = []
        for conflict in found:
            if conflict.held.access & Access.READ and not conflict.held.access & Access.WRITE:
                for order in dict.fromkeys((conflict.held.order, conflict.held.last)):
                    behind += [row for row in ordered if row.order > order][:1]
        return list(dict.fromkeys(behind))

    def _fresh(self, rows: Iterable[TracedAccess], behaviour: int) -> list[TracedAccess]:
        return [one for one in dict.fromkeys(rows) if self._is_rare((one.pc,), behaviour)][:_CALLS]

    def _is_worth(self, conflict: Conflict, behaviour: int) -> bool:
        """Whether these two places have not been tried often enough: by source lines, where they are known."""
        held, other = conflict
        return self._is_rare((self._marks.place(held.pc), self._marks.place(other.pc), other.size == FREED), behaviour)

    def _is_rare(self, key: tuple[object, ...], behaviour: int) -> bool:
        """Whether something was tried less than _TRIES times, in all calls or in those that execute the same code."""
        rare = self._seen.get((*key, behaviour), 0) < _TRIES and self._seen.get(key, 0) < _MOST_TRIES
        for one in ((*key, behaviour), key) if rare else ():
            self._seen[one] = self._seen.get(one, 0) + 1
        return rare

    def _try(self, schedule: _Schedule | None) -> bool:
        """One schedule; what it shows is kept. False: there were enough of them."""
        if schedule is None:
            return True
        if self.schedules >= _SCHEDULES:
            self._told.leave_out(f"data races: more than {_SCHEDULES} schedules; the rest was not tried")
            return False
        race = schedule.race
        raced = self._together(schedule)
        clash = self._watch.take()
        stuck = clash.held is not None and (raced is None or None in raced.results)
        if stuck and (waits := self._watch.locks.deadlock()) is not None:
            self._judge.keep_deadlock(race, clash, waits)
            return True
        if race.then is not None and clash.before is None:
            return True
        if clash.held is None or self._judge.kernel_says(race, clash):
            return True
        if clash.freed or clash.passed:
            self._judge.keep_freed(race, clash)
            return True
        if race.alone:
            if clash.preemptible and not clash.locks:
                self._judge.keep_not_pinned(race, clash)
            return True
        if raced is None or not (self._can_matter(clash) or not race.size or None in raced.results):
            return True
        orders, later = self._all_orders(schedule)
        if orders[0] is not None and orders[1] is not None and later is not None:
            self._judge.judge(race, clash, raced, (orders[0], orders[1]), later)
        return True

    def _all_orders(self, schedule: _Schedule) -> Orders:
        """What the calls do one after the other, in both orders, and in the first one a little later. Where no memory
        is looked at, it is the same wherever the first was held."""
        key = None if schedule.race.size else schedule.calls
        if key is None or key not in self._orders:
            orders = self._in_order(schedule), self._in_order(schedule, swapped=True)
            found = orders, self._in_order(schedule, later=True)
            if key is None:
                return found
            self._orders[key] = found
        return self._orders[key]

    def _can_matter(self, clash: Clash) -> bool:
        assert clash.held is not None
        return bool(clash.others) or self._marks.is_marked(clash.held.pc)

    # -- one schedule ------------------------------------------------------------------------------------------

    def _together(self, schedule: _Schedule) -> Outcome | None:
        """Both calls at the same moment, with the first held. None when the box has died of it."""
        watch, race, calls = self._box.inspect.watch, schedule.race, schedule.calls
        self._restore(schedule.start)
        self._elsewhere = not race.stack
        self.schedules += 1
        self._watch.take()
        first, second = schedule.made(calls.first), schedule.made(calls.second)
        try:
            cpu = race.cpu if race.alone or race.stack or calls.first == TIME else 1
            then, store = self._code_access(race.then), self._code_access(race.store)
            memory = (race.address, race.address + race.size)
            if not race.size or then is not None:
                memory = (0, _ANYWHERE) if store is None else (0, 0)
            watch.hold_before(
                cpu,
                schedule.pc,
                *memory,
                blocks=race.blocks,
                wait=_WAIT,
                split=self._split,
                then=then,
                store=store,
                stack=race.stack,
            )
            if race.alone:
                results: tuple[int | None, int | None] = (answer_of(calls.first, self._start(first), _PATIENCE), None)
            elif race.stack and not cpu:  # on the CPU that the first call was not made on: that makes both
                one = answer_of(calls.first, schedule.process.start(first[0], *first[1]), _PATIENCE)
                two = self._box.schedule.later((schedule.process, second[0], *second[1]), _WAIT)
                results = (one, answer_of(calls.second, two, _PATIENCE))
            elif calls.first == TIME:
                caller = None if cpu else schedule.process
                two = self._box.schedule.later((caller, second[0], *second[1]), _WAIT)
                results = (0, answer_of(calls.second, two, _PATIENCE))
            else:
                pending = self._box.schedule.together(
                    (schedule.process, first[0], *first[1]), (None, second[0], *second[1]), lead=_WAIT
                )
                results = self._answers(calls, pending)
            watch.hold_no_more()
            return self._outcome(schedule, results, (first, second), wrote=False)
        except (BoxError, ValueError):
            watch.hold_no_more()
            return None

    def _code_access(self, place: AccessPlace | None) -> CodeAccess | None:
        starts = self._told.placement.starts if self._told.placement is not None else {}
        if place is None or place.section not in starts:
            return None
        return CodeAccess(starts[place.section] + place.offset, place.address, place.size)

    @staticmethod
    def _answers(calls: RaceCalls, pending: tuple[PendingCall, PendingCall]) -> tuple[int | None, int | None]:
        one, two = pending
        return answer_of(calls.first, one, _PATIENCE), answer_of(calls.second, two, _PATIENCE)

    def _in_order(self, schedule: _Schedule, *, swapped: bool = False, later: bool = False) -> Outcome | None:
        """One call after the other; the second also where the first waits. None when the box has died of it."""
        box, watch, race, calls = self._box, self._box.inspect.watch, schedule.race, schedule.calls
        self._restore(schedule.start)
        self._elsewhere = not race.stack
        if later:
            box.machine.pass_time(3_000_001)
        first, second = schedule.made(calls.first), schedule.made(calls.second)

        def one() -> PendingCall:
            return schedule.process.start(first[0], *first[1])

        def two() -> PendingCall:
            return self._start(second)

        try:
            begun = (two if swapped else one)()
            watch.trace_accesses()
            ended = (one if swapped else two)()
            results = self._answers(calls, (ended, begun) if swapped else (begun, ended))
            end = race.address + race.size
            wrote = any(
                row.access & Access.WRITE and row.address < end and race.address < row.address + row.size
                for row in watch.traced()
            )
            return self._outcome(schedule, results, (first, second), wrote=wrote)
        except (BoxError, ValueError):
            watch.hold_no_more()
            return None

    def _outcome(
        self,
        schedule: _Schedule,
        results: tuple[int | None, ...],
        calls: Sequence[Made],
        *,
        wrote: bool,
    ) -> Outcome:
        read, race = self._box.machine.read, schedule.race
        buffers = [
            one for name, arguments in calls if name in _READS for one in arguments if isinstance(one, bytearray)
        ]
        left = read(race.address, min(race.size, 64)) if race.size else b""
        nearby = without_pointers(read(*self._around(race.address))) if race.size else b""
        seen = tuple(self._seen_by(step, schedule.files.of(step)) for step in race.readers)
        return Outcome(results, tuple(map(bytes, buffers)), left, nearby, seen, wrote)

    def _seen_by(self, step: ExerciseStep, fd: int) -> object:
        """What a call that reads what was raced for gives to user space."""
        name, arguments = call_of(step, fd)
        answer = answer_of(step, self._start((name, arguments)), _PATIENCE)
        return answer, tuple(bytes(one) for one in arguments if isinstance(one, bytearray))

    def _around(self, address: int) -> tuple[int, int]:
        """Address and size of the variable that is touched, or of the line of 64 bytes where it is not the module's."""
        section, offset = self._words.place(address)
        for variable in self._told.file.debug.variables:
            behind = offset - variable.offset
            if variable.section == section and 0 <= behind < variable.size <= 256:
                return address - behind, variable.size
        return address & -64, 64

    def _replay(self, race: DataRace) -> None:
        placement = self._told.placement
        if placement is None or race.section not in placement.starts:
            return
        pc = placement.starts[race.section] + race.offset
        with self._box.process(cpu=1) as process:
            files = opened(self._box, race.calls.setup)
            with self._box.checkpoint() as start:
                self._try(_Schedule(start, process, files, race, pc))


@dataclass(frozen=True, slots=True)
class _Place:
    """A state that was made ready: where it starts, who makes calls, on which files, and what calls touch there."""

    start: BoxCheckpoint
    process: BoxProcess
    files: OpenFiles
    traces: _Traces
    calls: list[RaceCalls]


def _pairs(setup: Program, steps: Sequence[ExerciseStep], files: OpenFiles) -> list[RaceCalls]:
    """Each call against each, on another open file and on the same one; against what the module does by itself, either
    of them held. Where several files are open, only calls on different ones."""
    found = []
    for first in (*steps, TIME):
        for second in (*steps, TIME):
            calls = {first.call, second.call}
            by_itself = TIME.call in calls
            if first == second == TIME or first.call == "rmmod":
                continue
            if len(files) > 1 and (by_itself or first.slot == second.slot):
                continue
            for same in (False, True):
                if same != (by_itself or len(files) > 1) and (by_itself or len(files) > 1):
                    continue
                exclusive = len({*files.get(first.slot, ())}) == 1
                if CLOSE.call in calls and not by_itself and (same or exclusive):
                    continue
                found.append(RaceCalls(setup, first, second, same))
    return found


def _crosswise(traces: dict[ExerciseStep, list[TracedAccess]]) -> list[ExerciseStep]:
    """Two calls in which the same code touches the same memory, but not each place of it the same: as "from A to B" and
    "from B to A"."""
    shapes = {}
    for step, rows in traces.items():
        own = [row for row in rows if row.access != Access.CALLED]
        code, memory = frozenset(row.pc for row in own), frozenset(row.address for row in own)
        shapes[step] = code, memory, frozenset((row.pc, row.address) for row in own)
    steps = [step for step, shape in shapes.items() if shape[0]]
    for n, first in enumerate(steps):
        for second in steps[:n]:
            one, two = shapes[first], shapes[second]
            if one[:2] == two[:2] and one[2] != two[2]:
                return [second, first]
    return []


def _length(step: ExerciseStep) -> int:
    return len(step.arguments[0])


def _reads(row: TracedAccess, access: TracedAccess) -> bool:
    """Whether a traced access reads some of the bytes, and does not only change them."""
    return _overlaps(row, access) and bool(row.access & Access.READ) and not row.access & Access.WRITE


def _overlaps(row: TracedAccess, other: TracedAccess) -> bool:
    return row.address < other.address + other.size and other.address < row.address + row.size
