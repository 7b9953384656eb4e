"""Mistakes with the kernel's functions, each beside the same code without it (tests/modules/misuse/misuse.c)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kobox.box.box import Box
from kobox.checks.fuzz.player import Steps
from kobox.checks.report.finding import Finding, Severity
from kobox.checks.runner.examiner import checks_of
from kobox.checks.runner.plan import CHECKS
from kobox.checks.runner.session import Check
from kobox.checks.variations.double_fetch import ChangingUser
from tests.checks.conftest import Laboratory

SOURCE = Path("misuse/misuse.c")
KINDS = {
    "format": "format-string",
    "overlap": "overlapping-copy",
    "shift": "shift-out-of-range",
    "scan": "out-of-bounds",
    "task": "reference-leak",
    "netdev": "reference-leak",
    "kobject": "left-behind",
    "pool": "left-behind",
    "wait": "use-after-return",
    "interrupts": "lock-imbalance",
    "nested": "lock-imbalance",
    "branch": "uninitialised-read",
    "far": "out-of-bounds",
    "kernel": "out-of-bounds",
    "fetch": "out-of-bounds",
    "packet": "use-after-free",
    "counted": "invalid-free",
    "flags": "atomic-sleep",
    "complete": "use-after-return",
    "numbers": "leak",
    "shown": "use-after-free",
    "bit": "out-of-bounds",
}


def findings_of(laboratory: Laboratory, parameters: str) -> list[Finding]:
    """What one life finds in which a byte is written, and other calls follow."""
    more: list[Check] = [ChangingUser()] if "fetch" in parameters else []
    checks = [*more, *checks_of(CHECKS)[0]]

    def exercise(box: Box) -> None:
        Steps([("open", 0, ("/dev/misuse", 2)), ("write", 0, (b"\2",)), ("lseek", 0, (0, 0)), ("close", 0)])(box)
        box.sleep(0.5 if "complete" in parameters else 0)

    return laboratory.examine(laboratory.file("misuse", "misuse"), checks, parameters, exercise)


@pytest.mark.parametrize("what", KINDS)
def test_a_misuse_is_an_error_on_its_line(
    laboratory: Laboratory, what: str, line_of: Callable[[str, Path], int]
) -> None:
    findings = findings_of(laboratory, f"what={what}")
    found = [finding for finding in findings if finding.kind == KINDS[what]]
    assert found, findings
    assert found[0].severity == Severity.ERROR
    places = [found[0].where, *(found[0].object.made_at if found[0].object else ())]
    # One kobject_put() too few: which of the references it should have given back, nobody can tell.
    marker = "/* kobject: made */" if what == "kobject" else f"/* {what}: bad */"
    assert line_of(marker, SOURCE) in {place.line for place in places if place is not None}


@pytest.mark.parametrize("what", [*KINDS, "crosswise"])
def test_the_same_without_the_mistake_has_no_error(laboratory: Laboratory, what: str) -> None:
    findings = findings_of(laboratory, f"what={what} right=1")
    assert [finding for finding in findings if finding.severity == Severity.ERROR] == []


HANDED = Path("handed/handed.c")
HANDED_KINDS = {
    "order": "invalid-free",
    "length": "out-of-bounds",
    "size": "dma-mismatch",
    "direction": "dma-mismatch",
    "coherent": "dma-mismatch",
    "processor": "preemptible-cpu",
    "percpu": "preemptible-cpu",
    "sysctl": "out-of-bounds",
    "mmap": "out-of-bounds",
}


def findings_of_handed(laboratory: Laboratory, parameters: str) -> list[Finding]:
    """What one life finds in which a byte is written, and the device mapped within its bounds and beyond."""

    def exercise(box: Box) -> None:
        maps = [("mmap", 0, (4096 * pages, 1, 1, 4096 * first)) for pages, first in ((2, 0), (1, 1), (2, 1), (1, 7))]
        for call in maps if "mmap" in parameters else [("write", 0, (b"\2",))]:
            Steps([("open", 0, ("/dev/handed", 2)), call])(box)

    return laboratory.examine(laboratory.file("handed", "handed"), checks_of(CHECKS)[0], parameters, exercise)


@pytest.mark.parametrize("what", HANDED_KINDS)
def test_what_is_handed_out_wrongly_is_an_error_on_its_line(
    laboratory: Laboratory, what: str, line_of: Callable[[str, Path], int]
) -> None:
    found = [one for one in findings_of_handed(laboratory, f"what={what}") if one.kind == HANDED_KINDS[what]]
    assert {one.severity for one in found} == {Severity.ERROR}
    assert line_of(f"/* {what}: bad */", HANDED) in {one.where.line for one in found if one.where is not None}


@pytest.mark.parametrize("what", HANDED_KINDS)
def test_what_is_handed_out_rightly_has_no_error(laboratory: Laboratory, what: str) -> None:
    findings = findings_of_handed(laboratory, f"what={what} right=1")
    assert [finding for finding in findings if finding.severity == Severity.ERROR] == []
