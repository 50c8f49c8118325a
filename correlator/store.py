"""What the recorder writes: events, event_object, relations, and the counts per source."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa

from correlator.facts import Fact, Facts
from correlator.model import MAX_VALUE
from correlator.touches import Relation
from milepost.clock import from_us
from milepost.contract import Entry, read
from milepost.db import tables
from milepost.db.engine import array_literal, copy_rows
from milepost.db.generation import LIVE
from milepost.db.staging import Row, as_wire, copy_new, given, kinds_of, wire_time
from milepost.journeystate import Flag

_HOUR: Final = 3_600_000_000
_MINUTE: Final = 60_000_000
_SKEWED: Final = Flag.CLOCK_SKEW.value
_EVENT_COLUMNS: Final = [column.name for column in tables.events.columns]
_OBJECT_COLUMNS: Final = ["object_id", "received_at", "event_no", "subject"]

_RELATIONS: Final = (
    "INSERT INTO {schema}.relations AS r SELECT * FROM {proofs} ORDER BY first_id, second_id, rel"
    " ON CONFLICT (first_id, second_id, rel) DO UPDATE SET occurred_at = excluded.occurred_at,"
    " source = excluded.source, event_id = excluded.event_id, event_no = excluded.event_no,"
    " received_at = excluded.received_at"
    ' WHERE (excluded.occurred_at, excluded.source COLLATE "C", excluded.event_id COLLATE "C")'
    ' < (r.occurred_at, r.source COLLATE "C", r.event_id COLLATE "C")'
)
# OFFSET keeps the planner from reading the whole table where it may probe it
_KNOWN: Final = (
    "SELECT w.first_id, w.second_id, known.rel FROM unnest(CAST(:firsts AS bigint[]), CAST(:seconds AS bigint[]))"
    " AS w (first_id, second_id) CROSS JOIN LATERAL (SELECT r.rel FROM {schema}.relations AS r"
    " WHERE r.first_id = w.first_id AND r.second_id = w.second_id OFFSET 0) AS known"
)
_SOURCES: Final = sa.text(
    "INSERT INTO input.source_stats AS s (source, events, duplicates, conflicts, skewed, first_received_at,"
    " last_received_at, last_occurred_at) VALUES (:source, :events, :duplicates, :conflicts, :skewed, :first, :last,"
    " :occurred) ON CONFLICT (source) DO UPDATE SET events = s.events + excluded.events,"
    " duplicates = s.duplicates + excluded.duplicates, conflicts = s.conflicts + excluded.conflicts,"
    " skewed = s.skewed + excluded.skewed, first_received_at = least(s.first_received_at, excluded.first_received_at),"
    " last_received_at = greatest(s.last_received_at, excluded.last_received_at),"
    " last_occurred_at = greatest(s.last_occurred_at, excluded.last_occurred_at)"
)
_MINUTES: Final = sa.text(
    "INSERT INTO input.source_minutes AS m (source, minute, events, duplicates, conflicts, lag_us_sum, lag_us_max)"
    " VALUES (:source, :minute, :events, :duplicates, :conflicts, :lag_sum, :lag_max)"
    " ON CONFLICT (source, minute) DO UPDATE SET events = m.events + excluded.events,"
    " duplicates = m.duplicates + excluded.duplicates, conflicts = m.conflicts + excluded.conflicts,"
    " lag_us_sum = m.lag_us_sum + excluded.lag_us_sum, lag_us_max = greatest(m.lag_us_max, excluded.lag_us_max)"
)
_VOLUME: Final = sa.text(
    "INSERT INTO input.volume_hours AS v (source, type, dimension, hour, events, bad)"
    " SELECT * FROM unnest(CAST(:sources AS text[]), CAST(:types AS text[]), CAST(:dimensions AS text[]),"
    " CAST(:hours AS timestamptz[]), CAST(:events AS bigint[]), CAST(:bad AS bigint[]))"
    " ON CONFLICT (source, type, dimension, hour)"
    " DO UPDATE SET events = v.events + excluded.events, bad = v.bad + excluded.bad"
)


def write_events(connection: sa.Connection, facts: Facts) -> None:
    """The events and the objects that they are about."""
    copy_rows(connection, as_wire(tables.events), _EVENT_COLUMNS, map(_event_row, facts.items))
    rows = [
        (name.object_id, received, item.event_no, subject)
        for item in facts.items
        for received in (wire_time(item.received_us),)
        for name, subject in item.about
    ]
    rows.sort(key=_first)
    copy_rows(connection, as_wire(tables.event_object), _OBJECT_COLUMNS, rows)


def _first(row: tuple[Any, ...]) -> Any:
    return row[0]


def _event_row(item: Fact) -> tuple[Any, ...]:
    event, claimed = item.event, item.claimed_us
    return (
        item.event_no,
        wire_time(item.received_us),
        wire_time(item.occurred_us),
        None if claimed is None else wire_time(claimed),
        event.source,
        event.id,
        event.type,
        event.data.outcome,
        event.data.code,
        event.correlationid,
        item.flags,
        item.body,
    )


def write_relations(connection: sa.Connection, relations: Sequence[Relation], schema: str = LIVE) -> None:
    """Relations in the order of their key; the earlier proof by (time, source, id) stands."""
    if not relations:
        return
    stored = _stored(connection, relations, schema)
    rows = [_relation_row(item) for item in relations]
    new = [row for row in rows if row[:3] not in stored] if stored else rows
    again = [row for row in rows if row[:3] in stored] if stored else []
    if new and not copy_new(connection, tables.relations, new, schema):
        again = rows
    if again:
        proofs, parameters = given(connection, "proofs", kinds_of(tables.relations), again)
        connection.execute(sa.text(_RELATIONS.format(schema=schema, proofs=proofs)), parameters)


def _stored(connection: sa.Connection, relations: Sequence[Relation], schema: str) -> set[Row]:
    """(first, second, rel) of the relations between these objects that are there."""
    ends = {
        "firsts": array_literal([item.first_id for item in relations]),
        "seconds": array_literal([item.second_id for item in relations]),
    }
    return {tuple(row) for row in connection.execute(sa.text(_KNOWN.format(schema=schema)), ends)}


def _relation_row(item: Relation) -> Row:
    return (
        item.first_id,
        item.second_id,
        item.rel,
        wire_time(item.occurred_us),
        item.source,
        item.event_id,
        item.event_no,
        wire_time(item.received_us),
    )


def count(
    connection: sa.Connection,
    facts: Facts,
    repeats: Sequence[Entry],
    conflicts: Sequence[Entry],
    dimensions: Sequence[str],
) -> None:
    """Count a batch per source, per minute of reception, and per hour in which events occurred."""
    tallies = _tally(facts, repeats, conflicts)
    if not tallies:
        return
    connection.execute(_SOURCES, _source_rows(tallies))
    connection.execute(_MINUTES, [tally.minute_row() for _, tally in sorted(tallies.items())])
    _count_volume(connection, facts, dimensions)


class _Tally:
    """The counts of one source in one minute."""

    def __init__(self, source: str, received_us: int) -> None:
        self.source = source
        self.minute_us = received_us - received_us % _MINUTE
        self.events = self.duplicates = self.conflicts = self.skewed = 0
        self.lag_sum = self.lag_max = 0
        self.first_us = self.last_us = received_us
        self.occurred_us = 0

    def add(self, item: Fact) -> None:
        lag = max(0, item.received_us - item.occurred_us)
        self.events += 1
        self.skewed += bool(item.flags & _SKEWED)
        self.lag_sum += lag
        self.lag_max = max(self.lag_max, lag)
        self.occurred_us = max(self.occurred_us, item.occurred_us)
        self.seen(item.received_us)

    def seen(self, received_us: int) -> None:
        self.first_us = min(self.first_us, received_us)
        self.last_us = max(self.last_us, received_us)

    def minute_row(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "minute": from_us(self.minute_us),
            "events": self.events,
            "duplicates": self.duplicates,
            "conflicts": self.conflicts,
            "lag_sum": self.lag_sum,
            "lag_max": self.lag_max,
        }


def _tally(facts: Facts, repeats: Sequence[Entry], conflicts: Sequence[Entry]) -> dict[tuple[str, int], _Tally]:
    tallies: dict[tuple[str, int], _Tally] = {}

    def at(source: str, received_us: int) -> _Tally:
        minute = received_us - received_us % _MINUTE
        found = tallies.get((source, minute))
        if found is None:
            found = tallies[source, minute] = _Tally(source, received_us)
        return found

    for item in facts.items:
        at(item.event.source, item.received_us).add(item)
    for entry in repeats:
        tally = at(read(entry.body).source, entry.received_us)
        tally.duplicates += 1
        tally.seen(entry.received_us)
    for entry in conflicts:
        tally = at(read(entry.body).source, entry.received_us)
        tally.conflicts += 1
        tally.seen(entry.received_us)
    return tallies


def _source_rows(tallies: dict[tuple[str, int], _Tally]) -> list[dict[str, Any]]:
    groups: dict[str, list[_Tally]] = defaultdict(list)
    for (source, _), tally in tallies.items():
        groups[source].append(tally)
    return [
        {
            "source": source,
            "events": sum(tally.events for tally in group),
            "duplicates": sum(tally.duplicates for tally in group),
            "conflicts": sum(tally.conflicts for tally in group),
            "skewed": sum(tally.skewed for tally in group),
            "first": from_us(min(tally.first_us for tally in group)),
            "last": from_us(max(tally.last_us for tally in group)),
            "occurred": from_us(max(tally.occurred_us for tally in group)),
        }
        for source, group in sorted(groups.items())
    ]


def _count_volume(connection: sa.Connection, facts: Facts, dimensions: Sequence[str]) -> None:
    events: dict[tuple[str, str, str, int], int] = {}
    bad: Counter[tuple[str, str, str, int]] = Counter()
    for item in facts.items:
        event = item.event
        hour = item.occurred_us - item.occurred_us % _HOUR
        keys = [(event.source, event.type, "", hour)]
        for name in dimensions:
            value = event.data.attributes.get(name)
            if value is not None:
                keys.append((event.source, event.type, f"{name}={str(value)[:MAX_VALUE]}", hour))
        for key in keys:
            events[key] = events.get(key, 0) + 1
        if event.data.outcome in ("failed", "rejected"):
            bad.update(keys)
    if not events:
        return
    rows = sorted(events)
    columns = {
        "sources": [row[0] for row in rows],
        "types": [row[1] for row in rows],
        "dimensions": [row[2] for row in rows],
        "hours": [datetime.fromtimestamp(row[3] // 1_000_000, UTC) for row in rows],
        "events": [events[row] for row in rows],
        "bad": [bad[row] for row in rows],
    }
    connection.execute(_VOLUME, columns)


def forget_counts(connection: sa.Connection, before: datetime) -> int:
    """Delete the counts of minutes and hours before this, as retention does the events that were counted."""
    minutes, hours = tables.source_minutes, tables.volume_hours
    gone = (minutes.delete().where(minutes.c.minute < before), hours.delete().where(hours.c.hour < before))
    return sum(connection.execute(statement).rowcount for statement in gone)
