"""Parquet files to columns and back, through pyarrow, which is optional."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from .._errors import DataError, MissingExtra

_DENSEST, _FEW = 20, 1_000_000  # cells: so many for each byte (equal ones take next to none, paths differ), and a few


def read_parquet(path: Path, names: Collection[str] | None) -> tuple[list[str], dict[str, list[Any]], int]:
    """The names of all columns, the cells of those that are wanted (None: all), and how many rows there are."""
    pyarrow, parquet = _pyarrow(f"reading {path}")
    try:
        with parquet.ParquetFile(path) as file:
            present = file.schema_arrow.names
            if len(set(present)) < len(present):
                raise DataError(f"{path}: a column's name comes twice among {', '.join(map(repr, present))}")
            wanted = [name for name in present if names is None or name in names]
            if file.metadata.num_rows * len(wanted) > _DENSEST * path.stat().st_size + _FEW:
                raise DataError(
                    f"{path}: {file.metadata.num_rows:,} rows in {path.stat().st_size:,} bytes: no table, a bomb"
                )
            table = file.read(wanted)
            return (
                present,
                {name: table.column(name).to_pylist() for name in table.column_names},
                file.metadata.num_rows,
            )
    except (pyarrow.ArrowException, ArithmeticError, OSError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: not a readable Parquet file ({error})") from None


def parquet_bytes(columns: Mapping[str, list[Any]], path: Path) -> bytes:
    """The content of a Parquet file; ``path`` is for messages."""
    pyarrow, parquet = _pyarrow(f"writing {path}")
    arrays = {}
    for name, values in columns.items():
        try:
            arrays[name] = pyarrow.array(values)
        except (pyarrow.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise DataError(
                f"{path}: column {name!r} does not fit Parquet, whose columns are each of one kind ({error}); "
                "make its values alike, or write JSON lines"
            ) from None
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.table(arrays), sink)
    return sink.getvalue().to_pybytes()


def _pyarrow(purpose: str) -> tuple[Any, Any]:
    try:
        import pyarrow  # type: ignore[reportMissingImports]
        import pyarrow.parquet  # type: ignore[reportMissingImports]
    except ImportError:
        raise MissingExtra("pyarrow", purpose, "parquet") from None
    return pyarrow, pyarrow.parquet
