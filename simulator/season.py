"""A network that works by the calendar, and has an incident every now and then: for replays of months. Pure and seeded.

The order desk and the warehouses rest at night, on Sundays and on public holidays, as their calendars say; carriers
don't. Of each kind of incident the script has one at a time: a warehouse that acknowledges nothing, a carrier's feed
that is dark, a channel whose orders are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import cycle
from random import Random
from typing import Final, Literal

from simulator.rhythm import local, midnight
from simulator.script import Script, Span
from simulator.world import DAY, GLS, HOUR, MARKETPLACE, MINUTE, NORTH, Channel, Warehouse

Kind = Literal["mute", "dark", "refusing"]
Hours = Mapping[int, tuple[float, float]]
"""Opening and closing hour by day of the week, Monday 0."""

LENGTHS: Final[Mapping[Kind, tuple[float, float]]] = {"mute": (3, 8), "dark": (26, 40), "refusing": (5, 10)}
"""How many hours an incident lasts."""
EVERY: Final = (4.0, 9.0)
"""Days from one incident to the next."""
DESK: Final[Hours] = dict.fromkeys(range(5), (8, 18))
WAREHOUSE: Final[Hours] = {**dict.fromkeys(range(5), (6, 22)), 5: (6, 14)}
_CATCH_UP: Final = 40 * MINUTE
"""What waited for the morning is done within so long, in the same order."""


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that went wrong, for a while."""

    kind: Kind
    span: Span


@dataclass(frozen=True, slots=True)
class Season(Script):
    """Incidents all along, and rest."""

    incidents: Sequence[Incident] = ()
    holidays: frozenset[date] = frozenset()

    def released(self, warehouse: Warehouse, at: float) -> float:
        at = self._rested(at, WAREHOUSE)
        mute = self._span("mute", at) if warehouse is NORTH else None
        return at if mute is None else self._rested(mute.after(at, 2 * MINUTE), WAREHOUSE)

    def at_desk(self, at: float) -> float:
        return self._rested(at, DESK)

    def refuses(self, channel: Channel, at: float) -> bool:
        return channel is MARKETPLACE and self._span("refusing", at) is not None

    def taken(self, at: float) -> float:
        span = self._span("refusing", at)
        return at if span is None else span.after(at, 90)

    def refused_until(self, at: float) -> float:
        span = self._span("refusing", at)
        return at if span is None else span.ends

    def arrives(self, source: str, at: float) -> float:
        dark = self._span("dark", at) if source == GLS.source else None
        return at if dark is None else dark.after(at, MINUTE)

    def late(self, at: float, delay: float) -> float:
        return at + delay

    def calm(self, rng: Random, start: float, deadline: float, end: float) -> float:  # noqa: ARG002 no moment is special
        return end

    def _span(self, kind: Kind, at: float) -> Span | None:
        return next((one.span for one in self.incidents if one.kind == kind and at in one.span), None)

    def _rested(self, at: float, hours: Hours) -> float:
        """The same time while it is open; else soon after the next opening, whoever waited longest first."""
        day = local(at).date()
        while True:
            opens, closes = self._open(day, hours)
            if at < opens:
                return opens + _CATCH_UP / (1 + (opens - at) / HOUR)
            if at < closes:
                return at
            day += timedelta(days=1)

    def _open(self, day: date, hours: Hours) -> tuple[float, float]:
        """From when to when it is open on that day; for no time when it is closed."""
        begins = midnight(day)
        if day in self.holidays or day.weekday() not in hours:
            return begins, begins
        opening, closing = hours[day.weekday()]
        return begins + opening * HOUR, begins + closing * HOUR


def season(now: float, days: int, *, seed: int, holidays: frozenset[date]) -> Season:
    """The incidents of so many days before `now`, the first one a few days in."""
    rng, incidents = Random(f"{seed}/incidents"), []
    at = now - days * DAY + 2 * DAY
    for kind in cycle(LENGTHS):
        at += rng.uniform(*EVERY) * DAY
        span = Span(at, at + rng.uniform(*LENGTHS[kind]) * HOUR)
        if span.ends > now - DAY:
            break
        incidents.append(Incident(kind, span))
    never = Span(now, now)
    return Season(now, never, never, never, incidents, holidays)
