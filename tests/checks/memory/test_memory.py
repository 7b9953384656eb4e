"""The memory check: each way to get memory wrong is found, where it happens, with the lines that made and freed what
it concerns; and the same code without the mistake is clean. The cases: tests/modules/faults/memory/memory.c."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest

from kobox.box.box import Box
from kobox.checks.memory.memory import Memory
from kobox.checks.memory.strings import strings_of
from kobox.checks.report.finding import Finding, Severity, own_frame
from kobox.checks.runner.check import CHECKS, checks_of
from kobox.checks.runner.session import Examination
from tests.building import SOURCES
from tests.checks.conftest import Laboratory

SOURCE = (SOURCES / "faults/memory/memory.c").read_text()
LINES = {
    match[1]: number
    for number, line in enumerate(SOURCE.splitlines(), 1)
    if (match := re.search(r"/\* (\w+: (?:bad|made|freed)) \*/", line))
}
CASES = re.findall(r"\bROW\((\w+)\)[,;]", SOURCE)
KINDS = {
    "edge": "out-of-bounds",
    "by": "out-of-bounds",
    "global": "out-of-bounds",
    "stack": "out-of-bounds",
    "uaf": "use-after-free",
    "twice": "double-free",
    "invalid": "invalid-free",
    "uninit": "uninitialised-read",
    "wild": "wild-access",
    "leak": "leak",
}
# What `kind` means of the object, in words: what kind of memory, and how it is called.
OBJECTS = {
    "edge_kmalloc": "64 bytes from kmalloc",
    "edge_kvmalloc": "600 bytes from kvmalloc",
    "edge_kmemdup": "20 bytes from kmemdup",
    "edge_krealloc_grow": "300 bytes from krealloc",
    "edge_cache": "48 bytes from kmem_cache_alloc",
    "edge_vmalloc": "5000 bytes from vmalloc",
    "edge_pages_order": "16384 bytes from alloc_pages",
    "edge_zeroed_page": "4096 bytes from get_zeroed_page",
    "edge_pages_exact": "12288 bytes from alloc_pages_exact",
    "edge_percpu": "24 bytes from alloc_percpu",
    "leak_kstrdup": "10 bytes from kstrdup",
    "leak_kasprintf": "11 bytes from kasprintf",
}
MESSAGES = {
    "by_memcpy_to": r"1 byte written just behind 30 bytes from kmalloc by memcpy\(\)",
    "by_memcpy_from": r"1 byte read just behind 30 bytes from kzalloc by memcpy\(\)|just behind 30 bytes from kmalloc",
    "by_sprintf": r"1 byte written just behind 8 bytes from kmalloc by sprintf\(\)",
    "stack_index": r"4 bytes written just behind cells \(24 bytes\) on the stack",
    "stack_memset": r"1 byte written just behind cells \(24 bytes\) on the stack by memset\(\)",
    "by_printk": r"1 byte read just behind 8 bytes from kmalloc by printk\(\)",
    "by_kstrtoint": r"1 byte read just behind 3 bytes from kmalloc by kstrtoint\(\)",
    "uaf_print": r"8 bytes read at offset 0 of 7 bytes from kstrdup, which is freed by printk\(\)",
    "global_index": r"4 bytes read just behind table \(20 bytes\)",
    "global_percpu": r"8 bytes written just behind per_cpu_counters \(24 bytes\)",
    "global_percpu_this": r"4 bytes (read|written) just behind per_cpu_table \(24 bytes\)",
    "global_padding": r"1 byte written just behind name \(10 bytes\)",
    "global_stored": r"1 byte written 39 bytes behind name \(10 bytes\)",
    "global_stored_stack": r"4 bytes read just behind numbers \(24 bytes\) on the stack",
    "uaf_read": r"4 bytes read at offset 8 of 64 bytes from kmalloc, which is freed",
    "uaf_mutex": r"which is freed by mutex_lock\(\)",
    "invalid_inside": r"kfree\(\) gets a pointer 8 bytes into 64 bytes from kmalloc",
    "invalid_global": r"kfree\(\) gets a pointer to table \(20 bytes\)",
    "invalid_stack": r"kfree\(\) gets a pointer to the stack",
    "invalid_cache": r"is freed to another cache",
    "invalid_vfree_of_kmalloc": r"64 bytes from kmalloc is freed with vfree\(\)",
    "uninit_tail": r"14 bytes at offset 50 of 64 bytes from kmalloc",
    "uninit_padding": r"7 bytes at offset 1 of 16 bytes from kmalloc",
    "uninit_put_user": r"4 bytes at offset 44 of 48 bytes from kmalloc are shown to user space, and were never written",
    "uninit_put_byte": r"1 byte at offset 5 of 64 bytes from kmalloc",
    "uninit_put_stack": r"8 bytes on the stack are shown to user space, and were never written",
    "wild_null": r"write to address 0x2c, a NULL pointer",
    "wild_err_ptr": r"an error code \(ENOMEM\) taken for a pointer",
    "wild_user_memcpy": r"of user space without copy_to_user\(\) or its kin by memcpy\(\)",
}
TOUCHES = ("read-right", "write-right", "read-left", "write-left")
EDGES = [(case, touch) for case in CASES if case.startswith("edge") for touch in TOUCHES]
OTHERS = [case for case in CASES if not case.startswith("edge")]
AT_INIT = [case for case in OTHERS if case.startswith(("leak", "uaf_read", "twice_kfree", "invalid_inside"))]


def read_once(box: Box) -> None:
    """Run the case; with what it does the call may fail, and must not when it is right."""
    number = box.syscall("open", "/proc/memory_faults", 0)
    try:
        with suppress(OSError):
            box.syscall("read", number, bytearray(4096), 4096)
    finally:
        box.syscall("close", number)


def read_well(box: Box) -> None:
    with box.open("/proc/memory_faults", "rb") as file:
        assert file.read(4096) == b""


def findings_of(laboratory: Laboratory, parameters: str) -> list[Finding]:
    file = laboratory.file("memory", "faults/memory")
    return Examination(laboratory.box, file, [Memory()], parameters=parameters).run(read_once)


def the_one(findings: list[Finding], case: str) -> Finding:
    """The finding that a case must lead to, with the lines that it must name."""
    kind = "user-pointer" if case.startswith("wild_user") else KINDS[case.split("_")[0]]
    found = [finding for finding in findings if finding.kind == kind]
    assert len(found) == 1, findings
    finding = found[0]
    place = LINES[f"{case}: made" if kind == "leak" else f"{case}: bad"]
    assert finding.where is not None
    assert (finding.where.function, finding.where.file, finding.where.line) == (case, "memory.c", place)
    assert finding.severity == Severity.ERROR
    for what in ("made", "freed"):
        line = LINES.get(f"{case}: {what}")
        if line is not None and not (case.startswith("wild") and what == "made"):
            assert finding.thing is not None
            frame = own_frame(finding.thing.made if what == "made" else finding.thing.gone)
            assert frame is not None
            assert (frame.function, frame.line) == (case, line)
    assert not OBJECTS.get(case) or (finding.thing and finding.thing.what == OBJECTS[case])
    return finding


@pytest.mark.parametrize(("case", "touch"), EDGES, ids=[f"{case}-{touch}" for case, touch in EDGES])
def test_one_byte_beside_an_object_is_found(laboratory: Laboratory, case: str, touch: str) -> None:
    finding = the_one(findings_of(laboratory, f"what={case} how={touch}"), case)
    assert ("just behind" if "right" in touch else "1 byte before") in finding.message
    assert ("read" if "read" in touch else "writ") in finding.message


@pytest.mark.parametrize("case", sorted({case for case, _ in EDGES}))
def test_the_first_and_the_last_byte_of_an_object_are_its_own(laboratory: Laboratory, case: str) -> None:
    file = laboratory.file("memory", "faults/memory")
    for touch in ("write-right", "read-left"):
        examination = Examination(
            laboratory.box, file, [Memory()], parameters=f"what={case} how={touch} right=1", loads=1
        )
        assert examination.run(read_well) == []
        assert examination.error is None


@pytest.mark.parametrize("case", OTHERS)
def test_a_mistake_is_found(laboratory: Laboratory, case: str) -> None:
    finding = the_one(findings_of(laboratory, f"what={case}"), case)
    assert re.search(MESSAGES.get(case, ""), finding.message), finding.message


@pytest.mark.parametrize("case", OTHERS)
def test_the_same_without_the_mistake_is_clean(laboratory: Laboratory, case: str) -> None:
    file = laboratory.file("memory", "faults/memory")
    examination = Examination(laboratory.box, file, [Memory()], parameters=f"what={case} right=1")
    assert examination.run(read_well) == []
    assert examination.error is None


@pytest.mark.parametrize("case", AT_INIT)
def test_an_init_that_fails_is_watched_as_well(laboratory: Laboratory, case: str) -> None:
    finding = the_one(findings_of(laboratory, f"what={case} fail=1"), case)
    if case.startswith("leak"):
        assert "still allocated after init has failed" in finding.message
        assert finding.stage == "failed"
    else:
        assert finding.stage == "init"
    assert findings_of(laboratory, f"what={case} fail=1 right=1") == []


LATE = (SOURCES / "faults/late/late.c").read_text().splitlines()
# What the kernel does by itself to freed memory, and what the finding says of it.
LATE_CASES = {
    "timer": r"16 bytes at offset 24 of .*, which is freed, were written by the kernel: within 0\.\d+ s after it",
    "work": r"at offset 24 of .*, which is freed, were written by the kernel with the address of itself, offset 32: ",
    "rcu": r"at offset 24 of 104 bytes from kmalloc, which is freed, were written by the kernel",
    "constructed": r"at offset 24 of 104 bytes from kmem_cache_alloc, which is freed, were written by the kernel",
    "wait": r"the kernel takes what it reads in 104 bytes from kmalloc, which is freed, for a pointer: .*6b6b6b6b",
    "misc": r"the kernel takes what it reads in 104 bytes from kmalloc, which is freed, for a pointer: .*6b6b6b6b",
}


@pytest.mark.parametrize("what", LATE_CASES)
def test_what_the_kernel_does_to_freed_memory_by_itself(laboratory: Laboratory, what: str) -> None:
    lines = {
        part: next((n for n, line in enumerate(LATE, 1) if f"/* late_{what}: {part} */" in line), 0)
        for part in ("made", "freed", "used")
    }
    file, checks = laboratory.file("late", "faults/late"), checks_of(CHECKS)[0]
    findings = laboratory.examine(file, checks, f"what={what}")
    (finding,) = [finding for finding in findings if finding.kind == "use-after-free"]
    assert re.search(LATE_CASES[what], finding.message), finding.message
    assert (finding.severity, finding.stage) == (Severity.ERROR, "init")
    assert finding.thing is not None
    places = [own_frame(chain) for chain in (finding.thing.made, finding.thing.gone, finding.chain)]
    wanted = [lines["made"], lines["freed"], lines["used"] or lines["freed"]]
    assert [place and (place.function, place.line) for place in places] == [(f"late_{what}", line) for line in wanted]
    right = Examination(laboratory.box, file, checks_of(CHECKS)[0], parameters=f"what={what} right=1", loads=2)
    assert right.run() == []
    assert right.error is None


def test_an_attribute_of_sysfs_has_one_page(laboratory: Laboratory) -> None:
    file = laboratory.file("shows", "faults/memory")
    source = (SOURCES / "faults/memory/shows.c").read_text().splitlines()
    (found,) = laboratory.examine(file, [Memory()], exercise=lambda box: box.read_bytes("/sys/kernel/shows/much"))
    assert found.kind == "out-of-bounds"
    assert found.message == "1 byte written just behind the page that an attribute of sysfs fills by sprintf()"
    assert found.where is not None
    assert "prints too much" in source[found.where.line - 1]
    assert laboratory.examine(file, [Memory()], exercise=lambda box: box.read_bytes("/sys/kernel/shows/right")) == []


@pytest.mark.parametrize(
    ("text", "strings"),
    [
        (b"nothing", []),
        (b"%s", [(100, 4096)]),
        (b"\0016%d%% %lu %s\n", [(102, 4096)]),
        (b"%.4s %.*s %*d %s", [(100, 4), (102, 101), (105, 4096)]),
        (b"%pS %-10s %pISpc %08llx %c %s", [(101, 4096), (105, 4096)]),
    ],
)
def test_the_strings_of_a_format_are_known(text: bytes, strings: list[tuple[int, int]]) -> None:
    assert strings_of(text, lambda number: 100 + number) == strings
