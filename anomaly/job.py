"""Two steps for the scheduler: learn what is normal, and judge the hours that have passed since."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import sqlalchemy as sa

from alerting.commands import Signal, send
from anomaly import duration, forest, store, volume
from anomaly.features import Finding, vector
from milepost.catalog.schema import AnomalySpec, Catalog, Model

HISTORY: Final = timedelta(days=56)
HOUR: Final = timedelta(hours=1)
SETTLE: Final = timedelta(minutes=10)
"""An hour is judged this long after its end, so that ordinary delays don't look like silence."""
LOOK_BACK: Final = timedelta(hours=24)
OVER: Final = timedelta(hours=24)
"""A finding that nothing confirmed for so long has ended."""
_PROGRESS: Final = "progress"
_NEW_JOURNEYS: Final = 5_000


def fit_once(engine: sa.Engine, catalog: Catalog, *, now: datetime) -> int:
    """Learn baselines and forests from the last eight weeks; returns how many baselines there are."""
    until = _floor(now)
    since = until - HISTORY
    with engine.begin() as connection:
        volumes = volume.fit(store.volumes(connection, since, until), until)
        durations = duration.fit(store.stage_times(connection, since, until))
        store.save_baselines(connection, volume.DETECTOR, volumes, now)
        store.save_baselines(connection, duration.DETECTOR, durations, now)
        for model in catalog.models.values():
            _fit_forest(connection, model, since, now)
    return len(volumes) + len(durations)


def _fit_forest(connection: sa.Connection, model: Model, since: datetime, now: datetime) -> None:
    steps = [item.name for item in model.milestones]
    journeys = store.finished(connection, model.name, since, now, forest.MAX_SAMPLE)
    if len(journeys) >= forest.MIN_SAMPLE:
        sample = np.asarray([vector(journey, steps) for journey in journeys])
        detail = {"model": model.name, "steps": steps}
        store.save_model(connection, f"forest:{model.name}", forest.pack(sample), detail, len(journeys), now)


def score_once(engine: sa.Engine, catalog: Catalog, *, now: datetime) -> int:
    """Judge the full hours since the last time, a day at most; returns how many findings are new."""
    spec = catalog.anomaly
    until = _floor(now - SETTLE)
    with engine.begin() as connection:
        since = max(_progress(connection) or until - LOOK_BACK, until - LOOK_BACK)
        hours = [since + HOUR * index for index in range(int((until - since) / HOUR))]
        findings: list[Finding] = []
        normal: set[tuple[str, str]] = set()
        if hours:
            findings, normal = _judge(connection, spec, hours, until)
            findings += _outliers(connection, catalog, since, until)
            store.save_model(connection, _PROGRESS, b"", {"scored_through": until.isoformat()}, 0, now)
        stored = store.save_findings(connection, findings, spec.severity, now)
        ended = store.end_findings(connection, now - OVER, normal, now)
        signals = [
            _raise(number, finding, spec, now) for number, finding in stored if finding.detector in spec.alert_on
        ]
        signals += [_clear(row, now) for row in ended]  # also of what `alert_on` held when it was found
        send(connection, signals, now=now)
    return len(stored)


def _judge(
    connection: sa.Connection, spec: AnomalySpec, hours: Sequence[datetime], until: datetime
) -> tuple[list[Finding], set[tuple[str, str]]]:
    listed = list(hours)
    volumes, even = volume.score(
        store.volumes(connection, listed[0], until),
        store.baselines(connection, volume.DETECTOR),
        listed,
        threshold=spec.threshold,
        min_samples=spec.min_samples,
        min_expected=spec.min_expected,
    )
    durations, steady = duration.score(
        store.stage_times(connection, listed[0], until),
        store.baselines(connection, duration.DETECTOR),
        listed,
        threshold=spec.threshold,
        min_samples=spec.min_samples,
    )
    normal = {(volume.DETECTOR, series) for series in even} | {(duration.DETECTOR, series) for series in steady}
    return [*volumes, *durations], normal


def _outliers(connection: sa.Connection, catalog: Catalog, since: datetime, until: datetime) -> list[Finding]:
    found: list[Finding] = []
    for model in catalog.models.values():
        stored = store.model(connection, f"forest:{model.name}")
        if stored is None or stored["detail"]["steps"] != [item.name for item in model.milestones]:
            continue
        grown = forest.grow(
            model.name, stored["detail"]["steps"], forest.unpack(stored["artifact"]), catalog.anomaly.contamination
        )
        found += grown.unusual(store.finished(connection, model.name, since, until, _NEW_JOURNEYS))
    return found


def _progress(connection: sa.Connection) -> datetime | None:
    row = store.model(connection, _PROGRESS)
    return None if row is None else datetime.fromisoformat(row["detail"]["scored_through"])


def _floor(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def _group(detector: str, labels: dict[str, str]) -> dict[str, str]:
    """One alert for a source's volumes, one for a model's step: the dimensions are in the items."""
    names = {"volume": ("source",), "duration": ("model", "step")}.get(detector, ("model",))
    return {name: labels.get(name, "unknown") for name in names}


def _raise(number: int, finding: Finding, spec: AnomalySpec, now: datetime) -> Signal:
    return Signal(
        action="raise",
        kind="anomaly",
        rule=f"unusual-{finding.detector}",
        group=_group(finding.detector, dict(finding.labels)),
        item=f"anomaly:{number}",
        at=finding.at,
        summary=finding.reason,
        title=f"Unusual {finding.detector}",
        severity=spec.severity,
        labels=finding.labels,
        journey_id=finding.journey_id,
        notify=now - finding.at < timedelta(hours=3),
    )


def _clear(row: sa.RowMapping, now: datetime) -> Signal:
    return Signal(
        action="clear",
        kind="anomaly",
        rule=f"unusual-{row['detector']}",
        group=_group(row["detector"], row["labels"]),
        item=f"anomaly:{row['anomaly_id']}",
        at=now,
        why="normal again",
    )
