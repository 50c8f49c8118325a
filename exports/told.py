"""Stored events with the objects that they name: what every form of an OCEL export is made from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from exports.snapshot import Row, Snapshot, chosen_events
from milepost import ocel, tolerant
from milepost.catalog.schema import CORRELATION
from milepost.clock import from_us, to_us
from milepost.contract import Event
from milepost.db.tables import events
from milepost.inbox.objects import Ref, splits
from milepost.ocel import Kind, Qualifier

Named = Sequence[tuple[Ref, Qualifier]]
Reader = Callable[[bytes, int], tuple[Event, Named]]
"""What an event's body says: the event, and every object that it names with what it is to the event.

Takes the body and the receive time in microseconds. It is the correlator's own reading, handed in by the wiring.
"""
Columns = Mapping[str, Mapping[str, Kind]]
"""For each type the attributes that its events, or objects, have, with their types."""

MAX_COLUMNS: Final = 200
"""Attributes of one event type that are written by name, of those that there are; the rest travel together."""
_KNOWN: Final = 50_000
"""Names that are remembered with whether they are there: about as many as are under way at a time."""
_FIELDS: Final = ("received_at", "occurred_at", "claimed_at", "source", "event_id", "type")
_RESERVED: Final = frozenset({"ocel_id", "ocel_time", "ocel_type", "ocel_changed_field"})
_BODY: Final = sa.cast(events.c.body, sa.Text)
_OBJECTS: Final = (
    "SELECT w.type, w.namespace, w.key, o.since FROM"
    " unnest(CAST(:types AS text[]), CAST(:namespaces AS text[]), CAST(:keys AS text[])) AS w(type, namespace, key)"
    " JOIN input.objects AS o ON o.key = w.key AND o.type = w.type AND o.namespace = w.namespace"
)
_CORRELATIONS: Final = "SELECT c.key FROM input.correlations AS c"
_CHOSEN: Final = "JOIN chosen_objects USING (object_id)"
Spot = tuple[Ref, datetime | None]
"""An object: its name, and, of a key that was split, from when on it has that name."""


@dataclass(frozen=True, slots=True)
class Told:
    """An event as a log has it: `fields` and `attributes` are both attributes there; `related` are its objects."""

    id: str
    type: str
    time: str
    fields: dict[str, str]
    attributes: dict[str, Any]
    related: list[tuple[str, Qualifier]]


class Teller:
    """Turns stored events into `Told` ones.

    A name for which there is no object to be exported, since the catalog was changed or a filter leaves it out, relates
    to nothing; where everything is exported, the keys as they were sent tell of it.
    """

    def __init__(self, snapshot: Snapshot, read: Reader, columns: Columns) -> None:
        self._snapshot = snapshot
        self._read = read
        self._columns = columns
        self._splits = splits(snapshot.connection)
        self._there: dict[Spot, bool] = {}

    def pieces(self) -> Iterator[list[Told]]:
        for rows in self._snapshot.pieces(select_events(self._snapshot, *(events.c[name] for name in _FIELDS), _BODY)):
            said = [self._said(row) for row in rows]
            self._learn({spot for _, named in said for spot, _ in named})
            yield [self._told(row, event, named) for row, (event, named) in zip(rows, said, strict=True)]

    def _said(self, row: Row) -> tuple[Event, list[tuple[Spot, Qualifier]]]:
        event, named = self._read(row[6].encode(), to_us(row[0]))
        if not self._splits:
            return event, [((ref, None), qualifier) for ref, qualifier in named]
        return event, [((ref, self._since(ref, row[1])), qualifier) for ref, qualifier in named]

    def _since(self, ref: Ref, at: datetime) -> datetime | None:
        begun = [since for since, _ in self._splits.get(ref, ()) if since <= to_us(at)]
        return from_us(begun[-1]) if begun else None

    def _learn(self, spots: set[Spot]) -> None:
        """Which of these names belong to an object of the export. A catalog that was changed since may name others."""
        if len(self._there) > _KNOWN:
            self._there.clear()
        new = [spot for spot in spots if spot not in self._there]
        found = set(_existing(self._snapshot, sorted({ref for ref, _ in new})))
        self._there.update((spot, spot in found) for spot in new)

    def _told(self, row: Row, event: Event, named: Sequence[tuple[Spot, Qualifier]]) -> Told:
        there = [(spot, qualifier) for spot, qualifier in named if self._there[spot]]
        columns = self._columns.get(row[5], {})
        left = ocel.rest(tolerant.loads(row[6]), _keys(there), columns, whole=self._snapshot.whole)
        shown = {name: value for name, value in event.data.attributes.items() if name in columns and value is not None}
        related = [(ocel.object_id(*ref, since), qualifier) for (ref, since), qualifier in there]
        fields = _fields(row, event, left)
        return Told(ocel.event_id(row[3], row[4]), row[5], ocel.stamp(row[1]), fields, shown, related)


def _fields(row: Row, event: Event, left: str | None) -> dict[str, str]:
    data = event.data
    found = {
        "milepost_source": row[3],
        "milepost_id": row[4],
        "milepost_received": ocel.stamp(row[0]),
        "milepost_claimed": None if row[2] is None else ocel.stamp(row[2]),
        "milepost_outcome": data.outcome,
        "milepost_code": data.code,
        "milepost_reason": data.reason,
        "milepost_correlation": event.correlationid,
        "milepost_causation": event.causationid,
        "milepost_rest": left,
    }
    return {name: value for name, value in found.items() if value is not None}


def _keys(named: Iterable[tuple[Spot, Qualifier]]) -> ocel.Keys:
    keys: ocel.Keys = {}
    for (ref, _), qualifier in named:
        if qualifier != "linked" and ref.type != CORRELATION:
            keys.setdefault(ref.type, []).append(ref.key)
    return {kind: sorted(group) for kind, group in keys.items()}


def select_events(snapshot: Snapshot, *columns: Any) -> sa.Select[Any]:
    """These columns of the events of the export, in the order in which they came."""
    source: sa.FromClause = events
    if not snapshot.whole:
        same = (events.c.event_no == chosen_events.c.event_no, events.c.received_at == chosen_events.c.received_at)
        source = chosen_events.join(events, sa.and_(*same))
    return sa.select(*columns).select_from(source).order_by(events.c.event_no)


def _existing(snapshot: Snapshot, refs: Sequence[Ref]) -> Iterator[Spot]:
    plain = [ref for ref in refs if ref.type != CORRELATION]
    threads = [ref.key for ref in refs if ref.type == CORRELATION]
    chosen, connection = "" if snapshot.whole else _CHOSEN, snapshot.connection
    if plain:
        types, namespaces, keys = map(list, zip(*plain, strict=True))
        statement = sa.text(f"{_OBJECTS} {chosen} WHERE o.epoch = 0 OR o.since IS NOT NULL")
        rows = connection.execute(statement, {"types": types, "namespaces": namespaces, "keys": keys})
        yield from ((Ref(kind, namespace, key), since) for kind, namespace, key, since in rows)
    if threads:
        statement = sa.text(f"{_CORRELATIONS} {chosen} WHERE c.key = ANY(:keys)")
        yield from ((Ref(CORRELATION, "", key), None) for (key,) in connection.execute(statement, {"keys": threads}))


def event_columns(snapshot: Snapshot) -> dict[str, dict[str, Kind]]:
    """Every event type of the export with the attributes that its events have: a pass over all of them."""
    seen: dict[str, dict[str, set[Kind]]] = {}
    attributes = events.c.body.op("#>")(sa.text("'{data,attributes}'"))
    for rows in snapshot.pieces(select_events(snapshot, events.c.type, sa.cast(attributes, sa.Text))):
        for kind, text in rows:
            note(seen.setdefault(kind, {}), tolerant.loads(text) if text else {})
    return {kind: columns_of(kinds) for kind, kinds in sorted(seen.items())}


def note(seen: dict[str, set[Kind]], values: Mapping[str, Any]) -> None:
    """Remember the types of these values."""
    for name, value in values.items():
        kind = ocel.kind_of(value)
        if kind is not None:
            seen.setdefault(name, set()).add(kind)


def columns_of(seen: Mapping[str, set[Kind]]) -> dict[str, Kind]:
    """The attributes to write by name. Of names that differ only by case the first: SQLite can't tell them apart."""
    found: dict[str, Kind] = {}
    taken: set[str] = set()
    for name in sorted(seen):
        low = name.lower()
        if low in taken or low in _RESERVED or low.startswith(ocel.PREFIX) or len(found) == MAX_COLUMNS:
            continue
        taken.add(low)
        found[name] = ocel.common(seen[name])
    return found
