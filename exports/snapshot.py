"""A consistent view of everything that an export reads, in pieces of bounded size.

One transaction sees one state of the database (REPEATABLE READ, read only). Rows come from server-side cursors. What a
filter leaves is kept in temporary tables of the session, so that nothing grows with the export in this process.

Only names are looked up anew: when a rebuild swaps its journeys in meanwhile, `derived` means tables whose rows this
transaction can't see. So it is looked at last whether the tables are still the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from milepost.errors import Transient

PIECE: Final = 1_000
"""Rows that are in memory at once."""

Row = Sequence[Any]

_local: Final = sa.MetaData()
chosen_journeys: Final = sa.Table("chosen_journeys", _local, sa.Column("journey_id", sa.BigInteger, primary_key=True))
chosen_events: Final = sa.Table(
    "chosen_events", _local, sa.Column("event_no", sa.BigInteger), sa.Column("received_at", sa.DateTime(timezone=True))
)
_CREATE: Final = (
    "CREATE TEMP TABLE chosen_journeys (journey_id bigint PRIMARY KEY)",
    "CREATE TEMP TABLE chosen_objects (object_id bigint PRIMARY KEY)",
    "CREATE TEMP TABLE chosen_events (event_no bigint NOT NULL, received_at timestamptz NOT NULL)",
)
_FILL: Final = (
    "ANALYZE chosen_journeys",
    "INSERT INTO chosen_objects SELECT DISTINCT m.object_id FROM derived.members AS m JOIN chosen_journeys USING"
    " (journey_id)",
    "INSERT INTO chosen_events SELECT DISTINCT eo.event_no, eo.received_at FROM chosen_journeys"
    " JOIN derived.journeys AS j USING (journey_id) JOIN derived.members AS m USING (journey_id)"
    " JOIN input.event_object AS eo ON eo.object_id = m.object_id"
    " AND eo.received_at BETWEEN j.first_received_at AND j.last_received_at",
    "ANALYZE chosen_objects",
    "ANALYZE chosen_events",
)


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that one statement may take, and that whoever reads may let the transaction wait. None: for ever."""

    statement: float | None = None
    idle: float | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An open view. `whole`: everything stored, in a journey or not. `heard` is told how many rows were read."""

    connection: sa.Connection
    whole: bool
    tables: int  # what tells those of one generation from another's
    piece: int = PIECE
    heard: Callable[[int], None] | None = None

    def pieces(self, statement: sa.Executable) -> Iterator[Sequence[Row]]:
        """The rows of a statement, some at a time. Raises Transient at the end if not all could be seen."""
        options = {"stream_results": True, "max_row_buffer": self.piece}
        with self.connection.execute(statement, execution_options=options) as result:
            for rows in result.partitions(self.piece):
                if self.heard is not None:
                    self.heard(len(rows))
                yield rows
        if _tables(self.connection) != self.tables:
            raise Transient("the journeys were rebuilt meanwhile; try again")


@contextmanager
def opened(
    engine: sa.Engine, chosen: sa.Select[Any] | None, patience: Patience = Patience(), piece: int = PIECE
) -> Iterator[Snapshot]:
    """A view of the journeys whose ids `chosen` selects, with their objects and events; without it, of everything."""
    with engine.connect() as connection:
        if chosen is not None:
            connection.detach()  # closed at the end, and the temporary tables with it
            with connection.begin():
                for statement in _CREATE:
                    connection.execute(sa.text(statement))
        with connection.begin():
            connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
            _be_patient(connection, patience)
            tables = _tables(connection)
            if chosen is not None:
                connection.execute(chosen_journeys.insert().from_select(["journey_id"], chosen))
                for statement in _FILL:
                    connection.execute(sa.text(statement))
            connection.execute(sa.text("SET TRANSACTION READ ONLY"))  # before PostgreSQL 18 ANALYZE counts as a write
            yield Snapshot(connection, chosen is None, tables, piece)


def _tables(connection: sa.Connection) -> int:
    """The number of a table of the live generation."""
    return connection.scalar(sa.text("SELECT CAST(CAST('derived.journeys' AS regclass) AS oid)")) or 0


def _be_patient(connection: sa.Connection, patience: Patience) -> None:
    settings = {
        "statement_timeout": patience.statement,
        "idle_in_transaction_session_timeout": patience.idle,
    }
    for name, seconds in settings.items():
        if seconds is not None:
            connection.execute(sa.text(f"SET LOCAL {name} = {round(seconds * 1000)}"))
    connection.execute(sa.text("SET LOCAL jit = off"))  # it pays for one long statement, not for pieces
