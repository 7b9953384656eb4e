"""Races: a call interrupted at an instruction of the module, where another process comes in."""

from __future__ import annotations

import pytest

from kobox.checks.check import Plan, check
from kobox.checks.exercise import Step
from kobox.checks.races import TIME, Race, parse_race
from kobox.errors import KoboxError
from kobox.images.store import KernelImage
from tests.building import BuiltTestModules

OPEN, WRITE, READ = Step("open", 0, ("/dev/racer", 2)), Step("write", 0, (b"hello there",)), Step("read", 0, (64,))


def test_an_id_holds_the_whole_race() -> None:
    for second in (WRITE, TIME):
        race = Race((OPEN, WRITE), READ, second, 7)
        assert parse_race(str(race)) == race
    with pytest.raises(KoboxError, match="no ID of a race"):
        parse_race("race:nonsense")


def test_a_reader_that_takes_no_lock_finds_what_a_writer_has_freed(
    faulty_paths: BuiltTestModules, debian_kernel: KernelImage
) -> None:
    race = Race((OPEN, WRITE), READ, WRITE, 0)  # at all points
    plan = Plan(str(faulty_paths("racer")), kernel=debian_kernel.name, race=race, workers=1)
    report = check(plan)
    assert report.switched >= 3
    found = next(finding for finding in report.findings if finding.kind == "use-after-free")
    assert "read() is interrupted before its instruction" in found.message
    again = check(Plan(str(faulty_paths("racer")), kernel=debian_kernel.name, race=parse_race(found.fault), workers=1))
    assert (again.raced, [finding.key for finding in again.findings]) == (1, [found.key])


def test_with_the_lock_nothing_is_found(faulty_paths: BuiltTestModules, debian_kernel: KernelImage) -> None:
    for first, second in ((READ, WRITE), (WRITE, READ), (WRITE, WRITE), (READ, TIME)):
        race = Race((OPEN, WRITE), first, second, 0)
        report = check(Plan(str(faulty_paths("racer_right")), kernel=debian_kernel.name, race=race, workers=1))
        assert report.findings == []
        assert report.raced >= 3
        assert report.switched == (0 if second == TIME else report.raced)
