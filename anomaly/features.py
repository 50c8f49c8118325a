"""What is normal, in numbers, and what to say when something isn't. Pure.

Robust statistics throughout: the median, and the median absolute deviation scaled by 1.4826, which equals the standard
deviation for normal data (Rousseeuw & Croux, 1993). A few bad hours in the history don't move them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from math import expm1, log1p, sqrt
from statistics import median
from typing import Final

MAD_SCALE: Final = 1.4826
MEDIAN_ERROR: Final = 1.2533
"""The standard error of a median of n values is 1.2533 times that of their mean."""
ALL: Final = -1
"""The slot of a baseline over all hours."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """Median and scaled MAD of `samples` values."""

    median: float
    spread: float
    samples: int


@dataclass(frozen=True, slots=True)
class Finding:
    """Something unusual. `series` names what was watched, `at` when; `reason` is for people; `score` is signed."""

    detector: str
    series: str
    at: datetime
    score: float
    expected: float
    observed: float
    reason: str
    labels: Mapping[str, str]
    journey_id: int | None = None


def slot_of(hour: datetime) -> int:
    """The rhythm's slot of an hour (UTC): 0–23 on Monday to Friday, 24–47 on Saturday and Sunday."""
    return hour.hour + (24 if hour.weekday() >= 5 else 0)


def baseline(values: Sequence[float]) -> Baseline:
    """Of at least one value."""
    middle = median(values)
    return Baseline(middle, MAD_SCALE * median(abs(value - middle) for value in values), len(values))


def volume_score(observed: float, usual: Baseline) -> float:
    """How many robust standard deviations a count is off, on a scale where a Poisson count has deviation 1.

    That scale is twice the square root of the count plus 3/8 (Anscombe, 1948); series that vary more than a Poisson
    count are scaled down by how much more.
    """
    off = 2 * (sqrt(observed + 0.375) - sqrt(usual.median + 0.375))
    return off / max(1.0, usual.spread / sqrt(max(usual.median, 1.0)))


def duration_score(log_seconds: Sequence[float], usual: Baseline) -> float:
    """How far the median of some log1p durations is off, in standard errors of such a median."""
    error = MEDIAN_ERROR * max(usual.spread, 0.05) / sqrt(len(log_seconds))
    return (median(log_seconds) - usual.median) / error


def volume_reason(
    source: str, event_type: str, dimension: str, hour: datetime, observed: float, usual: Baseline
) -> str:
    """ "/wms/north sent 2 picking.released (warehouse=north) from 14:00 to 15:00 UTC; usual …"."""
    where = f" ({dimension})" if dimension else ""
    what = f"{observed:.0f} {event_type or 'events'}{where}"
    low, high = max(0.0, usual.median - 2 * usual.spread), usual.median + 2 * usual.spread
    return (
        f"{source} sent {what} from {hour:%H:%M} to {hour + timedelta(hours=1):%H:%M} UTC on {hour:%d %b};"
        f" usual at this hour {day_kind(hour)}: {usual.median:.0f} (mostly {low:.0f} to {high:.0f})"
    )


def duration_reason(step: str, dimension: str, log_seconds: Sequence[float], usual: Baseline, hour: datetime) -> str:
    where = f" for {dimension}" if dimension else ""
    return (
        f"{step}{where} took {in_words(expm1(median(log_seconds)))} (median of {len(log_seconds)}) in the hour to"
        f" {hour + timedelta(hours=1):%H:%M} UTC on {hour:%d %b}; usual: {in_words(expm1(usual.median))}"
    )


def day_kind(hour: datetime) -> str:
    return "at a weekend" if hour.weekday() >= 5 else "on a weekday"


def in_words(seconds: float) -> str:
    """A duration for people: 45 s, 12 min, 3 h 10 min, 2.5 days."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        hours, minutes = divmod(round(seconds / 60), 60)
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{seconds / 86400:.1f} days"


def log_seconds(start: datetime, end: datetime) -> float:
    """log1p of a duration in seconds; time that runs backwards counts as none."""
    return log1p(max(0.0, (end - start).total_seconds()))


@dataclass(frozen=True, slots=True)
class FinishedJourney:
    """A finished journey as the detector sees it: milestone times by rank order, and its size."""

    journey_id: int
    key: str
    at: datetime
    reached: Sequence[tuple[str, datetime]]
    members: int
    labels: Mapping[str, str]


def vector(journey: FinishedJourney, steps: Sequence[str]) -> list[float]:
    """log1p seconds from each step to the next reached one (-1 for a step not taken), and log1p members."""
    at = dict(journey.reached)
    known = [name for name in steps if name in at]
    gaps = {before: log_seconds(at[before], at[after]) for before, after in pairwise(known)}
    return [gaps.get(name, -1.0) for name in steps] + [log1p(journey.members)]


def deviations(values: Sequence[float], usual: Sequence[Baseline]) -> list[float]:
    """How many robust deviations each feature of a journey is off."""
    return [abs(value - each.median) / max(each.spread, 0.1) for value, each in zip(values, usual, strict=True)]


def journey_reason(
    journey: FinishedJourney, steps: Sequence[str], values: Sequence[float], usual: Sequence[Baseline]
) -> str:
    """The two features that are furthest off, in words."""
    scores = deviations(values, usual)
    worst = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)[:2]
    told = [_tell(journey, steps, values, usual, index) for index in worst if scores[index] > 2]
    return f"{journey.key}: " + ("; ".join(told) if told else "an unusual mix of durations, none extreme by itself")


def _tell(
    journey: FinishedJourney, steps: Sequence[str], values: Sequence[float], usual: Sequence[Baseline], index: int
) -> str:
    if index == len(steps):
        return f"{journey.members} objects (usual {expm1(usual[index].median):.0f})"
    step, value, normal = steps[index], values[index], usual[index].median
    if value < 0:
        return f"went no further than {step}, or never reached it"
    if normal < 0:
        return f"stayed at {step} for {in_words(expm1(value))}, a step that most skip"
    return f"stayed at {step} for {in_words(expm1(value))} (usual {in_words(expm1(normal))})"
