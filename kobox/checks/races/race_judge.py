"""What a schedule of two calls has shown, as findings: what is lost, mixed, freed, stuck, or what the kernel says."""

from __future__ import annotations

from dataclasses import dataclass

from kobox.box.inspect.printk import LogRecord
from kobox.checks.races.clash import FREED, Clash, RaceWords, is_update, words_of
from kobox.checks.races.race_calls import DataRace, title_of
from kobox.checks.races.race_cost import Cost, Outcome, cost_of, outcome_of_no_order
from kobox.checks.races.race_marks import RaceMarks
from kobox.checks.report.finding import Chain, Severity
from kobox.checks.runner.session import Examination, Trace, kernel_findings
from kobox.ko.elf import SHT_RELA

_HOLD_IT = "Hold one lock from the first look at the shared data to its last change."

_KEEP_IT = "Hold a lock or a reference for as long as the object is used, or free it after an RCU grace period."
_POISON = "6b6b6b6b6b6b"  # what the kernel fills freed objects with (include/linux/poison.h)


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


class RaceJudge:
    """Keeps what schedules have shown until `tell` reports it."""

    def __init__(self, examination: Examination, marks: RaceMarks, words: RaceWords) -> None:
        self._told = examination
        self._box = examination.box
        self._marks = marks
        self._words = words
        self._found: list[_FoundRace] = []

    def tell(self) -> None:
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
        held, names = clash.held, f"{title_of(race.calls.first)} and {title_of(race.calls.second)}"
        others = [row for row in clash.others if not self._marks.is_marked(row[0].pc)]
        marked = self._marks.is_marked(held.pc)
        # How much a function frees is not known: what the other touches there may be the object behind, and what is
        # left there is the allocator's doing. What the calls answer counts.
        if not race.size or marked or not others or held.size == FREED:
            if broken := outcome_of_no_order(raced, orders, later, names, with_data=not marked):
                message = f"{broken}: {title_of(race.calls.first)} was held here while the other ran on another CPU"
                self._found.append(
                    _FoundRace("race", Severity.ERROR, message, self._chain(clash.held_by), (), str(race), _HOLD_IT)
                )
            return
        report, other = next((row for row in others if row[0].writes), others[0])
        both_wrote = held.writes and any(row.writes for row, _ in others)
        # A count that only one instruction adds to, and that nothing but a parameter shows, may miss some.
        counts = is_update(held) and all(row.pc == held.pc for row, _ in others) and not self._marks.decides_by(held.pc)
        exposed = self._is_exposed(held.address) and not counts
        cost = cost_of(raced, orders, later, names, both_wrote=both_wrote, exposed=exposed)
        if not cost.shows and held.writes and (name := self._marks.list_function(held.pc)):
            cost = Cost(f"{name}() on a list that another changes at the same time breaks its links", True)
        if not cost.words and both_wrote and race.reads and not self._marks.stores_constant(held.pc):
            cost = Cost("it writes back what it has read before the other wrote, and the other's update is lost", False)
        if not cost.shows and (what := self._words.exclusive(held.pc)) and what == self._words.exclusive(report.pc):
            cost = Cost(f"{what} is changed by two at the same time", True)
        writers = (held, *(row for row, _ in others if row.writes))
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
        self._found.append(
            _FoundRace(
                "data-race",
                Severity.ERROR if cost.shows else Severity.NOTE,
                message,
                self._chain(clash.held_by),
                self._chain(other) if report.pc else (),
                str(race),
                "Take one lock in both, or use atomic operations; READ_ONCE() and WRITE_ONCE() mark what is meant.",
            )
        )

    def keep_freed(self, race: DataRace, clash: Clash) -> None:
        """The second call has freed what the first was about to touch."""
        assert clash.held is not None
        what, who = (
            f"{words_of(clash.held)} {self._words.named(clash.held, clash.registers)}",
            title_of(race.calls.second),
        )
        self._found.append(
            _FoundRace(
                "use-after-free",
                Severity.ERROR,
                f"{what}, which {who} has freed on another CPU meanwhile",
                self._chain(clash.held_by),
                self._chain(clash.frees),
                str(race),
                _KEEP_IT,
            )
        )

    def kernel_says(self, race: DataRace, clash: Clash) -> bool:
        """Whether the kernel has something to say; it is kept, with the schedule that led to it."""
        assert clash.held is not None
        found = kernel_findings(self._box)
        texts = (record.text for one in found for record in one.records)
        poisoned = clash.frees is not None and any(_POISON in text for text in texts)
        first, second = title_of(race.calls.first), title_of(race.calls.second)
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
                self._found.append(_FoundRace(kind, severity, message, chain, other, str(race), advice, one.records))
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
