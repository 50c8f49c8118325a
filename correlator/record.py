"""Record: from the event log to facts. Any number of recorders may run.

One step is one transaction: batches leave the log; identities, events, event_object, relations and a batch of touches
are written. Every multi-row write is sorted by key, so that recorders can't deadlock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from correlator import store
from correlator.facts import Fact, Facts, extract
from correlator.model import Compiled
from correlator.poison import FAILURES, is_poison
from correlator.touches import Relation, Touch, TouchBatch, put
from milepost.catalog.schema import Catalog
from milepost.clock import Clock, from_us
from milepost.contract import Entry, read
from milepost.db.engine import new_session
from milepost.inbox import identities, log, objects, quarantine
from milepost.inbox.objects import Ref

BATCHES: Final = 200
MAX_EVENTS: Final = 8_000
CACHE: Final = 400_000
RESCAN: Final = 50  # steps between two scans from the start of the log

CatalogOf = Callable[[sa.Connection], Catalog]


@dataclass(slots=True)
class _Known:
    """What this recorder knows to be committed. Bounded; forgetting costs a look-up, never correctness."""

    ids: dict[Ref, int] = field(default_factory=dict)
    relations: dict[tuple[int, int, str], tuple[int, str, str]] = field(default_factory=dict)

    def learn(self, ids: dict[Ref, int], relations: Iterable[Relation]) -> None:
        self.ids.update(ids)
        for item in relations:
            self.relations[item.first_id, item.second_id, item.rel] = (item.occurred_us, item.source, item.event_id)
        _shrink(self.ids)
        _shrink(self.relations)


def _shrink(cache: dict[Any, Any]) -> None:
    """Forget the older half of a cache that is over its bound."""
    if len(cache) > CACHE:
        for key in list(cache)[: CACHE // 2]:
            del cache[key]


@dataclass(slots=True)
class _Done:
    """What one transaction is about to commit."""

    ids: dict[Ref, int] = field(default_factory=dict)
    relations: list[Relation] = field(default_factory=list)


class Recorder:
    """A consumer of the event log. `step` does one transaction and tells whether it found work."""

    def __init__(self, engine: sa.Engine, catalog_of: CatalogOf, clock: Clock) -> None:
        self._engine = engine
        self._catalog_of = catalog_of
        self._clock = clock
        self._compiled: Compiled | None = None
        self._known = _Known()
        self._low = 0
        self._steps = 0
        self._batches = 8

    def prepare(self, keep: timedelta = timedelta(days=30)) -> None:
        """Make the first generation of identities, or roll over a full one."""
        with self._engine.begin() as connection:
            identities.roll_over(connection, self._clock(), keep)

    def step(self) -> bool:
        """Record what lies in the log, at most MAX_EVENTS and one batch more."""
        now = self._clock()
        self._steps += 1
        if self._steps % RESCAN == 0:
            self._low = 0
        with self._engine.begin() as connection:
            connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
            if new_session(connection, self):
                self._known, self._low = _Known(), 0
            batches = log.consume(connection, self._batches, self._low)
            entries = [entry for batch in batches for entry in batch.entries]
            done = self._record(connection, entries, now) if entries else _Done()
        if not batches:
            found, self._low = self._low > 0, 0
            return found
        self._known.learn(done.ids, done.relations)
        self._low = batches[-1].seq + 1
        self._pace(len(batches), len(entries))
        return True

    def _pace(self, batches: int, events: int) -> None:
        """Take so many batches that a transaction has about MAX_EVENTS events."""
        self._batches = max(1, min(BATCHES, batches * MAX_EVENTS // max(events, 1), self._batches * 2))

    def _record(self, connection: sa.Connection, entries: list[Entry], now: datetime) -> _Done:
        """All entries, or, where one can't be recorded, all others, with that one in quarantine."""
        done = _Done()
        try:
            with connection.begin_nested():
                self._apply(connection, entries, now, done)
            return done
        except FAILURES as error:
            if not is_poison(error):
                raise
            if len(entries) == 1:
                quarantine.add(connection, [_failed(entries[0], error)])
                return _Done()
        done = _Done()  # what the attempt allocated was rolled back
        middle = len(entries) // 2
        for half in (entries[:middle], entries[middle:]):
            part = self._record(connection, half, now)
            done = _Done(done.ids | part.ids, done.relations + part.relations)
        return done

    def _apply(self, connection: sa.Connection, entries: list[Entry], now: datetime, done: _Done) -> None:
        compiled = self._current(connection)
        fresh, repeats, conflicts = _sift(connection, entries)
        facts = extract(fresh, compiled)
        done.ids = self._resolve(connection, facts, now)
        self._write(connection, facts, done)
        store.count(connection, facts, repeats, conflicts, compiled.dimensions)
        quarantine.add(connection, [_conflict(entry) for entry in conflicts])

    def _current(self, connection: sa.Connection) -> Compiled:
        catalog = self._catalog_of(connection)
        if self._compiled is None or self._compiled.version != catalog.version:
            self._compiled = Compiled(catalog)
        return self._compiled

    def _resolve(self, connection: sa.Connection, facts: Facts, now: datetime) -> dict[Ref, int]:
        """Allocate ids for the names that aren't known; the facts' refs are then all in `facts.ids`."""
        known = self._known.ids
        new = objects.allocate(connection, [ref for ref in facts.refs if ref not in known], now)
        facts.ids = {ref: new[ref] if ref in new else known[ref] for ref in facts.refs}
        return new

    def _write(self, connection: sa.Connection, facts: Facts, done: _Done) -> None:
        if not facts.items:
            return
        numbers = store.event_numbers(connection, len(facts.items))
        for item, number in zip(facts.items, numbers, strict=True):
            item.event_no = number
        done.relations = self._news(facts)
        store.write_events(connection, facts)
        store.write_relations(connection, done.relations)
        names = {object_id: (ref.type, ref.namespace, ref.key) for ref, object_id in facts.ids.items()}
        oldest = from_us(min(item.received_us for item in facts.items))
        put(connection, TouchBatch(names, done.relations, [_touch(item, facts) for item in facts.items]), oldest)

    def _news(self, facts: Facts) -> list[Relation]:
        """The relations of the batch that are new, or proven by an earlier event than before."""
        best: dict[tuple[int, int, str], Relation] = {}
        known = self._known.relations
        for item in facts.items:
            proof = (item.occurred_us, item.source, item.event_id)
            for one, other, rel in item.relations:
                first, second = facts.ids[one], facts.ids[other]
                if second < first and not rel.startswith("link:"):
                    first, second = second, first
                key = (first, second, rel)
                before = known.get(key)
                if first == second or (before is not None and before <= proof):
                    continue
                held = best.get(key)
                if held is None or proof < (held.occurred_us, held.source, held.event_id):
                    best[key] = Relation(first, second, rel, *proof, item.event_no, item.received_us)
        return [best[key] for key in sorted(best)]


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


def _failed(entry: Entry, error: BaseException) -> quarantine.Refusal:
    try:
        event = read(entry.body)
        source, event_id = event.source, event.id
    except msgspec.MsgspecError:
        source, event_id = "", None
    reason = f"can't be recorded: {error}"
    return quarantine.Refusal(from_us(entry.received_us), source, "failed", reason, event_id, entry.body, None)


def _touch(item: Fact, facts: Facts) -> Touch:
    event = item.event
    about = [(facts.ids[ref], subject) for ref, subject in item.about]
    data = event.data
    return Touch(
        item.event_no,
        item.received_us,
        item.occurred_us,
        event.source,
        event.id,
        event.type,
        data.outcome,
        data.code,
        data.reason,
        data.attributes or None,
        about,
    )
