"""What the overview shows: everything from the journeys and the running clocks' flags, nothing from events."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from milepost.catalog.objective import IN_TIME, NOT_IN_TIME
from milepost.db.tables import (
    alert_hidden,
    alerts,
    clock_hours,
    clocks,
    journeys,
    running_clocks,
    source_stats,
    volume_hours,
)

_j, _c = journeys.c, running_clocks.c


@dataclass(slots=True)
class Stage:
    """Open journeys in one stage; rank -1 while no milestone is reached."""

    rank: int
    open: int = 0
    at_risk: int = 0
    breached: int = 0

    @property
    def on_track(self) -> int:
        return max(0, self.open - self.at_risk - self.breached)


@dataclass(slots=True)
class Flow:
    """The open journeys of one kind by stage, and the money in those at risk or breached, by currency."""

    stages: dict[int, Stage] = field(default_factory=dict)
    money: dict[str, Decimal] = field(default_factory=dict)

    def total(self, name: str) -> int:
        return sum(getattr(stage, name) for stage in self.stages.values())


def flow(connection: sa.Connection, kind: str) -> Flow:
    result = Flow()
    for rank, count in connection.execute(select_stages(kind)):
        result.stages[rank] = Stage(rank, open=count)
    money: defaultdict[str, Decimal] = defaultdict(Decimal)
    for row in connection.execute(select_flagged(kind)):
        stage = result.stages.setdefault(row.stage_rank, Stage(row.stage_rank))
        setattr(stage, row.flag, getattr(stage, row.flag) + row.journeys)
        if row.currency and row.amount:
            money[row.currency] += row.amount
    result.money = dict(sorted(money.items(), key=lambda item: -item[1]))
    return result


def select_stages(kind: str) -> sa.Select[Any]:
    return sa.select(_j.stage_rank, sa.func.count()).where(_j.model == kind, _j.state == "open").group_by(_j.stage_rank)


def select_flagged(kind: str) -> sa.Select[Any]:
    """The flagged are few; each flag has an index that holds only them."""
    breached = sa.select(_c.journey_id, sa.literal("breached").label("flag")).where(_c.breached)
    at_risk = sa.select(_c.journey_id, sa.literal("at_risk").label("flag")).where(_c.at_risk, ~_c.breached)
    flagged = sa.union_all(breached, at_risk).subquery("flagged")
    return (
        sa.select(
            _j.stage_rank,
            flagged.c.flag,
            _j.currency,
            sa.func.count().label("journeys"),
            sa.func.sum(_j.amount).label("amount"),
        )
        .select_from(flagged.join(journeys, _j.journey_id == flagged.c.journey_id))
        .where(_j.model == kind, _j.state == "open")
        .group_by(_j.stage_rank, flagged.c.flag, _j.currency)
    )


def completed_since(connection: sa.Connection, kind: str, since: datetime) -> int:
    statement = sa.select(sa.func.count()).where(_j.model == kind, _j.state == "completed", _j.last_at >= since)
    return connection.scalar(statement) or 0


@dataclass(frozen=True, slots=True)
class Attainment:
    """Of the clocks of a policy that fell due in a window: how many were met, how many not."""

    policy: str
    met: int
    missed: int

    @property
    def share(self) -> float | None:
        total = self.met + self.missed
        return self.met / total if total else None


def attainment(connection: sa.Connection, since: datetime, until: datetime) -> list[Attainment]:
    """By policy. A clock counts once it has an outcome: met, or not met in time (found at once or late).

    Whole hours come from what was counted of them, the rest from the clocks.
    """
    found = _outcomes(connection, since, until).subquery()
    sums = [sa.cast(sa.func.sum(found.c[name]), sa.BigInteger) for name in ("clocks", "misses")]
    rows = connection.execute(sa.select(found.c.policy, *sums).group_by(found.c.policy))
    return [Attainment(policy, clocks - misses, misses) for policy, clocks, misses in rows]


def _outcomes(connection: sa.Connection, since: datetime, until: datetime) -> sa.CompoundSelect[Any]:
    """(policy, clocks, misses) of the clocks that fell due in the window, in any number of rows."""
    k, h, hour = clocks.c, clock_hours.c, timedelta(hours=1)
    whole = (h.hour >= since, h.hour <= until - hour)
    first, last = connection.execute(sa.select(sa.func.min(h.hour), sa.func.max(h.hour)).where(*whole)).one()
    spans = [(since, until)] if first is None else [(since, first), (last + hour, until)]
    missed = sa.func.count().filter(k.state.in_(NOT_IN_TIME))
    lately = (
        sa.select(k.policy, sa.func.count().label("clocks"), missed.label("misses"))
        .where(k.due_at >= start, k.due_at < end, k.state.in_((*IN_TIME, *NOT_IN_TIME)))
        .group_by(k.policy)
        for start, end in spans
    )
    return sa.union_all(sa.select(h.policy, h.clocks, h.misses).where(*whole, h.policy != ""), *lately)


@dataclass(frozen=True, slots=True)
class Volume:
    """Events of one source that occurred in one hour; `bad` of them failed or were rejected."""

    hour: datetime
    source: str
    events: int
    bad: int


def volume(connection: sa.Connection, since: datetime) -> list[Volume]:
    v = volume_hours.c
    statement = (
        sa.select(v.hour, v.source, sa.func.sum(v.events), sa.func.sum(v.bad))
        .where(v.hour >= since, v.dimension == "")
        .group_by(v.hour, v.source)
        .order_by(v.hour, v.source)
    )
    return [Volume(hour, source, int(events), int(bad)) for hour, source, events, bad in connection.execute(statement)]


def open_alerts(connection: sa.Connection, limit: int = 4) -> tuple[list[dict[str, Any]], int]:
    """The alerts that are not resolved, the gravest first, and how many there are. Those of which nothing is told, and
    those on budgets, which other alerts burn, come after what fires."""
    a = alerts.c
    gravity = sa.case((a.severity == "critical", 0), (a.severity == "warning", 1), else_=2)
    told = sa.and_(a.kind != "objective", a.items_open > _hidden_items())
    names = ("alert_id", "title", "summary", "severity", "state", "opened_at", "items_open", "money", "kind", "rule")
    statement = (
        sa.select(*(a[name] for name in names))
        .where(a.state != "resolved")
        .order_by(sa.case((sa.and_(told, a.state == "firing"), 0), (told, 1), else_=2), gravity, a.opened_at.desc())
    )
    rows = [dict(row) for row in connection.execute(statement.limit(limit)).mappings()]
    count = connection.scalar(sa.select(sa.func.count()).select_from(alerts).where(a.state != "resolved"))
    return rows, count or 0


def _hidden_items() -> sa.ScalarSelect[Any]:
    h = alert_hidden.c
    found = sa.select(sa.func.count()).where(h.alert_id == alerts.c.alert_id, h.ended_at.is_(None))
    return found.scalar_subquery()


def has_data(connection: sa.Connection) -> bool:
    """Whether anything has ever arrived."""
    for table in (journeys, source_stats):
        if connection.scalar(sa.select(sa.exists(sa.select(sa.literal(1)).select_from(table)))):
            return True
    return False
