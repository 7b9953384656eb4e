"""What a schedule of two calls has shown, as findings: what is lost, mixed, freed, stuck, or what the kernel says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kobox.box.inspect.printk import LogRecord
from kobox.checks.races.clash import FREED, Clash, RaceWords, is_update, words_of
from kobox.checks.races.held_locks import NamedLock, Wait
from kobox.checks.races.race_calls import HOLD_BLOCKS, AccessPlace, DataRace, title_of
from kobox.checks.races.race_cost import Cost, Outcome, cost_of, outcome_of_no_order
from kobox.checks.races.race_marks import RaceMarks
from kobox.checks.races.schedule_writer import ScheduleWriter
from kobox.checks.report.finding import Chain, Severity, TwoCpuSchedule, own_frame
from kobox.checks.runner.session import Examination, Trace, kernel_findings
from kobox.ko.elf import SHT_RELA

_MAKES_DISKS = ("device_add_disk", "add_disk_fwnode")
_HOLD_IT = "Hold one lock from the first look at the shared data to its last change."

_KEEP_IT = "Hold a lock or a reference for as long as the object is used, or free it after an RCU grace period."
_LOCK_IT = "Take one lock in both, or use atomic operations; READ_ONCE() and WRITE_ONCE() mark what is meant."
_FENCE_IT = "Put smp_mb() between the store and the read that follows it, in both, or use smp_store_mb()."
_POISON = "6b6b6b6b6b6b"  # what the kernel fills freed objects with (include/linux/poison.h)


@dataclass(frozen=True, slots=True)
class FoundRace:
    """What is to be reported: errors first, since one place is told of once. `race` is the schedule that showed it."""

    kind: str
    severity: Severity
    message: str
    chain: Chain
    other: Chain
    race: DataRace
    advice: str = ""
    records: tuple[LogRecord, ...] = ()
    schedule: TwoCpuSchedule | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for two that tell the same: kind, severity and place."""
        frame = own_frame(self.chain)
        return self.kind, self.severity, frame and (frame.file, frame.line or frame.offset)


