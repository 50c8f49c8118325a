"""One journey with everything that belongs to it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import sqlalchemy as sa

from milepost.catalog.keys import normalise
from milepost.catalog.loader import descendants
from milepost.catalog.schema import CORRELATION, Catalog, Model
from milepost.clock import from_us
from milepost.db.tables import (
    anomalies,
    breaches,
    clocks,
    correlations,
    event_object,
    events,
    journeys,
    members,
    milestones,
    object_states,
    objects,
    relations,
    running_clocks,
)
from milepost.inbox.objects import shown
from milepost.journeystate import Flag, RunningClock, Scalar, decode_clocks, decode_object, merge_attributes

MAX_EVENTS: Final = 1000
MAX_MEMBERS: Final = 1000
MAX_LINKS: Final = 2000


@dataclass(frozen=True, slots=True)
class Head:
    """A journey's own row. Times are aware UTC, `amount` is in `currency`. `key` is as it is shown: where the root's
    key was split, that of a later `epoch` says since when it names this root."""

    journey_id: int
    kind: str
    key: str
    namespace: str
    root_id: int
    root_type: str
    state: str
    stage: str | None
    started_at: datetime
    last_at: datetime
    progress_at: datetime
    completed_at: datetime | None
    first_received_at: datetime
    last_received_at: datetime
    channel: str | None
    warehouse: str | None
    carrier: str | None
    partner: str | None
    amount: Decimal | None
    currency: str | None
    epoch: int


@dataclass(frozen=True, slots=True)
class Member:
    object_id: int
    type: str
    namespace: str
    key: str
    via_id: int | None
    depth: int


@dataclass(frozen=True, slots=True)
class Milestone:
    name: str
    rank: int
    first_at: datetime
    last_at: datetime
    count: int


@dataclass(frozen=True, slots=True)
class Link:
    """Two members that belong together: ids of parent and child, and the event that proved it first."""

    parent_id: int
    child_id: int
    rel: str
    occurred_at: datetime
    source: str
    event_id: str


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a journey; `body` is the CloudEvent as it was sent, `flags` what was odd about it."""

    event_no: int
    id: str
    source: str
    type: str
    occurred_at: datetime
    received_at: datetime
    claimed_at: datetime | None
    outcome: str
    code: str | None
    correlation_id: str | None
    flags: tuple[str, ...]
    body: Any


@dataclass(frozen=True, slots=True)
class ClockRow:
    """A clock of a journey: state running while nothing was noted about it yet, else as in derived.clocks.

    One that stands still is paused: since when, and the type and source of the event that holds it.
    """

    policy: str
    subject_id: int
    state: str
    started_at: datetime
    due_at: datetime | None
    stopped_at: datetime | None
    paused_at: datetime | None = None
    paused_by: str = ""


_OTHERS: Final = {"kind": journeys.c.model.label("kind"), "epoch": sa.func.coalesce(objects.c.epoch, 0).label("epoch")}
_HEADS: Final = sa.select(
    *(_OTHERS[name] if name in _OTHERS else journeys.c[name] for name in Head.__dataclass_fields__)
).select_from(journeys.outerjoin(objects, objects.c.object_id == journeys.c.root_id))


def candidates(
    connection: sa.Connection,
    catalog: Catalog,
    kind: str,
    key: str,
    namespace: str | None = None,
    epoch: int | None = None,
) -> list[Head]:
    """Journeys of a kind whose root has this key, normalised as a key of any of the kind's root types; of all epochs
    where it was split."""
    model = catalog.models.get(kind)
    roots = model.roots if model else []
    keys = sorted({key, *(normalise(catalog, root, key) for root in roots)})
    later = sa.select(objects.c.object_id).where(objects.c.key.in_(keys), objects.c.since.is_not(None))
    ids = connection.scalars(later).all()
    named = journeys.c.key.in_(keys)
    statement = _HEADS.where(named | journeys.c.root_id.in_(ids) if ids else named, journeys.c.model == kind)
    if namespace is not None:
        statement = statement.where(journeys.c.namespace == namespace)
    found = [Head(**row) for row in connection.execute(statement.order_by(journeys.c.root_id).limit(50)).mappings()]
    return [item for item in found if epoch in (None, item.epoch)]


