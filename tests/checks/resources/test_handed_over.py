"""What the kernel hands to functions of a module: packets, requests, bios, buffers (tests/modules/taken/taken.c)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from kobox.box.box import Box
from kobox.checks.fuzz.network import interface_programs, packet_programs
from kobox.checks.fuzz.player import Steps
from kobox.checks.fuzz.program import Program, step
from kobox.checks.module.files import FileTargets
from kobox.checks.report.finding import Finding, Severity
from kobox.checks.runner.examiner import checks_of
from kobox.checks.runner.plan import CHECKS
from tests.checks.conftest import Laboratory

SOURCE = Path("taken/taken.c")
FRAME, PROTOCOL = 0x88B6, 253
KINDS = {
    "frame": "leak",
    "hook": "leak",
    "protocol": "leak",
    "receive": "leak",
    "send": "leak",
    "request": "hang",
    "bio": "hang",
    "strings": "out-of-bounds",
    "statistics": "out-of-bounds",
    "test": "out-of-bounds",
    "registers": "out-of-bounds",
}


def programs(box: Box, what: str) -> list[Program]:
    """What takes the module there."""
    if KINDS[what] == "hang":
        opened = step("open", "/dev/taken", 2)
        return [(opened, step("pread", 4096, 0)), (opened, step("pread", 4096, 4096 * 5))]
    if what in ("frame", "hook", "protocol", "receive"):
        return list(packet_programs((FRAME,), (PROTOCOL,)))[:3]
    name = next(one.name for one in box.path("/sys/class/net").iterdir() if one.name != "lo")
    index = int(box.read_text(f"/sys/class/net/{name}/ifindex"))
    return list(interface_programs(name, index))[: 3 if what == "send" else None]


def findings_of(laboratory: Laboratory, what: str, more: str = "") -> list[Finding]:
    def exercise(box: Box) -> None:
        Steps(*programs(box, what))(box)

    checks = checks_of(CHECKS)[0]
    return laboratory.examine(laboratory.file("taken", "taken"), checks, f"what={what} {more}", exercise)


@pytest.mark.parametrize("what", KINDS)
def test_what_is_lost_or_overrun_is_an_error_on_its_line(
    laboratory: Laboratory, what: str, line_of: Callable[[str, Path], int]
) -> None:
    findings = findings_of(laboratory, what)
    found = [one for one in findings if one.kind == KINDS[what] and one.severity == Severity.ERROR]
    assert line_of(f"/* {what}: bad */", SOURCE) in {frame.line for one in found for frame in one.chain[:2]}, findings


@pytest.mark.parametrize("what", KINDS)
def test_what_is_freed_completed_or_fits_has_no_error_and_no_warning(laboratory: Laboratory, what: str) -> None:
    assert [one for one in findings_of(laboratory, what, "right=1") if one.severity != Severity.NOTE] == []


@pytest.mark.parametrize(("what", "types", "protocols"), [("frame", (FRAME,), ()), ("protocol", (), (PROTOCOL,))])
def test_the_exercise_sends_what_the_module_alone_takes(
    laboratory: Laboratory, what: str, types: tuple[int, ...], protocols: tuple[int, ...]
) -> None:
    found = []

    def look(targets: FileTargets, box: Box) -> None:
        found.extend(targets.new_files(box, "taken", frozenset(("dev_add_pack",))))

    laboratory.box.reset()
    look_at = partial(look, FileTargets(laboratory.box))
    laboratory.examine(laboratory.file("taken", "taken"), [], f"what={what}", look_at)
    assert [(one.types, one.protocols) for one in found if one.packets] == [(types, protocols)]
