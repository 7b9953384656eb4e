"""Linux's own test cases for memory, a few of each: the memory check finds what they do wrong. All of them, and what is
not found and why, are in docs/check-kasan.md (`make check-kasan`)."""

from __future__ import annotations

import pytest

from bench.kasan import Row, kasan_rows, lkdtm_rows, module_rows
from kobox.images.store import KernelImage
from kobox.kernel.box import Box
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
}


@pytest.fixture(scope="module")
def cases(debian_kernel: KernelImage) -> Cases:
    return linux_cases(debian_kernel)


def the_one(rows: list[Row]) -> Row:
    (row,) = rows
    return row


@pytest.mark.parametrize("case", KASAN)
def test_cases_of_kasan(box: Box, cases: Cases, case: str) -> None:
    row = the_one(list(kasan_rows(box, cases, case)))
    assert row.verdict == "found", row
    assert KASAN[case] <= {finding.kind for finding in row.findings}


@pytest.mark.parametrize("case", CLEAN)
def test_what_kasan_must_not_report(box: Box, cases: Cases, case: str) -> None:
    assert the_one(list(kasan_rows(box, cases, case))).findings == []


@pytest.mark.parametrize("case", LKDTM)
def test_crash_types_of_lkdtm(box: Box, cases: Cases, case: str) -> None:
    row = the_one(list(lkdtm_rows(box, cases, case)))
    assert LKDTM[case] in {finding.kind for finding in row.findings}


def test_the_sample_of_kmemleak(box: Box, cases: Cases) -> None:
    row = the_one(list(module_rows(box, cases, "kmemleak-test")))
    assert row.wanted == row.found == 15
    assert {finding.kind for finding in row.findings} == {"leak"}


def test_statements_are_read_from_the_source(cases: Cases) -> None:
    found = kasan_cases((cases.sources / "kasan_test.c").read_text())
    assert len(found) > 50
    assert len(found["kmalloc_oob_right"]) == 3
    assert len(found["krealloc_less_oob"]) == len(found["krealloc_pagealloc_less_oob"]) == 5
    assert found["kfree_via_page"] == []
