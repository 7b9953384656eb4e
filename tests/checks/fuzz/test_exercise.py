"""The exercise: programs of system calls, the generic one, and what is kept of what it finds."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from kobox.box.box import Box
from kobox.checks.coverage.coverage import Coverage
from kobox.checks.fuzz.exercise import GenericExercise, setting_of, uses_of
from kobox.checks.fuzz.exercise_file import ExerciseError, exercise_of
from kobox.checks.fuzz.mutate import mutated, random_program
from kobox.checks.fuzz.player import Player, Steps
from kobox.checks.fuzz.program import ExerciseStep, Material, Program, step
from kobox.checks.fuzz.seeds import material_of
from kobox.checks.fuzz.strategies import programs
from kobox.checks.fuzz.subsystems import file_system_programs
from kobox.checks.fuzz.systematic import systematic_programs
from kobox.checks.module.callsites import CodeMap
from kobox.checks.module.files import Target
from kobox.checks.runner.check import check, examine
from kobox.checks.runner.examiner import Examiner
from kobox.checks.runner.minimise import shrink, source_of
from kobox.checks.runner.outcome import UnitOutcome
from kobox.checks.runner.plan import CheckPlan, CheckUnit
from kobox.images.store import KernelImage
from kobox.ko.modulefile import ModuleFile
from tests.building import SOURCES, BuiltTestModules

ASK = 0x80046307  # _IOR('c', 7, int) of crasher.c


def test_the_numbers_and_words_that_code_asks_for_are_found_in_it(faulty_paths: BuiltTestModules) -> None:
    material = material_of(CodeMap(ModuleFile(faulty_paths("crasher")).elf))
    assert material.requests[0] == ASK
    assert b"go" in material.words


def test_the_same_seed_makes_the_same_programs(faulty_paths: BuiltTestModules) -> None:
    material = material_of(CodeMap(ModuleFile(faulty_paths("crasher")).elf))
    target = Target("/dev/crasher", 2, True)

    def made(seed: int) -> list[Program]:
        chance = random.Random(seed)
        found = [random_program(target, material, chance) for _ in range(50)]
        return found + [mutated(program, material, chance) for program in found]

    assert made(1) == made(1) != made(2)


def test_a_crash_is_found_made_short_and_kept_as_a_test_that_fails(
    faulty_paths: BuiltTestModules, debian_kernel: KernelImage, tmp_path: Path
) -> None:
    plan = CheckPlan(str(faulty_paths("crasher")), kernel=debian_kernel.name, faults=False, loads=1, workers=1)
    report = check(plan)
    (crash,) = report.crashes
    assert crash.finding.kind == "wild-access"
    assert [step.call for program in crash.programs for step in program] == ["open", "write", "ioctl"]
    path = tmp_path / "test_crash.py"
    path.write_text(source_of(crash, plan, report.module, path))
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", path], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout
    assert "NULL pointer" in done.stdout
    right = CheckPlan(str(faulty_paths("crasher_right")), kernel=debian_kernel.name)
    assert examine(right, Steps(*crash.programs)) == []


def test_two_runs_do_and_find_the_same(faulty_paths: BuiltTestModules, debian_kernel: KernelImage) -> None:
    plan = CheckPlan(str(faulty_paths("crasher_right")), kernel=debian_kernel.name, loads=1, workers=1, seed=5)
    first, second = check(plan), check(plan)
    assert (first.calls, first.places, first.findings) == (second.calls, second.places, second.findings)
    assert first.coverage is not None
    assert second.coverage is not None
    assert first.coverage.executed == second.coverage.executed


def test_shrinking_keeps_what_matters() -> None:
    everything: list[Program] = [tuple(ExerciseStep("write", n, (bytes([m]),)) for m in range(6)) for n in range(7)]
    needed = {(2, b"\x04"), (5, b"\x01")}

    def still(candidate: object) -> bool:
        return needed <= {(step.slot, step.arguments[0]) for program in candidate for step in program}  # type: ignore[attr-defined]

    short = shrink(everything, still, tries=500)
    assert [(step.slot, step.arguments[0]) for program in short for step in program] == sorted(needed)


def test_a_call_that_does_not_come_back_is_abandoned(box: Box) -> None:
    from kobox.checks.fuzz.player import Player

    box.files.mkdir("/tmp/exercise")
    box.syscall("mknod", "/tmp/exercise/pipe", 0o010600, 0)
    with Player(box) as player:
        player.play(
            (
                ExerciseStep("open", 0, ("/tmp/exercise/pipe", 2)),
                ExerciseStep("read", 0, (1,)),
                ExerciseStep("write", 0, (b"x",)),
            )
        )
        assert player.abandoned == 1
        player.play((ExerciseStep("open", 0, ("/proc/version", 0)), ExerciseStep("read", 0, (64,))))
    assert box.syscall("getpid") > 0


def test_an_exercise_of_ones_own_is_a_function_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def exercise(box):\n    box.seen = True\n")
    assert exercise_of(str(file)) is not None
    assert exercise_of("none") is None
    file.write_text("nothing = 1\n")
    with pytest.raises(ExerciseError, match="no function"):
        exercise_of(str(file))
    file.write_text("this is no Python\n")
    with pytest.raises(ExerciseError, match="cannot be run: SyntaxError"):
        exercise_of(str(file))


def test_a_file_of_tests_is_an_exercise_whose_tests_load_the_module_themselves(
    faulty_paths: BuiltTestModules, debian_kernel: KernelImage, tmp_path: Path
) -> None:
    file = tmp_path / "test_helper.py"
    file.write_text("""
