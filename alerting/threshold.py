"""Only after N in M minutes: what a rule raises is kept until so many of an alert's items came within so long.

Once they did, what is still wrong of them is told, and so is all that follows until the alert is over. What a later
stage keeps has passed this one already.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from alerting.hiding import Candidate, Kept, Place, Stage
from milepost.catalog.schema import After
from milepost.db.tables import alert_hidden, alert_items, alerts

LOOK_AGAIN: Final = timedelta(hours=1)
"""The catalog may change, and a rule with it."""


def stage(rules: Mapping[str, After]) -> Stage:
    """The stage of these rules, by policy."""

    def keep(connection: sa.Connection, candidates: Sequence[Candidate], now: datetime) -> Mapping[Place, Kept]:
        ruled = [one for one in candidates if one.signal.rule in rules and one.held in (None, "threshold")]
        if not ruled:
            return {}
        told = _told(connection, {one.alert_id for one in ruled})
        waiting = [one for one in ruled if one.alert_id not in told]
        came = _came(connection, {one.alert_id: rules[one.signal.rule] for one in waiting}, now)
        kept = {
            one.place: _kept(one.signal.rule, rules[one.signal.rule], came.get(one.alert_id, 0), now) for one in waiting
        }
        return {place: why for place, why in kept.items() if why is not None}

    return Stage("threshold", keep)


def _kept(rule: str, after: After, came: int, now: datetime) -> Kept | None:
    if came >= after.items:
        return None
    reason = f"told only after {after.items} within {after.within}; {came} so far"
    return Kept(f"policy {rule}", reason, look_at=now + LOOK_AGAIN)


def _told(connection: sa.Connection, alert_ids: Collection[int]) -> set[int]:
    """Those that people know of since they last fired."""
    a = alerts.c
    query = sa.select(a.alert_id).where(a.alert_id.in_(alert_ids), a.state != "resolved", a.told_severity.is_not(None))
    return set(connection.scalars(query))


def _came(connection: sa.Connection, rules: Mapping[int, After], now: datetime) -> dict[int, int]:
    """By alert, how many items were raised within its rule's time, over again or not; not what is only recorded."""
    found: dict[int, int] = {}
    for within in {after.within.us for after in rules.values()}:
        of_these = [alert_id for alert_id, after in rules.items() if after.within.us == within]
        rows = connection.execute(_count(of_these, now - timedelta(microseconds=within)))
        found |= {row[0]: row[1] for row in rows}
    return found


def _count(alert_ids: Sequence[int], since: datetime) -> sa.Select[Any]:
    a, i, h = alerts.c, alert_items.c, alert_hidden.c
    silent = sa.exists().where(
        h.alert_id == i.alert_id, h.item == i.item, h.stage == "record_only", h.by_name == a.rule
    )  # not what waits for the hours of its route
    return (
        sa.select(i.alert_id, sa.func.count())
        .join(alerts, a.alert_id == i.alert_id)
        .where(i.alert_id.in_(alert_ids), i.raised_at > since, ~silent)
        .group_by(i.alert_id)
    )
