"""Tables as Parquet: typed columns, one row group a piece. Needs pyarrow, the extra `parquet`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from exports.tables import Table
from milepost.errors import ConfigurationError

ROW_GROUP: Final = 20_000
"""Rows that are in memory before they are written together: many small groups make a file slow to read."""


def write(path: Path, table: Table) -> None:
    """Write the file. Raises ConfigurationError without pyarrow."""
    try:
        import pyarrow as pa  # 170 MB, and nothing else needs it
        from pyarrow import parquet
    except ImportError as error:
        raise ConfigurationError(
            "Parquet needs pyarrow: pip install pyarrow (the extra parquet), or export csv"
        ) from error
    kinds: dict[str, Any] = {
        "text": pa.string(),
        "time": pa.timestamp("us", tz="UTC"),
        "money": pa.decimal128(18, 4),
        "seconds": pa.float64(),
    }
    schema = pa.schema([(name, kinds[kind]) for name, kind in table.columns])
    with parquet.ParquetWriter(path, schema, compression="zstd") as file:
        rows: list[Any] = []
        for some in table.pieces:
            rows += some
            if len(rows) >= ROW_GROUP:
                file.write_table(_group(pa, schema, rows))
                rows = []
        file.write_table(_group(pa, schema, rows))


def _group(pa: Any, schema: Any, rows: list[Any]) -> Any:
    columns = zip(*rows, strict=True) if rows else ([] for _ in schema)
    return pa.table([pa.array(list(cells), field.type) for cells, field in zip(columns, schema, strict=True)], schema)
