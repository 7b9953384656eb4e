"""References that a module's own code takes and gives back, by inline functions (tests/modules/counts/counts.c)."""

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

SOURCE = Path("counts/counts.c")
KINDS = ("task", "pid", "memory", "cred", "dentry", "parent", "device", "net", "sock")


def findings_of(laboratory: Laboratory, parameters: str) -> list[Finding]:
    """What one life finds in which a byte is written."""

    def exercise(box: Box) -> None:
        Steps([("open", 0, ("/dev/counts", 2)), ("write", 0, (b"\2",)), ("close", 0)])(box)

    return laboratory.examine(laboratory.file("counts", "counts"), checks_of(CHECKS)[0], parameters, exercise)


@pytest.mark.parametrize("what", KINDS)
def test_a_reference_that_is_kept_is_an_error_on_its_line(
    laboratory: Laboratory, what: str, line_of: Callable[[str, Path], int]
) -> None:
    found = [one for one in findings_of(laboratory, f"what={what}") if one.severity is Severity.ERROR]
    assert [one.kind for one in found] == ["left-behind" if what == "parent" else "reference-leak"]
    assert found[0].where is not None
    assert found[0].where.line == line_of(f"/* {what}: bad */", SOURCE)


@pytest.mark.parametrize("what", KINDS)
def test_a_reference_that_is_given_back_is_none(laboratory: Laboratory, what: str) -> None:
    findings = findings_of(laboratory, f"what={what} right=1")
    assert [finding for finding in findings if finding.severity is Severity.ERROR] == []
