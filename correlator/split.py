"""Carry out what people decided about split keys (rule 8): each stored event of such a key is given to the object that
the key meant at its time.

Only what concerns the key is derived anew: its events by input.event_object, its relations, its states. It is done
while no recorder is in a transaction, so that an event is either stored, and found here, or resolved by the new splits.
What comes of it is news to nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from correlator import exceptionstore, hubs, store, touches
from correlator.derive import Known, touch_of
from correlator.facts import Fact, Facts, Name, extract
from correlator.model import Compiled
from correlator.touches import Relation, Touch, TouchBatch
from milepost.catalog.schema import CORRELATION
from milepost.clock import from_us, to_us
from milepost.contract import MAX_SKEW_US, Entry
from milepost.db import generation
from milepost.decisions import correlation as decisions
from milepost.inbox import objects
from milepost.inbox.objects import Ref, Splits

_SKEW: Final = timedelta(microseconds=MAX_SKEW_US)
_BODY: Final = (
    " CROSS JOIN LATERAL (SELECT e.occurred_at, CAST(e.body AS text) AS body FROM input.events AS e"
    " WHERE e.event_no = p.event_no AND e.received_at = p.received_at LIMIT 1) AS one"
)
"""Each event by its pair: a join would read whole (compressed) partitions."""
_TOLD: Final = sa.text(
    "SELECT p.object_id, p.event_no, p.received_at, p.subject, one.body FROM input.event_object AS p"
    f"{_BODY} WHERE p.object_id = ANY(CAST(:ids AS bigint[]))"
)
_NEAR: Final = sa.text(
    "SELECT p.event_no, p.received_at, one.body FROM ("
    " SELECT event_no, received_at FROM input.event_object"
    " WHERE object_id = ANY(CAST(:ids AS bigint[])) AND received_at >= :received"
    " UNION SELECT event_no, received_at FROM input.events WHERE (flags & 64) <> 0 AND received_at >= :received"
    f") AS p{_BODY} WHERE one.occurred_at >= :since"
)
_FURTHER: Final = sa.text(
    "SELECT second_id FROM derived.relations WHERE first_id = ANY(CAST(:ids AS bigint[])) AND rel <> 'correlation'"
    " UNION SELECT first_id FROM derived.relations"
    " WHERE second_id = ANY(CAST(:ids AS bigint[])) AND rel <> 'correlation'"
)
_RELATIONS: Final = sa.text(
    "SELECT first_id, second_id, rel, occurred_at, source, event_id, event_no, received_at FROM derived.relations"
    " WHERE first_id = ANY(CAST(:ids AS bigint[])) OR second_id = ANY(CAST(:ids AS bigint[]))"
)
_UNRELATE: Final = sa.text(
    "DELETE FROM derived.relations"
    " WHERE first_id = ANY(CAST(:ids AS bigint[])) OR second_id = ANY(CAST(:ids AS bigint[]))"
)
_MOVE: Final = sa.text(
    "UPDATE input.event_object SET object_id = :right"
    " WHERE object_id = :wrong AND event_no = :event_no AND received_at = :received"
)
_FORGET: Final = sa.text("DELETE FROM derived.object_states WHERE object_id = ANY(CAST(:ids AS bigint[]))")
_TOGETHER: Final = sa.text(
    "SELECT m.object_id FROM derived.members AS m JOIN input.objects AS o ON o.object_id = m.object_id"
    " WHERE m.journey_id IN (SELECT journey_id FROM derived.members WHERE object_id = ANY(CAST(:ids AS bigint[])))"
    " AND o.type = ANY(CAST(:types AS text[]))"
)


@dataclass(slots=True)
class Due:
    """What is to be done to a key: beginnings of objects to make, and the objects that are named no more."""

    begin: set[int] = field(default_factory=set)
    end: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys concerned: which of them each of their objects is of, and the object that each name means when."""

    of: Mapping[int, Ref]
    first: Mapping[Ref, int]
    splits: Splits

    def right(self, object_id: int, at_us: int) -> int:
        """The object that an event of this time names instead of this one."""
        ref = self.of.get(object_id)
        if ref is None:
            return object_id
        begun = [epoch.object_id for since_us, epoch in self.splits.get(ref, ()) if since_us <= at_us]
        return begun[-1] if begun else self.first[ref]


