"""What objectives read and write: counts of clocks, and derived.objectives, of which this is the only writer."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from milepost.catalog.policy import Policy
from milepost.db.tables import alert_items, alerts, clock_hours, clocks, objectives
from sla.attained import EVERY, group_of, judged, tallied, with_journeys
from sla.objective.budget import Count, Span, burn
from sla.objective.burn import Level
from sla.objective.standing import WHOLE, Place, Standing
from sla.objective.telling import KIND, Group, Item

EXACT: Final = timedelta(days=1)
"""Spans longer than this begin at a full hour: what is older than a day is known by the hour."""


def counts(
    connection: sa.Connection, policies: Sequence[Policy], spans: Collection[Span], at: datetime
) -> dict[Place, dict[Span, Count]]:
    """For each policy and group how many clocks fell due in each span, and how many were missed.

    The hours that were counted are taken from there; what fell due since then, or in short spans, from the clocks.
    """
    through: datetime | None = connection.scalar(sa.select(sa.func.max(clock_hours.c.hour)))
    counted = min(_floor(at), through + EVERY) if through is not None else datetime.min.replace(tzinfo=UTC)
    ordered = sorted(spans, key=lambda span: (span.since, span.until))
    older = [_older(span, counted, at) for span in ordered]
    newer = [_newer(span, counted, at) for span in ordered]
    found: dict[Place, dict[Span, Count]] = {}
    for place, numbers in [
        *_read(connection, _from_hours(older), policies),
        *_read(connection, _from_clocks(newer, policies), policies),
    ]:
        for whole in {place, (place[0], WHOLE)}:
            held = found.setdefault(whole, {})
            for span, count in zip(ordered, numbers, strict=True):
                held[span] = held.get(span, Count()) + count
    return found


def _short(span: Span, at: datetime) -> bool:
    return span.until == at and span.length <= EXACT


def _older(span: Span, counted: datetime, at: datetime) -> Span:
    """The part of a span that the counted hours hold."""
    if _short(span, at):
        return Span(span.until, span.until)
    return Span(_floor(span.since), min(span.until, counted))


def _newer(span: Span, counted: datetime, at: datetime) -> Span:
    """The part of a span that must be looked for among the clocks."""
    if _short(span, at):
        return span
    return Span(max(_floor(span.since), counted), span.until)


def _floor(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def _from_hours(parts: Sequence[Span]) -> sa.Select[Any]:
    h = clock_hours.c
    columns = []
    for part in parts:
        within = sa.and_(h.hour >= part.since, h.hour < part.until)
        columns += [
            sa.func.coalesce(sa.func.sum(number).filter(within), 0) for number in (h.clocks, h.misses, h.late_known)
        ]
    since = min((part.since for part in parts if part.since < part.until), default=None)
    wanted = h.hour >= since if since is not None else sa.false()
    return sa.select(h.policy, h.group, *columns).where(wanted, h.policy != "").group_by(h.policy, h.group)


def _from_clocks(parts: Sequence[Span], policies: Sequence[Policy]) -> sa.Select[Any]:
    due = clocks.c.due_at
    columns = []
    for part in parts:
        within = sa.and_(due >= part.since, due < part.until)
        columns += tallied(within)
    filled = [part for part in parts if part.since < part.until]
    since = min((part.since for part in filled), default=None)
    until = max((part.until for part in filled), default=None)
    wanted = sa.and_(due >= since, due < until) if since is not None else sa.false()
    group = group_of(policies).label("group")
    query = sa.select(clocks.c.policy, group, *columns).select_from(with_journeys)
    return query.where(wanted, judged).group_by(clocks.c.policy, sa.text('"group"'))


def _read(
    connection: sa.Connection, query: sa.Select[Any], policies: Sequence[Policy]
) -> Iterable[tuple[Place, list[Count]]]:
    known = {policy.name for policy in policies}
    for policy, group, *numbers in connection.execute(query):
        if policy in known:
            threes = zip(*[iter(numbers)] * 3, strict=True)
            yield (policy, group), [Count(*(int(number) for number in three)) for three in threes]


# --- what is known ----------------------------------------------------------------------------------------------------


def fired(connection: sa.Connection) -> dict[Place, dict[str, datetime]]:
    """What fired when it was judged last."""
    its = objectives.c
    rows = connection.execute(sa.select(its.policy, its.group, its.firing))
    return {
        (row.policy, row.group): {level: datetime.fromisoformat(last) for level, last in row.firing.items()}
        for row in rows
    }


def open_items(connection: sa.Connection) -> set[Item]:
    """(rule, item) of what is open in alerts on budgets."""
    a, i = alerts.c, alert_items.c
    query = sa.select(a.rule, i.item).join(alert_items, i.alert_id == a.alert_id)
    rows = connection.execute(query.where(a.kind == KIND, a.state != "resolved", i.cleared_at.is_(None)))
    return {(row.rule, row.item) for row in rows}


def breaching(connection: sa.Connection) -> dict[str, list[Group]]:
    """By policy, the groups of the alerts on its breaches that are open, and that people know of."""
    a = alerts.c
    query = sa.select(a.rule, a.group).where(a.kind == "sla", a.state != "resolved", a.told_severity.is_not(None))
    rows = connection.execute(query)
    found: dict[str, list[Group]] = {}
    for row in rows:
        found.setdefault(row.rule, []).append(row.group)
    return found


def save(connection: sa.Connection, found: Iterable[Standing]) -> None:
    """Write how objectives stand, in place of what stood there."""
    connection.execute(objectives.delete())
    rows = [_row(one) for one in found]
    if rows:
        connection.execute(sa.insert(objectives), rows)


def _row(one: Standing) -> dict[str, Any]:
    policy, group = one.place
    counted = one.budget.counted
    return {
        "policy": policy,
        "group": group,
        "at": one.at,
        "since": one.window.counted.since,
        "until": one.window.whole.until if one.window.before is not None else one.at,
        "target": one.budget.target,
        "clocks": counted.clocks,
        "misses": counted.misses,
        "allowed": one.budget.allowed,
        "remaining": one.budget.remaining,
        "burn": one.burn,
        "exhausted_at": one.exhausted_at,
        "levels": [_level(level, *pair, one.budget.target) for level, pair in one.levels],
        "firing": {level: last.isoformat() for level, last in one.firing.items()},
    }


def _level(level: Level, long: Count, short: Count, target: float) -> Mapping[str, Any]:
    def seen(length: timedelta, count: Count) -> Mapping[str, Any]:
        rate = burn(count, target)
        return {"seconds": length.total_seconds(), "clocks": count.clocks, "misses": count.misses, "burn": rate}

    return {
        "name": level.name,
        "factor": level.factor,
        "long": seen(level.long, long),
        "short": seen(level.short, short),
    }
