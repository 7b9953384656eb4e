"""Races: a call interrupted at an instruction of the module, where another process comes in."""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from kobox.checks.fuzz.program import ExerciseStep
from kobox.checks.races.races import REMOVE, TIME, Race, calls_of, parse_race
from kobox.checks.report.finding import Frame, own_frame
from kobox.checks.runner.check import check
from kobox.checks.runner.outcome import CheckReport
from kobox.checks.runner.plan import CheckPlan
from kobox.errors import KoboxError
from kobox.images.store import KernelImage
from tests.building import BuiltTestModules

OPEN, WRITE, READ = (
    ExerciseStep("open", 0, ("/dev/racer", 2)),
    ExerciseStep("write", 0, (b"hello there",)),
    ExerciseStep("read", 0, (64,)),
)


def test_an_id_holds_the_whole_race() -> None:
    for second in (WRITE, TIME, REMOVE):
        race = Race((OPEN, WRITE), READ, second, 7)
        assert parse_race(str(race)) == race
    with pytest.raises(KoboxError, match="no ID of a race"):
        parse_race("race:nonsense")


def test_a_reader_that_takes_no_lock_finds_what_a_writer_has_freed(
    faulty_paths: BuiltTestModules, debian_kernel: KernelImage
) -> None:
    race = Race((OPEN, WRITE), READ, WRITE, 0)  # at all points
    plan = CheckPlan(str(faulty_paths("racer")), kernel=debian_kernel.name, race=race, workers=1)
    report = check(plan)
    assert report.switched >= 3
    found = next(finding for finding in report.findings if finding.kind == "use-after-free")
    assert "read() is interrupted before its instruction" in found.message
    again = check(
        CheckPlan(str(faulty_paths("racer")), kernel=debian_kernel.name, race=parse_race(found.fault), workers=1)
    )
    assert (again.raced, [finding.key for finding in again.findings]) == (1, [found.key])


def test_with_the_lock_nothing_is_found(faulty_paths: BuiltTestModules, debian_kernel: KernelImage) -> None:
    for first, second in ((READ, WRITE), (WRITE, READ), (WRITE, WRITE), (READ, TIME)):
        race = Race((OPEN, WRITE), first, second, 0)
        report = check(CheckPlan(str(faulty_paths("racer_right")), kernel=debian_kernel.name, race=race, workers=1))
        assert report.findings == []
        assert report.raced >= 3
        assert report.switched == (0 if second == TIME else report.raced)


@pytest.fixture(params=["debian_kernel", "trixie_kernel"])
def kernel(request: pytest.FixtureRequest) -> KernelImage:
    """Debian bookworm's kernel, then trixie's."""
    found: KernelImage = request.getfixturevalue(request.param)
    return found


def raced(kernel: KernelImage, name: str, race: Race, parameters: str = "") -> CheckReport:
    path = BuiltTestModules(kernel, "faults")(name)
    return check(CheckPlan(str(path), kernel=kernel.name, race=race, workers=1, parameters=parameters))


def test_an_unload_while_a_call_is_in_the_module(kernel: KernelImage, line_of: Callable[[str, Path], int]) -> None:
    node = "/dev/unowned", stat.S_IFCHR | 0o600, os.makedev(60, 0)
    race = Race((ExerciseStep("mknod", 0, node), ExerciseStep("open", 0, ("/dev/unowned", 1))), WRITE, REMOVE, 0)
    report = raced(kernel, "unowned", race)
    found = next(finding for finding in report.findings if finding.object and finding.object.what.startswith("task"))
    assert found.kind == "left-behind"
    assert " still runs in unowned_write(), whose memory goes; write() is interrupted before" in found.message
    assert found.message.endswith(" and rmmod comes in")
    assert found.where is not None
    assert (found.where.function, found.where.file) == ("unowned_write", "unowned.c")
    first, last = (line_of(text, Path("faults/unowned.c")) for text in ("count = min_t", "return count;"))
    assert first <= found.where.line <= last
    again = raced(kernel, "unowned", parse_race(found.fault))
    assert found.key in [finding.key for finding in again.findings]
    file = next(finding for finding in report.findings if finding.object and finding.object.what == "file unowned")
    assert file.message.startswith("file unowned is still open by unowned_fops, whose memory goes; ")
    assert ".owner = THIS_MODULE" in file.advice
    right = raced(kernel, "unowned_right", race)
    assert (right.findings, right.raced, right.switched) == ([], right.raced, right.raced)
    assert right.raced >= 1


@pytest.mark.parametrize("parameters", ["thread=0", "thread=1"])
def test_an_exit_that_frees_before_it_waits(
    kernel: KernelImage, parameters: str, line_of: Callable[[str, Path], int]
) -> None:
    race = Race((), TIME, REMOVE, 0)
    report = raced(kernel, "hasty", race, parameters)
    found = next(finding for finding in report.findings if finding.kind == "use-after-free")
    assert "what it does by itself is interrupted before its instruction" in found.message
    lines = {mark: line_of(f"/* {mark} */", Path("faults/hasty.c")) for mark in ("used", "made", "freed")}
    assert found.where is not None
    assert (found.where.function, found.where.file) == ("count_one", "hasty.c")
    assert abs(found.where.line - lines["used"]) <= 1
    assert found.object is not None
    assert [_line(found.object.made_at), _line(found.object.freed_at)] == [lines["made"], lines["freed"]]
    assert found.stage == "exit"
    again = raced(kernel, "hasty", parse_race(found.fault), parameters)
    assert (again.raced, again.switched) == (1, 1)
    assert found.key in [finding.key for finding in again.findings]
    right = raced(kernel, "hasty_right", race, parameters)
    assert right.findings == []
    assert right.switched >= 3


def _line(chain: tuple[Frame, ...]) -> int:
    frame = own_frame(chain)
    return frame.line if frame else 0


def test_unloads_come_first_of_all_races() -> None:
    rows = list(calls_of([(OPEN, WRITE, READ)], random.Random(0)))
    assert rows[0] == ((), TIME, REMOVE)
    assert rows[1][2] == REMOVE
    assert len(rows) == len(set(rows)) == 1 + 2 * (2 + 2)