def carry_out(connection: sa.Connection, compiled: Compiled, now: datetime) -> bool | None:
    """Make what is stored follow the splits that count. False when it does; None when it can't yet, as a rebuild runs:
    that must see the same splits from its first event to its last."""
    due = _due(connection)
    if not due:
        return False
    if generation.exists(connection):
        return None
    generation.quiesce(connection)
    if generation.exists(connection):
        return None
    _Split(connection, compiled, due, now).carry_out()
    return True


def _due(connection: sa.Connection) -> dict[Ref, Due]:
    wanted: dict[Ref, set[int]] = {}
    standing = [item for item in decisions.effective(connection) if item.act == "split"]
    names = objects.refs_of(connection, {item.first_id for item in standing}) if standing else {}
    for item in standing:
        assert item.since is not None
        wanted.setdefault(names[item.first_id], set()).add(to_us(item.since))
    present = objects.splits(connection)
    due: dict[Ref, Due] = {}
    for ref in wanted.keys() | present.keys():
        stand = {since_us: epoch.object_id for since_us, epoch in present.get(ref, ())}
        begin = wanted.get(ref, set()) - stand.keys()
        end = {stand[since_us] for since_us in stand.keys() - wanted.get(ref, set())}
        if begin or end:
            due[ref] = Due(begin, end)
    return due


