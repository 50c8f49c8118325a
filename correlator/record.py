"""Record: from the event log to facts. Any number of recorders may run.

One step is one transaction: batches leave the log; identities, events, event_object, relations and a batch of touches
are written. Every multi-row write is sorted by key, so that recorders can't deadlock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import msgspec
import sqlalchemy as sa

from correlator import store
from correlator.derive import Known, hand_over
from correlator.facts import Facts, Name, extract
from correlator.model import Compiled
from correlator.poison import FAILURES, is_poison
from correlator.touches import Relation
from milepost.catalog.schema import Catalog
from milepost.clock import Clock, from_us
from milepost.contract import Entry, read
from milepost.db import generation
from milepost.db.engine import new_session, next_numbers
from milepost.db.generation import LIVE, NEXT
from milepost.inbox import identities, log, quarantine

BATCHES: Final = 200
MAX_EVENTS: Final = 8_000
RESCAN: Final = 50  # steps between two scans from the start of the log

CatalogOf = Callable[[sa.Connection], Catalog]


class Recorder:
    """A consumer of the event log. `step` does one transaction and tells whether it found work."""

    def __init__(self, engine: sa.Engine, catalog_of: CatalogOf, clock: Clock) -> None:
        self._engine = engine
        self._catalog_of = catalog_of
        self._clock = clock
        self._compiled: Compiled | None = None
        self._known = Known()
        self._low = 0
        self._steps = 0
        self._rebuilding = False

    def step(self) -> bool:
        """Record what lies in the log, at most MAX_EVENTS and one batch more."""
        try:
            return self._step()
        except BaseException:
            self._known = Known()  # it may be ahead of what is committed
            raise

    def _step(self) -> bool:
        now = self._clock()
        self._steps += 1
        if self._steps % RESCAN == 0:
            self._low = 0
        with self._engine.begin() as connection:
            connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
            if new_session(connection, self):
                self._known, self._low = Known(), 0
            self._watch_rebuild(connection)
            batches = log.consume(connection, BATCHES, self._low, MAX_EVENTS)
            quarantine.add(connection, [_unreadable(batch.unread) for batch in batches if batch.unread is not None])
            entries = [entry for batch in batches for entry in batch.entries]
            relations = self._record(connection, entries, now) if entries else []
        if not batches:
            found, self._low = self._low > 0, 0
            return found
        self._known.learn(relations)
        self._low = batches[-1].seq + 1
        return True

    def _watch_rebuild(self, connection: sa.Connection) -> None:
        """While the journeys are rebuilt beside the live ones, those are told the same; afterwards nothing is known.

        `generation.watch` makes a beginning or a swap wait for this transaction, and this one for them.
        """
        rebuilding = generation.watch(connection)
        if self._rebuilding and not rebuilding:
            self._known = Known()
        self._rebuilding = rebuilding

    def _record(self, connection: sa.Connection, entries: list[Entry], now: datetime) -> list[Relation]:
        """All entries, or, where one can't be recorded, all others, with that one in quarantine. Returns the new
        relations."""
        try:
            with connection.begin_nested():
                return self._apply(connection, entries, now)
        except FAILURES as error:
            self._known = Known()  # what the attempt allocated was rolled back
            if not is_poison(error):
                raise
            if len(entries) == 1:
                quarantine.add(connection, [_failed(entries[0], error)])
                return []
        middle = len(entries) // 2
        return [item for half in (entries[:middle], entries[middle:]) for item in self._record(connection, half, now)]

    def _apply(self, connection: sa.Connection, entries: list[Entry], now: datetime) -> list[Relation]:
        compiled = self._current(connection)
        fresh, repeats, conflicts = _sift(connection, entries)
        facts = extract(fresh, compiled, self._known.names)
        new = self._known.resolve(connection, facts, now)
        relations = self._write(connection, facts, new)
        store.count(connection, facts, repeats, conflicts, compiled.dimensions)
        quarantine.add(connection, [_conflict(entry) for entry in conflicts])
        return relations

    def _current(self, connection: sa.Connection) -> Compiled:
        catalog = self._catalog_of(connection)
        if self._compiled is None or self._compiled.version != catalog.version:
            self._compiled = Compiled(catalog)
        return self._compiled

    def _write(self, connection: sa.Connection, facts: Facts, new: list[Name]) -> list[Relation]:
        if not facts.items:
            return []
        numbers = next_numbers(connection, "input.event_numbers", len(facts.items))
        for item, number in zip(facts.items, numbers, strict=True):
            item.event_no = number
        relations = self._known.news(facts)
        store.write_events(connection, facts)
        hand_over(connection, facts, new, relations, [LIVE, NEXT] if self._rebuilding else [LIVE])
        return relations


def _sift(connection: sa.Connection, entries: Sequence[Entry]) -> tuple[list[Entry], list[Entry], list[Entry]]:
    """Split into new entries, duplicates (same identity, same content) and conflicts (same identity, other content)."""
    first: dict[bytes, Entry] = {}
    others = [entry for entry in entries if first.setdefault(entry.identity, entry) is not entry]
    seen = identities.claim(connection, {identity: entry.content for identity, entry in first.items()})
    fresh = [entry for identity, entry in first.items() if identity in seen.new]
    others += [entry for identity, entry in first.items() if identity not in seen.new]
    stands = {identity: entry.content for identity, entry in first.items()} | dict(seen.stored)
    repeats = [entry for entry in others if stands[entry.identity] == entry.content]
    conflicts = [entry for entry in others if stands[entry.identity] != entry.content]
    return fresh, repeats, conflicts


def _conflict(entry: Entry) -> quarantine.Refusal:
    event = read(entry.body)
    reason = "an event with this source and id but other content is stored; the first stands"
    return quarantine.Refusal(from_us(entry.received_us), event.source, "conflict", reason, event.id, entry.body, None)


def _unreadable(unread: log.Unread) -> quarantine.Refusal:
    """A batch of the log that nobody can decode: whole, for whoever can."""
    reason = f"a batch of the event log can't be read: {unread.reason}"
    return quarantine.Refusal(unread.received_at, "", "failed", reason, None, unread.payload, None)


def _failed(entry: Entry, error: BaseException) -> quarantine.Refusal:
    try:
        event = read(entry.body)
        source, event_id = event.source, event.id
    except msgspec.MsgspecError:
        source, event_id = "", None
    reason = f"can't be recorded: {error}"
    return quarantine.Refusal(from_us(entry.received_us), source, "failed", reason, event_id, entry.body, None)
