"""Fault injection: the table, the places, the IDs; and what comes of a fault in real modules."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kobox.checks.faults.fault_injection import (
    Fault,
    FaultSites,
    FaultTable,
    FaultTableError,
    fault_id,
    parse_failure,
    parse_id,
)
from kobox.checks.runner.check import check
from kobox.checks.runner.outcome import CheckReport
from kobox.checks.runner.plan import CheckPlan
from kobox.errors import KoboxError
from kobox.images.store import KernelImage
from kobox.ko.modulefile import ModuleFile
from tests.building import SOURCES, BuiltTestModules

MASK = (1 << 64) - 1


@pytest.mark.parametrize(
    ("text", "registers"),
    [
        ("NULL", (("result", 0),)),
        ("-ENOMEM", (("result", -12 & MASK),)),
        ("ERR_PTR(-ENOENT)", (("result", -2 & MASK),)),
        ("-ERESTARTSYS", (("result", -512 & MASK),)),
        ("XA_ERROR(-ENOMEM)", (("result", -46 & MASK),)),
        ("argument 3", (("result", "argument 3"),)),
        ("result = -EFAULT, argument 3 = 0", (("result", -14 & MASK), ("argument 3", 0))),
        ("never", ()),
    ],
)
def test_values_are_written_as_in_c(text: str, registers: object) -> None:
    assert parse_failure(text).registers == registers


@pytest.mark.parametrize("text", ["-ENOSUCHERROR", "argument 9", "eax9 = 1", "nonsense"])
def test_a_value_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_failure(text)


def test_a_table_of_the_users_wins_over_the_built_in_one(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        '[[failure]]\nvalue = "-EBUSY"\nfunctions = ["my_*", "cdev_add"]\n'
        '[[failure]]\nvalue = "never"\nfunctions = ["vmalloc"]\n'
    )
    table = FaultTable(own)
    assert table.failure("cdev_add").name == "-EBUSY"  # type: ignore[union-attr]
    assert table.failure("my_thing").name == "-EBUSY"  # type: ignore[union-attr]
    assert table.failure("vmalloc") is None
    assert table.failure("kmalloc_trace").name == "NULL"  # type: ignore[union-attr]
    assert table.failure("crypto_alloc_shash").text == "ERR_PTR(-ENOENT)"  # type: ignore[union-attr]
    assert table.failure("strlen") is None


def test_a_failure_that_changed_with_its_parameters_is_told_by_them() -> None:
    table = FaultTable()
    assert table.failure("__blk_alloc_disk", lambda _: ("node", "lkclass")).text == "NULL"  # type: ignore[union-attr]
    later = table.failure("__blk_alloc_disk", lambda _: ("lim", "node", "lkclass"))
    assert later is not None
    assert later.text == "ERR_PTR(-ENOMEM)"


def test_a_damaged_table_names_its_file(tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text('[[failure]]\nvalue = "-ENOPE"\nfunctions = ["x"]\n')
    with pytest.raises(FaultTableError, match=r"bad\.toml.*no such error"):
        FaultTable(bad)


def test_ids_can_be_read_back() -> None:
    faults = (
        Fault(("hello_open+0x44", "helper+0x1f"), "__kmalloc", "NULL"),
        Fault(("hello_init+0x8",), "cdev_add", "-ENOMEM"),
    )
    assert fault_id(faults) == "hello_open+0x44/helper+0x1f:__kmalloc=NULL,hello_init+0x8:cdev_add=-ENOMEM"
    assert parse_id(fault_id(faults)) == faults
    with pytest.raises(KoboxError, match="no ID of a fault"):
        parse_id("the first one")


def test_places_are_found_in_the_modules_relocations(faulty_paths: BuiltTestModules) -> None:
    sites = FaultSites(ModuleFile(faulty_paths("errorpath")), FaultTable())
    found = {(site.function, site.section, site.place.partition("+")[0]) for site, _ in sites.sites}
    assert found == {
        ("alloc_chrdev_region", ".init.text", "errorpath_init"),
        ("cdev_add", ".init.text", "errorpath_init"),
    }


def checked(module: Path, kernel: KernelImage, **options: object) -> CheckReport:
    plan = CheckPlan(str(module), kernel=kernel.name, **{"exercise": "none", "loads": 1, "workers": 1, **options})  # type: ignore[arg-type]
    return check(plan)


@pytest.fixture(params=["debian_kernel", "trixie_kernel"])
def each_kernel(request: pytest.FixtureRequest) -> KernelImage:
    """Debian bookworm's kernel, then trixie's."""
    kernel: KernelImage = request.getfixturevalue(request.param)
    return kernel


# module, its depth, the kind and line of what is found, and the end of the fault's ID
MISTAKES = [
    ("unchecked", 1, "unchecked-return", "buffer[8] = 1", "kmalloc"),
    ("errptr", 1, "unchecked-return", "task->flags |=", "kthread_create_on_node=-ENOMEM"),
    ("errorpath", 1, "left-behind", "alloc_chrdev_region(&numbers", "cdev_add=-ENOMEM"),
    ("fallback", 2, "unchecked-return", "buffer[0] = 1", "=NULL"),
]


@pytest.mark.parametrize(("name", "depth", "kind", "source", "fault"), MISTAKES, ids=[row[0] for row in MISTAKES])
def test_what_goes_wrong_when_a_call_fails_is_found(
    name: str,
    depth: int,
    kind: str,
    source: str,
    fault: str,
    each_kernel: KernelImage,
) -> None:
    module = BuiltTestModules(each_kernel, "faults")(name)
    report = checked(module, each_kernel, depth=depth)
    (finding,) = report.findings
    assert finding.kind == kind
    lines = (SOURCES / f"faults/{name}.c").read_text().splitlines()
    line = next(n for n, text in enumerate(lines, 1) if source in text)
    assert (Path(finding.where.file).name, finding.where.line) == (f"{name}.c", line)  # type: ignore[union-attr]
    assert fault in finding.fault
    assert finding.fault.count(",") == depth - 1
    again = checked(module, each_kernel, replay=parse_id(finding.fault))
    assert [other.key for other in again.findings] == [finding.key]
    assert (again.runs, again.tried) == (1, 1)


@pytest.mark.parametrize("name", [row[0] for row in MISTAKES])
def test_the_corrected_twin_is_clean(name: str, each_kernel: KernelImage) -> None:
    report = checked(BuiltTestModules(each_kernel, "faults")(f"{name}_right"), each_kernel, depth=2)
    assert report.findings == []
    assert report.tried >= 1
    assert report.lives == 1


def test_what_takes_its_time_does_not_hang(faulty_paths: BuiltTestModules, debian_kernel: KernelImage) -> None:
    report = checked(faulty_paths("slow"), debian_kernel)
    assert report.findings == []
    assert report.tried == 1


def test_one_place_reached_by_two_ways_is_two_places(
    faulty_paths: BuiltTestModules, debian_kernel: KernelImage
) -> None:
    report = checked(faulty_paths("helper"), debian_kernel, exercise="auto", workers=2)
    paths = {tuple(place.partition("+")[0] for place in fault.path) for fault in report.places}
    assert {("helper_init", "made"), ("helper_open", "made")} <= paths
    (finding,) = report.findings
    assert finding.kind == "unchecked-return"
    assert finding.fault.startswith("helper_open+")
    again = checked(faulty_paths("helper"), debian_kernel, exercise="auto", replay=parse_id(finding.fault))
    assert [other.key for other in again.findings] == [finding.key]
    clean = checked(faulty_paths("helper_right"), debian_kernel, exercise="auto", workers=2)
    assert clean.findings == []


def test_a_second_load_must_work_as_the_first(each_kernel: KernelImage) -> None:
    modules = BuiltTestModules(each_kernel, "faults")
    report = checked(modules("once"), each_kernel, loads=3, faults=False)
    assert {"reload-failed", "left-behind"} <= {finding.kind for finding in report.findings}
    clean = checked(modules("once_right"), each_kernel, loads=3, faults=False)
    assert (clean.findings, clean.lives) == ([], 3)


def test_the_table_serves_kernels_whose_allocators_have_other_names(
    trixie_kernel: KernelImage,
) -> None:
    modules = BuiltTestModules(trixie_kernel, "faults")
    report = checked(modules("unchecked"), trixie_kernel)
    (finding,) = report.findings
    assert finding.kind == "unchecked-return"
    assert finding.fault.endswith("_noprof=NULL")
    assert checked(modules("errorpath"), trixie_kernel).findings[0].kind == "left-behind"


@pytest.mark.parametrize("kernel", ["debian_kernel", "trixie_kernel"])
def test_a_call_through_a_pointer_fails_as_well(kernel: str, request: pytest.FixtureRequest) -> None:
    image: KernelImage = request.getfixturevalue(kernel)
    modules = BuiltTestModules(image, "faults")
    report = checked(modules("pointer"), image)
    paths = [tuple(re.match(r"\w+", place)[0] for place in fault.path) for fault in report.places]  # type: ignore[index]
    assert paths == [("pointer_init",), ("pointer_init", "opened")]
    assert {fault.function for fault in report.places} == {"filp_open"}
    (finding,) = report.findings
    assert (finding.kind, "filp_open() returned" in finding.message) == ("unchecked-return", True)
    lines = (SOURCES / "faults/pointer.c").read_text().splitlines()
    line = next(n for n, text in enumerate(lines, 1) if "/* used */" in text)
    assert finding.where is not None
    assert (finding.where.function, finding.where.line) == ("pointer_init", line)
    assert finding.fault.endswith(":filp_open=-ENOENT")
    again = checked(modules("pointer"), image, replay=parse_id(finding.fault))
    assert ([other.key for other in again.findings], again.tried) == ([finding.key], 1)
    right = checked(modules("pointer_right"), image, depth=2)
    assert right.findings == []
    assert right.tried == 2
