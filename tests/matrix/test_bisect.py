"""The first kernel on which a row turned red."""

from __future__ import annotations

from pathlib import Path

import pytest

from kobox.images.store import KernelImage
from kobox.matrix import CellStep, Matrix, MatrixCell, MatrixPlan, MatrixRow, StepOutcome
from kobox.matrix.bisect import bisect, bisect_facts

KERNELS = [f"6.{number}" for number in range(17)]
ROW = MatrixRow("m.c", "m")
OK = CellStep(StepOutcome.OK)


def kernel(name: str, architecture: str = "x86_64") -> KernelImage:
    """A kernel that is never booted."""
    return KernelImage(name, name, Path("v"), None, None, "test", Path(), "00", architecture)


class Filled:
    """Cells that are red from a kernel on."""

    def __init__(self, first_red: int) -> None:
        self.first_red = first_red
        self.filled: list[str] = []

    def __call__(self, plan: MatrixPlan) -> Matrix:
        """The matrix of a plan."""
        cells = {}
        for one in plan.kernels:
            self.filled.append(one.name)
            red = KERNELS.index(one.name) >= self.first_red
            builds = CellStep(StepOutcome.FAILED, finding="gone", changes=("f",), remedy="use g") if red else OK
            cells[ROW, one.name] = MatrixCell(ROW, one.name, builds, OK, OK)
        return Matrix(tuple(one.name for one in plan.kernels), cells)


@pytest.mark.parametrize("first", range(1, 17))
def test_the_first_red_kernel_is_found_by_halves(first: int) -> None:
    filled = Filled(first)
    (found,) = bisect(MatrixPlan((Path("m.c"),), tuple(map(kernel, KERNELS))), filled)
    assert found.bad is not None
    assert (found.good, found.bad.kernel) == (KERNELS[first - 1], KERNELS[first])
    assert len(filled.filled) <= 2 + 4
    facts = bisect_facts(found)
    assert (facts["bad"], facts["changes"], facts["remedy"]) == (KERNELS[first], ["f"], "use g")


@pytest.mark.parametrize(("first", "good", "bad"), [(0, None, "6.0"), (99, "6.16", None)])
def test_red_from_the_beginning_and_never_red(first: int, good: str | None, bad: str | None) -> None:
    (found,) = bisect(MatrixPlan((Path("m.c"),), tuple(map(kernel, KERNELS))), Filled(first))
    assert (found.good, found.bad.kernel if found.bad else None) == (good, bad)


def test_architectures_are_bisected_apart() -> None:
    kernels = (*map(kernel, KERNELS[:8]), *(kernel(name, "aarch64") for name in KERNELS[8:]))
    found = list(bisect(MatrixPlan((Path("m.c"),), kernels), Filled(12)))
    assert [one.bad.kernel if one.bad else None for one in found] == [None, "6.12"]


def test_one_kernel_is_both_ends() -> None:
    filled = Filled(0)
    (found,) = bisect(MatrixPlan((Path("m.c"),), (kernel("6.3"),)), filled)
    assert (found.good, filled.filled) == (None, ["6.3"])