def head(connection: sa.Connection, journey_id: int) -> Head | None:
    row = connection.execute(_HEADS.where(journeys.c.journey_id == journey_id)).mappings().one_or_none()
    return Head(**row) if row else None


def member_list(connection: sa.Connection, journey_id: int) -> list[Member]:
    """The member objects, the root first; at most MAX_MEMBERS."""
    o, c, m = objects.c, correlations.c, members.c
    statement = (
        sa.select(
            m.object_id,
            sa.func.coalesce(o.type, CORRELATION).label("type"),
            sa.func.coalesce(o.namespace, "").label("namespace"),
            sa.func.coalesce(o.key, c.key, "").label("key"),
            o.since,
            m.via_id,
            m.depth,
        )
        .select_from(
            members.outerjoin(objects, o.object_id == m.object_id).outerjoin(correlations, c.object_id == m.object_id)
        )
        .where(m.journey_id == journey_id)
        .order_by(m.depth, "type", "key")
        .limit(MAX_MEMBERS)
    )
    return [
        Member(row.object_id, row.type, row.namespace, shown(row.key, row.since), row.via_id, row.depth)
        for row in connection.execute(statement)
    ]


def milestone_list(connection: sa.Connection, journey_id: int) -> list[Milestone]:
    """The milestones that are reached, in the order of the model."""
    m = milestones.c
    statement = (
        sa.select(m.name, m.rank, m.reached_at.label("first_at"), m.last_at, m["count"])
        .where(m.journey_id == journey_id)
        .order_by(m.rank)
    )
    return [Milestone(**row) for row in connection.execute(statement).mappings()]


def event_list(connection: sa.Connection, journey: Head, ids: Collection[int], limit: int = MAX_EVENTS) -> list[Event]:
    """The events about the members, the earliest first; when there are more than `limit`, the last received."""
    rows = connection.execute(select_events(journey, ids, limit)).mappings()
    found = [Event(**{**row, "flags": flag_names(row["flags"])}) for row in rows]
    return sorted(found, key=lambda event: (event.occurred_at, event.source, event.id))


def select_events(journey: Head, ids: Collection[int], limit: int) -> sa.Select[Any]:
    """Pairs first, then each event by its pair: a join would read whole (compressed) partitions."""
    eo, e = event_object.c, events.c
    pairs = (
        sa.select(eo.event_no, eo.received_at)
        .distinct()
        .where(
            eo.object_id.in_(sorted(ids)),
            eo.received_at >= journey.first_received_at,
            eo.received_at <= journey.last_received_at,
        )
        .order_by(eo.received_at.desc(), eo.event_no.desc())
        .limit(limit)
        .subquery("pairs")
    )
    names = ("event_no", "source", "type", "occurred_at", "received_at", "claimed_at", "outcome", "code")
    one = (
        sa.select(*(e[name] for name in names), e.event_id.label("id"), e.correlation_id, e.flags, e.body)
        .where(e.event_no == pairs.c.event_no, e.received_at == pairs.c.received_at)
        .limit(1)  # a pair is one event; without it PostgreSQL may join instead, and read every chunk
        .lateral("one")
    )
    return sa.select(*one.c).select_from(pairs.join(one, sa.true()))


def flag_names(flags: int) -> tuple[str, ...]:
    return tuple(flag.name.lower() for flag in Flag if flag & flags and flag.name)


def link_list(connection: sa.Connection, model: Model | None, found: Sequence[Member]) -> list[Link]:
    """The relations among the members, each directed; at most MAX_LINKS."""
    ids = [member.object_id for member in found]
    r = relations.c
    statement = (
        sa.select(r.first_id, r.second_id, r.rel, r.occurred_at, r.source, r.event_id)
        .where(r.first_id.in_(ids), r.second_id.in_(ids))
        .order_by(r.occurred_at, r.source, r.event_id, r.first_id, r.second_id)
        .limit(MAX_LINKS)
    )
    by_id = {member.object_id: member for member in found}
    below = descendants(model) if model else {}
    links = (_directed(row, by_id, below) for row in connection.execute(statement).mappings())
    return [link for link in links if link is not None]


