"""Linux's own test cases for memory, a few of each and of each kernel's own: the memory check finds what they do wrong.
All of them, and what is not found and why, are in docs/check-kasan.md (`make check-kasan`)."""

from __future__ import annotations

import pytest

from bench.kasan import Row, kasan_rows, lkdtm_rows, module_rows, table
from tests.checks.conftest import Laboratory
from tests.linux_cases import Cases, kasan_cases, linux_cases

KASAN = {
    "kmalloc_oob_right": {"out-of-bounds"},
    "kmalloc_oob_left": {"out-of-bounds"},
    "krealloc_less_oob": {"out-of-bounds"},
    "krealloc_uaf": {"use-after-free"},
    "kmalloc_memmove_negative_size": {"out-of-bounds"},
    "kasan_global_oob_right": {"out-of-bounds"},
    "ksize_unpoisons_memory": {"out-of-bounds"},
    "kasan_strings": {"use-after-free"},
    "kmem_cache_double_destroy": {"double-free"},
    "kmem_cache_invalid_free": {"invalid-free"},
    "vmalloc_oob": {"out-of-bounds"},
}
CLEAN = ("kfree_via_page", "kmem_cache_accounted", "kmem_cache_bulk")
LKDTM = {
    "SLAB_LINEAR_OVERFLOW": "out-of-bounds",
    "WRITE_AFTER_FREE": "use-after-free",
    "READ_BUDDY_AFTER_FREE": "use-after-free",
    "SLAB_FREE_DOUBLE": "double-free",
    "SLAB_FREE_CROSS": "invalid-free",
    "USERCOPY_SLAB_SIZE_TO": "out-of-bounds",
    "ACCESS_USERSPACE": "user-pointer",
    "PANIC": "panic",
    "BUG": "kernel-bug",
    "WARNING": "kernel-warning",
    "EXCEPTION": "wild-access",
    "LOOP": "hang",
    "EXEC_NULL": "oops",
}


# What came after 6.1.
LATER = {
    "kasan_atomics": {"out-of-bounds"},
    "rcu_uaf": {"use-after-free"},
    "workqueue_uaf": {"use-after-free"},
}


@pytest.fixture(scope="module")
def cases(laboratory: Laboratory) -> Cases:
    return linux_cases(laboratory.kernel)


def the_one(rows: list[Row]) -> Row:
    (row,) = rows
    return row


@pytest.mark.parametrize("case", KASAN)
def test_cases_of_kasan(laboratory: Laboratory, cases: Cases, case: str) -> None:
    row = the_one(list(kasan_rows(laboratory.box, cases, case)))
    assert row.verdict == "found", row
    assert KASAN[case] <= {finding.kind for finding in row.findings}


def test_cases_of_kasan_that_newer_kernels_have(laboratory: Laboratory, cases: Cases) -> None:
    there = LATER.keys() & kasan_cases(cases.kasan.read_text()).keys()
    assert len(there) in (0, len(LATER))
    for case in sorted(there):
        row = the_one(list(kasan_rows(laboratory.box, cases, case)))
        assert row.verdict == "found", row
        assert {finding.kind for finding in row.findings} == LATER[case]


@pytest.mark.parametrize("case", CLEAN)
def test_what_kasan_must_not_report(laboratory: Laboratory, cases: Cases, case: str) -> None:
    assert the_one(list(kasan_rows(laboratory.box, cases, case))).findings == []


def test_the_module_of_kasan(laboratory: Laboratory, cases: Cases) -> None:
    """Its init fails, and on 6.1 an RCU callback in init's code runs after that."""
    row = the_one(list(module_rows(laboratory.box, cases, "kasan_test_module")))
    assert row.verdict == "found", row
    assert "out-of-bounds" in {finding.kind for finding in row.findings}


@pytest.mark.parametrize("case", LKDTM)
def test_crash_types_of_lkdtm(laboratory: Laboratory, cases: Cases, case: str) -> None:
    row = the_one(list(lkdtm_rows(laboratory.box, cases, case)))
    assert LKDTM[case] in {finding.kind for finding in row.findings}


def test_the_sample_of_kmemleak(laboratory: Laboratory, cases: Cases) -> None:
    row = the_one(list(module_rows(laboratory.box, cases, "kmemleak-test")))
    assert row.wanted >= 15
    assert row.found == row.wanted
    assert {finding.kind for finding in row.findings} == {"leak"}


def test_statements_are_read_from_the_source(cases: Cases) -> None:
    found = kasan_cases(cases.kasan.read_text())
    assert len(found) > 50
    assert len(found["kmalloc_oob_right"]) == 3
    assert len(found["krealloc_less_oob"]) == 5
    assert found["kfree_via_page"] == []


def test_a_table_has_a_column_for_each_kernel() -> None:
    both, first, second = (Row("kasan_test", case, 1, 1, [], "") for case in ("both", "first", "second"))
    lines = list(table({"old": [first, both], "new": [second, both]}))
    assert lines[0] == "| from | case | old | found by | new | found by | why not, or not all |"
    assert [line.split("|")[2:7] for line in lines[2:]] == [
        [" second ", " - ", " ", " found ", "  "],
        [" first ", " found ", "  ", " - ", " "],
        [" both ", " found ", "  ", " found ", "  "],
    ]
