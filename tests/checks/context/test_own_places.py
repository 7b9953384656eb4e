"""Context on arm64, whose kernels neither count preemption nor have functions for spin locks: the mistakes and twins of
x86-64 (tests/checks/context/test_context.py), which are found in the module's own code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kobox.images.store import KernelImage
from tests.checks.conftest import Laboratory
from tests.checks.context.test_context import MISTAKES, examine, the_mistake

SAME_CODE = ("rcu_open", "preempt_open")
"""Where the mistake is no instruction: "if (good) rcu_read_unlock();" at the end of a function is one code for both."""


@pytest.fixture(scope="module")
def arm64_laboratory(arm64_kernel: KernelImage) -> Iterator[Laboratory]:
    made = Laboratory(arm64_kernel)
    made.box.limits.cpu = 2.0
    yield made
    made.box.close()


@pytest.mark.parametrize("what", [what for what in MISTAKES if what not in SAME_CODE])
def test_a_mistake_is_found_where_it_is_made(
    arm64_laboratory: Laboratory, what: str, line_of: Callable[[str, Path], int]
) -> None:
    functions = the_mistake(arm64_laboratory, what, line_of)
    if what not in ("in_timer", "irq_unsafe"):
        assert functions[-1] == "el0t_64_sync"
        assert "ctx_read" in functions


@pytest.mark.parametrize("what", [*MISTAKES, "all_locks"])
def test_what_is_right_is_not_found(arm64_laboratory: Laboratory, what: str) -> None:
    assert examine(arm64_laboratory, f"what={what} good=1") == []
