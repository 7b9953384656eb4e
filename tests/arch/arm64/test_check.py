"""`kobox check` for a module of an arm64 kernel: what the memory check finds there, with lines; of the table of cases
for x86-64 (tests/checks/memory/test_memory.py)."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from kobox.checks.arithmetic.divisions import DivisionCheck
from kobox.checks.report.finding import Severity
from kobox.checks.runner.check import CheckPlan, check
from kobox.images.store import KernelImage
from kobox.ko.modulefile import ModuleFile
from tests.building import built_module
from tests.checks.conftest import Laboratory
from tests.checks.memory.test_memory import MESSAGES, findings_of, the_one


@pytest.fixture(scope="module")
def arm64_laboratory(arm64_kernel: KernelImage) -> Iterator[Laboratory]:
    made = Laboratory(arm64_kernel)
    yield made
    made.box.close()


@pytest.mark.parametrize("case", ["uaf_read", "twice_kfree", "by_memcpy_to", "wild_null", "leak_kstrdup"])
def test_a_mistake_is_found_on_its_line(arm64_laboratory: Laboratory, case: str) -> None:
    the_one(findings_of(arm64_laboratory, f"what={case}"), case)


@pytest.mark.parametrize("touch", ["read-right", "write-left"])
def test_one_byte_beside_an_object_is_found(arm64_laboratory: Laboratory, touch: str) -> None:
    the_one(findings_of(arm64_laboratory, f"what=edge_kmalloc how={touch}"), "edge_kmalloc")


def test_a_correct_module_is_clean(arm64_kernel: KernelImage) -> None:
    """memories.c fills what it gets without asking whether it got it: no calls fail."""
    file = str(built_module(arm64_kernel, "memories"))
    report = check(CheckPlan(file, kernel=arm64_kernel.name, faults=False, elsewhere=()))
    assert [finding for finding in report.findings if finding.severity is not Severity.NOTE] == []
    assert report.lives > 1


@pytest.mark.parametrize(("divisor", "kinds"), [(0, ["division-by-zero"]), (5, [])])
def test_a_division_that_does_not_trap(
    arm64_laboratory: Laboratory, arm64_kernel: KernelImage, divisor: int, kinds: list[str]
) -> None:
    """SDIV gives 0 for a division by 0: the kernel says nothing."""
    file = ModuleFile(built_module(arm64_kernel, "divided"))
    found = arm64_laboratory.examine(file, [DivisionCheck()], f"divisor={divisor}")
    assert [finding.kind for finding in found] == kinds
    assert all(finding.where is not None and finding.where.file == "divided.c" for finding in found)


@pytest.mark.parametrize("case", ["global_index", "global_percpu", "stack_index", "uninit_put_user", "by_copy_to_user"])
def test_a_mistake_with_variables_and_user_space(arm64_laboratory: Laboratory, case: str) -> None:
    finding = the_one(findings_of(arm64_laboratory, f"what={case}"), case)
    assert re.search(MESSAGES.get(case, ""), finding.message), finding.message


def test_what_is_shown_to_a_reader_is_looked_at(arm64_laboratory: Laboratory) -> None:
    """simple_read_from_buffer() has five arguments, of six that are told on every processor."""
    finding = the_one(findings_of(arm64_laboratory, "what=uninit_proc"), "uninit_proc")
    assert finding.kind == "uninitialised-read"