class RaceJudge:
    """Keeps what schedules have shown until `tell` reports it."""

    def __init__(self, examination: Examination, marks: RaceMarks, words: RaceWords) -> None:
        self._told = examination
        self._box = examination.box
        self._marks = marks
        self._words = words
        self._writer = ScheduleWriter(examination, words)
        # The page cache reads and writes a disk by the page: what two calls give at once may be a mixture.
        self._is_disk = any(wanted.name in _MAKES_DISKS for wanted in examination.file.imports)
        self.found: list[FoundRace] = []  # in the order in which schedules have shown it

    @property
    def errors(self) -> list[FoundRace]:
        """The errors that `tell` will report: one for each place."""
        errors = {one.key: one for one in reversed(self.found) if one.severity is Severity.ERROR}
        return [one for one in self.found if errors.get(one.key) is one]

    def put(self, old: FoundRace, new: FoundRace) -> None:
        """Report `new` in place of `old`."""
        self.found[self.found.index(old)] = new

    def tell(self) -> None:
        """Report what was found, the worst first: of one place in the source, one finding is kept."""
        for one in sorted(self.found, key=lambda one: one.severity.rank):
            self._told.fault = str(one.race)
            self._told.report(
                one.kind,
                one.severity,
                one.message,
                chain=one.chain,
                other=one.other,
                advice=one.advice,
                records=one.records,
                schedule=one.schedule,
            )
        self._told.fault = ""
        self.found.clear()

    def judge(
        self,
        race: DataRace,
        clash: Clash,
        raced: Outcome,
        orders: tuple[Outcome, Outcome],
        later: Outcome,
    ) -> None:
        """What both calls of `race` have done together, beside what they do in either order."""
        assert clash.held is not None
        held, names = clash.held, " and ".join(race.titles)
        others = [row for row in clash.others if not self._marks.is_marked(row.report.pc, held.pc)]
        marked = self._marks.is_marked(held.pc, others[0].report.pc if others else 0)
        # How much a function frees is not known: what the other touches there may be the object behind, and what is
        # left there is the allocator's doing. What the calls answer counts.
        if not race.size or marked or not others or held.size == FREED:
            if broken := outcome_of_no_order(raced, orders, later, names, with_data=not marked and not self._is_disk):
                message = f"{broken}: {race.titles[0]} was held here while the other ran on another CPU"
                message += self._delayed(race)
                written = self._written(race, clash, raced.results)
                chain = self._chain(clash.held_by)
                if race.store is not None:  # the store is to blame, not where the CPU was held after it
                    chain = (*self._frames_at(race.store), *(frame for frame in chain if not frame.module))
                self.found.append(
                    FoundRace(
                        "race",
                        Severity.ERROR,
                        message,
                        chain,
                        (),
                        race,
                        _FENCE_IT if race.store else _HOLD_IT,
                        schedule=written,
                    )
                )
            return
        report, other = next((row for row in others if row.report.writes), others[0])[:2]
        both_wrote = held.writes and any(row.report.writes for row in others)
        # A count that only one instruction adds to, and that nothing but a parameter shows, may miss some.
        alike = all(row.report.pc == held.pc for row in others)
        counts = is_update(held) and alike and not self._marks.decides_by(held.pc)
        exposed = self._is_exposed(held.address) and not counts
        cost = cost_of(raced, orders, later, names, both_wrote=both_wrote, exposed=exposed)
        if not cost.shows and held.writes and (name := self._marks.list_function(held.pc)):
            cost = Cost(f"{name}() on a list that another changes at the same time breaks its links", True)
        if not cost.words and both_wrote and race.reads and not self._marks.stores_constant(held.pc):
            cost = Cost("it writes back what it has read before the other wrote, and the other's update is lost", False)
        if not cost.shows and (what := self._words.exclusive(held.pc)) and what == self._words.exclusive(report.pc):
            cost = Cost(f"{what} is changed by two at the same time", True)
        writers = (held, *(row.report for row in others if row.report.writes))
        # Two that set and clear a flag: the last one wins, as in either order.
        flag = all(self._marks.stores_constant(row.pc) and not is_update(row) for row in writers)
        lost = both_wrote and not flag and (race.used or self._marks.decides_by(held.pc))
        if cost.words and not cost.shows and lost:
            cost = Cost(cost.words, True)
        if clash.shut:  # whoever wrote it has thought of this CPU only: what it costs is said, and it is a note
            cost = Cost(f"{cost.words or 'interrupts are off'}; local_irq_save() keeps no other CPU out", False)
        where = self._words.where(report, other)
        message = f"{words_of(held)} {self._words.named(held, clash.registers)}, and {words_of(report)} at {where}"
        message += f" on another CPU, with no lock that both hold{f': {cost.words}' if cost.words else ''}"
        message += self._delayed(race)
        self.found.append(
            FoundRace(
                "data-race",
                Severity.ERROR if cost.shows else Severity.NOTE,
                message,
                self._chain(clash.held_by),
                self._chain(other) if report.pc else (),
                race,
                _FENCE_IT if race.store else _LOCK_IT,
                schedule=self._written(race, clash, raced.results),
            )
        )

    def _written(
        self, race: DataRace, clash: Clash, results: Sequence[int | None] = (), ends: str = ""
    ) -> TwoCpuSchedule | None:
        runs = race.titles
        if clash.before is not None:  # the second call is the one that was held in the end
            runs, results = (runs[1], runs[0]), tuple(reversed(results))
        store = self._place_of(race.store) if race.store is not None else ""
        blocks = race.blocks if race.blocks != HOLD_BLOCKS else 0
        return self._writer.write(clash, runs, results=results, ends=ends, store=store, blocks=blocks)

    def _place_of(self, place: AccessPlace) -> str:
        return str(own_frame(self._frames_at(place)) or "the module")

    def _frames_at(self, place: AccessPlace) -> Chain:
        starts = self._told.placement.starts if self._told.placement is not None else {}
        return self._marks.frames(starts.get(place.section, 0) + place.offset)

    def _delayed(self, race: DataRace) -> str:
        """What makes the race possible, if it is a store that stays in its CPU's buffer."""
        if race.store is None:
            return ""
        return f"; the store at {self._place_of(race.store)} is not written yet: there is no smp_mb() behind it"

    def keep_freed(self, race: DataRace, clash: Clash) -> None:
        """The second call has freed what the first was about to touch, or to pass to a function of the kernel."""
        assert clash.held is not None
        who = title_of(race.calls.second)
        what = f"{words_of(clash.held)} {self._words.named(clash.held, clash.registers)}"
        if clash.passed:
            what = f"{clash.passed}() is called with a pointer into memory"
        self.found.append(
            FoundRace(
                "use-after-free",
                Severity.ERROR,
                f"{what}, which {who} has freed on another CPU meanwhile",
                self._chain(clash.held_by),
                self._chain(clash.frees),
                race,
                _KEEP_IT,
                schedule=self._written(race, clash),
            )
        )

    def keep_not_pinned(self, race: DataRace, clash: Clash) -> None:
        """A task changes a variable of its CPU where another one may run there before it has done so."""
        assert clash.held is not None
        what = f"{words_of(clash.held)} {self._words.named(clash.held, clash.registers)}, a variable of one CPU"
        self.found.append(
            FoundRace(
                "data-race",
                Severity.NOTE if is_update(clash.held) else Severity.ERROR,
                f"{what}, where the task may be preempted, or moved to another CPU: it writes back what it has read "
                "before another task changed it",
                self._chain(clash.held_by),
                (),
                race,
                "Use this_cpu_add() and its kin, or get_cpu_ptr() and put_cpu_ptr() round the whole change.",
            )
        )

    def keep_deadlock(self, race: DataRace, clash: Clash, waits: tuple[Wait, Wait]) -> None:
        """Each of the two waits for a lock that the other holds."""
        one, two = waits
        names = race.titles
        message = f"{_lock_name(one.wants)} is taken while {_lock_name(one.holds)} is held, and the other way round"
        message += f"{_line_of(two.wants)}: {names[0]} and {names[1]} wait for each other on two CPUs for ever"
        self.found.append(
            FoundRace(
                "lock-order",
                Severity.ERROR,
                message,
                one.wants.taken,
                two.wants.taken,
                race,
                "Take the two locks in the same order everywhere.",
                schedule=self._written(race, clash, ends="both wait for ever"),
            )
        )

    def kernel_says(self, race: DataRace, clash: Clash) -> bool:
        """Whether the kernel has something to say; it is kept, with the schedule that led to it."""
        assert clash.held is not None
        found = kernel_findings(self._box)
        texts = (record.text for one in found for record in one.records)
        poisoned = clash.frees is not None and any(_POISON in text for text in texts)
        first, second = race.titles
        for one in found:
            own = any(frame.module == self._told.file.name for frame in one.chain)
            if own or one.severity is Severity.ERROR:
                severity = Severity.ERROR if own else one.severity
                kind, advice, chain, other = one.kind, one.advice, self._lined(one.chain), self._chain(clash.held_by)
                message = f"{one.message}; {first} was held while {second} ran on another CPU"
                if poisoned:
                    kind, advice, other = "use-after-free", _KEEP_IT, self._chain(clash.frees)
                    message = f"what {first} follows lies in memory that {second} has freed on another CPU meanwhile"
                    message += f": {one.message}"
                written = self._written(race, clash, ends=f"the kernel reports: {one.message}")
                self.found.append(FoundRace(kind, severity, message, chain, other, race, advice, one.records, written))
        return bool(found)

    def _chain(self, trace: Trace | None) -> Chain:
        return self._told.chain(trace) if trace is not None else ()

    def _lined(self, chain: Chain) -> Chain:
        return tuple(part for number, frame in enumerate(chain) for part in self._told.with_lines(frame, not number))

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


def _lock_name(lock: NamedLock) -> str:
    return f"{lock.kind} {lock.name}".rstrip()


def _line_of(lock: NamedLock) -> str:
    frame = own_frame(lock.taken)
    return f" at {frame.file}:{frame.line}" if frame is not None and frame.line else ""
