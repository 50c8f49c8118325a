"""Event volume per source, type and dimension against its usual rhythm. Pure: frames in, findings out."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import pandas as pd

from anomaly.features import ALL, Baseline, Finding, baseline, slot_of, volume_reason, volume_score

DETECTOR: Final = "volume"
MAX_SERIES: Final = 2_000
Baselines = dict[tuple[str, int], Baseline]


def _by_series(frame: pd.DataFrame) -> pd.DataFrame:
    """Adds the sums over types ("" stands for all) and names each series source|type|dimension."""
    plain = frame[frame["dimension"] == ""]
    sums = plain.groupby(["source", "hour"], as_index=False)["events"].sum().assign(type="", dimension="")
    both = pd.concat([frame, sums], ignore_index=True)
    named: pd.DataFrame = both.assign(series=both["source"] + "|" + both["type"] + "|" + both["dimension"])
    return named


def fit(frame: pd.DataFrame, until: datetime) -> Baselines:
    """Baselines per series and slot of the week, and over all slots; hours without events count as none."""
    if frame.empty:
        return {}
    table = _by_series(frame)
    largest = table.groupby("series")["events"].sum().nlargest(MAX_SERIES).index
    found: Baselines = {}
    for series, group in table[table["series"].isin(largest)].groupby("series"):
        counts = group.groupby("hour")["events"].sum()
        hours = pd.date_range(counts.index.min(), until - timedelta(hours=1), freq="h")
        full = counts.reindex(hours, fill_value=0)
        slots = pd.Series([slot_of(hour.to_pydatetime()) for hour in full.index], index=full.index)
        for slot, values in full.groupby(slots):
            found[str(series), int(str(slot))] = baseline(values.astype(float).tolist())
        found[str(series), ALL] = baseline(full.astype(float).tolist())
    return found


def score(
    frame: pd.DataFrame,
    usual: Baselines,
    hours: list[datetime],
    *,
    threshold: float,
    min_samples: int,
    min_expected: float,
) -> tuple[list[Finding], set[str]]:
    """The unusual hours, and the series whose last hour was normal."""
    observed: dict[tuple[str, datetime], float] = {}
    if not frame.empty:
        for series, hour, events in _by_series(frame)[["series", "hour", "events"]].itertuples(index=False):
            observed[series, hour.to_pydatetime()] = float(events)
    findings: list[Finding] = []
    normal: set[str] = set()
    for series in sorted({name for name, _ in usual}):
        for hour in hours:
            known = usual.get((series, slot_of(hour)))
            if known is None or known.samples < min_samples:
                continue
            count = observed.get((series, hour), 0.0)
            off = volume_score(count, known)
            if abs(off) >= threshold and max(count, known.median) >= min_expected:
                findings.append(_finding(series, hour, off, count, known))
            elif hour == hours[-1]:
                normal.add(series)
    return findings, normal


def _finding(series: str, hour: datetime, off: float, count: float, known: Baseline) -> Finding:
    source, event_type, dimension = series.split("|", 2)
    labels = {"source": source}
    if event_type:
        labels["type"] = event_type
    if dimension:
        name, _, value = dimension.partition("=")
        labels[name] = value
    reason = volume_reason(source, event_type, dimension, hour, count, known)
    return Finding(DETECTOR, series, hour, off, known.median, count, reason, labels)
