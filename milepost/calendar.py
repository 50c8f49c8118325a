"""Business-time calendars: how much open time lies between two instants, and when a given amount of it has run.

Pure and exact to the microsecond. A duration is real elapsed time inside open intervals; only the *bounds* of an
interval are wall times, turned into instants by the zone's rules:

- A shift opens at the first instant whose local wall time is at or past its opening, and closes after the last instant
  whose local wall time is before its closing. So a bound that the clocks skip (DST gap) moves to the gap's end; in an
  hour that happens twice (fold), a shift opens at the first and closes at the second, and one closing at exactly the
  fold's start never enters it.
- Shifts that come to overlap this way count once.
- A holiday closes the shifts of its local date. Work over midnight is two shifts, one on each day.

Open intervals are compiled year by year, when first asked for, into sorted columns with the open time run so far, so
that a query is two bisections. Instants lie between the starts (UTC) of FIRST_YEAR and of the year after LAST_YEAR.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import accumulate, pairwise
from typing import Final
from zoneinfo import ZoneInfo

from milepost.catalog.schema import CalendarSpec
from milepost.errors import Permanent
from milepost.walltime import EPOCH as _EPOCH
from milepost.walltime import first_at, last_before, midnight, wall_of

FIRST_YEAR, LAST_YEAR = 1990, 2110
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_FLOOR = datetime(FIRST_YEAR, 1, 1, tzinfo=UTC)
_CEILING = datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC)
_ZERO = timedelta()
_DAY = timedelta(days=1)
_MICROSECOND = timedelta(microseconds=1)
_SECOND = 1_000_000
_TIME_OF_DAY = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)|24:00", re.ASCII)
_COUNTRY = re.compile(r"[A-Z]{2}")

# Minutes after local midnight, opening before closing.
Shift = tuple[int, int]
ALL_DAY: Final[tuple[Shift, ...]] = ((0, 24 * 60),)


class CalendarBoundsError(Permanent, ValueError):
    """An instant before FIRST_YEAR or after LAST_YEAR was given, or would have been the answer."""


@dataclass(frozen=True, slots=True)
class OpeningHours:
    """When a calendar is open: seven days of shifts from Monday on, their zone, what closes whole days, and dates that
    have shifts of their own whatever else is said."""

    zone: ZoneInfo
    week: tuple[tuple[Shift, ...], ...]
    holidays: frozenset[date]
    country: str | None
    region: str | None
    days: Mapping[date, tuple[Shift, ...]] = field(default_factory=dict, hash=False)

    def intervals(self, year: int) -> list[tuple[int, int]]:
        """The open intervals of a local year, in microseconds since 1970 UTC; sorted, disjoint, none empty."""
        found = []
        closed = _start_of_year(year, self.zone)
        for opening, closing in self._shifts(year):
            opens = max(first_at(opening, self.zone), closed)
            closes = last_before(closing, self.zone)
            if opens < closes:
                found.append((opens, closes))
                closed = closes
        return found

    def _shifts(self, year: int) -> Iterator[tuple[datetime, datetime]]:
        for ordinal in range(date(year, 1, 1).toordinal(), date(year + 1, 1, 1).toordinal()):
            day = date.fromordinal(ordinal)
            for opening, closing in self.shifts_on(day):
                yield midnight(day) + timedelta(minutes=opening), midnight(day) + timedelta(minutes=closing)

    def shifts_on(self, day: date) -> tuple[Shift, ...]:
        """The shifts of a local date; none on a holiday."""
        if day in self.days:
            return self.days[day]
        if day in self.holidays or day in _public_holidays(self.country, self.region, day.year):
            return ()
        return self.week[day.weekday()]


@dataclass(frozen=True, slots=True)
class _Table:
    """The open intervals of the local years `first` to `last`, as parallel columns in microseconds since 1970 UTC.

    Row 0 is an interval of no length at `since`, so every instant covered has a row that begins at or before it.
    """

    first: int
    last: int
    since: int
    until: int
    opens: list[int]
    closes: list[int]
    run: list[int]  # open time from `since` to the row's close

    def run_at(self, at: int) -> int:
        """Open time from `since` to `at`."""
        row = bisect_right(self.opens, at) - 1
        left = self.closes[row] - at
        return self.run[row] - left if left > 0 else self.run[row]

    def instant(self, run: int) -> int:
        """The first instant at which `run` open time has passed since `since`; 0 <= run <= self.run[-1]."""
        row = bisect_left(self.run, run)
        return self.closes[row] - (self.run[row] - run)

    def is_open(self, at: int) -> bool:
        return at < self.closes[bisect_right(self.opens, at) - 1]


class _Openings:
    """Compiled opening hours. The table only ever gets replaced by a wider one: safe to share between threads."""

    __slots__ = ("_table", "_years", "hours")

    def __init__(self, hours: OpeningHours) -> None:
        self.hours = hours
        self._years: dict[int, list[tuple[int, int]]] = {}
        self._table: _Table | None = None

    def covering(self, start: int, end: int) -> _Table:
        """A table with `start` <= `end` in it."""
        table = self._table
        if table is None or start < table.since or end >= table.until:
            table = self._widened(table, wall_of(start, self.hours.zone).year, wall_of(end, self.hours.zone).year)
        return table

    def later(self, table: _Table) -> _Table:
        """The same table with one more year at its end."""
        if table.last > LAST_YEAR:
            raise CalendarBoundsError(f"the business time asked for ends after the year {LAST_YEAR}")
        return self._widened(table, table.first, table.last + 1)

    def _widened(self, table: _Table | None, first: int, last: int) -> _Table:
        if table is not None:
            first, last = min(first, table.first), max(last, table.last)
        self._table = self._compiled(first, last)
        return self._table

    def _compiled(self, first: int, last: int) -> _Table:
        since = _start_of_year(first, self.hours.zone)
        rows = [(since, since)]
        for year in range(first, last + 1):
            if year not in self._years:
                self._years[year] = self.hours.intervals(year)
            rows += self._years[year]
        return _Table(
            first=first,
            last=last,
            since=since,
            until=_start_of_year(last + 1, self.hours.zone),
            opens=[opens for opens, _ in rows],
            closes=[closes for _, closes in rows],
            run=list(accumulate(closes - opens for opens, closes in rows)),
        )


@dataclass(frozen=True, slots=True)
class Calendar:
    """Business time of one calendar; made by `build_calendar`.

    Takes aware datetimes of any zone and answers in UTC. Raises ValueError for a naive datetime, CalendarBoundsError (a
    ValueError) outside the years FIRST_YEAR to LAST_YEAR. Equal when name, zone and hours are.
    """

    name: str
    zone: ZoneInfo
    hours: OpeningHours | None  # None: 24/7
    _openings: _Openings | None = field(compare=False, repr=False)

    def add(self, start: datetime, business: timedelta) -> datetime:
        """The first instant at which `business` (>= 0) time has run since `start`.

        Time that runs out exactly at closing ends at that closing, not at the next opening; no time ends at `start`
        itself, open or not.
        """
        if business <= _ZERO:
            return _unmoved(start, business)
        if self._openings is None:
            start = _utc(start)
            if business > _CEILING - start:
                raise CalendarBoundsError(f"{business} after {start.isoformat()} is after the year {LAST_YEAR}")
            return start + business
        return _bounded(_EPOCH + timedelta(microseconds=self.add_us(_micros(start), business // _MICROSECOND)))

    def run_out(self, start: datetime, business: timedelta) -> datetime | None:
        """The same; None where the calendar does not stay in use for so long."""
        try:
            return self.add(start, business)
        except CalendarBoundsError:
            return None

    def add_us(self, at: int, business: int) -> int:
        """`add` in microseconds since 1970, of more than none, for a calendar with hours; `at` is in bounds."""
        openings = self._openings
        assert openings is not None
        table = openings.covering(at, at)
        run = table.run_at(at) + business
        while run > table.run[-1]:
            table = openings.later(table)
        return table.instant(run)

    def between(self, start: datetime, end: datetime) -> timedelta:
        """Business time from `start` to `end`; the negative of the way back if `end` is before `start`."""
        if self._openings is None:
            return _utc(end) - _utc(start)
        since, until = _micros(start), _micros(end)
        if until < since:
            return -timedelta(microseconds=self.between_us(until, since))
        return timedelta(microseconds=self.between_us(since, until))

    def between_us(self, since: int, until: int) -> int:
        """`between` in microseconds since 1970, of times in bounds, the later one last."""
        if self._openings is None:
            return until - since
        table = self._openings.covering(since, until)
        return table.run_at(until) - table.run_at(since)

    def is_open(self, at: datetime) -> bool:
        """Whether business time runs from `at` on: true at an opening, false at a closing."""
        instant = _micros(at)
        return self._openings is None or self._openings.covering(instant, instant).is_open(instant)

    def end_of_day(self, day: date) -> datetime:
        """What a date without a time means: the end of that day in the calendar's zone, whatever its hours, in UTC.

        It is the instant the next day starts; where the clocks go back over midnight, when it starts for good.
        """
        return _EPOCH + timedelta(microseconds=self.wall_us(day, 24 * 60))

    def wall_us(self, day: date, minutes: int) -> int:
        """When the wall time so many minutes into a local date is reached for good, in microseconds since 1970."""
        if not FIRST_YEAR <= day.year <= LAST_YEAR:
            raise CalendarBoundsError(f"{day.isoformat()} is outside the years {FIRST_YEAR} to {LAST_YEAR}")
        return last_before(midnight(day) + timedelta(minutes=minutes), self.zone)

    def shifts_on(self, day: date) -> tuple[Shift, ...]:
        """The shifts of a local date, in minutes; a whole day round the clock, none on a holiday."""
        return ALL_DAY if self.hours is None else self.hours.shifts_on(day)


def build_calendar(
    name: str,
    *,
    zone: str,
    weekly: Mapping[str, Sequence[tuple[str, str]]] | None,
    holidays: Collection[date],
    country: str | None = None,
    region: str | None = None,
    days: Mapping[date, Sequence[tuple[str, str]]] | None = None,
) -> Calendar:
    """Build a calendar from its parsed definition.

    `zone` is an IANA name. `weekly` gives the shifts of each day, {"mon": [("08:00", "12:00"), ("13:00", "17:00")]}, in
    local wall time; a day left out is closed; None is round the clock, or round the clock but for the holidays if there
    are any. `holidays` are explicit local dates; `country` (ISO 3166, "DE") and `region` ("BW") add the public holidays
    of the `holidays` package. `days` gives local dates shifts of their own, before all of that.

    Raises ValueError that begins with the faulty key (`weekly: mon: …`), for the caller to put file and path before.
    """
    checked_zone = _checked_zone(zone)
    _check_country(country, region)
    if weekly is None and not holidays and country is None and not days:
        return Calendar(name, checked_zone, None, None)
    own = {day: _checked_shifts(f"days: {day}", shifts) for day, shifts in (days or {}).items()}
    week = (ALL_DAY,) * 7 if weekly is None else _checked_week(weekly)
    hours = OpeningHours(checked_zone, week, frozenset(holidays), country, region, own)
    if not any(hours.intervals(year) for year in range(FIRST_YEAR, LAST_YEAR + 1)):
        raise ValueError("weekly: the calendar never opens: no day has a shift that is not on a holiday")
    return Calendar(name, checked_zone, hours, _Openings(hours))


def calendar_of(name: str, spec: CalendarSpec) -> Calendar:
    """The calendar that a catalog describes."""
    weekly: dict[str, list[tuple[str, str]]] | None = None
    if spec.weekly is not None:
        weekly = {day: [(shift.opens, shift.closes) for shift in shifts] for day, shifts in spec.weekly.items()}
    return build_calendar(
        name,
        zone=spec.zone,
        weekly=weekly,
        holidays=[date.fromisoformat(day) for day in spec.holidays],
        country=spec.country,
        region=spec.region,
        days={
            date.fromisoformat(day): [(shift.opens, shift.closes) for shift in shifts]
            for day, shifts in spec.days.items()
        },
    )


def _start_of_year(year: int, zone: ZoneInfo) -> int:
    """When a local year starts, in microseconds since 1970 UTC."""
    return last_before(midnight(date(year, 1, 1)), zone)


def _checked_zone(zone: str) -> ZoneInfo:
    try:
        return ZoneInfo(zone)
    except (KeyError, ValueError, OSError) as error:  # unknown; malformed; a folder of the database, such as "Europe"
        raise ValueError(f'zone: "{zone}" is not a time zone, such as "Europe/Berlin"') from error


def _check_country(country: str | None, region: str | None) -> None:
    if country is None:
        if region is not None:
            raise ValueError(f'region: "{region}" needs a country')
        return
    if not _COUNTRY.fullmatch(country):
        raise ValueError(f'country: "{country}" is not an ISO 3166 code of two capital letters, such as "DE"')
    try:
        _public_holidays(country, region, FIRST_YEAR)
    except NotImplementedError as error:
        raise ValueError(f"country: no public holidays are known: {error}") from error


@cache
def _public_holidays(country: str | None, region: str | None, year: int) -> frozenset[date]:
    if country is None:
        return frozenset()
    # Imported late: it takes 0.1 s, and most calendars name no country.
    from holidays import country_holidays

    return frozenset(country_holidays(country, subdiv=region, years=year))


def _checked_week(weekly: Mapping[str, Sequence[tuple[str, str]]]) -> tuple[tuple[Shift, ...], ...]:
    for day in weekly:
        if day not in DAYS:
            raise ValueError(f'weekly: "{day}" is not a day: use {", ".join(DAYS)}')
    return tuple(_checked_shifts(f"weekly: {day}", weekly.get(day, ())) for day in DAYS)


def _checked_shifts(place: str, shifts: Sequence[tuple[str, str]]) -> tuple[Shift, ...]:
    checked = sorted(_checked_shift(place, *shift) for shift in shifts)
    for before, after in pairwise(checked):
        if after[0] < before[1]:
            raise ValueError(f"{place}: {_shown(before)} and {_shown(after)} overlap")
    return tuple(checked)


def _checked_shift(place: str, opening: str, closing: str) -> Shift:
    shift = _minutes(place, opening), _minutes(place, closing)
    if shift[0] == shift[1]:
        raise ValueError(f"{place}: {opening}-{closing} has no length; a whole day is 00:00-24:00")
    if shift[0] > shift[1]:
        rest = f", and 00:00-{closing} on the next day" if shift[1] else ""
        raise ValueError(f"{place}: {opening}-{closing} runs over midnight: write {opening}-24:00{rest}")
    return shift


def _minutes(place: str, value: str) -> int:
    if not _TIME_OF_DAY.fullmatch(value):
        raise ValueError(f'{place}: "{value}" is not a time of day, "00:00" to "24:00"')
    hours, minutes = value.split(":")
    return int(hours) * 60 + int(minutes)


def _shown(shift: Shift) -> str:
    return "-".join(f"{minutes // 60:02}:{minutes % 60:02}" for minutes in shift)


def _unmoved(start: datetime, business: timedelta) -> datetime:
    if business < _ZERO:
        raise ValueError(f"business time to add must not be negative: {business}")
    return _utc(start)


def _micros(at: datetime) -> int:
    since = _utc(at) - _EPOCH
    return (since.days * 86_400 + since.seconds) * _SECOND + since.microseconds


def _utc(at: datetime) -> datetime:
    if at.tzinfo is not UTC:
        # astimezone would take a naive datetime for the machine's local time.
        if at.utcoffset() is None:
            raise ValueError(f"a calendar needs a time zone with {at.isoformat()}")
        at = at.astimezone(UTC)
    return _bounded(at)


def _bounded(at: datetime) -> datetime:
    if not _FLOOR <= at <= _CEILING:
        raise CalendarBoundsError(f"{at.isoformat()} is outside the years {FIRST_YEAR} to {LAST_YEAR}")
    return at
