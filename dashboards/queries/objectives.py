"""How objectives stand, what fell due by the day, and the breaches that ate a budget."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

import sqlalchemy as sa

from dashboards.queries.paging import Page, bounded, time_order
from milepost.db.tables import breaches, clock_hours, journeys, objectives, objects
from milepost.inbox.objects import shown

_b, _o = breaches.c, objectives.c
ORDER: Final = time_order(_b.due_at, _b.breach_id, descending=True)
VOID: Final = ("retracted", "absorbed", "withdrawn")
"""Ends of breaches that count against nobody."""


@dataclass(frozen=True, slots=True)
class Standing:
    """An objective of a policy, or of one of its groups ({} is the whole), as it was judged last.

    `levels` and `firing` as in derived.objectives; `exhausted_at` None: not before the window ends.
    """

    policy: str
    group: Mapping[str, str]
    at: datetime
    since: datetime
    until: datetime
    target: float
    clocks: int
    misses: int
    allowed: float
    remaining: float
    burn: float | None
    exhausted_at: datetime | None
    levels: Sequence[Mapping[str, Any]]
    firing: Mapping[str, str]

    @property
    def attained(self) -> float | None:
        return 1 - self.misses / self.clocks if self.clocks else None


@dataclass(frozen=True, slots=True)
class Day:
    """The clocks that fell due on a day (UTC) and have an outcome, and those that were not met."""

    day: date
    clocks: int
    misses: int


@dataclass(frozen=True, slots=True)
class Breach:
    """A breach with what it concerns. `end` and `stopped_at` are None while it is open; `key` is its journey's root.

    `journey_kind` is None when there is no such journey any more.
    """

    breach_id: int
    policy: str
    policy_version: str
    subject_id: int
    started_at: datetime
    due_at: datetime
    opened_at: datetime
    ended_at: datetime | None
    end: str | None
    stopped_at: datetime | None
    late_known: bool
    evidence: Mapping[str, Any]
    dimensions: Mapping[str, str]
    amount: Decimal | None
    currency: str | None
    model: str
    key: str
    namespace: str
    journey_kind: str | None

    @property
    def counts(self) -> bool:
        """Whether a clock was missed, as far as is known."""
        return self.end not in VOID


def standings(connection: sa.Connection) -> dict[str, list[Standing]]:
    """By policy: the whole first, then the groups with the most misses."""
    query = sa.select(objectives).order_by(_o.policy, _o.group != "{}", _o.misses.desc(), _o.group)
    found: dict[str, list[Standing]] = {}
    for row in connection.execute(query).mappings():
        values = {**row, "group": json.loads(row["group"])}
        found.setdefault(row["policy"], []).append(Standing(**values))
    return found


def counted_at(connection: sa.Connection) -> datetime | None:
    """When the hours were counted last, which all figures but those of the last day are sums of."""
    found: datetime | None = connection.scalar(sa.select(sa.func.max(clock_hours.c.counted_at)))
    return found


def days(connection: sa.Connection, since: datetime, policy: str | None = None) -> dict[str, list[Day]]:
    """By policy, the days from `since` on, as the hours were counted last."""
    h = clock_hours.c
    day = sa.func.date_trunc("day", h.hour, "UTC")
    query = sa.select(h.policy, day, sa.func.sum(h.clocks), sa.func.sum(h.misses)).where(h.hour >= since)
    query = query.where(h.policy == policy if policy is not None else h.policy != "")
    found: dict[str, list[Day]] = {}
    for name, at, clocks, misses in connection.execute(query.group_by(h.policy, day).order_by(h.policy, day)):
        found.setdefault(name, []).append(Day(at.date(), int(clocks), int(misses)))
    return found


_SHOWN: Final = [name for name in Breach.__dataclass_fields__ if name not in ("key", "namespace", "journey_kind")]
COLUMNS: Final = (
    *(_b[name] for name in _SHOWN), objects.c.key, objects.c.namespace, objects.c.since,
    journeys.c.model.label("journey_kind"),
)  # fmt: skip
SOURCE: Final = breaches.outerjoin(objects, objects.c.object_id == _b.root_id).outerjoin(
    journeys, sa.and_(journeys.c.model == _b.model, journeys.c.root_id == _b.root_id)
)


def eaters(
    connection: sa.Connection, policy: str, since: datetime, until: datetime, *, limit: int, cursor: str | None = None
) -> Page[Breach]:
    """The breaches of a policy that fell due in a window and count, the latest first. Raises Permanent for a bad
    cursor."""
    limit = bounded(limit)
    query = select_eaters(policy, since, until, limit + 1).where(ORDER.after(cursor))
    found = [breach(row) for row in connection.execute(query).mappings()]
    return ORDER.page(found, limit, lambda one: (one.due_at, one.breach_id))


def select_eaters(policy: str, since: datetime, until: datetime, limit: int) -> sa.Select[Any]:
    return (
        sa.select(*COLUMNS)
        .select_from(SOURCE)
        .where(_b.policy == policy, _b.due_at >= since, _b.due_at < until)
        .where(sa.or_(_b.end.is_(None), _b.end.not_in(VOID)))
        .order_by(*ORDER.by())
        .limit(limit)
    )


def breach(row: sa.RowMapping) -> Breach:
    """From a row of COLUMNS."""
    values = dict(row)
    since = values.pop("since")
    key = shown(values["key"], since) if values["key"] is not None else f"#{values['breach_id']}"
    return Breach(**{**values, "key": key, "namespace": values["namespace"] or ""})
