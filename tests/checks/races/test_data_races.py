"""Data races on two CPUs: each kind of race is found on its line, and its twin, which has the lock, is clean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import MagicMock

import pytest

import kobox
from kobox.box.box import Box
from kobox.checks.fuzz.program import ExerciseStep, Program, step
from kobox.checks.races.clash import FREED, Clash, OtherAccess
from kobox.checks.races.conflicts import conflicts
from kobox.checks.races.data_races import CMDLINE, CPUS, DataRaceSearch
from kobox.checks.races.race_calls import DataRace, RaceCalls, parse_data_race, swapped
from kobox.checks.races.race_cost import Outcome
from kobox.checks.races.race_judge import RaceJudge
from kobox.checks.races.race_marks import is_marked_at
from kobox.checks.report.finding import Finding, Severity, own_frame
from kobox.checks.runner.check import check
from kobox.checks.runner.plan import CheckPlan
from kobox.checks.runner.session import Examination, Trace
from kobox.errors import KoboxError
from kobox.images.store import KernelImage
from kobox.ko.modulefile import ModuleFile
from kobox.machine.watch import Access, TracedAccess, WatchReport, What
from tests.building import SOURCES, BuiltTestModules

RACES = sorted(path.stem.removesuffix("_right") for path in (SOURCES / "races").glob("*_right.c"))


@pytest.fixture(scope="module")
def racy(debian_kernel: KernelImage) -> BuiltTestModules:
    return BuiltTestModules(debian_kernel, "races")


@pytest.fixture(scope="module")
def room(debian_kernel: KernelImage) -> Iterator[Box]:
    with kobox.boot(debian_kernel, cpus=CPUS, cmdline=CMDLINE) as box:
        yield box


def calls_on(name: str) -> list[Program]:
    """What an exercise would do with the device of a test module."""
    requests = [step("ioctl", 0x4B00 + n, 0) for n in range(1, 7)]
    opened = step("open", f"/{'proc' if name == 'opener' else 'dev'}/kobox_{name}", 2)
    return [(opened, step("write", b"hello"), step("write", b"\1\0\0\0"), step("read", 64), *requests)]


def searched(box: Box, path: Path, search: DataRaceSearch) -> list[Finding]:
    examination = Examination(box, ModuleFile(str(path)), [])
    search.examination = examination
    examination.run(search)
    assert examination.error is None
    return examination.findings


def lines_of_race(name: str) -> set[int]:
    lines = (SOURCES / "races" / f"{name}.c").read_text().splitlines()
    return {number for number, line in enumerate(lines, 1) if "/* the race */" in line}


@pytest.mark.parametrize("name", RACES)
def test_a_race_is_found_on_its_line(room: Box, racy: BuiltTestModules, name: str) -> None:
    search = DataRaceSearch(calls_on(name))
    found = searched(room, racy(name), search)
    wrong = {one.where.line for one in found if one.severity is Severity.ERROR and one.where}
    assert wrong & lines_of_race(name), [str(one) for one in found]
    assert search.schedules < 100


@pytest.mark.parametrize("name", RACES)
def test_the_twin_of_a_race_is_clean(room: Box, racy: BuiltTestModules, name: str) -> None:
    assert not searched(room, racy(f"{name}_right"), DataRaceSearch(calls_on(name)))


@pytest.mark.parametrize("name", ["idle", "shown"])
def test_an_update_that_nobody_gets_to_see_is_lost_with_a_note(room: Box, racy: BuiltTestModules, name: str) -> None:
    found = searched(room, racy(name), DataRaceSearch(calls_on(name)))
    assert [(one.kind, one.severity) for one in found] == [("data-race", Severity.NOTE)]
    assert "leave 10 there in either order, and together 5" in found[0].message


def test_a_race_is_replayed_by_its_id(room: Box, racy: BuiltTestModules) -> None:
    first = searched(room, racy("split"), DataRaceSearch(calls_on("split")))
    again = searched(room, racy("split"), DataRaceSearch([], parse_data_race(first[0].fault)))
    assert again == first[:1]
    assert not searched(room, racy("split_right"), DataRaceSearch([], parse_data_race(first[0].fault)))


def test_a_finding_says_what_was_lost_and_where_the_other_is(room: Box, racy: BuiltTestModules) -> None:
    found = searched(room, racy("counter"), DataRaceSearch(calls_on("counter")))[0]
    assert found.kind == "data-race"
    assert "of total" in found.message
    assert "write() and write() leave 10 there in either order, and together 5" in found.message
    assert found.chain[0].function == "on_write"
    assert found.other[0].function == "on_write"


def test_a_check_finds_races_by_itself_and_repeats_one(racy: BuiltTestModules) -> None:
    plan = CheckPlan(str(racy("split")), kernel=racy.kernel.name, faults=False, loads=1, workers=1, races=True)
    report = check(plan)
    wrong = {found.where.line for found in report.findings if found.severity is Severity.ERROR and found.where}
    assert wrong == lines_of_race("split")
    assert 0 < report.schedules < 100
    again = check(replace(plan, data_race=parse_data_race(report.findings[0].fault)))
    assert again.findings == report.findings[:1]
    assert again.schedules == 1


@pytest.mark.parametrize(
    ("line", "at", "marked"),
    [
        ("\ttotal += n * READ_ONCE(factor);", "total", False),
        ("\ttotal += n * READ_ONCE(factor);", "+=", False),
        ("\ttotal += n * READ_ONCE(factor);", "READ_ONCE", True),
        ("\ttotal += n * READ_ONCE(factor);", "factor", True),
        ("\thits++; WRITE_ONCE(ready, (a + b)); misses++;", "hits", False),
        ("\thits++; WRITE_ONCE(ready, (a + b)); misses++;", "b)", True),
        ("\thits++; WRITE_ONCE(ready, (a + b)); misses++;", "misses", False),
        ("\tlast = jiffies;", "=", False),
        ("\tlast = jiffies;", "jiffies", True),
        ("\ttotal++; /* no atomic */", "total", False),
        ("\tsmp_store_release(&head,", "head", True),
        ("\tcomplete(&done); count++;", "done", True),
        ("\tcomplete(&done); count++;", "count", False),
        ("\tcount++;", "count", False),
    ],
)
def test_a_mark_counts_where_it_stands(line: str, at: str, marked: bool) -> None:
    assert is_marked_at(line, line.index(at) + 1) is marked


def test_without_a_column_a_mark_counts_in_its_whole_line() -> None:
    assert is_marked_at("\ttotal += n * READ_ONCE(factor);", 0)
    assert not is_marked_at("\ttotal += n;", 0)


@pytest.mark.parametrize(
    ("made", "found"),
    [
        (step("write", b"hello"), [b"\0\1llo", b"\1\0llo", b"\0\0\1\0o", b"\1\0\0\0o"]),
        (step("ioctl", 7, 9), [1, 16, 256, 65536, 1 << 32]),
        (step("ioctl", 7, bytes(2)), [b"\0\1", b"\1\0"]),
        (step("read", 64), []),
        (step("write", b""), []),
    ],
    ids=["bytes", "number", "structure", "read", "nothing"],
)
def test_a_call_that_may_name_two_things_names_them_both_ways(made: ExerciseStep, found: list[object]) -> None:
    assert [one.arguments[-1] for one in swapped(made)] == found


RACE = DataRace(
    RaceCalls((step("open", "/dev/x", 2),), step("write", b"a\0"), step("read", 5), True), 3, 20, 1 << 63, 8
)


@pytest.mark.parametrize("more", [{}, {"stack": (1 << 64) - 0x4000}, {"blocks": 3}, {"alone": True}], ids=str)
def test_an_id_says_all_of_a_race(more: dict[str, int]) -> None:
    race = replace(RACE, **more)  # type: ignore[arg-type]
    assert parse_data_race(str(race)) == race


@pytest.mark.parametrize("text", ["datarace:", "datarace:x", "datarace:eJyLjgUAARUAuQ==", "datarace:!!"])
def test_a_text_that_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(KoboxError, match="is no ID of a data race"):
        parse_data_race(text)


def outcome(*, data: bytes = b"", left: bytes = bytes(8)) -> Outcome:
    return Outcome((5, 5), (data,), left, left, (), True)


def judged(size: int, raced: Outcome) -> list[str]:
    """What is said when a call was held before it changed `size` bytes, and the other has written 16 bytes behind."""
    examination, marks, words = MagicMock(), MagicMock(), MagicMock()
    marks.is_marked.return_value = marks.list_function.return_value = False
    words.place.return_value, words.exclusive.return_value = (-1, 0), ""
    clash = Clash(WatchReport(What.HELD, 1, 1 << 63, size, True, Access.WRITE))
    report = WatchReport(What.RACE, 2, (1 << 63) + 16, 8, True, Access.WRITE)
    clash.others.append(OtherAccess(report, Trace((), None), 0, None))
    judge = RaceJudge(examination, marks, words)
    judge.judge(replace(RACE, size=size), clash, raced, (outcome(), outcome()), outcome())
    judge.tell()
    assert judge.found == []
    return [call.args[0] for call in examination.report.mock_calls]


def test_what_is_left_behind_a_free_says_nothing() -> None:
    """Whose memory that is, and what an allocator has put there since, nobody knows; what a call returns, one does."""
    assert judged(24, outcome(left=b"\x6b" * 8)) == ["data-race"]
    assert judged(FREED, outcome(left=b"\x6b" * 8)) == []
    assert judged(FREED, outcome(data=b"mixed")) == ["race"]


R, W, A = Access.READ, Access.WRITE, Access.ATOMIC


def accessed(pc: int, address: int, size: int, access: Access) -> TracedAccess:
    return TracedAccess(pc, address, size, access, 1, 0)


@pytest.mark.parametrize(
    ("one", "other", "races"),
    [
        ((100, 8, W), (100, 8, R), True),
        ((100, 8, R), (100, 8, R), False),
        ((100, 8, R | W), (100, 8, R | W), True),
        ((100, 8, R | W | A), (100, 8, R | W | A), False),
        ((100, 8, R | W | A), (100, 8, W), True),
        ((100, 4, W), (104, 4, W), False),
        ((100, 4, W), (102, 4, R), True),
        ((100, 1000, W), (1099, 1, R), True),
        ((1000, 64, R), (1040, 100, W), True),
    ],
)
def test_which_accesses_conflict(one: tuple[int, int, Access], other: tuple[int, int, Access], races: bool) -> None:
    first, second = accessed(1, *one), accessed(2, *other)
    assert bool(conflicts([first], [second])) is races
    assert bool(conflicts([second], [first])) is races


def test_the_locks_that_both_hold_are_told(room: Box, racy: BuiltTestModules) -> None:
    found = searched(room, racy("halflock"), DataRaceSearch(calls_on("halflock")))
    locks = {tuple(side.locks or () for side in one.schedule.sides) for one in found if one.schedule is not None}
    line = next(
        number
        for number, text in enumerate((SOURCES / "races" / "halflock.c").read_text().splitlines(), 1)
        if "spin_lock(" in text
    )
    taken = f"spinlock guard (taken at halflock.c:{line})"
    assert ((taken,), ()) in locks
    assert ((), (taken,)) in locks
    assert {one.schedule.common for one in found if one.schedule is not None} == {()}


def test_two_locks_are_told_by_their_names(room: Box, racy: BuiltTestModules) -> None:
    found = searched(room, racy("twolocks"), DataRaceSearch(calls_on("twolocks")))
    first = next(one.schedule for one in found if one.severity is Severity.ERROR and one.schedule is not None)
    names = [lock.split(" (")[0] for side in first.sides for lock in side.locks or ()]
    assert len(set(names)) == 2
    assert first.common == ()


def test_the_shortest_schedule_is_told_in_two_columns(room: Box, racy: BuiltTestModules) -> None:
    first = searched(room, racy("counter"), DataRaceSearch(calls_on("counter")))[0]
    schedule = first.schedule
    assert schedule is not None
    assert [side.runs for side in schedule.sides] == ["write()", "write()"]
    assert {side.cpu for side in schedule.sides} == {0, 1}
    assert [step.side for step in schedule.steps][:3] == [0, 1, 0]
    race = parse_data_race(first.fault)
    assert 0 < race.blocks == schedule.blocks < 1000
    # With a block less the other CPU does not come to its access: nothing is shown.
    shorter = replace(race, blocks=max(race.blocks - max(race.blocks // 16, 1) - 1, 1))
    assert not [
        one for one in searched(room, racy("counter"), DataRaceSearch([], shorter)) if one.severity is Severity.ERROR
    ]
    assert searched(room, racy("counter"), DataRaceSearch([], race)) == [first]


def test_calls_that_a_race_does_not_need_are_left_out(room: Box, racy: BuiltTestModules) -> None:
    needless = (step("open", "/dev/kobox_counter", 2), step("read", 64), step("write", b"x"))
    first = searched(room, racy("counter"), DataRaceSearch(calls_on("counter")))[0]
    race = parse_data_race(first.fault)
    search = DataRaceSearch([], replace(race, calls=race.calls._replace(setup=needless)))
    assert [one.kind for one in searched(room, racy("counter"), search)] == ["data-race"]
    assert len(race.calls.setup) == 1


@pytest.mark.parametrize("name", ["abba", "spinabba"])
def test_two_calls_that_wait_for_each_other_are_told_with_both_chains(
    room: Box, racy: BuiltTestModules, name: str
) -> None:
    found = searched(room, racy(name), DataRaceSearch(calls_on(name)))
    first = next(one for one in found if one.kind == "lock-order")
    sides = [own_frame(chain) for chain in (first.chain, first.other)]
    assert {side.line for side in sides if side is not None} == lines_of_race(name)
    assert "ioctl() and ioctl() wait for each other on two CPUs for ever" in first.message
    assert searched(room, racy(name), DataRaceSearch([], parse_data_race(first.fault))) == [first]