def _directed(row: sa.RowMapping, by_id: Mapping[int, Member], below: Mapping[str, Collection[str]]) -> Link | None:
    """Explicit links go from first to second; others by the model's tree, and a correlation's by what reached it.

    None for a relation that only another model knows.
    """
    first, second = by_id[row["first_id"]], by_id[row["second_id"]]
    parent, child = first, second
    if not row["rel"].startswith("link:"):
        if first.type in below.get(second.type, ()):
            parent, child = second, first
        elif CORRELATION in (first.type, second.type):
            parent, child = (second, first) if second.depth < first.depth else (first, second)
        elif second.type not in below.get(first.type, ()):
            return None
    return Link(parent.object_id, child.object_id, row["rel"], row["occurred_at"], row["source"], row["event_id"])


def clock_list(connection: sa.Connection, journey_id: int) -> list[ClockRow]:
    """The clocks that run, from their packed form, and those that warned, breached or ended; by start."""
    packed = connection.scalar(sa.select(running_clocks.c.clocks).where(running_clocks.c.journey_id == journey_id))
    running = decode_clocks(packed) if packed else []
    identities = {(clock.policy, clock.subject_id, clock.occurrence) for clock in running}
    k = clocks.c
    rows = connection.execute(sa.select(clocks).where(k.journey_id == journey_id).limit(MAX_LINKS)).mappings()
    noted = [
        ClockRow(*(row[name] for name in ("policy", "subject_id", "state", "started_at", "due_at", "stopped_at")))
        for row in rows
        if (row["policy"], row["subject_id"], row["occurrence"]) not in identities
    ]
    return sorted([*map(_running, running), *noted], key=lambda clock: (clock.started_at, clock.policy))


def _running(clock: RunningClock) -> ClockRow:
    started = from_us(clock.started_us)
    if clock.due_us is None:
        since = clock.pause.since_us if clock.pause is not None else None
        by = f"{clock.pause.type} ({clock.pause.source})" if clock.pause is not None else ""
        paused_at = None if since is None else from_us(since)
        return ClockRow(clock.policy, clock.subject_id, "paused", started, None, None, paused_at, by)
    state = "breached" if clock.breached else "warned" if clock.warned else "running"
    return ClockRow(clock.policy, clock.subject_id, state, started, from_us(clock.due_us), None)


def attributes(connection: sa.Connection, journey: Head, found: Sequence[Member]) -> dict[str, Scalar]:
    """A journey's attributes: the root's, else the only distinct value among its members, else none."""
    ids = [member.object_id for member in found]
    s = object_states.c
    rows = connection.execute(sa.select(s.object_id, s.state).where(s.object_id.in_(ids)))
    values = {object_id: decode_object(state).values() for object_id, state in rows}
    merged = merge_attributes(values.pop(journey.root_id, {}), values.values())
    typed: dict[str, Scalar] = {
        name: getattr(journey, name) for name in ("channel", "warehouse", "carrier", "partner", "currency")
    }
    if journey.amount is not None:
        typed["amount"] = money_text(journey.amount)
    return merged | {name: value for name, value in typed.items() if value is not None}


def money_text(amount: Decimal) -> str:
    """At least two decimals, and no more zeros than that."""
    plain = amount.normalize()
    exponent = plain.as_tuple().exponent
    places = -exponent if isinstance(exponent, int) and exponent < -2 else 2
    return f"{plain:.{places}f}"


def breach_list(connection: sa.Connection, journey_id: int) -> list[dict[str, Any]]:
    """The breaches of a journey, the latest first."""
    b = breaches.c
    names = (
        "policy", "policy_version", "subject_id", "severity", "started_at", "due_at", "judged_at", "opened_at",
        "ended_at", "end", "stopped_at", "late_known", "evidence",
    )  # fmt: skip
    statement = (
        sa.select(*(b[name] for name in names))
        .where(b.journey_id == journey_id)
        .order_by(b.opened_at.desc())
        .limit(100)
    )
    return [dict(row) for row in connection.execute(statement).mappings()]


def anomaly_list(connection: sa.Connection, journey_id: int) -> list[dict[str, Any]]:
    """What a detector found odd about a journey, the latest first."""
    a = anomalies.c
    names = ("anomaly_id", "detector", "at", "severity", "reason", "score")
    statement = (
        sa.select(*(a[name] for name in names)).where(a.journey_id == journey_id).order_by(a.at.desc()).limit(50)
    )
    return [dict(row) for row in connection.execute(statement).mappings()]
