"""What changed before the trouble of an alert began: the catalog, decisions, sources, volumes, deployments.

It is what a person would look up first; none of it is claimed to be the cause. Everything is read by an index and
within LOOK_BACK, so it costs the same however much is stored.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from alerting import text
from alerting.explain import Change
from alerting.lifecycle import Alert
from milepost.db.tables import (
    alert_items,
    anomalies,
    audit,
    event_object,
    events,
    journeys,
    members,
    source_minutes,
    volume_hours,
)

LOOK_BACK: Final = timedelta(hours=12)
"""Counted from the first item's due time; nobody reads further back in an alert."""
MOST: Final = 8
MOST_OF_A_KIND: Final = 3
QUIET: Final = timedelta(minutes=15)
"""A source that says nothing for so long, and for TIMES as long as is usual for it, is quiet."""
TIMES: Final = 5
WEEK: Final = timedelta(days=7)
MEMBERS: Final = 50
DEPLOYMENT: Final = "deployment."
"""Event types that begin so tell of a deployment, whatever system was deployed."""

_ACTS: Final = {
    "catalog.applied": "catalog",
    "correlation.cut": "decision",
    "correlation.exclude": "decision",
    "correlation.merge": "decision",
    "correlation.split": "decision",
    "correlation.lift": "decision",
    "correlation.reverse": "decision",
    "key.revoked": "decision",
    "key.rotated": "decision",
    "rebuilt": "decision",
}


def changes(connection: sa.Connection, alert: Alert, oldest_at: datetime | None) -> list[Change]:
    """What changed before and until the alert opened, the latest first, and the last event of its oldest item.

    `oldest_at`: since when that is wrong.
    """
    since, until = min(oldest_at or alert.opened_at, alert.opened_at) - LOOK_BACK, alert.opened_at
    found = [
        *_acts(connection, since, until),
        *_quiet_sources(connection, max(since, until - 2 * LOOK_BACK), until),
        *_volumes(connection, since, until),
        *_deployments(connection, since, until),
    ]
    latest = sorted(found, key=lambda change: change.at, reverse=True)[:MOST]
    return [*latest, *_last_event(connection, alert)]


def _acts(connection: sa.Connection, since: datetime, until: datetime) -> Iterable[Change]:
    query = (
        sa.select(audit.c.at, audit.c.actor, audit.c.action, audit.c.target)
        .where(audit.c.at.between(since, until), audit.c.action.in_(_ACTS))
        .order_by(audit.c.at.desc(), audit.c.audit_id.desc())
        .limit(MOST_OF_A_KIND)
    )
    for at, actor, action, target in connection.execute(query):
        shown = target[:12] if action == "catalog.applied" else target
        yield Change(at, _ACTS[action], f"{action.replace('.', ' ')}: {shown}, by {actor}")  # type: ignore[arg-type]


# --- sources ----------------------------------------------------------------------------------------------------------


def _quiet_sources(connection: sa.Connection, since: datetime, until: datetime) -> Iterable[Change]:
    """Sources that fell silent, and when they came back, if not by then. A silence that there was a week before too is
    no change."""
    for source, last, back in _gaps(connection, since, until):
        if _spoke(connection, source, last - WEEK, (back or until) - WEEK):
            span = text.length((back or until) - last)
            how = f"came back after {span}" if back else f"is quiet since {text.when(last)}"
            yield Change(back or last, "source", f"{source} {how}")


def _gaps(connection: sa.Connection, since: datetime, until: datetime) -> Iterable[Any]:
    """(source, its last minute before, its first one after or None) of the longest silences."""
    its = source_minutes.c
    after = sa.func.lead(its.minute).over(partition_by=its.source, order_by=its.minute)
    rows = (
        sa.select(its.source, its.minute.label("last"), after.label("back"))
        .where(its.minute.between(since, until), its.events > 0)
        .cte("spoken")
    )
    gap = sa.func.coalesce(rows.c.back, until) - rows.c.last
    usual = (
        sa.select(rows.c.source, sa.func.percentile_cont(0.9).within_group(rows.c.back - rows.c.last).label("gap"))
        .group_by(rows.c.source)
        .having(sa.func.count() > TIMES)
        .subquery("usual")
    )
    query = (
        sa.select(rows.c.source, rows.c.last, rows.c.back)
        .join(usual, usual.c.source == rows.c.source)
        .where(gap >= QUIET, gap >= TIMES * usual.c.gap)
        .order_by(gap.desc(), rows.c.source)
        .limit(MOST_OF_A_KIND)
    )
    return connection.execute(query).all()


