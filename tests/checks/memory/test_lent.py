"""What the kernel lends to a module: packets, private areas, contexts, pages (tests/modules/lent/lent.c)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from kobox.box.box import Box
from kobox.checks.fuzz.network import interface_programs, packet_programs
from kobox.checks.fuzz.player import Steps
from kobox.checks.fuzz.program import Program, step
from kobox.checks.fuzz.structures import ARENA, ARENA_SIZE
from kobox.checks.fuzz.subsystems import algorithm_programs
from kobox.checks.report.finding import Finding, Severity
from kobox.checks.runner.examiner import checks_of
from kobox.checks.runner.plan import CHECKS
from tests.checks.conftest import Laboratory

SOURCE = Path("lent/lent.c")
KINDS = {
    "linear": "out-of-bounds",
    "short": "out-of-bounds",
    "private": "out-of-bounds",
    "context": "out-of-bounds",
    "pages": "reference-leak",
    "attribute": "out-of-bounds",
}


def programs(what: str, box: Box) -> list[Program]:
    """What takes the module there."""
    if what == "linear":
        return [
            one for one in packet_programs() if any(len(s.arguments[0]) == 40000 for s in one if s.call == "sendto")
        ]
    if what == "context":
        return list(islice(algorithm_programs("hash", "lent"), 2))
    if what == "pages":
        write = step("write", b"x" * 64)
        return [(step("open", "/dev/lent", 2), write, write, write)]
    if what == "fault":  # nobody has touched that memory: the kernel makes page tables meanwhile
        return [(step("open", "/dev/lent", 2), step("write_at", ARENA + ARENA_SIZE // 2, 64))]
    if what == "attribute":
        return [(step("open", "/sys/module/lent/all", 0), step("read", 20))]
    (index,) = [int(path.read_text()) for path in box.path("/sys/class/net").glob("lent*/ifindex")]
    return list(islice(interface_programs("lent0", index), 1, 3))


def findings_of(laboratory: Laboratory, what: str, more: str = "") -> list[Finding]:
    def exercise(box: Box) -> None:
        Steps(*programs(what, box))(box)

    checks = checks_of(CHECKS)[0]
    return laboratory.examine(laboratory.file("lent", "lent"), checks, f"what={what} {more}", exercise)


@pytest.mark.parametrize("what", KINDS)
def test_what_is_lent_and_misused_is_an_error_on_its_line(
    laboratory: Laboratory, what: str, line_of: Callable[[str, Path], int]
) -> None:
    findings = findings_of(laboratory, what)
    found = [one for one in findings if one.kind == KINDS[what] and one.severity == Severity.ERROR]
    assert line_of(f"/* {what}: bad */", SOURCE) in {one.where.line for one in found if one.where is not None}, findings


@pytest.mark.parametrize("what", [*KINDS, "pad", "fault"])
def test_what_is_lent_and_used_rightly_has_no_error(laboratory: Laboratory, what: str) -> None:
    findings = findings_of(laboratory, what, "right=1")
    assert [one for one in findings if one.severity == Severity.ERROR] == []


def test_page_tables_that_come_meanwhile_are_no_leak(
    laboratory: Laboratory, line_of: Callable[[str, Path], int]
) -> None:
    (found,) = [one for one in findings_of(laboratory, "fault") if one.kind == "leak"]
    assert found.where is not None
    assert found.where.line == line_of("/* fault: made */", SOURCE)


def test_a_packet_says_where_its_linear_part_ends(laboratory: Laboratory) -> None:
    (found,) = [one for one in findings_of(laboratory, "linear") if one.kind == "out-of-bounds"]
    assert "bytes past the end of a packet's linear part (the packet has 40" in found.message
    assert "skb_header_pointer()" in found.advice
