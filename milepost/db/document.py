"""Many rows in one statement, as one JSON document: parsed and planned once, whatever their number, and read into
columns by PostgreSQL faster than the driver can write them one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

_encode: Final = msgspec.json.Encoder(decimal_format="string").encode


def rows_of(table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> sa.Select[Any]:
    """A query that answers `rows`, which all have the same columns of `table`. There must be one at least."""
    document = sa.literal(_encode(rows).decode(), sa.Text())
    columns = [sa.column(name, table.c[name].type) for name in rows[0]]
    new = sa.func.json_to_recordset(sa.cast(document, sa.JSON())).table_valued(*columns, name="new")
    return sa.select(*new.render_derived(with_types=True).c)