class _Split:
    """The work on the keys that are due, in one transaction."""

    def __init__(self, connection: sa.Connection, compiled: Compiled, due: Mapping[Ref, Due], now: datetime) -> None:
        self._connection = connection
        self._compiled = compiled
        self._due = due
        self._now = now

    def carry_out(self) -> None:
        connection = self._connection
        self._keys = self._renew()
        self._ids = set(self._keys.of)
        before = self._stored_relations()
        near = {end for item in before for end in (item.first_id, item.second_id)} - self._ids
        facts, told = self._events(near)
        after = self._relations(facts, before)
        ends = {end for item in after for end in (item.first_id, item.second_id)}
        self._move(facts, told)
        connection.execute(_UNRELATE, {"ids": sorted(self._ids)})
        store.write_relations(connection, after)
        together = {"ids": sorted(self._ids), "types": sorted(self._compiled.root_types)}
        again = self._ids | near | ends | set(connection.scalars(_TOGETHER, together))
        connection.execute(_FORGET, {"ids": sorted(self._ids)})
        exceptionstore.forget(connection, self._ids)
        _without(connection, self._ids)
        # two objects that become one again may be one parent less: what was a hub is looked at again
        merged = any(item.end for item in self._due.values())
        hubs.forget(connection, self._ids | near if merged else self._ids)
        touches.put_first(connection, TouchBatch({}, [], self._touches(facts), sorted(again), quiet=True), self._now)

    def _renew(self) -> Keys:
        """Make and end objects as is due."""
        connection, of, first = self._connection, {}, {}
        for ref, due in self._due.items():
            objects.end_epochs(connection, due.end)
            for since_us in sorted(due.begin):
                objects.begin_epoch(connection, ref, from_us(since_us))
            ids = objects.ids_of(connection, ref)
            first[ref] = min(ids)  # it was there before it was split
            of.update(dict.fromkeys(ids, ref))
        return Keys(of, first, objects.splits(connection))

    def _stored_relations(self) -> list[Relation]:
        rows = self._connection.execute(_RELATIONS, {"ids": sorted(self._ids)})
        return [
            Relation(first, second, rel, to_us(at), source, event_id, event_no, to_us(received))
            for first, second, rel, at, source, event_id, event_no, received in rows
        ]

    def _events(self, near: set[int]) -> tuple[Facts, Sequence[sa.Row[Any]]]:
        """The events of the keys, and those that may relate their new objects; what they say of the keys, resolved.

        An event that relates a key is about it, or about what at most two relations lead to, or marked as INDIRECT.
        """
        connection = self._connection
        told = connection.execute(_TOLD, {"ids": sorted(self._ids)}).all()
        found = {row.event_no: (row.received_at, row.body) for row in told}
        begun = [since_us for due in self._due.values() for since_us in due.begin]
        if begun:
            since = from_us(min(begun))
            plain = near - self._threads(near)
            plain.update(connection.scalars(_FURTHER, {"ids": sorted(plain)}))
            rows = connection.execute(_NEAR, {"ids": sorted(plain), "since": since, "received": since - _SKEW})
            found.update((row.event_no, (row.received_at, row.body)) for row in rows)
        entries = [Entry(b"", 0, to_us(received_at), body.encode()) for received_at, body in found.values()]
        known = Known()
        facts = extract(entries, self._compiled, known.names)
        self._have_subjects = {
            number for number, item in zip(found, facts.items, strict=True) if any(subject for _, subject in item.about)
        }
        about: dict[int, list[tuple[Name, bool]]] = {}
        for row in sorted(told, key=lambda row: not row.subject):
            about.setdefault(row.event_no, []).append((known.names[self._keys.of[row.object_id]], row.subject))
        for number, item in zip(found, facts.items, strict=True):
            item.event_no = number
            item.about = about.get(number, [])
            item.relations = [pair for pair in item.relations if self._concerns(pair)]
        facts.names = {name for item in facts.items for name in _names(item)}
        known.resolve(connection, facts, self._now)
        return facts, told

    def _threads(self, ids: Iterable[int]) -> set[int]:
        """The correlations among these. An event about one of them alone is about all that it names."""
        return {
            number for number, ref in objects.refs_of(self._connection, set(ids)).items() if ref.type == CORRELATION
        }

    def _concerns(self, pair: tuple[Name, Name, str]) -> bool:
        return pair[0].ref in self._due or pair[1].ref in self._due

    def _relations(self, facts: Facts, before: Iterable[Relation]) -> list[Relation]:
        """The relations of the keys: those that were stored, each by its proof's time, and those that events prove."""
        best: dict[tuple[int, int, str], Relation] = {}
        moved = [self._moved(item) for item in before]
        for item in [*moved, *Known().news(facts)]:
            key = (item.first_id, item.second_id, item.rel)
            held = best.get(key)
            if item.first_id != item.second_id and (held is None or _proof(item) < _proof(held)):
                best[key] = item
        return [best[key] for key in sorted(best)]

    def _moved(self, item: Relation) -> Relation:
        ends = [self._keys.right(end, item.occurred_us) for end in (item.first_id, item.second_id)]
        first, second = ends if item.rel.startswith("link:") else sorted(ends)
        return msgspec.structs.replace(item, first_id=first, second_id=second)

    def _touches(self, facts: Facts) -> list[Touch]:
        """What the events say of the keys' objects, and of no others."""
        made = [touch_of(item) for item in facts.items if item.about]
        for touch in made:
            touch.partial = touch.event_no in self._have_subjects and not touch.about[0][1]
        return made

    def _move(self, facts: Facts, told: Iterable[sa.Row[Any]]) -> None:
        at = {item.event_no: item.occurred_us for item in facts.items}
        wrong = [
            {"wrong": row.object_id, "right": right, "event_no": row.event_no, "received": row.received_at}
            for row in told
            if (right := self._keys.right(row.object_id, at[row.event_no])) != row.object_id
        ]
        if wrong:
            self._connection.execute(_MOVE, wrong)


def _names(item: Fact) -> Iterable[Name]:
    yield from (name for name, _ in item.about)
    yield from (name for pair in item.relations for name in pair[:2])


def _proof(item: Relation) -> tuple[int, str, str]:
    return (item.occurred_us, item.source, item.event_id)


def _ids_in(batch: TouchBatch) -> Iterable[int]:
    yield from (end for item in batch.relations for end in (item.first_id, item.second_id))
    yield from (object_id for touch in batch.touches for object_id, _ in touch.about)


def _without(connection: sa.Connection, ids: Set[int]) -> None:
    """Take what waits for the assembler about these objects out of its queue: their states are made from the events."""
    for seq, batch in touches.waiting(connection):
        if ids.isdisjoint(_ids_in(batch)):
            continue
        batch.relations = [item for item in batch.relations if item.first_id not in ids and item.second_id not in ids]
        for touch in batch.touches:
            touch.partial |= any(subject for object_id, subject in touch.about if object_id in ids)
            touch.about = [(object_id, subject) for object_id, subject in touch.about if object_id not in ids]
        batch.touches = [touch for touch in batch.touches if touch.about]
        touches.replace(connection, seq, batch)
