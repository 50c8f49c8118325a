"""The one module that knows plain PostgreSQL from TimescaleDB, Apache or community edition.

Tables with `info["partition_by"]` are split by day of that time: hypertables with TimescaleDB, plain range partitions
without. What a table became when it was made, it stays: TimescaleDB installed later changes nothing.

Plain partitions: a DEFAULT partition takes every row whose day isn't there, so that writing never fails for the lack of
one. `ensure_partitions` runs ahead of time; where rows came first, it moves them from the default into their day. A new
day is made as a table of its own and then attached, so that readers of other days go on (CREATE TABLE … PARTITION OF
would lock them all out) and writers wait for some milliseconds. Dropping a day locks readers and writers of all days
out for as long. Both give up where a lock is not to be had within half a second (a dump holds them for hours), undo
what they did, and are to be tried again later. Compressing waits for as long as it has to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import sqlalchemy as sa

from milepost.db.engine import lock_key
from milepost.db.tables import metadata

Flavour = Literal["plain", "apache", "community"]
DAY: Final = timedelta(days=1)
# Less than deadlock_timeout (1 s): in a tangle of locks it is us who give up and try later, never a recorder.
PATIENCE: Final = "500ms"


@dataclass(frozen=True, slots=True)
class Split:
    """A table that is split by `column`; compressed rows are ordered by `order_by`."""

    schema: str
    name: str
    column: str
    order_by: str

    @property
    def qualified(self) -> str:
        return f"{self.schema}.{self.name}"

    def day(self, start: datetime) -> str:
        """The qualified name of a day's partition."""
        return f"{self.qualified}_{start:%Y%m%d}"


def split_tables() -> list[Split]:
    """All split tables, in the order in which tables.py defines them and recorders write them."""
    return [_split(table) for table in metadata.tables.values() if "partition_by" in table.info]


def _split(table: sa.Table) -> Split:
    column = str(table.info["partition_by"])
    return Split(str(table.schema), table.name, column, str(table.info.get("order_by", column)))


def flavour(connection: sa.Connection) -> Flavour:
    """What this database is."""
    licence = connection.scalar(
        sa.text("SELECT current_setting('timescaledb.license', true) FROM pg_extension WHERE extname = 'timescaledb'")
    )
    if licence is None:
        return "plain"
    return "apache" if licence == "apache" else "community"


# --- making (called by migrations: their meaning must not change) -----------------------------------------------------


def prepare(connection: sa.Connection) -> None:
    """Create the extension where the server has TimescaleDB loaded and lets us."""
    loaded = "SELECT 1 FROM pg_available_extensions WHERE name = 'timescaledb' AND installed_version IS NULL"
    if connection.scalar(sa.text(f"{loaded} AND current_setting('timescaledb.disable_load', true) = 'off'")):
        try:
            with connection.begin_nested():
                connection.execute(sa.text("CREATE EXTENSION timescaledb"))
        except sa.exc.ProgrammingError as error:
            if getattr(error.orig, "sqlstate", None) != "42501":  # not allowed to: plain partitions do as well
                raise


def partitioned(connection: sa.Connection, column: str) -> dict[str, Any]:
    """Options for op.create_table of a table that is split by `column`."""
    return {"postgresql_partition_by": f"RANGE ({column})"} if flavour(connection) == "plain" else {}


def spread(connection: sa.Connection, schema: str, name: str, column: str, order_by: str) -> None:
    """Finish a new table that was made with `partitioned`: a hypertable, or a DEFAULT partition."""
    split = Split(schema, name, column, order_by)
    kind = flavour(connection)
    if kind == "plain":
        connection.execute(sa.text(f"CREATE TABLE {split.qualified}_default PARTITION OF {split.qualified} DEFAULT"))
        return
    connection.execute(
        sa.text(
            f"SELECT create_hypertable('{split.qualified}', by_range('{column}', INTERVAL '1 day'),"
            " create_default_indexes => false)"
        )
    )
    if kind == "community":
        options = f"timescaledb.compress, timescaledb.compress_orderby = '{order_by}'"
        connection.execute(sa.text(f"ALTER TABLE {split.qualified} SET ({options})"))


# --- keeping ----------------------------------------------------------------------------------------------------------


def ensure_partitions(connection: sa.Connection, first: datetime, last: datetime) -> int:
    """Make the missing day partitions from `first` to `last`, both days included (UTC); returns how many were made.

    Safe when several processes do it at once. Belongs in a transaction of its own: it sets lock_timeout, and raises
    Transient when a lock isn't to be had; try again at the next tick. TimescaleDB makes its chunks by itself: 0.
    """
    if not _missing(connection, first, last):
        return 0
    _one_at_a_time(connection)
    missing = _missing(connection, first, last)
    for split, day in missing:
        _add_day(connection, split, day)
    return len(missing)


