"""The memory check: each way to get memory wrong is found, where it happens, with the lines that made and freed what
it concerns; and the same code without the mistake is clean. The cases: tests/modules/faults/memory/memory.c."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest

from kobox.box.boot.boot import boot
from kobox.box.box import Box
from kobox.checks.memory.memory import MemoryCheck
from kobox.checks.memory.strings import strings_of
from kobox.checks.report.finding import Finding, Severity, own_frame
from kobox.checks.runner.examiner import checks_of
from kobox.checks.runner.plan import CHECKS
from kobox.checks.runner.session import Examination
from kobox.ko.modulefile import ModuleFile
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
    "edge_kmalloc": "a 64-byte kmalloc object",
    "edge_kvmalloc": "a 600-byte kvmalloc object",
    "edge_kmemdup": "a 20-byte kmemdup object",
    "edge_krealloc_grow": "a 300-byte krealloc object",
    "edge_cache": "a 48-byte kmem_cache_alloc object",
    "edge_vmalloc": "a 5000-byte vmalloc object",
    "edge_pages_order": "a 16384-byte alloc_pages object",
    "edge_zeroed_page": "a 4096-byte get_zeroed_page object",
    "edge_pages_exact": "a 12288-byte alloc_pages_exact object",
    "edge_percpu": "a 24-byte alloc_percpu object",
    "leak_kstrdup": "a 10-byte kstrdup object",
    "leak_kasprintf": "an 11-byte kasprintf object",
}
MESSAGES = {
    "by_memcpy_to": r"write of 1 byte, 0 bytes past the end of a 30-byte kmalloc object in memcpy\(\)",
    "by_memcpy_from": r"read of 1 byte, 0 bytes past the end of a 30-byte k[mz]alloc object",
    "by_sprintf": r"write of 1 byte, 0 bytes past the end of an 8-byte kmalloc object in sprintf\(\)",
    "stack_index": r"write of 4 bytes, 0 bytes past the end of cells \(24 bytes on the stack\)",
    "stack_memset": r"write of 1 byte, 0 bytes past the end of cells \(24 bytes on the stack\) in memset\(\)",
    "by_printk": r"read of 1 byte, 0 bytes past the end of an 8-byte kmalloc object in printk\(\)",
    "by_kstrtoint": r"read of 1 byte, 0 bytes past the end of a 3-byte kmalloc object in kstrtoint\(\)",
    "uaf_print": r"read of 8 bytes at offset 0 of a 7-byte kstrdup object that is freed in printk\(\)",
    "global_index": r"read of 4 bytes, 0 bytes past the end of table \(20 bytes\)",
    "global_percpu": r"write of 8 bytes, 0 bytes past the end of per_cpu_counters \(24 bytes\)",
    "global_percpu_this": r"(read|write) of 4 bytes, 0 bytes past the end of per_cpu_table \(24 bytes\)",
    "global_padding": r"write of 1 byte, 0 bytes past the end of name \(10 bytes\)",
    "global_stored": r"write of 1 byte, 39 bytes past the end of name \(10 bytes\)",
    "global_stored_stack": r"read of 4 bytes, 0 bytes past the end of numbers \(24 bytes on the stack\)",
    "uaf_read": r"read of 4 bytes at offset 8 of a 64-byte kmalloc object that is freed",
    "uaf_mutex": r"that is freed in mutex_lock\(\)",
    "invalid_inside": r"kfree\(\) is given a pointer 8 bytes into a 64-byte kmalloc object",
    "invalid_global": r"kfree\(\) is given a pointer to table \(20 bytes\)",
    "invalid_stack": r"kfree\(\) is given a pointer to the stack",
    "invalid_cache": r"is freed to another cache",
    "invalid_vfree_of_kmalloc": r"a 64-byte kmalloc object is freed with vfree\(\)",
    "uninit_tail": r"14 bytes at offset 50 of a 64-byte kmalloc object",
    "uninit_padding": r"7 bytes at offset 1 of a 16-byte kmalloc object",
    "uninit_put_user": r"4 bytes at offset 44 of a 48-byte kmalloc object, never written, copied to user space",
    "uninit_put_byte": r"1 byte at offset 5 of a 64-byte kmalloc object",
    "uninit_put_stack": r"8 bytes on the stack, never written, copied to user space",
    "wild_null": r"write to address 0x2c, a NULL pointer",
    "wild_err_ptr": r"an error code \(ENOMEM\) taken for a pointer",
    "wild_user_memcpy": r"of user space without copy_to_user\(\) or its kin in memcpy\(\)",
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
    return Examination(laboratory.box, file, [MemoryCheck()], parameters=parameters).run(read_once)


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
            assert finding.object is not None
            frame = own_frame(finding.object.made_at if what == "made" else finding.object.freed_at)
            assert frame is not None
            assert (frame.function, frame.line) == (case, line)
    assert not OBJECTS.get(case) or (finding.object and finding.object.what == OBJECTS[case])
    return finding


@pytest.mark.parametrize(("case", "touch"), EDGES, ids=[f"{case}-{touch}" for case, touch in EDGES])
def test_one_byte_beside_an_object_is_found(laboratory: Laboratory, case: str, touch: str) -> None:
    finding = the_one(findings_of(laboratory, f"what={case} how={touch}"), case)
    assert ("0 bytes past" if "right" in touch else "1 byte before") in finding.message
    assert ("read" if "read" in touch else "writ") in finding.message


@pytest.mark.parametrize("case", sorted({case for case, _ in EDGES}))
def test_the_first_and_the_last_byte_of_an_object_are_its_own(laboratory: Laboratory, case: str) -> None:
    file = laboratory.file("memory", "faults/memory")
    for touch in ("write-right", "read-left"):
        examination = Examination(
            laboratory.box, file, [MemoryCheck()], parameters=f"what={case} how={touch} right=1", loads=1
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
    examination = Examination(laboratory.box, file, [MemoryCheck()], parameters=f"what={case} right=1")
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
    "timer": r"the kernel wrote 16 bytes at offset 24 of .* that is freed, within 0\.\d+ s after the free",
    "work": r"\(the address of itself, offset 32\) at offset 24 of .* that is freed",
    "rcu": r"the kernel wrote .* at offset 24 of a 104-byte kmalloc object that is freed",
    "constructed": r"the kernel wrote .* at offset 24 of a 104-byte kmem_cache_alloc object that is freed",
    "wait": r"the kernel follows a pointer that it read from a 104-byte kmalloc object that is freed: .*6b6b6b6b",
    "misc": r"the kernel follows a pointer that it read from a 104-byte kmalloc object that is freed: .*6b6b6b6b",
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
    assert finding.object is not None
    places = [own_frame(chain) for chain in (finding.object.made_at, finding.object.freed_at, finding.chain)]
    wanted = [lines["made"], lines["freed"], lines["used"] or lines["freed"]]
    assert [place and (place.function, place.line) for place in places] == [(f"late_{what}", line) for line in wanted]
    right = Examination(laboratory.box, file, checks_of(CHECKS)[0], parameters=f"what={what} right=1", loads=2)
    assert right.run() == []
    assert right.error is None


def test_an_attribute_of_sysfs_has_one_page(laboratory: Laboratory) -> None:
    file = laboratory.file("shows", "faults/memory")
    source = (SOURCES / "faults/memory/shows.c").read_text().splitlines()
    (found,) = laboratory.examine(file, [MemoryCheck()], exercise=lambda box: box.read_bytes("/sys/kernel/shows/much"))
    assert found.kind == "out-of-bounds"
    assert found.message == "write of 1 byte, 0 bytes past the end of the page of a sysfs attribute in sprintf()"
    assert found.where is not None
    assert "prints too much" in source[found.where.line - 1]
    assert (
        laboratory.examine(file, [MemoryCheck()], exercise=lambda box: box.read_bytes("/sys/kernel/shows/right")) == []
    )


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


def test_a_walk_over_a_list_of_variables_leads_from_one_to_the_next(laboratory: Laboratory) -> None:
    """sctp_defaults_init() walks sctp_address_families, and the load of the next entry may be looked at twice."""
    modules = laboratory.kernel.modules
    assert modules is not None
    file = ModuleFile(next(modules.rglob("sctp.ko*")))
    with boot(laboratory.kernel.name) as box:
        for name in file.depends:
            box.modprobe(name)
        box.set_reset_point()
        found = Examination(box, file, checks_of(CHECKS)[0]).run()
    assert [one for one in found if one.kind == "out-of-bounds"] == []
