"""Whether a source speaks as it should: its silences, its policies, and what it holds back."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from dashboards.queries.alerts import select_items
from milepost.catalog import flow
from milepost.catalog.flow import Silence
from milepost.catalog.schema import Catalog
from milepost.db.tables import alert_hidden, alert_items, flow_breaches
from milepost.inbox import heard

EXPLAINED: Final = 200


@dataclass(frozen=True, slots=True)
class Silent:
    """A silence that is open. `labels`: of which part of the source; `alert_id`: who tells it, once there is one."""

    policy: str
    since: datetime
    labels: dict[str, str]
    alert_id: int | None


@dataclass(frozen=True, slots=True)
class Promise:
    """A policy that a source is to keep; `within`: how long it may be quiet, "auto" for as usual."""

    policy: str
    within: str


@dataclass(slots=True)
class Feed:
    """How a source stands. `held`: items of alerts that nobody is told of for its sake."""

    heard_at: datetime | None = None
    usual_gap: timedelta | None = None
    silences: list[Silent] = field(default_factory=list)
    promises: list[Promise] = field(default_factory=list)
    held: int = 0

    @property
    def silent_since(self) -> datetime | None:
        """When it was heard last, while a policy calls it silent as a whole or in part."""
        return (self.heard_at or min(one.since for one in self.silences)) if self.silences else None


def feeds(connection: sa.Connection, now: datetime) -> defaultdict[str, Feed]:
    """By source, without what the catalog promises."""
    found: defaultdict[str, Feed] = defaultdict(Feed)
    for source, at in heard.last_heard(connection).items():
        found[source].heard_at = at
    for source, gap in heard.usual_gaps(connection, now).items():
        found[source].usual_gap = gap
    _add_silences(connection, found)
    h = alert_hidden.c
    held = sa.select(h.by_name, sa.func.count()).where(h.stage == "inhibit", h.ended_at.is_(None)).group_by(h.by_name)
    for source, number in connection.execute(held):
        found[source].held = number
    return found


def promises(catalog: Catalog, source: str) -> list[Promise]:
    """The silence policies that concern a source."""
    return [
        Promise(policy.name, policy.within.text if policy.within is not None else flow.AUTO)
        for policy in catalog.flows
        if isinstance(policy, Silence) and flow.concerns(policy, source)
    ]


def explained(connection: sa.Connection, alert_id: int, limit: int = EXPLAINED) -> list[dict[str, Any]]:
    """What is stuck for want of the source whose silence this alert tells, the oldest first; as alerts.items has it."""
    b, i = flow_breaches.c, alert_items.c
    silences = (
        sa.select(b.dimensions)
        .join(alert_items, i.item == sa.func.concat("flow:", b.breach_id))
        .where(i.alert_id == alert_id, b.kind == "silence", b.ended_at.is_(None))
    )
    found: list[dict[str, Any]] = []
    for labels in connection.scalars(silences).all():
        others = [i.labels[name].astext == value for name, value in labels.items() if name != "source"]
        # as the index alert_items_awaits_idx has it
        awaits = sa.text("labels ->> 'awaits' = :source AND labels ? 'awaits'").bindparams(source=labels["source"])
        query = select_items().where(awaits, i.cleared_at.is_(None), *others).order_by(i.at, i.item).limit(limit)
        found += (dict(row) for row in connection.execute(query).mappings())
    return found


def _add_silences(connection: sa.Connection, found: defaultdict[str, Feed]) -> None:
    b, i = flow_breaches.c, alert_items.c
    query = (
        sa.select(b.policy, b.since, b.dimensions, sa.func.max(i.alert_id).label("alert_id"))
        .outerjoin(alert_items, i.item == sa.func.concat("flow:", b.breach_id))
        .where(b.kind == "silence", b.ended_at.is_(None))
        .group_by(b.breach_id)
        .order_by(b.since)
    )
    for row in connection.execute(query):
        labels = dict(row.dimensions)
        source = labels.pop("source")
        found[source].silences.append(Silent(row.policy, row.since, labels, row.alert_id))
