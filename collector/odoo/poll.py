"""The Odoo poller: one step reads what is new, and appends it to the event log in one transaction with its cursor.

So a crash at any moment loses nothing and doubles nothing. Writes input.pollers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from msgspec.structs import replace
from sqlalchemy.dialects import postgresql

from collector import ingest
from collector.masking import Masks
from collector.odoo import cursor as at
from collector.odoo import mapping
from collector.odoo.client import Client, Row
from collector.odoo.cursor import Cursor, Records
from collector.odoo.reader import Reader
from milepost import settings
from milepost.clock import Clock, to_us
from milepost.db.tables import pollers
from milepost.errors import ConfigurationError, Conflict, MilepostError
from milepost.inbox import log, quarantine

LONGEST_WAIT: Final = timedelta(seconds=60)
"""Between attempts while Odoo is away: half the time that it has been away, at most this."""
_TAKING_TURNS: Final = ("account.move", "purchase.order")
"""Looked at every second idle poll: their milestones come from the state changes, which every poll looks at."""
_MAX_ERROR: Final = 1000
Stored = dict[str, Any]
"""A cursor as it stands in the database."""


@dataclass(frozen=True, slots=True)
class PollResult:
    """What one poll did. `waiting`: nothing, because the last attempts failed and the next one isn't due.

    `complete`: nothing is left to read now. `problems`: what this user can't read. `error`: why it ended early.
    """

    events: int = 0
    rejected: int = 0
    calls: int = 0
    complete: bool = False
    waiting: bool = False
    problems: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Sender:
    """The poller's own right: to send anything as one source."""

    default_source: str

    def may_send(self, source: str, event_type: str) -> bool:  # noqa: ARG002 - part of the protocol
        return source == self.default_source


@dataclass(frozen=True, slots=True)
class Batch:
    """Events, and the cursor when they are stored."""

    events: Sequence[mapping.Event]
    cursor: Cursor


