"""How long the steps between milestones take, per model and dimension. Pure: frames in, findings out."""

from __future__ import annotations

from datetime import datetime
from math import expm1
from typing import Final

import numpy as np
import pandas as pd

from anomaly.features import ALL, Baseline, Finding, baseline, duration_reason, duration_score

DETECTOR: Final = "duration"
MIN_VALUES: Final = 5
"""Steps that must have ended in an hour for it to be judged."""
Baselines = dict[tuple[str, int], Baseline]
_DIMENSIONS: Final = ("channel", "warehouse", "carrier", "partner")


def _by_series(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per (step, dimension): series model|step|dimension with log1p seconds."""
    table = frame.assign(log=np.log1p(frame["seconds"].astype(float)), dimension="")
    parts = [table]
    for name in _DIMENSIONS:
        known = table[table[name].notna()]
        parts.append(known.assign(dimension=name + "=" + known[name].astype(str)))
    both = pd.concat(parts, ignore_index=True)
    return both.assign(series=both["model"] + "|" + both["step"] + "|" + both["dimension"])


def fit(frame: pd.DataFrame) -> Baselines:
    """Baselines of log1p seconds per series."""
    if frame.empty:
        return {}
    groups = _by_series(frame).groupby("series")["log"]
    return {(str(series), ALL): baseline(values.tolist()) for series, values in groups}


def score(
    frame: pd.DataFrame, usual: Baselines, hours: list[datetime], *, threshold: float, min_samples: int
) -> tuple[list[Finding], set[str]]:
    """The hours in which a step took unusually long or short, and the series whose last hour was normal."""
    if frame.empty:
        return [], set()
    table = _by_series(frame)
    table = table.assign(hour=table["ended_at"].dt.floor("h"))
    findings: list[Finding] = []
    normal: set[str] = set()
    for (series, stamp), group in table.groupby(["series", "hour"]):
        hour = pd.Timestamp(str(stamp)).to_pydatetime()
        known = usual.get((str(series), ALL))
        values = group["log"].tolist()
        if known is None or known.samples < max(min_samples, 30) or len(values) < MIN_VALUES or hour not in hours:
            continue
        off = duration_score(values, known)
        if abs(off) >= threshold:
            findings.append(_finding(str(series), hour, off, values, known))
        elif hour == hours[-1]:
            normal.add(str(series))
    return findings, normal


def _finding(series: str, hour: datetime, off: float, values: list[float], known: Baseline) -> Finding:
    model, step, dimension = series.split("|", 2)
    labels = {"model": model, "step": step}
    if dimension:
        name, _, value = dimension.partition("=")
        labels[name] = value
    observed = float(np.median(values))
    reason = duration_reason(step, dimension, values, known, hour)
    return Finding(DETECTOR, series, hour, off, expm1(known.median), expm1(observed), reason, labels)
