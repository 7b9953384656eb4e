"""Writes down what two CPUs did in one schedule: the steps of each in order, and the locks that they held."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kobox.checks.races.clash import Clash, RaceWords, is_update, words_of
from kobox.checks.races.held_locks import NamedLock
from kobox.checks.report.finding import ScheduleSide, ScheduleStep, TwoCpuSchedule, own_frame
from kobox.checks.runner.session import Examination
from kobox.machine.watch import Access, WatchReport

_MOST = 4  # accesses of the other CPU
_FIRST, _SECOND = 0, 1


class ScheduleWriter:
    """Writes schedules of one examination."""

    def __init__(self, examination: Examination, words: RaceWords) -> None:
        self._told = examination
        self._words = words

    def write(
        self,
        clash: Clash,
        runs: tuple[str, str],
        *,
        results: Sequence[int | None] = (),
        ends: str = "",
        store: str = "",
        blocks: int = 0,
    ) -> TwoCpuSchedule | None:
        """The schedule in which `clash` was seen. `runs` says what is made on the CPU that is held, and on the other
        one; `results` what the two calls answered; `ends` what the kernel said of it."""
        if clash.held is None:
            return None
        first = ScheduleSide(clash.cpu, runs[_FIRST], _texts(clash.locks))
        met = next((one for one in clash.others if one.report.writes), next(iter(clash.others), None))
        second = ScheduleSide(met.cpu if met is not None else int(not clash.cpu), runs[_SECOND])
        common: tuple[str, ...] | None = None
        if met is not None and met.locks is not None and clash.locks is not None:
            second = ScheduleSide(second.cpu, second.runs, _texts(met.locks))
            addresses = {lock.address for lock in met.locks if lock.address}
            common = tuple(f"{lock.kind} {lock.name}" for lock in clash.locks if lock.address in addresses)
        steps = tuple(self._steps(clash, runs, results, ends, store))
        return TwoCpuSchedule((first, second), steps, common, blocks)

    def _steps(
        self, clash: Clash, runs: tuple[str, str], results: Sequence[int | None], ends: str, store: str
    ) -> Iterator[ScheduleStep]:
        held = clash.held
        assert held is not None
        place = own_frame(self._told.chain(clash.held_by)) if clash.held_by is not None else None
        at = f"{place}: " if place is not None else ""
        if clash.before is not None:
            first = own_frame(self._told.chain(clash.before[0]))
            yield ScheduleStep(_SECOND, f"{first or 'the call'}: stops after what it has read before")
        called = held.detail == Access.CALLED
        if store:
            yield ScheduleStep(_FIRST, f"{store}: writes; this stays in the CPU's store buffer")
        what = f"{words_of(held)} {self._words.named(held, clash.registers)}"
        reads = store and held.detail == Access.WRITE | Access.ATOMIC  # any instruction
        stands = "has read, and stops" if reads else _stands_before(held, what, called=called)
        yield ScheduleStep(_FIRST, f"{at}{stands}")
        before = len(clash.others)
        for one in clash.others[:_MOST]:
            where = self._words.where(one.report, one.trace)
            yield ScheduleStep(_SECOND, f"{where}: {words_of(one.report)} of the same memory")
        if clash.frees is not None:
            frame = own_frame(self._told.chain(clash.frees))
            yield ScheduleStep(_SECOND, f"{frame or 'the kernel'}: frees the memory")
        elif not before:
            yield ScheduleStep(_SECOND, f"{runs[_SECOND]} runs")
        yield ScheduleStep(_FIRST, "goes on: its store is written" if reads else _goes_on(held, called=called))
        for side, answer in enumerate(results):
            if answer is not None:
                yield ScheduleStep(side, f"returns {answer}")
            else:
                yield ScheduleStep(side, "does not return")
        if ends:
            yield ScheduleStep(_FIRST, ends)


def _texts(locks: Sequence[NamedLock] | None) -> tuple[str, ...] | None:
    return None if locks is None else tuple(map(str, locks))


def _stands_before(held: WatchReport, what: str, *, called: bool) -> str:
    if called:
        return "stops before this call"
    if is_update(held):
        return f"has read for the {what}, and stops before it writes"
    return f"stops before the {what}"


def _goes_on(held: WatchReport, *, called: bool) -> str:
    if called:
        return "goes on"
    if is_update(held):
        return "goes on: writes back what it made of the old value"
    return "goes on: writes" if held.writes else "goes on: reads"
