"""The first kernel on which a cell turned red: by halves, over the kernels in the order of their releases.

good ──────────────┬────────────── red     each step fills one cell of the matrix, or takes it from the cache
                middle
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from kobox.images.kernel_image import KernelImage
from kobox.matrix.cell import Matrix, MatrixCell, MatrixRow
from kobox.matrix.plan import MatrixPlan

RunPlan = Callable[[MatrixPlan], Matrix]
"""Fills the matrix of a plan."""


@dataclass(frozen=True, slots=True)
class Bisection:
    """Of one row: `good` is the newest kernel before it turned red (None: it is red on the oldest), `bad` the first red
    cell (None: it is not red on the newest), `tried` the kernels that were tried."""

    row: MatrixRow
    good: str | None
    bad: MatrixCell | None
    tried: tuple[str, ...]


def bisect(plan: MatrixPlan, run: RunPlan) -> Iterator[Bisection]:
    """Bisect each row of a plan, for each architecture by itself. Raises what `run` raises."""
    for architecture in dict.fromkeys(kernel.architecture for kernel in plan.kernels):
        kernels = tuple(kernel for kernel in plan.kernels if kernel.architecture == architecture)
        ends = run(replace(plan, kernels=tuple(dict.fromkeys((kernels[0], kernels[-1])))))
        for row in ends.rows:
            yield _bisected(plan, kernels, row, ends, run)


def _bisected(
    plan: MatrixPlan, kernels: tuple[KernelImage, ...], row: MatrixRow, ends: Matrix, run: RunPlan
) -> Bisection:
    first, last = ends.cell(row, kernels[0].name), ends.cell(row, kernels[-1].name)
    tried = [cell.kernel for cell in dict.fromkeys((first, last))]
    if first.state.is_red:
        return Bisection(row, None, first, tuple(tried))
    if not last.state.is_red:
        return Bisection(row, last.kernel, None, tuple(tried))
    low, high, bad = 0, len(kernels) - 1, last
    while high - low > 1:
        middle = (low + high) // 2
        sources = tuple(source for source in plan.sources if str(source) == row.source)
        part = replace(plan, sources=sources, kernels=(kernels[middle],), parameters=(row.parameters,), again=False)
        cell = run(part).cell(row, kernels[middle].name)
        tried.append(cell.kernel)
        if cell.state.is_red:
            high, bad = middle, cell
        else:
            low = middle
    return Bisection(row, kernels[low].name, bad, tuple(tried))


def bisect_facts(found: Bisection) -> dict[str, object]:
    """A bisection as JSON holds it."""
    bad = found.bad
    return {
        "source": found.row.source,
        "module": found.row.module,
        "parameters": found.row.parameters,
        "good": found.good,
        "bad": bad.kernel if bad else None,
        "state": bad.state.value if bad else None,
        "finding": bad.deciding.finding if bad else "",
        "changes": list(bad.deciding.changes) if bad else [],
        "remedy": bad.deciding.remedy if bad else "",
        "tried": list(found.tried),
    }
