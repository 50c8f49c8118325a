"""The Odoo poller: one step reads what is new, and appends it to the event log in one transaction with its cursor.

So a crash at any moment loses nothing and doubles nothing. What is left of the interval goes to history.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from msgspec.structs import replace

from collector.masking import Masks
from collector.odoo import cursor as at
from collector.odoo import mapping
from collector.odoo.backfill import Backfill
from collector.odoo.client import Row
from collector.odoo.cursor import Cursor
from collector.odoo.read import Gathered, Read
from collector.odoo.reader import History, HistoryHidden
from collector.odoo.snapshots import MODELS, Names
from collector.odoo.source import Source
from collector.odoo.store import Batch, Stored
from collector.odoo.watch import Watch
from milepost import settings
from milepost.clock import Clock
from milepost.db.engine import transient
from milepost.errors import Conflict, MilepostError, NotAllowed, NotFound

LONGEST_WAIT: Final = timedelta(seconds=60)
"""Between attempts while Odoo is away: half the time that it has been away, at most this."""
_ALWAYS: Final = ("sale.order", "stock.picking")
"""Looked at in every poll. The others take turns while nothing changes its state: one call a poll for all of them."""


@dataclass(frozen=True, slots=True)
class PollResult:
    """What one poll did. `waiting`: nothing, because the last attempts failed and the next one isn't due.

    `complete`: nothing is left to read now, history included. `problems`: what this user can't read. `error`: why it
    ended early.
    """

    events: int = 0
    rejected: int = 0
    calls: int = 0
    complete: bool = False
    waiting: bool = False
    problems: tuple[str, ...] = ()
    error: str | None = None


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
        self._source = Source(engine, options, clock, masks)
        self._backfill = Backfill(self._source)
        self._watch = Watch(self._source)
        self._options = options
        self._clock = clock
        self._client = self._source.client
        self._reader = self._source.reader
        self._store = self._source.store
        self._turn = -1
        self._deadline = clock()
        self._events = self._rejected = 0

    def step(self) -> PollResult:
        """Read until nothing is left or an interval is over. Failures are recorded; the database's and bugs raised."""
        now, calls = self._clock(), self._client.calls
        stored = self._store.row(now)
        if _must_wait(stored, now):
            return PollResult(waiting=True)
        self._events = self._rejected = 0
        self._deadline = now + timedelta(seconds=self._options.odoo_interval)
        try:
            complete = self._poll(stored.cursor, now)
            problems = tuple(self._reader.problems.values())
            self._store.note(now, "; ".join(problems) or None, failed=False)
            result = PollResult(complete=complete, problems=problems)
        except MilepostError as error:
            self._store.note(now, str(error), failed=True)
            result = PollResult(error=str(error))
        except Exception as error:
            if not transient(error):
                self._store.note(now, f"{type(error).__name__}: {error}", failed=True)
            raise
        calls = self._client.calls - calls
        return dataclasses.replace(result, events=self._events, rejected=self._rejected, calls=calls)

    def _poll(self, stored: Stored, now: datetime) -> bool:
        """Whether nothing is left."""
        self._reader.refresh(now)
        cursor = self._source.cursor(stored, now)
        stored = cursor.stored()
        for read in self._reads(cursor):
            after, now = read.cursor.stored(), self._clock()
            batch = self._source.batch("cursor", after, read.events, read.told, now, read.refused)
            self._write(batch, stored)
            stored = batch.after
            if self._late():
                return False
        return self._read_history(cursor)

    def _write(self, batch: Batch, before: Stored) -> None:
        self._store.write(batch, before, self._clock())
        self._events += len(batch.entries)
        self._rejected += len(batch.refusals)

    def _late(self) -> bool:
        return self._clock() >= self._deadline

    def _read_history(self, cursor: Cursor) -> bool:
        """Whether nothing is left of it. Another process that reads it is let alone."""
        if self._backfill.ended >= set(self._reader.models) or not self._backfill.due(self._clock()):
            return True
        with self._backfill.alone() as alone:
            pages = self._backfill.pages(cursor.start) if alone else iter(())
            try:
                for page in pages:
                    self._events += page.events
                    if self._late():
                        return False
            except Conflict:
                return False
        return alone

    # --- reading --------------------------------------------------------------------------------------------------

    def _reads(self, cursor: Cursor) -> Iterator[Read]:
        """What is new, until nothing is left. Each cursor follows from the one before."""
        first = cursor
        for read in self._changes(cursor):
            yield read
            cursor = read.cursor
        for model in self._due(changed=cursor is not first):
            parts = self._records(model, cursor) if model in MODELS else self._watch.reads(model, cursor)
            for read in parts:
                yield read
                cursor = read.cursor

    def _due(self, changed: bool) -> list[str]:
        """The models to look at, and what else takes turns."""
        self._turn += 1
        models = [*self._reader.models, *(model for model in MODELS if model not in self._reader.models)]
        resting = [model for model in models if model not in _ALWAYS]
        turns = [*resting, *self._watch.names]
        if self._turn == 0:
            return [*models, *self._watch.names]
        turn = turns[self._turn % len(turns)]
        if not changed:
            return [*(model for model in models if model in _ALWAYS), turn]
        return [*models, *([turn] if turn not in models else [])]

    def _changes(self, cursor: Cursor) -> Iterator[Read]:
        while True:
            now = self._client.server_time()
            rows = self._reader.changes(cursor.tracking.floor, cursor.tracking.seen)
            tracking = at.tracked(cursor.tracking, {row["id"]: row["create_date"] for row in rows}, now)
            if tracking != cursor.tracking:
                cursor = replace(cursor, tracking=tracking)
                yield self._changed(rows).read(cursor)
            if len(rows) < self._options.odoo_page:
                return

    def _changed(self, tracking: Sequence[Row]) -> Gathered:
        found = Gathered()
        for model, changes in self._reader.explained(tracking).items():
            rows = self._readable(model, {record for record, _ in changes})
            names = self._reader.names(model, rows)
            by_id = {row["id"]: row for row in rows}
            for record, change in changes:
                if record in by_id:
                    with found.sparing(model, by_id[record]):
                        found.events.extend(mapping.changed(model, by_id[record], change, names, self._source.name))
        return found

    def _readable(self, model: str, ids: set[int]) -> list[Row]:
        """Records, none when the model can't be read: `_records` sees to it that their changes are made up for."""
        if model not in self._reader.models:
            return []
        try:
            return self._reader.records(model, ids)
        except (NotAllowed, NotFound) as error:
            self._reader.drop(model, error)
            return []

    def _records(self, model: str, cursor: Cursor) -> Iterator[Read]:
        """What was written since the floor. A model that can't be read is said, and made up for when it can be."""
        records = cursor.of(model)
        if model in self._reader.models:
            try:
                yield from self._since_floor(model, cursor)
                return
            except HistoryHidden:
                raise
            except (NotAllowed, NotFound) as error:
                self._reader.drop(model, error)
        if not records.behind:
            yield Read([], cursor.with_records(model, replace(records, behind=True)))

    def _since_floor(self, model: str, cursor: Cursor) -> Iterator[Read]:
        records, begun = cursor.of(model), self._client.server_time()
        written = self._reader.written_since(model, records.floor)
        waiting = [key for key, date in written.items() if not at.is_done(records, key, date)]
        for first in range(0, len(waiting), self._options.odoo_page):
            now = self._client.server_time()
            rows = self._reader.records(model, waiting[first : first + self._options.odoo_page])
            found, done = self._told(model, rows, cursor)
            after = at.marked(records, done, now)
            if after != records:
                records, cursor = after, cursor.with_records(model, after)
                yield found.read(cursor)
        ended = at.passed(records, written, begun)
        if ended != records:
            yield Read([], cursor.with_records(model, ended))

    def _told(self, model: str, rows: Sequence[Row], cursor: Cursor) -> tuple[Gathered, dict[int, tuple[str, str]]]:
        """What records tell that are new or were written, and {id: (write date, digest)}."""
        records, names, found = cursor.of(model), self._reader.names(model, rows), Gathered()
        new = {row["id"] for row in rows if at.is_new(records, row["id"], row["create_date"])}
        history = self._reader.history(model, [row for row in rows if row["id"] in new or records.behind])
        done: dict[int, tuple[str, str]] = {}
        for row in rows:
            done[row["id"]] = (row["write_date"], "")
            with found.sparing(model, row):
                events, digest = self._of_record(model, row, cursor, row["id"] in new, names, history)
                found.told.update(self._source.opened(model, [row], names))
                found.events.extend(events)
                done[row["id"]] = (row["write_date"], digest)
        return found, done

    def _of_record(
        self, model: str, row: Row, cursor: Cursor, new: bool, names: Names, history: History
    ) -> tuple[list[mapping.Event], str]:
        """The events of a record, and the digest of what may change."""
        key, source, records = row["id"], self._source.name, cursor.of(model)
        events = mapping.made(model, row, history.states.get(key, {}), names, source) if new else []
        for change in history.changes.get(key, ()):
            if records.behind if change.id > cursor.start.tracking else new:
                events += mapping.changed(model, row, change, names, source)
        told, digest = mapping.updated(model, row, at.digest_of(records, key), new, names, source)
        return events + told, digest


def _must_wait(stored: sa.Row[Any], now: datetime) -> bool:
    if stored.failing_since is None:
        return False
    away = stored.polled_at - stored.failing_since
    # a clock that was ahead says nothing of how long to wait
    return bool(stored.polled_at <= now < stored.polled_at + min(LONGEST_WAIT, away / 2))
