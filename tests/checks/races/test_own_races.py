"""Races of a module's own threads, timers and work: found on their line, and their twins are clean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

import kobox
from kobox.box.box import Box
from kobox.checks.races.data_races import CMDLINE, CPUS
from kobox.checks.races.own_races import OwnRace, OwnRaceSearch, parse_own_race
from kobox.checks.report.finding import Finding, Severity, own_frame
from kobox.checks.runner.check import check
from kobox.checks.runner.plan import CheckPlan
from kobox.checks.runner.session import Examination
from kobox.errors import KoboxError
from kobox.images.store import KernelImage
from kobox.ko.modulefile import ModuleFile
from tests.building import SOURCES, BuiltTestModules

RACES = sorted(path.stem.removesuffix("_right") for path in (SOURCES / "own_races").glob("*_right.c"))


@pytest.fixture(scope="module")
def racy(debian_kernel: KernelImage) -> BuiltTestModules:
    return BuiltTestModules(debian_kernel, "own_races")


@pytest.fixture(scope="module")
def room(debian_kernel: KernelImage) -> Iterator[Box]:
    with kobox.boot(debian_kernel, cpus=CPUS, cmdline=CMDLINE) as box:
        yield box


def searched(box: Box, racy: BuiltTestModules, name: str, replay: OwnRace | None = None) -> list[Finding]:
    examination = Examination(box, ModuleFile(str(racy(name))), [])
    search = OwnRaceSearch(examination, replay)
    search.run()
    assert search.schedules < 100
    return examination.findings


def lines_of_race(name: str) -> set[int]:
    lines = (SOURCES / "own_races" / f"{name}.c").read_text().splitlines()
    return {number for number, line in enumerate(lines, 1) if "/* the race */" in line}


def lines_of(found: list[Finding]) -> set[int]:
    """Where the two sides of the errors are."""
    frames = [own_frame(chain) for one in found if one.severity is Severity.ERROR for chain in (one.chain, one.other)]
    return {frame.line for frame in frames if frame is not None}


@pytest.mark.parametrize("name", RACES)
def test_a_race_of_its_own_contexts_is_found_on_its_line(room: Box, racy: BuiltTestModules, name: str) -> None:
    found = searched(room, racy, name)
    assert lines_of(found) & lines_of_race(name), [str(one) for one in found]


@pytest.mark.parametrize("name", RACES)
def test_the_twin_of_it_is_clean(room: Box, racy: BuiltTestModules, name: str) -> None:
    assert not searched(room, racy, f"{name}_right")


@pytest.mark.parametrize("name", ["pair", "entries"])
def test_it_is_replayed_by_its_id(room: Box, racy: BuiltTestModules, name: str) -> None:
    first = next(one for one in searched(room, racy, name) if one.severity is Severity.ERROR)
    assert searched(room, racy, name, parse_own_race(first.fault)) == [first]
    assert not searched(room, racy, f"{name}_right", parse_own_race(first.fault))


def test_a_check_finds_the_races_of_a_module_without_files(racy: BuiltTestModules) -> None:
    plan = CheckPlan(str(racy("pair")), kernel=racy.kernel.name, faults=False, loads=1, workers=1, races=True)
    report = check(plan)
    found = next(one for one in report.findings if one.kind == "data-race")
    assert lines_of([found]) == lines_of_race("pair")
    assert "the other's update is lost" in found.message
    again = check(replace(plan, data_race=parse_own_race(found.fault)))
    assert (again.findings, again.schedules) == ([found], 1)


@pytest.mark.parametrize("blocks", [{}, {"blocks": 17}], ids=["longest", "shorter"])
def test_an_id_says_all_of_it(blocks: dict[str, int]) -> None:
    race = OwnRace(1, 3, 20, 1 << 63, 8, (1 << 64) - 0x4000, 7, **blocks)
    assert parse_own_race(str(race)) == race


def test_a_cpu_is_held_for_as_short_as_shows_the_race(room: Box, racy: BuiltTestModules) -> None:
    found = next(one for one in searched(room, racy, "pair") if one.severity is Severity.ERROR)
    assert found.schedule is not None
    assert 0 < found.schedule.blocks < 10_000
    assert parse_own_race(found.fault).blocks == found.schedule.blocks


@pytest.mark.parametrize("text", ["ownrace:", "ownrace:x", "ownrace:eJyLjgUAARUAuQ==", "ownrace:!!"])
def test_a_text_that_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(KoboxError, match="is no ID of a data race"):
        parse_own_race(text)


def test_a_kernel_that_dies_after_the_unload_ends_no_check(room: Box, racy: BuiltTestModules) -> None:
    examination = Examination(room, ModuleFile(str(racy("latetimer"))), [])
    OwnRaceSearch(examination).run()
    assert "the kernel panicked" in str(examination.error)
