"""Reads journeys back as the SLA engine saw them when they changed: what a breach has to tell of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from milepost.clock import to_us
from milepost.db.tables import journeys, object_states, objects
from milepost.inbox.objects import shown
from milepost.journeystate import JourneyChange, JourneyFacts, ObjectState, Scalar, decode_facts, decode_object

_TYPED: Final = ("channel", "warehouse", "carrier", "partner")
Told = Mapping[int, tuple[str, str]]
"""Type and key of objects."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A journey to load with its root and these objects; with `members`, with all of its objects."""

    journey_id: int
    objects: Sequence[int]
    members: bool


@dataclass(frozen=True, slots=True)
class Loaded:
    """Journeys by id, those that are gone left out, and the keys of the objects loaded with them."""

    changes: Mapping[int, JourneyChange]
    names: Mapping[int, str]


def load(connection: sa.Connection, wanted: Sequence[Wanted]) -> Loaded:
    """Three queries, whatever is wanted."""
    if not wanted:
        return Loaded({}, {})
    query = sa.select(journeys).where(journeys.c.journey_id == any_of(one.journey_id for one in wanted))
    rows = {row["journey_id"]: row for row in connection.execute(query).mappings()}
    facts = {journey_id: decode_facts(row["facts"]) for journey_id, row in rows.items()}
    ids = {row["root_id"] for row in rows.values()}
    for one in wanted:
        ids.update(one.objects)
        if one.members and one.journey_id in facts:
            ids.update(member.object_id for member in facts[one.journey_id].members)
    states, told = _states(connection, ids), _objects(connection, ids)
    changes = {journey_id: _change(row, facts[journey_id], states, told) for journey_id, row in rows.items()}
    return Loaded(changes, {object_id: key for object_id, (_, key) in told.items()})


def any_of(ids: Iterable[int]) -> Any:
    """For a comparison with a column: one parameter, however many ids."""
    return sa.func.any(sa.cast(sorted(ids), sa.ARRAY(sa.BigInteger)))


def _change(row: sa.RowMapping, facts: JourneyFacts, states: Mapping[int, ObjectState], told: Told) -> JourneyChange:
    mine = {row["root_id"], *(member.object_id for member in facts.members)}
    return JourneyChange(
        journey_id=row["journey_id"],
        model=row["model"],
        root_id=row["root_id"],
        key=row["key"],
        state=row["state"],
        started_us=to_us(row["started_at"]),
        last_us=to_us(row["last_at"]),
        progress_us=to_us(row["progress_at"]),
        ended_us=None,
        milestones={item.name: item for item in facts.milestones},
        attributes=_attributes(row, states.get(row["root_id"])),
        amount=row["amount"],
        currency=row["currency"],
        members=facts.members,
        states={object_id: states[object_id] for object_id in mine if object_id in states},
        types={object_id: told[object_id][0] for object_id in mine if object_id in told},
    )


def _attributes(row: sa.RowMapping, root: ObjectState | None) -> dict[str, Scalar]:
    """The root's attributes; those with a column of their own are the journey's."""
    own: dict[str, Scalar] = dict(root.values()) if root is not None else {}
    return {**own, **{name: row[name] for name in _TYPED if row[name] is not None}}


def _states(connection: sa.Connection, ids: Iterable[int]) -> dict[int, ObjectState]:
    query = sa.select(object_states.c.object_id, object_states.c.state).where(object_states.c.object_id == any_of(ids))
    return {row.object_id: decode_object(row.state) for row in connection.execute(query)}


def _objects(connection: sa.Connection, ids: Iterable[int]) -> dict[int, tuple[str, str]]:
    its = objects.c
    query = sa.select(its.object_id, its.type, its.key, its.since).where(its.object_id == any_of(ids))
    return {row.object_id: (row.type, shown(row.key, row.since)) for row in connection.execute(query)}
