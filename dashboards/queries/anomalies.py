"""Anomalies: the list, and the series that one was found in with what was expected of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from dashboards.queries.paging import Page, bounded, time_order
from milepost.db.tables import anomalies, baselines, journeys, volume_hours

_a = anomalies.c
ORDER: Final = time_order(_a.at, _a.anomaly_id, descending=True)


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Something odd. `score` in robust standard deviations; `reason` in plain words."""

    anomaly_id: int
    detector: str
    series: str
    at: datetime
    found_at: datetime
    score: float
    expected: float | None
    observed: float | None
    severity: str
    reason: str
    labels: dict[str, Any]
    journey_id: int | None
    ended_at: datetime | None
    journey_kind: str | None
    journey_key: str | None
    journey_namespace: str | None


_COLUMNS: Final = (
    *(_a[name] for name in list(Anomaly.__dataclass_fields__)[:-3]),
    journeys.c.model.label("journey_kind"),
    journeys.c.key.label("journey_key"),
    journeys.c.namespace.label("journey_namespace"),
)
_SOURCE: Final = anomalies.outerjoin(journeys, journeys.c.journey_id == _a.journey_id)


def list_page(
    connection: sa.Connection,
    *,
    detector: str | None = None,
    since: datetime | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[Anomaly]:
    """The latest first. Raises Permanent for a bad cursor."""
    wanted = [ORDER.after(cursor)]
    if detector:
        wanted.append(_a.detector == detector)
    if since:
        wanted.append(_a.at >= since)
    limit = bounded(limit)
    statement = sa.select(*_COLUMNS).select_from(_SOURCE).where(*wanted).order_by(*ORDER.by()).limit(limit + 1)
    found = [Anomaly(**row) for row in connection.execute(statement).mappings()]
    return ORDER.page(found, limit, lambda row: (row.at, row.anomaly_id))


def one(connection: sa.Connection, anomaly_id: int) -> Anomaly | None:
    statement = sa.select(*_COLUMNS).select_from(_SOURCE).where(_a.anomaly_id == anomaly_id)
    row = connection.execute(statement).mappings().one_or_none()
    return Anomaly(**row) if row else None


def hours(
    connection: sa.Connection, source: str, event_type: str, dimension: str, since: datetime, until: datetime
) -> list[tuple[datetime, int]]:
    """(hour, events) of one volume series; no event type means all."""
    v = volume_hours.c
    wanted = [v.source == source, v.dimension == dimension, v.hour >= since, v.hour < until]
    if event_type:
        wanted.append(v.type == event_type)
    statement = sa.select(v.hour, sa.func.sum(v.events)).where(*wanted).group_by(v.hour).order_by(v.hour)
    return [(hour, int(events)) for hour, events in connection.execute(statement)]


def odd_hours(
    connection: sa.Connection, detector: str, series: str, since: datetime, until: datetime
) -> list[datetime]:
    """When else the series was odd."""
    wanted = (_a.detector == detector, _a.series == series, _a.at >= since, _a.at < until)
    return list(connection.scalars(sa.select(_a.at).where(*wanted).order_by(_a.at)))


def baseline(connection: sa.Connection, detector: str, series: str) -> dict[int, tuple[float, float]]:
    """{slot (-1 for all): (median, spread)} of one series."""
    b = baselines.c
    statement = sa.select(b.slot, b.median, b.mad).where(b.detector == detector, b.series == series)
    return {slot: (median, mad) for slot, median, mad in connection.execute(statement)}
