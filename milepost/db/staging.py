"""Rows on their way into a merge: a few as arrays, many in a temporary table per connection, filled by binary COPY.

COPY's binary format of a timestamptz is a 64-bit integer and that of a uuid 16 bytes, so staged times are given as
microseconds (`wire_time`) and identities as bytes: no conversion on the way, which at thousands of rows a batch was a
tenth of the recorder's time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import psycopg
import sqlalchemy as sa

from milepost.db.engine import array_literal, copy_rows

_PG_EPOCH_US: Final = 946_684_800_000_000  # 2000-01-01 UTC
_WIRE: Final[Mapping[str, Any]] = {"timestamptz": sa.BigInteger, "uuid": sa.LargeBinary}
_KINDS: Final[Mapping[str, Any]] = {
    "bigint": sa.BigInteger,
    "integer": sa.Integer,
    "smallint": sa.SmallInteger,
    "boolean": sa.Boolean,
    "text": sa.Text,
    "bytea": sa.LargeBinary,
    "numeric": sa.Numeric,
    **_WIRE,
}


def wire_time(us: int) -> int:
    """Microseconds since 1970 as COPY sends a timestamptz."""
    return us - _PG_EPOCH_US


FEW: Final = 2_000
"""So many rows go as arrays."""
_SENT: Final = {"timestamptz": "bigint"}
_TIME: Final = "timestamptz '2000-01-01 00:00:00+00' + {0} * interval '1 microsecond' AS {0}"

Row = tuple[Any, ...]


@dataclass(slots=True)
class Rows:
    """Rows of a table to write; those that go are told by their key."""

    new: list[Row] = field(default_factory=list)
    changed: list[Row] = field(default_factory=list)
    gone: list[Row] = field(default_factory=list)


def save(connection: sa.Connection, table: sa.Table, key: Sequence[str], rows: Rows) -> None:
    """Write rows of a table that nobody else writes. They have all its columns in their order, times as `wire_time`.

    `rows.new` must meet none with the same key: they are copied as they are, for half the price.
    """
    if rows.gone:
        _delete(connection, table, key, rows.gone)
    if rows.new:
        copy_rows(connection, as_wire(table), list(table.columns.keys()), rows.new)
    if rows.changed:
        _merge(connection, table, key, rows.changed)


def copy_new(connection: sa.Connection, table: sa.Table, rows: Sequence[Row], schema: str | None = None) -> bool:
    """Copy rows, as in `save`, into a table that others write too; `schema` in place of its own.

    False, and nothing is written, when one of them is there by now: whoever is writing the same at this moment is
    waited for. Nobody deadlocks when all give their rows in the order of the same key.
    """
    try:
        with connection.begin_nested():
            copy_rows(connection, as_wire(table, schema), list(table.columns.keys()), rows)
    except psycopg.errors.UniqueViolation:
        return False
    return True


def _merge(connection: sa.Connection, table: sa.Table, key: Sequence[str], rows: Sequence[Row]) -> None:
    """Update rows, or insert those that are not there."""
    columns = kinds_of(table)
    source, parameters = given(connection, f"staging_{table.name}", columns, rows)
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in key)
    names = ", ".join(columns)
    connection.execute(
        sa.text(
            f"INSERT INTO {table.schema}.{table.name} ({names}) SELECT {names} FROM {source}"
            f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changes}"
        ),
        parameters,
    )


def _delete(connection: sa.Connection, table: sa.Table, key: Sequence[str], gone: Sequence[Row]) -> None:
    columns = [table.c[name] for name in key]
    arrays = [
        sa.cast(list(values), sa.ARRAY(column.type))
        for values, column in zip(zip(*gone, strict=True), columns, strict=True)
    ]
    told = sa.func.unnest(*arrays).table_valued(*key, name="gone").render_derived()
    connection.execute(sa.delete(table).where(*(column == told.c[column.name] for column in columns)))


def given(
    connection: sa.Connection, name: str, columns: Mapping[str, str], rows: Sequence[Sequence[Any]]
) -> tuple[str, dict[str, Any]]:
    """What to put after FROM for these rows, called `name` (column → PostgreSQL type), and its parameters.

    A commit empties the temporary tables of its session, and that takes some milliseconds for a single row as well.
    """
    if len(rows) > FEW:
        _stage(connection, name, columns, rows)
        return name, {}
    values = list(zip(*rows, strict=True)) or [()] * len(columns)
    parameters = {
        f"{name}_{column}": array_of(kind, each) for (column, kind), each in zip(columns.items(), values, strict=True)
    }
    arrays = ", ".join(f"CAST(:{name}_{column} AS {_SENT.get(kind, kind)}[])" for column, kind in columns.items())
    chosen = ", ".join(_TIME.format(column) if kind == "timestamptz" else column for column, kind in columns.items())
    return f"(SELECT {chosen} FROM unnest({arrays}) AS sent({', '.join(columns)})) AS {name}", parameters


def array_of(kind: str, values: Iterable[Any]) -> str:
    """An array of a PostgreSQL type as its text. psycopg would look at each value in Python, several times."""
    text = _TEXT.get(kind, str)
    return array_literal(["NULL" if value is None else text(value) for value in values])


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


_TEXT: Final[Mapping[str, Callable[[Any], str]]] = {
    "text": _quoted,
    "bytea": lambda value: f'"\\\\x{value.hex()}"',
}


def _stage(connection: sa.Connection, name: str, columns: Mapping[str, str], rows: Iterable[Sequence[Any]]) -> None:
    """Fill the temporary table `name` with these rows alone; it empties with the commit."""
    listed = ", ".join(f"{column} {kind}" for column, kind in columns.items())
    connection.execute(sa.text(f"CREATE TEMP TABLE IF NOT EXISTS {name} ({listed}) ON COMMIT DELETE ROWS"))
    connection.execute(sa.text(f"DELETE FROM {name}"))  # not TRUNCATE, which writes to the catalog
    table = _describe(name, tuple(columns.items()))
    copy_rows(connection, table, list(columns), rows)


@cache
def _describe(name: str, columns: tuple[tuple[str, str], ...]) -> sa.Table:
    return sa.Table(name, sa.MetaData(), *(sa.Column(column, _KINDS[kind]) for column, kind in columns))


@cache
def as_wire(table: sa.Table, schema: str | None = None) -> sa.Table:
    """`table` described for copy_rows so that its timestamptz columns take `wire_time` integers."""
    columns = (
        sa.Column(column.name, sa.BigInteger if isinstance(column.type, sa.DateTime) else column.type)
        for column in table.columns
    )
    return sa.Table(table.name, sa.MetaData(), *columns, schema=schema or table.schema)


def kinds_of(table: sa.Table) -> dict[str, str]:
    """The columns of `table` as `stage` takes them."""
    return {column.name: _kind(column.type) for column in table.columns}


def _kind(kind: Any) -> str:
    if isinstance(kind, sa.DateTime):
        return "timestamptz"
    for name, known in _KINDS.items():
        if type(kind) is known:
            return name
    raise TypeError(f"{kind!r} can't be staged")
