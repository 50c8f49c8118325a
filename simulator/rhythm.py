"""When orders come: by the hour of the day and the day of the week, in Berlin. Pure."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from functools import lru_cache
from math import exp
from random import Random
from typing import Final
from zoneinfo import ZoneInfo

from simulator.world import HOUR

ZONE: Final = ZoneInfo("Europe/Berlin")
_NIGHT_AND_MORNING: Final = (0.45, 0.3, 0.22, 0.2, 0.22, 0.35, 0.6, 0.9, 1.2, 1.45, 1.55, 1.5)
_AFTERNOON: Final = (1.4, 1.35, 1.3, 1.3, 1.35, 1.4, 1.5, 1.6, 1.6, 1.35, 1.0, 0.7)
_BY_HOUR: Final = (*_NIGHT_AND_MORNING, *_AFTERNOON)
_BY_DAY: Final = (1.15, 1.1, 1.05, 1.05, 1.0, 0.6, 0.65)
"""Monday first."""
SUNDAY: Final = 6
SATURDAY: Final = 5


def local(at: float) -> datetime:
    """The wall time in Berlin of seconds since 1970."""
    return datetime.fromtimestamp(at, ZONE)


@lru_cache(maxsize=4096)
def midnight(day: date) -> float:
    """When a day begins in Berlin, in seconds since 1970."""
    return datetime.combine(day, time(), ZONE).timestamp()


def end_of(day: date) -> float:
    return midnight(day + timedelta(days=1))


def working_day(day: date, later: int) -> date:
    """So many days later, counting no Sunday, and never on one."""
    while day.weekday() == SUNDAY:
        day += timedelta(days=1)
    for _ in range(later):
        day += timedelta(days=1)
        if day.weekday() == SUNDAY:
            day += timedelta(days=1)
    return day


def intensity(at: float) -> float:
    """How much busier than on average it is."""
    wall = local(at)
    return _BY_HOUR[wall.hour] * _BY_DAY[wall.weekday()]


def arrivals(rng: Random, start: float, hours: int, per_day: float) -> list[float]:
    """When orders come in the hours from `start` on, in order."""
    found: list[float] = []
    for hour in range(hours):
        begins = start + hour * HOUR
        count = poisson(rng, per_day / 24 * intensity(begins))
        found += [begins + rng.random() * HOUR for _ in range(count)]
    return sorted(found)


def poisson(rng: Random, mean: float) -> int:
    """A Poisson count (Knuth, 1969), in steps so that the exponential does not underflow."""
    count = 0
    while mean > 30:
        count, mean = count + poisson(rng, 30), mean - 30
    limit, product = exp(-mean), rng.random()
    while product > limit:
        count, product = count + 1, product * rng.random()
    return count
