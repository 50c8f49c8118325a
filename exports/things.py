"""Stored objects with their attributes and relations, as an OCEL export has them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from exports.snapshot import Row, Snapshot
from exports.told import columns_of, note
from milepost import ocel
from milepost.clock import from_us
from milepost.journeystate import ObjectState, decode_object
from milepost.ocel import Kind

# objects and correlations share one space of ids
_TABLES: Final = (
    "SELECT o.object_id, o.type, o.namespace, o.key, o.since, s.state"
    " FROM (SELECT * FROM input.objects WHERE epoch = 0 OR since IS NOT NULL) AS o",
    "SELECT o.object_id, 'correlation', '', o.key, CAST(NULL AS timestamptz), s.state FROM input.correlations AS o",
)
_STATE: Final = "LEFT JOIN derived.object_states AS s ON s.object_id = o.object_id"
_CHOSEN: Final = "JOIN chosen_objects AS w ON w.object_id = o.object_id"
_TYPES: Final = (
    "SELECT DISTINCT o.type FROM input.objects AS o",
    "SELECT DISTINCT 'correlation' FROM input.correlations AS o",
)
_RELATIONS: Final = (
    "SELECT r.first_id, coalesce(o.type, 'correlation'), coalesce(o.namespace, ''), coalesce(o.key, c.key), o.since,"
    " r.rel FROM derived.relations AS r LEFT JOIN input.objects AS o ON o.object_id = r.second_id"
    " LEFT JOIN input.correlations AS c ON c.object_id = r.second_id"
)
_OF_THESE: Final = "WHERE r.first_id = ANY(:ids) ORDER BY r.first_id, r.second_id, r.rel"


@dataclass(frozen=True, slots=True)
class Thing:
    """An object of a log: attributes as (name, value, since when), and its relations as (object id, qualifier)."""

    id: str
    type: str
    attributes: list[tuple[str, Any, str]]
    related: list[tuple[str, str]]


def object_columns(snapshot: Snapshot) -> dict[str, dict[str, Kind]]:
    """Every object type of the export with the attributes that its objects have: a pass over all of them."""
    seen: dict[str, dict[str, set[Kind]]] = {}
    for statement in _TYPES:
        for (kind,) in snapshot.connection.execute(sa.text(_narrowed(snapshot, statement))):
            seen[kind] = {}
    for rows in _rows(snapshot):
        for _, kind, _, _, _, packed in rows:
            for group in _state(packed).attributes:
                note(seen[kind], group.values)
    return {kind: columns_of(kinds) for kind, kinds in sorted(seen.items())}


def things(snapshot: Snapshot) -> Iterator[list[Thing]]:
    """The objects of the export. A value is the one that counts, with the time of the event that said it."""
    for rows in _rows(snapshot):
        related = _related(snapshot, [row[0] for row in rows])
        yield [_thing(row, related.get(row[0], [])) for row in rows]


def _rows(snapshot: Snapshot) -> Iterator[Sequence[Row]]:
    for statement in _TABLES:
        yield from snapshot.pieces(sa.text(f"{_narrowed(snapshot, statement, _STATE)} ORDER BY o.object_id"))


def _narrowed(snapshot: Snapshot, statement: str, *more: str) -> str:
    return " ".join([statement, *([] if snapshot.whole else [_CHOSEN]), *more])


def _state(packed: bytes | None) -> ObjectState:
    return ObjectState() if packed is None else decode_object(packed)


def _thing(row: Row, related: list[tuple[str, str]]) -> Thing:
    _, kind, namespace, key, begin, packed = row
    attributes: list[tuple[str, Any, str]] = [("milepost_key", key, ocel.ALWAYS)]
    if namespace:
        attributes.append(("milepost_namespace", namespace, ocel.ALWAYS))
    for group in _state(packed).attributes:
        since = ocel.stamp(from_us(group.at_us))
        attributes += [(name, value, since) for name, value in group.values.items() if value is not None]
    return Thing(ocel.object_id(kind, namespace, key, begin), kind, attributes, related)


def _related(snapshot: Snapshot, ids: list[int]) -> dict[int, list[tuple[str, str]]]:
    chosen = "" if snapshot.whole else "JOIN chosen_objects AS w ON w.object_id = r.second_id"
    found: dict[int, list[tuple[str, str]]] = {}
    rows = snapshot.connection.execute(sa.text(f"{_RELATIONS} {chosen} {_OF_THESE}"), {"ids": ids})
    for first, kind, namespace, key, since, rel in rows:
        found.setdefault(first, []).append((ocel.object_id(kind, namespace, key, since), rel))
    return found