def drop_before(connection: sa.Connection, cutoff: datetime) -> int:
    """Drop the days that end before `cutoff`, or at it; returns how many partitions or chunks went.

    Transaction and errors as with `ensure_partitions`. A row may outlive the cutoff by less than a day, and for as long
    as somebody holds on to its table.
    """
    _one_at_a_time(connection)
    dropped = 0
    for split in split_tables():
        drop = _drop_days if _is_plain(connection, split) else _drop_chunks
        dropped += drop(connection, split, cutoff)
    return dropped


def compress_before(connection: sa.Connection, cutoff: datetime) -> int:
    """Compress the chunks that ended before `cutoff`, where the edition can (community); returns how many it holds."""
    if flavour(connection) != "community":
        return 0
    hypertables = [split for split in split_tables() if not _is_plain(connection, split)]
    return sum(_compress_chunks(connection, split, cutoff) for split in hypertables)


def partitions_in(connection: sa.Connection, schema: str) -> set[str]:
    """The names of the tables in `schema` that are parts of others."""
    found = connection.scalars(
        sa.text("SELECT relname FROM pg_class WHERE relispartition AND relnamespace = CAST(:schema AS regnamespace)"),
        {"schema": schema},
    )
    return set(found)


def _one_at_a_time(connection: sa.Connection) -> None:
    connection.execute(sa.text(f"SET LOCAL lock_timeout = '{PATIENCE}'"))
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(lock_key("milepost.partitions"))))


def _is_plain(connection: sa.Connection, split: Split) -> bool:
    kind = sa.text("SELECT relkind = 'p' FROM pg_class WHERE oid = CAST(:name AS regclass)")
    return bool(connection.scalar(kind, {"name": split.qualified}))


def _missing(connection: sa.Connection, first: datetime, last: datetime) -> list[tuple[Split, datetime]]:
    """The days without a partition, of plain tables."""
    start = _midnight(first)
    wanted = [start + number * DAY for number in range((_midnight(last) - start) // DAY + 1)]
    plain = [split for split in split_tables() if _is_plain(connection, split)]
    have = {split: set(_days(connection, split)) for split in plain}
    return [(split, day) for split in plain for day in wanted if day not in have[split]]


def _days(connection: sa.Connection, split: Split) -> list[datetime]:
    """The days that have a partition."""
    names = connection.scalars(
        sa.text(
            "SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid"
            " WHERE i.inhparent = CAST(:parent AS regclass) ORDER BY c.relname"
        ),
        {"parent": split.qualified},
    )
    found = (re.fullmatch(rf"{split.name}_(\d{{8}})", name) for name in names)
    return [datetime.strptime(match[1], "%Y%m%d").replace(tzinfo=UTC) for match in found if match]


def _midnight(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _add_day(connection: sa.Connection, split: Split, day: datetime) -> None:
    parent, default, name = split.qualified, f"{split.qualified}_default", split.day(day)
    low, high = f"'{day.isoformat()}'", f"'{(day + DAY).isoformat()}'"
    for statement in (
        f"CREATE TABLE {name} (LIKE {parent} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)",
        # Writers wait here, before they have chosen a partition: one that had already chosen the default would find its
        # row refused there afterwards. Readers go on.
        f"LOCK TABLE ONLY {parent} IN SHARE ROW EXCLUSIVE MODE",
        f"LOCK TABLE {default} IN ACCESS EXCLUSIVE MODE",
        f"WITH moved AS (DELETE FROM {default} WHERE {split.column} >= {low} AND {split.column} < {high} RETURNING *)"
        f" INSERT INTO {name} SELECT * FROM moved",
        f"ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES FROM ({low}) TO ({high})",
    ):
        connection.exec_driver_sql(statement)


def _drop_days(connection: sa.Connection, split: Split, cutoff: datetime) -> int:
    old = [day for day in _days(connection, split) if day + DAY <= cutoff]
    for day in old:
        connection.execute(sa.text(f"DROP TABLE {split.day(day)}"))
    connection.execute(
        sa.text(f"DELETE FROM {split.qualified}_default WHERE {split.column} < :before"), {"before": _midnight(cutoff)}
    )
    return len(old)


def _drop_chunks(connection: sa.Connection, split: Split, cutoff: datetime) -> int:
    statement = f"SELECT drop_chunks('{split.qualified}', older_than => CAST(:cutoff AS timestamptz))"
    return len(connection.execute(sa.text(statement), {"cutoff": cutoff}).all())


def _compress_chunks(connection: sa.Connection, split: Split, cutoff: datetime) -> int:
    chunks = f"show_chunks('{split.qualified}', older_than => CAST(:cutoff AS timestamptz))"
    statement = f"SELECT compress_chunk(chunk, if_not_compressed => true) FROM {chunks} AS chunk"
    return len(connection.execute(sa.text(statement), {"cutoff": cutoff}).all())
