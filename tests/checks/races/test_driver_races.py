"""Races in the style of ordinary drivers: states that calls make ready, timers and threads, missed wake-ups,
references, a network device. Each is found near its line, and its twin is clean."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import kobox
from kobox.box.box import Box
from kobox.checks.fuzz.program import Program, step
from kobox.checks.races.data_races import CMDLINE, CPUS, DataRaceSearch
from kobox.checks.races.race_calls import parse_data_race
from kobox.checks.report.finding import Finding, Severity
from kobox.checks.runner.session import Examination
from kobox.images.store import KernelImage
from kobox.ko.modulefile import ModuleFile
from tests.building import SOURCES, BuiltTestModules

READS, WRITES = step("read", 64), step("write", b"x")


def on_device(name: str, *calls: object) -> list[Program]:
    """What an exercise would do with a device: calls, or numbers of requests."""
    steps = [step("ioctl", one, bytes(8)) if isinstance(one, int) else one for one in calls]
    return [(step("open", f"/dev/{name}", 2), *steps)]  # type: ignore[list-item]


CALLS: dict[str, list[Program]] = {
    "busybit": on_device("busybit", READS, WRITES),
    "closetimer": on_device("closetimer", READS),
    "dekker": on_device("dekker", READS, WRITES),
    "donereuse": on_device("donereuse", WRITES),
    "earlyflag": on_device("earlyflag", READS, WRITES),
    "exitorder": [(step("open", "/proc/exitorder", 0), READS)],
    "fifo": on_device("fifo", READS, WRITES),
    "freethread": [],
    "idr": on_device("idr", 0x4901, 0x4902),
    "krefzero": on_device("krefzero", 0x5301, 0x5302, 0x5303),
    "label": [(step("open", "/sys/class/misc/label/label", 2), READS, WRITES)],
    "lostdone": on_device("lostdone", WRITES),
    "lostwake": on_device("lostwake", READS, WRITES),
    "netcount": [],
    "notifyfree": on_device("notifyfree", 0x4E01, 0x4E02, WRITES),
    "percpurmw": on_device("percpurmw", WRITES),
    "rculist": on_device("rculist", WRITES, READS),
    "rearm": on_device("rearm", 0x5201, 0x5202),
    "refs": on_device("refs", WRITES),
    "seqmiss": on_device("seqmiss", READS, WRITES),
    "sleeperflag": on_device("sleeperflag", READS, WRITES),
    "taskletstop": on_device("taskletstop", WRITES),
    "toctou": on_device("toctou", READS, WRITES, step("write", bytes(64))),
    "workerwake": on_device("workerwake", WRITES),
}
KINDS = {
    "closetimer": "use-after-free",
    "donereuse": "race",
    "exitorder": "use-after-free",
    "freethread": "use-after-free",
    "idr": "kernel-bug",
    "krefzero": "use-after-free",
    "label": "race",
    "lostdone": "race",
    "lostwake": "race",
    "notifyfree": "use-after-free",
    "rculist": "use-after-free",
    "rearm": "use-after-free",
    "sleeperflag": "race",
    "taskletstop": "use-after-free",
    "toctou": "kernel-bug",
    "workerwake": "race",
}


@pytest.fixture(scope="module")
def racy(debian_kernel: KernelImage) -> BuiltTestModules:
    return BuiltTestModules(debian_kernel, "driver_races")


@pytest.fixture(scope="module")
def room(debian_kernel: KernelImage) -> Iterator[Box]:
    with kobox.boot(debian_kernel, cpus=CPUS, cmdline=CMDLINE) as box:
        yield box


def searched(box: Box, racy: BuiltTestModules, name: str, search: DataRaceSearch) -> list[Finding]:
    examination = Examination(box, ModuleFile(str(racy(name))), [])
    search.examination = examination
    search.known_interfaces = frozenset(place.name for place in box.path("/sys/class/net").iterdir())
    examination.run(search)
    assert examination.error is None
    return [one for one in examination.findings if one.fault]


def lines_of_race(name: str) -> set[int]:
    lines = (SOURCES / "driver_races" / f"{name}.c").read_text().splitlines()
    marked = {number for number, line in enumerate(lines, 1) if "/* the race */" in line}
    return {line + near for line in marked for near in (-1, 0, 1)}


@pytest.mark.parametrize("name", sorted(CALLS))
def test_the_race_of_a_driver_is_found(room: Box, racy: BuiltTestModules, name: str) -> None:
    search = DataRaceSearch(CALLS[name])
    found = [one for one in searched(room, racy, name, search) if one.severity is Severity.ERROR]
    assert {frame.line for one in found for frame in one.chain} & lines_of_race(name), [str(one) for one in found]
    assert KINDS.get(name, "data-race") in {one.kind for one in found}
    assert search.schedules < 150


@pytest.mark.parametrize(
    ("name", "named"),
    [("netcount", "p->packets"), ("closetimer", "c->age"), ("refs", "s->refs"), ("toctou", "length")],
)
def test_what_is_raced_for_has_its_name(room: Box, racy: BuiltTestModules, name: str, named: str) -> None:
    found = searched(room, racy, name, DataRaceSearch(CALLS[name]))
    assert any(f" bytes of {named}, " in one.message for one in found), [str(one) for one in found]


@pytest.mark.parametrize("name", [*sorted(CALLS), "idioms"])
def test_the_driver_without_it_is_clean(room: Box, racy: BuiltTestModules, name: str) -> None:
    calls = on_device(name, READS, WRITES) if name == "idioms" else CALLS[name]
    assert not searched(room, racy, f"{name}_right", DataRaceSearch(calls))


def test_who_freed_what_a_reader_follows_is_told(room: Box, racy: BuiltTestModules) -> None:
    found = searched(room, racy, "rculist", DataRaceSearch(CALLS["rculist"]))
    lines = (SOURCES / "driver_races" / "rculist.c").read_text().splitlines()
    freed = next(number for number, line in enumerate(lines, 1) if "/* freed */" in line)
    assert freed in {frame.line for one in found for frame in one.other}, [str(one) for one in found]


@pytest.mark.parametrize("name", ["dekker", "sleeperflag"])
def test_a_store_that_waits_in_its_buffer_is_told_with_its_place(room: Box, racy: BuiltTestModules, name: str) -> None:
    found = searched(room, racy, name, DataRaceSearch(CALLS[name]))
    first = next(one for one in found if one.severity is Severity.ERROR)
    assert "is not written yet: there is no smp_mb() behind it" in first.message
    assert "smp_mb()" in first.advice
    assert first.schedule is not None
    assert first.schedule.steps[0].text.endswith("writes; this stays in the CPU's store buffer")


@pytest.mark.parametrize(
    "name", ["closetimer", "lostwake", "krefzero", "netcount", "dekker", "percpurmw", "rearm", "workerwake"]
)
def test_it_is_replayed_by_its_id(room: Box, racy: BuiltTestModules, name: str) -> None:
    found = searched(room, racy, name, DataRaceSearch(CALLS[name]))
    first = next(one for one in found if one.severity is Severity.ERROR)
    assert searched(room, racy, name, DataRaceSearch([], parse_data_race(first.fault))) == [first]


@pytest.mark.parametrize(
    ("device", "calls"),
    [
        ("calmirq", [WRITES]),
        ("calmcopy", [0x40044D01, 0x40044D01]),
        ("calmflag", [READS, WRITES]),
    ],
    ids=["interrupts-off", "beside-in-the-slab", "flag"],
)
def test_what_is_right_or_a_note_is_no_error(
    room: Box, racy: BuiltTestModules, device: str, calls: list[object]
) -> None:
    search = DataRaceSearch(on_device(device, *calls))
    found = searched(room, racy, "calm", search)
    assert search.schedules
    assert [str(one) for one in found if one.severity is not Severity.NOTE] == []
