"""How a cost grows with a number: the exponent of the power that fits best, by least squares of the logarithms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Growth:
    """cost = fixed + factor * n ** exponent. `error` is the largest deviation from that, as a share of the cost."""

    fixed: float
    factor: float
    exponent: float
    error: float

    def __str__(self) -> str:
        if self.factor <= 0:
            return "grows in no simple way" if self.error else "does not grow"
        return f"grows as n^{self.exponent:.2f}{_said(self.exponent)}"


def growth(points: Sequence[tuple[int, int]]) -> Growth:
    """Fit points (n, cost), n above 0. Raises `ValueError` for fewer than three different n."""
    if len({n for n, _ in points}) < 3 or min(n for n, _ in points) < 1:
        raise ValueError("three different numbers above 0 are needed")
    least = min(cost for _, cost in points)
    if max(cost for _, cost in points) - least <= 0.001 * max(least, 1):
        return Growth(least, 0, 0, 0)
    # What does not depend on n is not known: of some shares of the smallest cost the one that fits best.
    return min((_fit(points, least * share / 64) for share in range(64)), key=lambda fit: fit.error)


def steps(first: int, last: int, count: int = 6) -> list[int]:
    """Numbers from first to last, evenly apart by ratio."""
    ratio = (last / first) ** (1 / (count - 1))
    return sorted({first, last, *(round(first * ratio**number) for number in range(1, count - 1))})


def _fit(points: Sequence[tuple[int, int]], fixed: float) -> Growth:
    logs = [(math.log(n), math.log(cost - fixed)) for n, cost in points if cost > fixed]
    mean_x = sum(x for x, _ in logs) / len(logs)
    mean_y = sum(y for _, y in logs) / len(logs)
    spread = sum((x - mean_x) ** 2 for x, _ in logs)
    if not spread:  # it costs nothing but for one of the numbers
        return Growth(fixed, 0, 0, 1)
    exponent = sum((x - mean_x) * (y - mean_y) for x, y in logs) / spread
    factor = math.exp(mean_y - exponent * mean_x)
    error = max(abs(fixed + factor * n**exponent - cost) / max(cost, 1) for n, cost in points)
    return Growth(fixed, factor, exponent, error)


def _said(exponent: float) -> str:
    for value, word in (
        (0, "does not depend on n"),
        (1, "in proportion"),
        (2, "with the square"),
        (3, "with the cube"),
    ):
        if abs(exponent - value) < 0.1:
            return f": {word}"
    return ""
