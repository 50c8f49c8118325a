"""What became of every relation of an object-centric log: each is in a journey, or there is a reason why not.

It reads what is stored now, so it is asked once an import was recorded and assembled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import sqlalchemy as sa

from collector.formats.ocel import Log, LogEvent, word
from milepost import ocel
from milepost.catalog.keys import compile_rules
from milepost.catalog.loader import types_of
from milepost.catalog.schema import Catalog
from milepost.db.tables import correlations, event_object, events, members, objects, relations
from milepost.journeystate import Flag

What = Literal["event to object", "object to object"]
Account = Counter[tuple[What, str]]
"""How many relations of the log came to what end."""
IN_JOURNEY: Final = "in a journey that has the object and shows the event"
RELATED: Final = "related, with the event that proved it"
_PIECE: Final = 5_000
Name = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Stored:
    """What the database has of the log. `about`: (event, object) pairs, `journeys` those that an object is in."""

    events: Mapping[tuple[str, str], tuple[int, int]]  # (source, id): (number, flags)
    objects: Mapping[Name, set[int]]
    about: Mapping[int, set[int]]  # objects by event
    journeys: Mapping[int, set[int]]  # by object
    related: Mapping[int, set[tuple[int, str]]]  # (object, rel) by object


def account(connection: sa.Connection, log: Log, source: str, catalog: Catalog) -> Account:
    """Tell of each relation in the log, imported as `source`, what it came to."""
    names = _Names(log, catalog)
    stored = _read(connection, {_identity(event, source) for event in log.events}, set(names.all()))
    found: Account = Counter()
    for event in log.events:
        for object_id in event.objects:
            found["event to object", _fate(names, stored, event, source, object_id)] += 1
    for item in log.objects.values():
        for other, qualifier in item.related:
            found["object to object", _tie(names, stored, item.id, other, qualifier)] += 1
    return found


class _Names:
    """The objects of a log by their names in Milepost; None for a key that the catalog calls junk."""

    def __init__(self, log: Log, catalog: Catalog) -> None:
        self._log = log
        self._rules, self._plain = compile_rules(catalog)
        self.known = {kind for model in catalog.models.values() for kind in types_of(model)}

    def of(self, object_id: str) -> Name | None:
        item = self._log.objects.get(object_id)
        if item is not None and "milepost_key" in item.attributes:
            return item.type, str(item.attributes["milepost_key"])
        kind = word(item.type) if item is not None else "object"
        key = self._rules.get(kind, self._plain).key(object_id)
        return None if key is None else (kind, key)

    def all(self) -> Iterator[Name]:
        ids = {object_id for event in self._log.events for object_id in event.objects} | self._log.objects.keys()
        yield from (name for name in map(self.of, ids) if name is not None)


def _identity(event: LogEvent, source: str) -> tuple[str, str]:
    if ocel.is_own(event.attributes):
        return str(event.attributes["milepost_source"]), str(event.attributes["milepost_id"])
    return source, event.id


def _fate(names: _Names, stored: _Stored, event: LogEvent, source: str, object_id: str) -> str:
    known, name = stored.events.get(_identity(event, source)), names.of(object_id)
    if known is None:
        return "not stored: the event was refused, or is not recorded yet"
    if name is None:
        return "left out: the key is one that the catalog calls junk"
    number, flags = known
    mine = {journey for item in stored.objects.get(name, ()) for journey in stored.journeys.get(item, ())}
    shown = {journey for item in stored.about.get(number, ()) for journey in stored.journeys.get(item, ())}
    if mine & shown:
        return IN_JOURNEY
    if flags & Flag.AMBIGUOUS:
        return "relates nothing: the event names several objects on both sides"
    if not mine:
        place = "no journey leads to it" if name[0] in names.known else "no model has a place for it"
        return f"kept with the object, {name[0]}: {place}"
    return f"kept with the event: no journey of the object, {name[0]}, shows it"


def _tie(names: _Names, stored: _Stored, one: str, other: str, qualifier: str) -> str:
    first, second = names.of(one), names.of(other)
    if first is None or second is None:
        return "left out: the key is one that the catalog calls junk"
    rels = {qualifier, f"link:{word(qualifier)}"}
    ends = stored.objects.get(second, set())
    ties = {tie for item in stored.objects.get(first, ()) for tie in stored.related.get(item, ())}
    return RELATED if any(item in ends and rel in rels for item, rel in ties) else "not stored, or not recorded yet"


# --- reading ----------------------------------------------------------------------------------------------------------


def _read(connection: sa.Connection, wanted: set[tuple[str, str]], names: set[Name]) -> _Stored:
    found = dict(_objects(connection, names))
    ids = sorted({item for some in found.values() for item in some})
    numbers = dict(_events(connection, wanted))
    about: dict[int, set[int]] = {}
    journeys: dict[int, set[int]] = {}
    related: dict[int, set[tuple[int, str]]] = {}
    eo, m, r = event_object.c, members.c, relations.c
    for some in _pieces(ids):
        for number, item in connection.execute(sa.select(eo.event_no, eo.object_id).where(eo.object_id == some)):
            about.setdefault(number, set()).add(item)
        for item, journey in connection.execute(sa.select(m.object_id, m.journey_id).where(m.object_id == some)):
            journeys.setdefault(item, set()).add(journey)
        for one, other, rel in connection.execute(sa.select(r.first_id, r.second_id, r.rel).where(r.first_id == some)):
            related.setdefault(one, set()).add((other, rel))
    return _Stored(numbers, found, about, journeys, related)


def _events(
    connection: sa.Connection, wanted: set[tuple[str, str]]
) -> Iterator[tuple[tuple[str, str], tuple[int, int]]]:
    """There is no index by id: the events of the log's sources are looked through."""
    e = events.c
    sources = sorted({source for source, _ in wanted})
    statement = sa.select(e.source, e.event_id, e.event_no, e.flags).where(e.source.in_(sources))
    for source, event_id, number, flags in connection.execute(
        statement, execution_options={"stream_results": True, "max_row_buffer": _PIECE}
    ):
        if (source, event_id) in wanted:
            yield (source, event_id), (number, flags)


def _objects(connection: sa.Connection, names: set[Name]) -> Iterator[tuple[Name, set[int]]]:
    found: dict[Name, set[int]] = {}
    o, c = objects.c, correlations.c
    for some in _pieces(sorted({key for _, key in names}), sa.Text):
        rows: Iterable[Any] = connection.execute(sa.select(o.object_id, o.type, o.key).where(o.key == some))
        for object_id, kind, key in rows:
            found.setdefault((kind, key), set()).add(object_id)
        for object_id, key in connection.execute(sa.select(c.object_id, c.key).where(c.key == some)):
            found.setdefault((ocel.CORRELATION, key), set()).add(object_id)
    return ((name, found.get(name, set())) for name in names)


def _pieces(values: list[Any], kind: Any = sa.BigInteger) -> Iterator[Any]:
    for start in range(0, len(values), _PIECE):
        yield sa.func.any(sa.cast(values[start : start + _PIECE], sa.ARRAY(kind)))
