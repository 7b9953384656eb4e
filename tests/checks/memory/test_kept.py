"""What a module keeps, shows or answers that nobody can make right any more (tests/modules/kept/kept.c)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from kobox.box.box import Box
from kobox.checks.fuzz.player import Steps
from kobox.checks.fuzz.program import Program, step
from kobox.checks.fuzz.subsystems import line_discipline_programs
from kobox.checks.report.finding import Finding, Severity
from kobox.checks.runner.examiner import checks_of
from kobox.checks.runner.plan import CHECKS
from tests.checks.conftest import Laboratory

SOURCE = Path("kept/kept.c")
KINDS = {
    "alone": "leak",  # its list head points to itself
    "two": "leak",  # they point to each other
    "blob": "out-of-bounds",
    "srcu": "left-behind",
    "line": "leak",
    "errno": "positive-errno",
    "open": "positive-errno",
    "map": "positive-errno",
    "setting": "shift-out-of-range",
}


def programs(what: str) -> list[Program]:
    """What takes the module there."""
    opened = step("open", "/dev/kept", 2)
    if what == "line":
        return list(islice(line_discipline_programs(29), 1))
    if what == "errno":
        return [(opened, step("ioctl", 7, bytes(8)), step("ioctl", 7, 0x1000))]
    if what == "open":
        return [(opened,)]
    if what == "map":
        return [(opened, step("mmap", 4096, 1, 1, 0), step("mmap", 4096, 1, 1, 1 << 20))]
    if what == "setting":
        return [(step("open", "/sys/module/kept/parameters/bits", 2), step("write", b"33")), (opened, step("read", 8))]
    return []


def findings_of(laboratory: Laboratory, what: str, more: str = "") -> list[Finding]:
    def exercise(box: Box) -> None:
        Steps(*programs(what))(box)

    checks = checks_of(CHECKS)[0]
    return laboratory.examine(laboratory.file("kept", "kept"), checks, f"what={what} {more}", exercise)


@pytest.mark.parametrize("what", KINDS)
def test_what_is_kept_wrongly_is_an_error_on_its_line(
    laboratory: Laboratory, what: str, line_of: Callable[[str, Path], int]
) -> None:
    findings = findings_of(laboratory, what)
    found = [one for one in findings if one.kind == KINDS[what] and one.severity == Severity.ERROR]
    assert line_of(f"/* {what}: bad */", SOURCE) in {frame.line for one in found for frame in one.chain}, findings


@pytest.mark.parametrize("what", KINDS)
def test_what_is_kept_rightly_has_no_error_and_no_warning(laboratory: Laboratory, what: str) -> None:
    findings = findings_of(laboratory, what, "right=1")
    assert [one for one in findings if one.severity != Severity.NOTE] == []


def test_what_something_in_the_kernel_points_to_is_a_warning_with_all_that_it_holds(laboratory: Laboratory) -> None:
    leaks = [one for one in findings_of(laboratory, "held") if one.kind == "leak"]
    assert {one.severity for one in leaks} == {Severity.WARNING}
