"""Modules x kernels x parameters as one table: where each builds, loads, and is clean.

plan = MatrixPlan(sources_named([Path("hello")]), kernels_matching(Store(), ["all"]))
matrix = MatrixRun(plan).run()
print(table(matrix))
"""

from kobox.matrix.cell import CellState, CellStep, Matrix, MatrixCell, MatrixRow, StepOutcome
from kobox.matrix.plan import MatrixPlan, kernels_matching, sources_named
from kobox.matrix.run import MatrixRun
from kobox.matrix.steps import CheckWords, CostWords
from kobox.matrix.table import as_data, markdown, table

__all__ = [
    "CellState",
    "CellStep",
    "CheckWords",
    "CostWords",
    "Matrix",
    "MatrixCell",
    "MatrixPlan",
    "MatrixRow",
    "MatrixRun",
    "StepOutcome",
    "as_data",
    "kernels_matching",
    "markdown",
    "sources_named",
    "table",
]