class Poller:
    """Polls one Odoo. Keep it between polls: it remembers the connection and what Odoo said of its models."""

    def __init__(
        self,
        engine: sa.Engine,
        options: settings.Odoo,
        clock: Clock,
        masks: Callable[[], Masks | None] = lambda: None,
    ) -> None:
        """`masks`: what is not to be kept. Raises ConfigurationError when the settings can't be used."""
        self._masks = masks
        self._engine = engine
        self._options = options
        self._clock = clock
        self._client = Client(options, clock)
        self._reader = Reader(self._client, options.odoo_page)
        self._sender = Sender(options.odoo_source)
        self._turn = 0

    def step(self) -> PollResult:
        """Read until nothing is left or an interval is over. Odoo's failures are recorded, the database's raised."""
        now, calls = self._clock(), self._client.calls
        stored = self._stored(now)
        if _must_wait(stored, now):
            return PollResult(waiting=True)
        try:
            result = self._poll(stored.cursor, now)
        except MilepostError as error:
            self._record(now, str(error), failed=True)
            result = PollResult(error=str(error))
        return dataclasses.replace(result, calls=self._client.calls - calls)

    def _poll(self, stored: Stored, now: datetime) -> PollResult:
        cursor = self._cursor(stored)
        self._reader.refresh(now)
        deadline = now + timedelta(seconds=self._options.odoo_interval)
        events = rejected = 0
        complete = True
        for batch in self._batches(cursor):
            accepted = self._store(stored, batch, self._clock())
            stored = batch.cursor.stored()
            events, rejected = events + len(accepted.entries), rejected + len(accepted.rejected)
            if self._clock() >= deadline:
                complete = False
                break
        problems = tuple(self._reader.problems.values())
        self._record(now, "; ".join(problems) or None, failed=False)
        return PollResult(events, rejected, complete=complete, problems=problems)

    # --- reading --------------------------------------------------------------------------------------------------

    def _batches(self, cursor: Cursor) -> Iterator[Batch]:
        """Batches until nothing is left. Each cursor follows from the one before."""
        first = cursor
        for batch in self._changes(cursor):
            yield batch
            cursor = batch.cursor
        for model in self._due(cursor, changed=cursor is not first):
            for batch in self._records(model, cursor):
                yield batch
                cursor = batch.cursor

    def _due(self, cursor: Cursor, changed: bool) -> list[str]:
        self._turn += 1
        resting = _TAKING_TURNS[self._turn % 2]
        rests = not changed and self._turn > len(_TAKING_TURNS) and cursor.of(resting).floor
        return [model for model in self._reader.models if not (rests and model == resting)]

    def _changes(self, cursor: Cursor) -> Iterator[Batch]:
        while True:
            now = self._client.server_time()
            rows = self._reader.changes(cursor.tracking.floor, cursor.tracking.seen)
            tracking = at.tracked(cursor.tracking, {row["id"]: row["create_date"] for row in rows}, now)
            if tracking != cursor.tracking:
                cursor = replace(cursor, tracking=tracking)
                yield Batch(self._changed(rows), cursor)
            if len(rows) < self._options.odoo_page:
                return

    def _changed(self, tracking: Sequence[Row]) -> list[mapping.Event]:
        events: list[mapping.Event] = []
        for model, changes in self._reader.explained(tracking).items():
            rows = self._reader.records(model, {record for record, _ in changes})
            names = self._reader.names(model, rows)
            by_id = {row["id"]: row for row in rows}
            for record, change in changes:
                if record in by_id:
                    events += mapping.changed(model, by_id[record], change, names, self._options.odoo_source)
        return events

    def _records(self, model: str, cursor: Cursor) -> Iterator[Batch]:
        return self._since_floor(model, cursor) if cursor.of(model).floor else self._first_pass(model, cursor)

    def _first_pass(self, model: str, cursor: Cursor) -> Iterator[Batch]:
        records = cursor.of(model)
        if not records.begun:
            records = replace(records, begun=at.odoo_text(self._client.server_time()))
        while not records.floor:
            now = self._client.server_time()
            rows = self._reader.first_page(model, records.after)
            events, records = self._told(model, rows, records, now)
            complete = len(rows) < self._options.odoo_page
            records = at.first_pass(records, rows[-1]["id"] if rows else records.after, complete)
            cursor = cursor.with_records(model, records)
            yield Batch(events, cursor)

    def _since_floor(self, model: str, cursor: Cursor) -> Iterator[Batch]:
        records, begun = cursor.of(model), self._client.server_time()
        written = self._reader.written_since(model, records.floor)
        waiting = [key for key, date in written.items() if not at.is_done(records, key, date)]
        for first in range(0, len(waiting), self._options.odoo_page):
            now = self._client.server_time()
            rows = self._reader.records(model, waiting[first : first + self._options.odoo_page])
            events, after = self._told(model, rows, records, now)
            if after != records:
                records, cursor = after, cursor.with_records(model, after)
                yield Batch(events, cursor)
        ended = at.passed(records, written, begun)
        if ended != records:
            yield Batch([], cursor.with_records(model, ended))

    def _told(
        self, model: str, rows: Sequence[Row], records: Records, now: datetime
    ) -> tuple[list[mapping.Event], Records]:
        """The events of records that are new or were written, and the cursor after them."""
        source, names = self._options.odoo_source, self._reader.names(model, rows)
        new = [row for row in rows if at.is_new(records, row["id"], row["create_date"])]
        states, new_ids = self._reader.first_states(model, new), {row["id"] for row in new}
        events: list[mapping.Event] = []
        done: dict[int, tuple[str, str]] = {}
        for row in rows:
            key, first = row["id"], row["id"] in new_ids
            if first:
                events += mapping.made(model, row, states.get(key, {}), names, source)
            told, digest = mapping.updated(model, row, at.digest_of(records, key), first, names, source)
            events += told
            done[key] = (row["write_date"], digest)
        return events, at.marked(records, done, now)

    # --- storing --------------------------------------------------------------------------------------------------

    def _stored(self, now: datetime) -> sa.Row[Any]:
        """Our row, made if it isn't there."""
        row = {"name": self._options.odoo_source, "cursor": {}, "polled_at": now}
        insert = postgresql.insert(pollers).values(row).on_conflict_do_nothing()
        with self._engine.begin() as connection:
            found = connection.execute(sa.select(pollers).where(self._mine)).one_or_none()
            if found is None:
                connection.execute(insert)
                found = connection.execute(sa.select(pollers).where(self._mine)).one()
        return found

    @property
    def _mine(self) -> sa.ColumnElement[bool]:
        return pollers.c.name == self._options.odoo_source

    def _cursor(self, stored: Stored) -> Cursor:
        database = self._options.odoo_database
        if not stored:
            return Cursor(database)
        cursor = at.read_stored(stored)
        if cursor.database != database:
            raise ConfigurationError(
                f'the source "{self._options.odoo_source}" is that of the database "{cursor.database}"; '
                f'give "{database}" a source of its own (MILEPOST_ODOO_SOURCE)'
            )
        return cursor

    def _store(self, before: Stored, batch: Batch, now: datetime) -> ingest.Accepted:
        """Append the batch and move the cursor on from `before`, both or neither.

        Raises Conflict when another process has moved it.
        """
        bodies = mapping.encode(batch.events)
        accepted = ingest.validate(bodies, received_us=to_us(now), sender=self._sender, masks=self._masks())
        move = sa.update(pollers).where(self._mine, pollers.c.cursor == before)
        with self._engine.begin() as connection:
            moved = connection.execute(move.values(cursor=batch.cursor.stored(), polled_at=now))
            if moved.rowcount != 1:
                raise Conflict(f'another process polls "{self._options.odoo_source}" at the same time')
            log.append(connection, accepted.entries)
            quarantine.add(connection, [self._refusal(item, now) for item in accepted.rejected])
        return accepted

    def _refusal(self, item: ingest.Rejection, now: datetime) -> quarantine.Refusal:
        source = self._options.odoo_source
        return quarantine.Refusal(now, source, item.kind, item.error, item.id, item.body, "odoo poller")

    def _record(self, now: datetime, error: str | None, *, failed: bool) -> None:
        """Note that Odoo was polled. A problem with a part is an error too, but no failure."""
        text = error[:_MAX_ERROR] if error else None
        since = sa.func.coalesce(pollers.c.failing_since, now) if failed else None
        with self._engine.begin() as connection:
            note = sa.update(pollers).where(self._mine)
            connection.execute(note.values(polled_at=now, error=text, failing_since=since))


def poll_once(engine: sa.Engine, options: settings.Odoo, clock: Clock) -> PollResult:
    """One step of a poller made for it: 7 calls more than a kept one needs, to log in and learn of the models."""
    return Poller(engine, options, clock).step()


def _must_wait(stored: sa.Row[Any], now: datetime) -> bool:
    if stored.failing_since is None:
        return False
    away = stored.polled_at - stored.failing_since
    return bool(now < stored.polled_at + min(LONGEST_WAIT, away / 2))