def _spoke(connection: sa.Connection, source: str, since: datetime, until: datetime) -> bool:
    """Whether a source said something then, or is too young to tell."""
    its = source_minutes.c
    spoke = sa.exists().where(its.source == source, its.minute > since, its.minute < until)
    older = sa.exists().where(its.source == source, its.minute <= since)
    return bool(connection.scalar(sa.select(sa.or_(spoke, ~older))))


def _volumes(connection: sa.Connection, since: datetime, until: datetime) -> Iterable[Change]:
    its = anomalies.c
    query = (
        sa.select(its.at, its.reason)
        .where(its.at.between(since, until), its.detector == "volume")
        .order_by(its.score.desc(), its.at.desc())
        .limit(MOST_OF_A_KIND)
    )
    for at, reason in connection.execute(query):
        yield Change(at, "anomaly", reason)


def _deployments(connection: sa.Connection, since: datetime, until: datetime) -> Iterable[Change]:
    """Of what senders told of deployments: which source did, what, and in which hour."""
    its = volume_hours.c
    query = (
        sa.select(its.hour, its.source, its.type, its.events)
        .where(its.hour.between(since - timedelta(hours=1), until), its.dimension == "")
        .where(its.type.startswith(DEPLOYMENT, autoescape=True))
        .order_by(its.hour.desc(), its.source, its.type)
        .limit(MOST_OF_A_KIND)
    )
    for hour, source, kind, number in connection.execute(query):
        times = f", {number} times" if number > 1 else ""
        yield Change(hour, "deployment", f"{source} told of {kind}{times} in the hour from {text.when(hour)}")


# --- the oldest item --------------------------------------------------------------------------------------------------


def _last_event(connection: sa.Connection, alert: Alert) -> Iterable[Change]:
    """What was last heard, until the alert opened, of the journey that is wrong for the longest."""
    pair = _pairs(alert).subquery("pair")
    its = events.c
    one = (
        sa.select(its.occurred_at, its.source, its.type, its.event_id)
        .where(its.event_no == pair.c.event_no, its.received_at == pair.c.received_at)
        .limit(1)
        .lateral("one")
    )
    query = (
        sa.select(one.c.occurred_at, one.c.source, one.c.type, pair.c.key)
        .select_from(pair.join(one, sa.true()))
        .order_by(pair.c.received_at.desc(), one.c.occurred_at.desc(), one.c.event_id)
        .limit(1)
    )
    for at, source, kind, key in connection.execute(query):
        yield Change(at, "last_event", f"{key}, the oldest: last heard of by {kind} from {source}")


def _pairs(alert: Alert) -> sa.Select[Any]:
    """The event that was last received of each member of the oldest item's journey until the alert opened, as pairs."""
    oldest = (
        sa.select(alert_items.c.journey_id)
        .where(alert_items.c.alert_id == alert.alert_id, alert_items.c.journey_id.is_not(None))
        .order_by(alert_items.c.cleared_at.is_not(None), alert_items.c.at, alert_items.c.item)
        .limit(1)
        .subquery("oldest")
    )
    journey = (
        sa.select(journeys.c.journey_id, journeys.c.key, journeys.c.first_received_at, journeys.c.last_received_at)
        .join(oldest, oldest.c.journey_id == journeys.c.journey_id)
        .subquery("journey")
    )
    member = sa.select(members.c.object_id).where(members.c.journey_id == journey.c.journey_id).limit(MEMBERS)
    its = event_object.c
    object_ = member.lateral("member")
    last = (
        sa.select(its.event_no, its.received_at)
        .where(its.object_id == object_.c.object_id)
        .where(its.received_at >= journey.c.first_received_at, its.received_at <= alert.opened_at)
        .order_by(its.received_at.desc(), its.event_no.desc())
        .limit(1)
        .lateral("last")
    )
    return sa.select(journey.c.key, last.c.event_no, last.c.received_at).select_from(
        journey.join(object_, sa.true()).join(last, sa.true())
    )
