"""What the poller keeps between polls: a row of input.pollers, and one of input.polled_records for each open record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from milepost.contract import Entry
from milepost.db.tables import polled_records as records
from milepost.db.tables import pollers
from milepost.errors import Conflict
from milepost.inbox import log, quarantine

Stored = dict[str, Any]
"""JSON as it stands in the database."""
Part = Literal["cursor", "backfill"]
Told = Mapping[tuple[str, int], Mapping[str, Any] | None]
"""{(model, id): what was told of an open record}; None when it needs no more looking after."""
_MAX_ERROR: Final = 1000


@dataclass(frozen=True, slots=True)
class Batch:
    """Events, and what is true when they are stored: `part` of our row is `after`, and the open records are `told`."""

    part: Part
    after: Stored
    entries: Sequence[Entry] = ()
    refusals: Sequence[quarantine.Refusal] = ()
    told: Told = field(default_factory=dict)


class Store:
    """The rows of one source."""

    def __init__(self, engine: sa.Engine, source: str) -> None:
        self._engine = engine
        self._source = source
        self._mine = pollers.c.name == source

    def row(self, now: datetime) -> sa.Row[Any]:
        """Our row, made if it isn't there."""
        insert = postgresql.insert(pollers).values(name=self._source, cursor={}, polled_at=now).on_conflict_do_nothing()
        with self._engine.begin() as connection:
            found = connection.execute(sa.select(pollers).where(self._mine)).one_or_none()
            if found is None:
                connection.execute(insert)
                found = connection.execute(sa.select(pollers).where(self._mine)).one()
        return found

    def write(self, batch: Batch, before: Stored | None, now: datetime) -> None:
        """Append the events and move `part` on from `before`, all or nothing. Raises Conflict when it has moved."""
        column = pollers.c[batch.part]
        unmoved = column.is_(None) if before is None else column == before
        values: Stored = {batch.part: batch.after}
        if batch.part == "cursor":
            values["polled_at"] = now
        with self._engine.begin() as connection:
            moved = connection.execute(sa.update(pollers).where(self._mine, unmoved).values(values))
            if moved.rowcount != 1:
                raise Conflict(f'another process reads "{self._source}" at the same time')
            log.append(connection, batch.entries)
            quarantine.add(connection, batch.refusals)
            self._remember(connection, batch.told)

    def note(self, now: datetime, error: str | None, *, failed: bool) -> None:
        """Note that Odoo was polled. A problem with a part is an error too, but no failure."""
        text = error[:_MAX_ERROR] if error else None
        since = sa.func.coalesce(pollers.c.failing_since, now) if failed else None
        with self._engine.begin() as connection:
            note = sa.update(pollers).where(self._mine)
            connection.execute(note.values(polled_at=now, error=text, failing_since=since))

    # --- open records ---------------------------------------------------------------------------------------------

    def open_after(self, model: str, after: int, limit: int) -> dict[int, Stored]:
        """{id: what was told} of open records, by id up from `after`."""
        query = self._told(model).where(records.c.record_id > after).order_by(records.c.record_id).limit(limit)
        with self._engine.connect() as connection:
            return {row.record_id: row.told for row in connection.execute(query)}

    def told_of(self, model: str, ids: Sequence[int]) -> dict[int, Stored]:
        """The same of those of `ids` that are remembered."""
        if not ids:
            return {}
        with self._engine.connect() as connection:
            rows = connection.execute(self._told(model).where(records.c.record_id.in_(ids)))
            return {row.record_id: row.told for row in rows}

    def _told(self, model: str) -> sa.Select[tuple[int, Stored]]:
        mine = (records.c.poller == self._source, records.c.model == model)
        return sa.select(records.c.record_id, records.c.told).where(*mine)

    def _remember(self, connection: sa.Connection, told: Told) -> None:
        rows = [
            {"poller": self._source, "model": model, "record_id": key, "told": value}
            for (model, key), value in sorted(told.items())
            if value is not None
        ]
        gone = sorted(place for place, value in told.items() if value is None)
        if rows:
            insert = postgresql.insert(records).values(rows)
            keys = [records.c.poller, records.c.model, records.c.record_id]
            connection.execute(insert.on_conflict_do_update(index_elements=keys, set_={"told": insert.excluded.told}))
        if gone:
            place = sa.tuple_(records.c.model, records.c.record_id)
            connection.execute(sa.delete(records).where(records.c.poller == self._source, place.in_(gone)))
