"""An examination: the stages of a module's life, and what calls have led to a place in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kobox.box.boot.bare_boot import boot
from kobox.box.box import Box
from kobox.box.inspect.probes import FROM_MODULE
from kobox.checks.runner.session import Check, Examination, Stage, Trace
from kobox.ko.modulefile import ModuleFile
from tests.building import SOURCES, BuiltTestModules
from tests.checks.conftest import Laboratory


@pytest.fixture(scope="module", params=["debian_kernel", "trixie_kernel"])
def place(request: pytest.FixtureRequest) -> Iterator[tuple[Box, BuiltTestModules]]:
    kernel = request.getfixturevalue(request.param)
    with boot(kernel) as box:
        yield box, BuiltTestModules(kernel, "lines")


def line_of(text: str, file: str = "lines.c") -> int:
    lines = (SOURCES / "lines" / file).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


class Listener(Check):
    """Takes a trace of each message that the module prints."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.traces: list[Trace] = []

    def attach(self, examination: Examination) -> None:
        self.examination = examination
        examination.probe("_printk", self._printed, when=FROM_MODULE)

    def _printed(self, hit: Any) -> None:
        self.traces.append(self.examination.trace(hit))

    def linked(self, examination: Examination) -> None:
        self.stages.append(f"linked {examination.stage}")

    def leaving(self, examination: Examination) -> None:
        self.stages.append(f"leaving {examination.stage}")

    def gone(self, examination: Examination) -> None:
        self.stages.append(f"gone {examination.stage}")


def test_the_stages_of_a_life(place: tuple[Box, BuiltTestModules]) -> None:
    box, modules = place
    listener = Listener()
    examination = Examination(box, ModuleFile(modules("both")), [listener], loads=2)
    assert examination.run(lambda box: listener.stages.append(f"exercise {examination.stage}")) == []
    assert listener.stages == [f"linked {Stage.INIT}", "exercise exercise", "leaving exit", "gone after"] * 2


def test_a_chain_has_lines_of_all_files_also_when_the_module_is_gone(place: tuple[Box, BuiltTestModules]) -> None:
    box, modules = place
    listener = Listener()
    examination = Examination(box, ModuleFile(modules("both")), [listener])
    examination.run()
    (trace,) = listener.traces
    chain = examination.chain(trace)
    assert [(frame.function, frame.module, frame.file, frame.line) for frame in chain[:4]] == [
        ("_printk", "", "", 0),
        ("part_of_lines", "both", "part.c", line_of("line of the part", "part.c")),
        ("lines_init", "both", "lines.c", line_of("to the other file")),
        ("do_one_initcall", "", "", 0),
    ]
    assert chain[-1].function == "entry_SYSCALL_64_after_hwframe"
    assert chain[1].offset > 0
    assert str(chain[1]) == f"part_of_lines [both] (part.c:{chain[1].line})"


def test_a_module_without_lines_is_told_by_symbols(place: tuple[Box, BuiltTestModules], tmp_path: Any) -> None:
    import subprocess

    box, modules = place
    subprocess.run(["objcopy", "--strip-debug", modules("both"), tmp_path / "both.ko"], check=True)
    listener = Listener()
    examination = Examination(box, ModuleFile(tmp_path / "both.ko"), [listener])
    examination.run()
    chain = examination.chain(listener.traces[0])
    assert [str(frame).partition("+")[0] for frame in chain[:3]] == ["_printk", "part_of_lines", "lines_init"]
    assert [frame.module for frame in chain[:3]] == ["", "both", "both"]


def test_a_call_that_sleeps_for_ever_is_told_by_its_chain(laboratory: Laboratory) -> None:
    findings = laboratory.examine(laboratory.file("faulty"), [], "what=sleep_forever")
    found = next(finding for finding in findings if finding.kind == "hang")
    assert found.stage == "init"
    assert found.where is not None
    assert (found.where.function, found.where.file) == ("faulty_sleep_forever", "faulty.c")
    assert [frame.function for frame in found.chain][:2] == ["__schedule", "schedule"]
    assert "faulty_init" in [frame.function for frame in found.chain]


def test_a_timer_that_is_always_due_is_told_by_its_function(laboratory: Laboratory) -> None:
    before, laboratory.box.limits.cpu = laboratory.box.limits.cpu, 0.3
    try:
        file = laboratory.file("hangs", "hangs")
        findings = laboratory.examine(file, [], 'what="timer again"', lambda box: box.sleep(1))
    finally:
        laboratory.box.limits.cpu = before
    found = next(finding for finding in findings if finding.kind == "hang")
    assert found.where is not None
    assert (found.where.function, found.where.file) == ("again", "hangs.c")


def test_an_oops_in_memory_that_went_with_the_module_says_so(laboratory: Laboratory) -> None:
    findings = laboratory.examine(laboratory.file("faulty"), [], "what=none where=timer")
    found = next(finding for finding in findings if finding.kind in ("oops", "panic"))
    assert found.message.endswith(": faulty_timer of faulty, which is gone")


class InitProbe(Check):
    """Has a probe on the module's init function, and on its exit function."""

    def linked(self, examination: Examination) -> None:
        objects = examination.box.inspect.objects
        assert examination.module is not None
        self.addresses = [objects.number(examination.module.address, f"module.{name}") for name in ("init", "exit")]
        self.hits: list[str] = []
        self.probes = [
            examination.probe_code(address, None, lambda _, name=name: self.hits.append(name))
            for address, name in zip(self.addresses, ("init", "exit"), strict=True)
        ]


def test_probes_on_init_end_with_it_since_others_may_come_to_lie_there(place: tuple[Box, BuiltTestModules]) -> None:
    box, modules = place
    check, left = InitProbe(), []
    Examination(box, ModuleFile(modules("both")), [check]).run(
        lambda _: left.extend([check.probes[0].is_set, check.probes[1].is_set])
    )
    assert (left, check.hits) == ([False, True], ["init", "exit"])
