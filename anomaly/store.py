"""What the anomaly component reads, and the baselines, models and findings that it writes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from anomaly.features import Baseline, Finding, FinishedJourney
from milepost.db import tables as t

_DIMENSIONS = ("channel", "warehouse", "carrier", "partner")


def volumes(connection: sa.Connection, since: datetime, until: datetime) -> pd.DataFrame:
    """Events per hour: columns source, type, dimension, hour, events; `since` inclusive, `until` exclusive."""
    v = t.volume_hours.c
    statement = sa.select(v.source, v.type, v.dimension, v.hour, v.events).where(v.hour >= since, v.hour < until)
    return pd.read_sql(statement, connection)


def stage_times(connection: sa.Connection, since: datetime, until: datetime) -> pd.DataFrame:
    """Steps between neighbouring milestones that ended in the window.

    Columns: model, step ("picked → packed"), seconds, ended_at, and the dimensions.
    """
    m, j = t.milestones, t.journeys
    window = sa.over(sa.func.lag(m.c.reached_at), partition_by=m.c.journey_id, order_by=m.c.rank)
    before = sa.over(sa.func.lag(m.c.name), partition_by=m.c.journey_id, order_by=m.c.rank)
    touched = sa.select(m.c.journey_id).where(m.c.reached_at >= since, m.c.reached_at < until).distinct()
    steps = (
        sa.select(m.c.journey_id, m.c.name, m.c.reached_at, window.label("previous_at"), before.label("previous"))
        .where(m.c.journey_id.in_(touched))
        .subquery()
    )
    seconds = sa.func.greatest(sa.extract("epoch", steps.c.reached_at - steps.c.previous_at), 0)
    statement = (
        sa.select(
            j.c.model,
            (steps.c.previous + " → " + steps.c.name).label("step"),
            sa.cast(seconds, sa.Double).label("seconds"),
            steps.c.reached_at.label("ended_at"),
            *(j.c[name] for name in _DIMENSIONS),
        )
        .join(steps, steps.c.journey_id == j.c.journey_id)
        .where(steps.c.previous.is_not(None), steps.c.reached_at >= since, steps.c.reached_at < until)
    )
    return pd.read_sql(statement, connection)


def finished(
    connection: sa.Connection, model: str, since: datetime, until: datetime, limit: int
) -> list[FinishedJourney]:
    """Completed journeys of a model whose last event came in the window, the newest `limit`."""
    j, m, b = t.journeys, t.milestones, t.members
    chosen = (
        sa.select(j)
        .where(j.c.model == model, j.c.state == "completed", j.c.last_at >= since, j.c.last_at < until)
        .order_by(j.c.last_at.desc())
        .limit(limit)
    )
    rows = connection.execute(chosen).mappings().all()
    ids = [row["journey_id"] for row in rows]
    reached: dict[int, list[tuple[str, datetime]]] = defaultdict(list)
    wanted = sa.func.any(sa.cast(ids, sa.ARRAY(sa.BigInteger)))
    times = sa.select(m.c.journey_id, m.c.name, m.c.reached_at).where(m.c.journey_id == wanted).order_by(m.c.rank)
    for journey_id, name, at in connection.execute(times):
        reached[journey_id].append((name, at))
    sizes = sa.select(b.c.journey_id, sa.func.count()).where(b.c.journey_id == wanted).group_by(b.c.journey_id)
    members = {row[0]: row[1] for row in connection.execute(sizes)}
    return [
        FinishedJourney(
            row["journey_id"],
            row["key"],
            row["completed_at"] or row["last_at"],
            reached[row["journey_id"]],
            members.get(row["journey_id"], 1),
            {name: row[name] for name in _DIMENSIONS if row[name] is not None},
        )
        for row in rows
    ]


def save_baselines(
    connection: sa.Connection, detector: str, found: Mapping[tuple[str, int], Baseline], now: datetime
) -> None:
    """Replace all baselines of a detector."""
    connection.execute(t.baselines.delete().where(t.baselines.c.detector == detector))
    rows = [
        {
            "detector": detector,
            "series": series,
            "slot": slot,
            "median": each.median,
            "mad": each.spread,
            "samples": each.samples,
            "fitted_at": now,
        }
        for (series, slot), each in sorted(found.items())
    ]
    if rows:
        connection.execute(t.baselines.insert(), rows)


def baselines(connection: sa.Connection, detector: str) -> dict[tuple[str, int], Baseline]:
    rows = connection.execute(sa.select(t.baselines).where(t.baselines.c.detector == detector)).mappings()
    return {(row["series"], row["slot"]): Baseline(row["median"], row["mad"], row["samples"]) for row in rows}


def save_model(
    connection: sa.Connection, name: str, artifact: bytes, detail: Mapping[str, Any], samples: int, now: datetime
) -> None:
    values = {"fitted_at": now, "samples": samples, "artifact": artifact, "detail": dict(detail)}
    statement = insert(t.anomaly_models).values(name=name, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))


def model(connection: sa.Connection, name: str) -> sa.RowMapping | None:
    row = connection.execute(sa.select(t.anomaly_models).where(t.anomaly_models.c.name == name)).mappings().first()
    return row


def save_findings(
    connection: sa.Connection, findings: Sequence[Finding], severity: str, now: datetime
) -> list[tuple[int, Finding]]:
    """Store findings; those that are new come back with their ids."""
    stored = []
    for finding in findings:
        values = {
            "detector": finding.detector,
            "series": finding.series,
            "at": finding.at,
            "found_at": now,
            "score": finding.score,
            "expected": finding.expected,
            "observed": finding.observed,
            "severity": severity,
            "reason": finding.reason,
            "labels": dict(finding.labels),
            "journey_id": finding.journey_id,
        }
        statement = insert(t.anomalies).values(**values).on_conflict_do_nothing().returning(t.anomalies.c.anomaly_id)
        anomaly_id = connection.scalar(statement)
        if anomaly_id is not None:
            stored.append((anomaly_id, finding))
    return stored


def end_findings(
    connection: sa.Connection, before: datetime, normal: set[tuple[str, str]], now: datetime
) -> list[sa.RowMapping]:
    """End the open findings that are older than `before`, or whose (detector, series) is normal again."""
    a = t.anomalies
    rows = connection.execute(sa.select(a).where(a.c.ended_at.is_(None))).mappings().all()
    over = [row for row in rows if row["at"] < before or (row["detector"], row["series"]) in normal]
    if over:
        ids = [row["anomaly_id"] for row in over]
        ended = a.c.anomaly_id == sa.func.any(sa.cast(ids, sa.ARRAY(sa.BigInteger)))
        connection.execute(a.update().where(ended).values(ended_at=now))
    return over
