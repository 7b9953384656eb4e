"""The matrix as a Parquet file, a row a cell: what pandas, DuckDB, Polars and Spark read."""

from __future__ import annotations

from pathlib import Path

from kobox.atomic_file import atomic_file
from kobox.errors import KoboxError
from kobox.matrix.cell import Matrix
from kobox.matrix.table import FORMAT, flat_rows

_NUMBERS = {"seconds": "float64", "cached": "bool_"}
_NAMES = "source module parameters kernel state builds loads clean why finding place changes remedy log seconds cached"


def require() -> None:
    """Raises `KoboxError` where pyarrow is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise KoboxError("--parquet takes pyarrow", hint="pip install 'kobox[parquet]'") from None


def write_parquet(matrix: Matrix, path: Path) -> None:
    """Write the file, whole or not at all. Raises `KoboxError`, `OSError`."""
    require()
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [(name, getattr(pa, _NUMBERS.get(name, "string"))()) for name in _NAMES.split()]
    rows = [{name: _text(value) for name, value in row.items()} for row in flat_rows(matrix)]
    made = pa.Table.from_pylist(rows, schema=pa.schema(fields, metadata={"kobox.matrix": str(FORMAT)}))
    with atomic_file(path) as file:
        pq.write_table(made, file, compression="zstd")


def _text(value: str | float | bool) -> str | float | bool:
    """Text as UTF-8 can hold it: bytes that were none are escaped."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
