"""What functions of a module return or leave, against the rules of who calls them (tests/modules/rules/returns.c)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kobox.box.box import Box
from kobox.checks.fuzz.player import Steps
from kobox.checks.report.finding import Finding, Severity
from kobox.checks.runner.examiner import checks_of
from kobox.checks.runner.plan import CHECKS
from tests.checks.conftest import Laboratory

SOURCE = Path("rules/returns.c")
KINDS = {
    "probe": "positive-errno",
    "read": "returns-too-much",
    "write": "returns-too-much",
    "jump": "oops",
    "timer": "left-behind",
}


def findings_of(laboratory: Laboratory, parameters: str) -> list[Finding]:
    def exercise(box: Box) -> None:
        Steps([("open", 0, ("/dev/returns", 2)), ("write", 0, (b"12",)), ("read", 0, (16,)), ("close", 0)])(box)

    return laboratory.examine(laboratory.file("returns", "rules"), checks_of(CHECKS)[0], parameters, exercise)


@pytest.mark.parametrize("what", KINDS)
def test_what_is_returned_or_left_wrongly_is_an_error_on_its_line(
    laboratory: Laboratory, what: str, line_of: Callable[[str, Path], int]
) -> None:
    findings = findings_of(laboratory, f"what={what}")
    found = [one for one in findings if one.kind == KINDS[what] and one.severity == Severity.ERROR]
    lines = {frame.line for one in found for frame in one.chain if frame.module == "returns"}
    assert line_of(f"/* {what}: bad */", SOURCE) in lines, findings


@pytest.mark.parametrize("what", KINDS)
def test_what_is_returned_and_left_rightly_has_no_error(laboratory: Laboratory, what: str) -> None:
    findings = findings_of(laboratory, f"what={what} right=1")
    assert [one for one in findings if one.severity == Severity.ERROR] == []
