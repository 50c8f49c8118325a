"""Reads what flows are judged by; writes record.flow_states and record.flow_breaches. Nothing is ever deleted there
but the state of what has not been heard for the length of its window."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from milepost.catalog.flow import Backlog
from milepost.catalog.schema import Model
from milepost.db.tables import flow_breaches, flow_states, journeys, volume_hours
from sla.flow.counts import HOURS, Seen
from sla.flow.reading import Counted, Group, State

_NONE: Final = "none"
_UNKNOWN: Final = "unknown"
_STATE: Final = tuple(column.name for column in flow_states.columns)


@dataclass(frozen=True, slots=True)
class Open:
    """A breach that is open."""

    breach_id: int
    policy: str
    item: str
    version: str
    measured: Mapping[str, Any]


def states(connection: sa.Connection) -> dict[tuple[str, str], State]:
    """How all flows stood at the last look."""
    rows = connection.execute(sa.select(flow_states)).mappings()
    return {(row["policy"], row["item"]): State(**{**row, "seen": msgspec.convert(row["seen"], Seen)}) for row in rows}


def counted(connection: sa.Connection, at: datetime, dimensions: Collection[str]) -> list[Counted]:
    """The counts of the last hours, of whole types and by the values of these attributes.

    It reads a row for each source, type, value and hour, however many events they count.
    """
    v = volume_hours.c
    since = at.replace(minute=0, second=0, microsecond=0) - HOURS
    wanted = [v.dimension == "", *(v.dimension.startswith(f"{name}=", autoescape=True) for name in sorted(dimensions))]
    query = sa.select(v.source, v.type, v.dimension, v.hour, v.events, v.bad).where(v.hour >= since, sa.or_(*wanted))
    return [
        Counted(row.source, row.type, row.dimension, row.hour.isoformat(), row.events, row.bad)
        for row in connection.execute(query)
    ]


def backlog(connection: sa.Connection, policy: Backlog, model: Model, cutoff: datetime) -> list[Group]:
    """The open journeys that have been in a stage of the policy since `cutoff` or longer, by group."""
    j = journeys.c
    ranks = [rank for rank, step in enumerate(model.milestones) if step.name in policy.stages]
    ranks += [-1] if _NONE in policy.stages else []
    names = {"stage": sa.func.coalesce(j.stage, _NONE)}
    labels = [names[name] if name in names else sa.func.coalesce(j[name], _UNKNOWN) for name in policy.group_by]
    currency = [j.currency] if policy.measure == "money" else []
    query = sa.select(
        *labels, *currency, sa.func.count(), sa.func.sum(j.amount), sa.func.min(j.currency), sa.func.max(j.currency),
        sa.func.min(j.progress_at),
    ).where(j.model == policy.model, j.state == "open", j.stage_rank.in_(ranks), j.progress_at <= cutoff)  # fmt: skip
    for name, values in policy.match.items():
        query = query.where(sa.func.lower(j[name]).in_([value.lower() for value in values]))
    if labels or currency:
        query = query.group_by(*labels, *currency)
    names_of = [*policy.group_by, *(["currency"] if currency else [])]
    return [_group(names_of, tuple(row)) for row in connection.execute(query) if row[len(names_of)]]


def _group(names: Sequence[str], row: tuple[Any, ...]) -> Group:
    count, amount, lowest, highest, oldest = row[len(names) :]
    labels = {name: row[index] or "" for index, name in enumerate(names)}
    one = lowest == highest
    return Group(labels, count, amount if one else None, lowest if one else None, oldest)


def save(connection: sa.Connection, changed: Iterable[State], gone: Collection[tuple[str, str]]) -> None:
    """Write states; take away those of policies that are gone, and of what has nothing to remember."""
    rows = [
        {name: getattr(state, name) for name in _STATE if name != "seen"} | {"seen": msgspec.to_builtins(state.seen)}
        for state in changed
    ]
    if rows:
        new = insert(flow_states)
        update = {name: new.excluded[name] for name in _STATE if name not in ("policy", "item", "first_at")}
        connection.execute(new.on_conflict_do_update(index_elements=["policy", "item"], set_=update), rows)
    for policy, item in gone:
        connection.execute(sa.delete(flow_states).where(flow_states.c.policy == policy, flow_states.c.item == item))


# --- breaches ---------------------------------------------------------------------------------------------------------


def open_breaches(connection: sa.Connection) -> dict[tuple[str, str], Open]:
    """What is wrong, by policy and item."""
    b = flow_breaches.c
    query = sa.select(b.breach_id, b.policy, b.item, b.policy_version, b.measured).where(b.ended_at.is_(None))
    return {(row.policy, row.item): Open(*row) for row in connection.execute(query)}


def open_breach(connection: sa.Connection, values: Mapping[str, Any]) -> int:
    """Write a new breach; its id."""
    query = sa.insert(flow_breaches).values(**values).returning(flow_breaches.c.breach_id)
    return int(connection.execute(query).scalar_one())


def end(connection: sa.Connection, one: Open, how: str, measured: Mapping[str, Any] | None, now: datetime) -> None:
    """A breach is over. `measured`: what was measured when it ended."""
    both = {**one.measured, "end": dict(measured)} if measured is not None else dict(one.measured)
    query = sa.update(flow_breaches).where(flow_breaches.c.breach_id == one.breach_id)
    connection.execute(query.values(ended_at=now, end=how, measured=both))


def silences_since(connection: sa.Connection, at: datetime) -> list[tuple[str, datetime, datetime]]:
    """(source, begin, end) of the silences that ended since then: nothing that is usual."""
    b = flow_breaches.c
    query = sa.select(b.dimensions["source"].astext, b.measured["heard_at"].astext, b.ended_at).where(
        b.kind == "silence", b.ended_at >= at, b.measured["heard_at"].astext.is_not(None)
    )
    return [(source, datetime.fromisoformat(begin), until) for source, begin, until in connection.execute(query)]