import pytest

@pytest.mark.parametrize("times", [1, 2])
def test_it_opens(box, module, times):
    helper = box.insmod(module)
    for _ in range(times):
        box.open("/dev/helper", "rb").close()
    helper.unload()

def test_it_wants_more(box, module, tmp_path):
    raise AssertionError("never called")
""")
    plan = CheckPlan(str(faulty_paths("helper")), kernel=debian_kernel.name, exercise=str(file), workers=1)
    report = check(plan)
    assert report.lives == 2
    assert set(report.places.values()) == {"init", "exercise"}
    assert [finding.kind for finding in report.findings] == ["unchecked-return"]
    assert any("test_it_wants_more wants tmp_path" in text for text in report.unchecked)
    right = check(replace(plan, module=str(faulty_paths("helper_right"))))
    assert right.findings == []
    file.write_text("def test_it_fails(box, module):\n    box.insmod(module)\n    assert False, 'so it is'\n")
    failed = check(plan)
    assert [(finding.kind, "so it is" in finding.message) for finding in failed.findings] == [("exercise-failed", True)]


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(program=programs("/dev/null", words=[b"go"], requests=[ASK]))
def test_hypothesis_makes_programs_that_can_be_played(program: Program, box: Box) -> None:
    Steps(program)(box)
    assert box.alive


@pytest.mark.parametrize(
    ("name", "parameters", "kind", "place"),
    [("reach", "", "out-of-bounds", "/* stores"), ("reach_right", "divide=1", "oops", "/* divides")],
)
def test_attributes_of_devices_and_numbers_that_matter_are_reached(
    name: str, parameters: str, kind: str, place: str, faulty_paths: BuiltTestModules, debian_kernel: KernelImage
) -> None:
    plan = CheckPlan(
        str(faulty_paths(name)), debian_kernel.name, parameters=parameters, faults=False, loads=1, workers=1
    )
    report = check(plan)
    assert f"/sys/bus/platform/devices/{name}/period" in report.files
    source = (SOURCES / "faults/reach.c").read_text().splitlines()
    line = next(number for number, text in enumerate(source, 1) if place in text)
    found = next(finding for finding in report.findings if finding.kind == kind)
    assert found.where is not None
    assert found.where.line == line


def test_what_an_early_call_led_to_is_made_short_though_more_came_after_it(
    faulty_paths: BuiltTestModules, debian_kernel: KernelImage
) -> None:
    report = check(CheckPlan(str(faulty_paths("reach")), kernel=debian_kernel.name, faults=False, loads=3, workers=1))
    assert {crash.finding.kind for crash in report.crashes} == {"out-of-bounds", "oops"}
    crash = next(crash for crash in report.crashes if crash.finding.kind == "out-of-bounds")
    assert [[step.call for step in program] for program in crash.programs] == [["open", "ioctl"]]
    assert crash.finding.where is not None
    assert crash.name == f"out_of_bounds_reach_ioctl_{crash.finding.where.line}"


def test_what_is_right_is_clean_when_it_is_reached(faulty_paths: BuiltTestModules, debian_kernel: KernelImage) -> None:
    report = check(CheckPlan(str(faulty_paths("reach_right")), kernel=debian_kernel.name, workers=1))
    assert report.findings == []


def test_calls_that_hang_end_the_exercise(modules: BuiltTestModules, box: Box) -> None:
    stuck = Target("/proc/kmsg", os.O_RDONLY)  # a read that nobody answers
    exercise = GenericExercise(Material(), lambda _: [stuck], lambda: 0)
    exercise(box)
    assert exercise.abandoned == 24
    assert exercise.made < 300


def test_a_loop_that_never_ends_is_a_finding(modules: BuiltTestModules, debian_kernel: KernelImage) -> None:
    plan = CheckPlan(str(modules("faulty")), kernel=debian_kernel.name, parameters="what=loop", workers=1)
    found = next(finding for finding in examine(plan) if finding.kind == "hang")
    assert found.where is not None
    assert (found.where.function, found.where.file) == ("faulty_loop", "faulty.c")
    assert found.stage == "init"


PLACES = {
    "number": "a length and two numbers that are read from the comparisons of the running code",
    "text": "a text that the format of sscanf() reads",
    "file": "the number of an eventfd in an ioctl's structure",
    "one of two": "a file that goes on after another one was closed",
    "key": "add_key(2)",
    "reading a key": "keyctl(2)",
    "item": "an attribute of an item of configfs",
    "options": "mount(2) with options",
    "unmounting": "umount(2)",
    "digest": "a socket of AF_ALG",
    "attribute": "an attribute of generic netlink, as long as its policy allows",
}


@pytest.fixture(scope="module", params=["debian_kernel", "trixie_kernel"])
def reached(request: pytest.FixtureRequest) -> str:
    """What the module reached.ko says in the log while it is explored."""
    kernel: KernelImage = request.getfixturevalue(request.param)
    module = BuiltTestModules(kernel, "reached")("reached")
    examiner = Examiner(CheckPlan(str(module), kernel=kernel.name, loads=1, checks=()))
    try:
        assert examiner.examine(CheckUnit("life")).findings == ()
        return "\n".join(record.text for record in examiner.box.log.records())
    finally:
        examiner.box.close()


@pytest.mark.parametrize("place", PLACES)
def test_the_exercise_gets_in_by_itself(reached: str, place: str) -> None:
    assert f"reached {place}" in reached, PLACES[place]


@pytest.fixture(scope="module")
def tapbox(debian_kernel: KernelImage) -> Path:
    return BuiltTestModules(debian_kernel, "tapbox")("tapbox")


@pytest.fixture(scope="module")
def explored(tapbox: Path, debian_kernel: KernelImage) -> tuple[UnitOutcome, list[str]]:
    """What one life of a driver with four devices gives, and the functions that it has not executed."""
    examiner = Examiner(CheckPlan(str(tapbox), kernel=debian_kernel.name, loads=1, checks=()))
    try:
        outcome, coverage = examiner.examine(CheckUnit("life")), Coverage(examiner.file)
        coverage.add(outcome.executed)
        return outcome, coverage.never_reached()
    finally:
        examiner.box.close()


def test_a_large_driver_s_operations_are_all_reached(explored: tuple[UnitOutcome, list[str]]) -> None:
    assert [name for name in explored[1] if not name.endswith(".cold")] == []


def test_each_file_is_used_once_and_two_of_those_that_differ_by_a_number(
    explored: tuple[UnitOutcome, list[str]],
) -> None:
    assert list(explored[0].files) == [
        "/dev/tapbox0",
        "/dev/tapbox1",
        "/proc/tapbox",
        "/sys/kernel/debug/tapbox/chan0/stats",
        "/sys/kernel/debug/tapbox/chan1/stats",
        "/sys/class/tapbox/tapbox0/label",
        "/sys/class/tapbox/tapbox1/label",
        "/sys/module/tapbox/parameters/ring_size",
        "/sys/module/tapbox/parameters/verbose",
    ]


def test_long_calls_end_the_exercise_and_no_check(tapbox: Path, debian_kernel: KernelImage) -> None:
    plan = CheckPlan(
        str(tapbox), kernel=debian_kernel.name, seconds=0.1, faults=False, races=False, checks=(), workers=1
    )
    report = check(plan)
    assert report.lives == plan.loads
    assert 0 < report.calls < 1000
    assert [one for one in report.unchecked if "their share of --time was over" in one]
    assert report.findings == []


def test_a_file_system_is_unmounted_after_each_program(box: Box) -> None:
    with Player(box) as player:
        for program in file_system_programs("tmpfs"):
            player.play(program)
    assert "kobox-mounted" not in box.read_text("/proc/mounts")


@pytest.mark.parametrize(
    ("path", "step", "function"),
    [
        ("/dev/null", ("splice", 0, (64,)), "splice_write_null"),
        ("/dev/zero", ("unsplice", 0, (64,)), "do_splice"),
        ("/dev/zero", ("aio", 0, (0, 64)), "read_iter_zero"),
        ("/dev/null", ("aio", 0, (1, 64)), "write_iter_null"),
    ],
)
def test_a_file_is_spliced_and_used_by_io_submit(
    box: Box, path: str, step: tuple[str, int, tuple[int, ...]], function: str
) -> None:
    probe = box.probe(function)
    Steps([("open", 0, (path, 2)), step])(box)
    assert probe.hits


def test_a_number_without_a_device_is_not_asked_for_again_and_again(box: Box) -> None:
    box.syscall("mknod", "/tmp/none", 0o20600, os.makedev(240, 0))
    before = len(box.guest.requests)
    Steps([("open", 0, ("/tmp/none", 2))] * 40)(box)
    assert 0 < len(box.guest.requests) - before <= 16  # char-major-240-0 and char-major-240, eight times


@pytest.mark.parametrize("kind", [b"ramfs\0", b"tmpfs\0"])
def test_what_a_changed_program_has_mounted_is_unmounted(box: Box, kind: bytes) -> None:
    mount = step("call", "mount", b"none\0", "/tmp/kept-mounted", kind, 0, 0)
    with Player(box) as player:
        player.play((step("call", "mkdir", "/tmp/kept-mounted", 0o755), mount, mount))
    assert "/tmp/kept-mounted" not in box.read_text("/proc/mounts")
    assert not box.exists("/tmp/kept-mounted")


def test_requests_that_are_small_numbers_come_one_after_the_other_with_one_argument() -> None:
    asked = [
        [one.arguments for one in program if one.call == "ioctl"]
        for program in systematic_programs(Target("/dev/kept", os.O_RDWR, True), Material(bounds=(9,)))
    ]
    forwards = [(number, 1) for number in (*range(8), 9)]
    assert forwards * 2 in asked
    assert forwards[::-1] * 2 in asked


@pytest.mark.parametrize(
    ("path", "data", "used"),
    [
        ("/sys/module/kept/parameters/bits", b"33", True),
        ("/proc/kept", b"33", True),
        ("/sys/class/misc/kept/power/control", b"on", False),
        ("/proc/kept", b"k" * 64, False),
        ("/dev/kept", b"33", False),
    ],
)
def test_after_a_setting_was_changed_the_files_are_used(path: str, data: bytes, used: bool) -> None:
    targets = [Target("/dev/kept", os.O_RDWR, True), Target(path, os.O_RDWR)]
    assert bool(setting_of((step("open", path, os.O_RDWR), step("write", data)))) == used
    assert next(one.arguments[0] for one in uses_of(targets)) == "/dev/kept"
