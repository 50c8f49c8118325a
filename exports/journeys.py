"""Journeys as rows: what tables and flattened logs are made from, in the order of model, key and namespace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, Final

import sqlalchemy as sa

from exports.snapshot import Snapshot, chosen_journeys
from milepost.db.tables import events, journeys, milestones, object_states
from milepost.journeystate import Scalar, decode_object

DIMENSIONS: Final = ("channel", "warehouse", "carrier", "partner")
HEAD: Final = (
    "journey_id", "model", "key", "namespace", "root_type", "state", "stage", "started_at", "last_at", "completed_at",
    *DIMENSIONS, "amount", "currency",
)  # fmt: skip
_EVENT: Final = ("occurred_at", "received_at", "source", "event_id", "type")
_j = journeys.c


@dataclass(frozen=True, slots=True)
class Reached:
    """A milestone that a journey has reached."""

    name: str
    rank: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Journey:
    """A journey's own row: `head` by the names in HEAD. Times are aware UTC, milestones in the order of the model."""

    head: dict[str, Any]
    root_id: int
    milestones: list[Reached]

    @property
    def journey_id(self) -> int:
        found: int = self.head["journey_id"]
        return found


def journey_pieces(snapshot: Snapshot, model: str | None = None) -> Iterator[list[Journey]]:
    """The journeys of the export, of one model if it is given."""
    statement = sa.select(*(_j[name] for name in HEAD), _j.root_id).order_by(
        _j.model, _j.key, _j.namespace, _j.journey_id
    )
    if not snapshot.whole:
        statement = statement.join(chosen_journeys, chosen_journeys.c.journey_id == _j.journey_id)
    if model is not None:
        statement = statement.where(_j.model == model)
    for rows in snapshot.pieces(statement):
        reached = _milestones(snapshot, [row[0] for row in rows])
        yield [Journey(dict(zip(HEAD, row, strict=False)), row[-1], reached.get(row[0], [])) for row in rows]


def _milestones(snapshot: Snapshot, ids: list[int]) -> dict[int, list[Reached]]:
    m = milestones.c
    statement = (
        sa.select(m.journey_id, m.name, m.rank, m.reached_at)
        .where(m.journey_id == _any(ids))
        .order_by(m.journey_id, m.rank)
    )
    found: dict[int, list[Reached]] = {}
    for journey_id, name, rank, at in snapshot.connection.execute(statement):
        found.setdefault(journey_id, []).append(Reached(name, rank, at))
    return found


def root_attributes(snapshot: Snapshot, some: Sequence[Journey]) -> dict[int, dict[str, Scalar]]:
    """By journey the attributes that select its policies: its root's, and the columns that it has of its own."""
    s = object_states.c
    ids = {journey.root_id for journey in some}
    rows = snapshot.connection.execute(sa.select(s.object_id, s.state).where(s.object_id == _any(sorted(ids))))
    roots: dict[int, dict[str, Scalar]] = {object_id: decode_object(state).values() for object_id, state in rows}
    return {
        journey.journey_id: roots.get(journey.root_id, {})
        | {name: journey.head[name] for name in DIMENSIONS if journey.head[name] is not None}
        for journey in some
    }


@dataclass(frozen=True, slots=True)
class Happened:
    """An event in a journey; `body` is the CloudEvent as JSON."""

    occurred_at: datetime
    received_at: datetime
    source: str
    id: str
    type: str
    body: str


def happened(snapshot: Snapshot, some: Sequence[Journey]) -> Iterator[tuple[Journey, Iterator[Happened]]]:
    """These journeys, each with the events that it shows, in the order of (time, source, id)."""
    rows = (row for rows in snapshot.pieces(_of([journey.journey_id for journey in some])) for row in rows)
    done = 0
    for place, group in groupby(rows, key=lambda row: row[0]):
        yield from ((journey, iter(())) for journey in some[done : place - 1])  # whose events were dropped long ago
        yield some[place - 1], (Happened(*row[1:]) for row in group)
        done = place
    yield from ((journey, iter(())) for journey in some[done:])


def _of(ids: list[int]) -> Any:
    """Pairs first, then each event by its pair, as for a journey's page: nothing reads whole partitions."""
    columns = ", ".join(f"one.{name}" for name in _EVENT)
    return sa.text(
        "SELECT pairs.place, " + columns + ", one.body FROM ("
        " SELECT DISTINCT w.place, eo.event_no, eo.received_at"
        " FROM unnest(CAST(:ids AS bigint[])) WITH ORDINALITY AS w(journey_id, place)"
        " JOIN derived.journeys AS j USING (journey_id) JOIN derived.members AS m USING (journey_id)"
        " JOIN input.event_object AS eo ON eo.object_id = m.object_id"
        " AND eo.received_at BETWEEN j.first_received_at AND j.last_received_at) AS pairs"
        " CROSS JOIN LATERAL (SELECT " + ", ".join(_EVENT) + ", CAST(e.body AS text) AS body"
        f" FROM {events.fullname} AS e WHERE e.event_no = pairs.event_no AND e.received_at = pairs.received_at LIMIT 1)"
        " AS one ORDER BY pairs.place, one.occurred_at, one.source, one.event_id"
    ).bindparams(ids=ids)


def _any(ids: Sequence[int]) -> Any:
    return sa.func.any(sa.cast(list(ids), sa.ARRAY(sa.BigInteger)))
