"""Who can be told at a moment: the routes, the hours by which they are taken, and who is on call. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from alerting import oncall
from milepost.calendar import Calendar, calendar_of
from milepost.catalog.oncall import channel_of
from milepost.catalog.routing import Route, Routing
from milepost.catalog.schema import CalendarSpec, Catalog

ALWAYS: Final = "always"
LONGEST: Final = timedelta(days=400)
"""A calendar that stays open for longer than this counts as never closing."""
_MICROSECOND: Final = timedelta(microseconds=1)
_HOUR: Final = timedelta(hours=1)

T = TypeVar("T")
_compiled: dict[str, Mapping[str, Calendar]] = {}


@dataclass(frozen=True, slots=True)
class Desk:
    """`people`: for each rotation who is on call `now`."""

    routing: Routing
    now: datetime
    calendars: Mapping[str, Calendar] = field(default_factory=dict)
    people: Mapping[str, str] = field(default_factory=dict)
    _answers: dict[tuple[str, str], Any] = field(default_factory=dict, compare=False, repr=False)

    def calendar(self, name: str) -> Calendar:
        found = self.calendars.get(name)
        return calendar_of(name, CalendarSpec()) if found is None and name == ALWAYS else self.calendars[name]

    def reach(self, names: Iterable[str]) -> list[str]:
        """The channels that these names of channels and rotations stand for now."""
        return oncall.expand(self.routing, names, self.people)

    def on_call(self, names: Iterable[str]) -> dict[str, str]:
        """The rotations among these names, with who is on call."""
        return {name: self.people[name] for name in names if name in self.people}

    def knows(self, channel: str) -> bool:
        """Whether a channel, addressed to a person or not, is still in the catalog."""
        return channel_of(self.routing, channel) is not None

    def takes(self, route: Route) -> bool:
        """Whether the route is taken at this hour."""
        if route.during is not None:
            return self._is_open(route.during)
        return route.outside is None or not self._is_open(route.outside)

    def takes_from(self, route: Route) -> datetime | None:
        """When a route that is not taken now is taken next; None for never."""
        return self._changes_at(route.during or route.outside or ALWAYS)

    def _is_open(self, name: str) -> bool:
        return self._once("open", name, lambda: self.calendar(name).is_open(self.now))

    def _changes_at(self, name: str) -> datetime | None:
        change = closes_at if self._is_open(name) else opens_at
        return self._once("change", name, lambda: change(self.calendar(name), self.now))

    def _once(self, what: str, name: str, ask: Callable[[], T]) -> T:
        """Thousands of things are routed at one moment."""
        if (what, name) not in self._answers:
            self._answers[what, name] = ask()
        return self._answers[what, name]  # type: ignore[no-any-return]


def calendars_of(catalog: Catalog) -> Mapping[str, Calendar]:
    """The calendars of a catalog, compiled once for each version."""
    known = _compiled.get(catalog.version)
    if known is None:
        known = {name: calendar_of(name, spec) for name, spec in catalog.calendars.items()}
        _compiled.clear()
        _compiled[catalog.version] = known
    return known


def opens_at(calendar: Calendar, at: datetime) -> datetime | None:
    """The first instant from `at` on at which the calendar is open; None when its last open day is over."""
    after = calendar.run_out(at, _MICROSECOND)
    return None if after is None else after - _MICROSECOND


def closes_at(calendar: Calendar, at: datetime) -> datetime | None:
    """The end of the open time that `at` lies in; None for one that does not end."""
    whole = _HOUR
    while calendar.between(at, at + whole) == whole:
        whole *= 2
        if whole > LONGEST:
            return None
    return at + _unbroken(calendar, at, whole)


def _unbroken(calendar: Calendar, at: datetime, most: timedelta) -> timedelta:
    """The longest time after `at`, less than `most`, in which the calendar never closes."""
    low, high = 0, most // _MICROSECOND
    while high - low > 1:
        middle = (low + high) // 2
        span = timedelta(microseconds=middle)
        low, high = (middle, high) if calendar.between(at, at + span) == span else (low, middle)
    return timedelta(microseconds=low)
