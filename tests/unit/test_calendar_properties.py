"""Business time against an oracle that steps through the minutes, and against its own laws."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from milepost.calendar import DAYS, Calendar, build_calendar
from milepost.clock import from_us, to_us
from sla.cutoff import CutOff

MICROSECOND = timedelta(microseconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


ANCHORS = [
    ("Europe/Berlin", "2026-03-29"),
    ("Europe/Berlin", "2026-10-25"),
    ("Europe/Berlin", "2027-01-01"),
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    ("Australia/Lord_Howe", "2026-04-05"),
    ("Australia/Lord_Howe", "2026-10-04"),
    ("America/St_Johns", "2006-10-29"),  # back from 00:01 to 23:01 of the day before
    ("America/Havana", "2026-11-01"),  # back from 01:00 to 00:00
    ("America/Sao_Paulo", "2018-11-04"),  # on from 00:00 to 01:00
    ("Pacific/Apia", "2011-12-30"),  # a day that never was
    ("Africa/Casablanca", "2026-02-15"),
    ("Asia/Kathmandu", "2098-06-01"),
]


@dataclass(frozen=True)
class Case:
    zone: str
    weekly: dict[str, list[tuple[str, str]]]
    holidays: frozenset[date]
    start: datetime
    end: datetime
    days: dict[date, list[tuple[str, str]]] = field(default_factory=dict)

    def calendar(self) -> Calendar:
        return build_calendar(
            "drawn", zone=self.zone, weekly=self.weekly, holidays=self.holidays, days=self.days or None
        )

    def shifts(self, day: date) -> list[tuple[str, str]]:
        usual = [] if day in self.holidays else self.weekly[DAYS[day.weekday()]]
        return self.days.get(day, usual)


class Oracle:
    """Says which minutes are open by looking at the wall clock in every one, from a day before the case to a day after.

    A shift has begun once the wall clock has been seen at or past its opening, and goes on while the wall clock will
    yet be seen before its closing.
    """

    def __init__(self, case: Case) -> None:
        self.first = (case.start - 30 * HOUR).replace(second=0, microsecond=0)
        zone, minutes = ZoneInfo(case.zone), (case.end - case.start + 60 * HOUR) // MINUTE + 2
        self.walls = [(self.first + n * MINUTE).astimezone(zone).replace(tzinfo=None) for n in range(minutes)]
        self.open = [False] * minutes
        day, last = self.walls[0].date() - DAY, self.walls[-1].date() + DAY
        while day <= last:
            for opening, closing in case.shifts(day):
                self._mark(self._on(day, opening), self._on(day, closing))
            day += DAY

    @staticmethod
    def _on(day: date, text: str) -> datetime:
        return (
            datetime.combine(day + DAY, time()) if text == "24:00" else datetime.combine(day, time.fromisoformat(text))
        )

    def _mark(self, opening: datetime, closing: datetime) -> None:
        begun = next((n for n, wall in enumerate(self.walls) if wall >= opening), len(self.walls))
        over = next((n for n in reversed(range(len(self.walls))) if self.walls[n] < closing), -1)
        for n in range(begun, over + 1):
            self.open[n] = True

    def is_open(self, at: datetime) -> bool:
        return self.open[(at - self.first) // MINUTE]

    def between(self, start: datetime, end: datetime) -> timedelta:
        total = timedelta()
        for n in range((start - self.first) // MINUTE, (end - self.first) // MINUTE + 1):
            if self.open[n]:
                minute = self.first + n * MINUTE
                total += min(end, minute + MINUTE) - max(start, minute)
        return total

    def add(self, start: datetime, business: timedelta) -> datetime:
        left, n = business, (start - self.first) // MINUTE
        while True:
            begin, end = max(start, self.first + n * MINUTE), self.first + (n + 1) * MINUTE
            if self.open[n]:
                if left <= end - begin:
                    return begin + left
                left -= end - begin
            n += 1


@dataclass(frozen=True)
class Promise:
    """Due on the first working day whose cut-off lies ahead, and so many days later; all in minutes of the day."""

    cuts: list[int | None]
    days: int
    due: int | None

    def due_after(self, case: Case, start: datetime) -> datetime | None:
        """By looking at the wall clock in every minute from a day before; None when ten days don't suffice."""
        first = (start - 30 * HOUR).replace(second=0, microsecond=0)
        walls = [(first + n * MINUTE).astimezone(ZoneInfo(case.zone)).replace(tzinfo=None) for n in range(12 * 24 * 60)]
        days = self.days
        for day in sorted({wall.date() for wall in walls[: 10 * 24 * 60]} - {walls[0].date()}):
            cut, shifts = self.cuts[day.weekday()], case.shifts(day)
            midnight = datetime.combine(day, time())
            if cut is None or not shifts:
                continue
            if last_minute(walls, midnight + cut * MINUTE) < (start - first) // MINUTE:
                continue
            if days == 0:
                closing = Oracle._on(day, shifts[-1][1]) if self.due is None else midnight + self.due * MINUTE
                due = first + (last_minute(walls, closing) + 1) * MINUTE
                return min(due, first + (last_minute(walls, midnight + DAY) + 1) * MINUTE - MICROSECOND)
            days -= 1
        return None


def last_minute(walls: list[datetime], before: datetime) -> int:
    """The last minute in which the wall clock is before this."""
    return next(n for n in reversed(range(len(walls))) if walls[n] < before)


def text(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


# Bounds are drawn around the hours in which clocks change more often than all over the day.
night = st.integers(0, 12).map(lambda n: n * 15)
cuts = st.lists(night | st.integers(0, 1440) | night, max_size=6, unique=True).map(sorted)


@st.composite
def shifts(draw: st.DrawFn) -> list[tuple[str, str]]:
    pairs = list(pairwise(draw(cuts)))
    chosen = draw(st.sampled_from([pairs, pairs[::2]]))
    return [(text(opening), text(closing)) for opening, closing in chosen]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    zone, day = draw(st.sampled_from(ANCHORS))
    anchor = utc(day)
    weekly = {name: draw(shifts()) for name in DAYS}
    assume(any(weekly.values()))
    around = [anchor.date() + n * DAY for n in range(-4, 8)]
    holidays = draw(st.just(frozenset()) | st.frozensets(st.sampled_from(around), max_size=3))
    before, after = draw(st.timedeltas(timedelta(), 2 * DAY)), draw(st.timedeltas(timedelta(), 4 * DAY))
    days = draw(st.just({}) | st.dictionaries(st.sampled_from(around), shifts(), max_size=2))
    return Case(zone, weekly, holidays, anchor - before, anchor + after, days)


def check(case: Case, share: Fraction) -> None:
    asked, oracle = case.calendar(), Oracle(case)
    run = oracle.between(case.start, case.end)
    assert asked.between(case.start, case.end) == run
    assert asked.between(case.end, case.start) == -run
    assert asked.is_open(case.start) == oracle.is_open(case.start)
    assert asked.is_open(case.end) == oracle.is_open(case.end)
    part = int(run // MICROSECOND * share) * MICROSECOND
    if part:
        assert asked.add(case.start, part) == oracle.add(case.start, part)


@settings(deadline=None, max_examples=100)
@given(case=cases(), share=st.fractions(0, 1))
def test_a_calendar_agrees_with_the_minutes(case: Case, share: Fraction) -> None:
    check(case, share)


@pytest.mark.parametrize(
    "every_day",
    [
        [("00:00", "00:30"), ("01:00", "01:30"), ("02:00", "02:30"), ("23:30", "24:00")],
        [("00:30", "01:00"), ("01:30", "02:00"), ("02:30", "03:00"), ("23:00", "23:30")],
        [("01:00", "02:10"), ("02:20", "04:00")],
        [("00:00", "24:00")],
    ],
)
@pytest.mark.parametrize(("zone", "day"), ANCHORS)
def test_a_calendar_agrees_with_the_minutes_of_a_changing_day(
    zone: str, day: str, every_day: list[tuple[str, str]]
) -> None:
    start, end = utc(day) - 36 * HOUR, utc(day) + 48 * HOUR
    check(Case(zone, dict.fromkeys(DAYS, every_day), frozenset(), start, end), Fraction(1, 2))


times = st.integers(0, 1440) | night


promises = st.builds(
    Promise,
    cuts=st.lists(st.none() | times, min_size=7, max_size=7) | times.map(lambda cut: [cut] * 7),
    days=st.integers(0, 2),
    due=st.none() | times,
)


@settings(deadline=None, max_examples=20)
@given(case=cases(), promise=promises, share=st.floats(0, 1))
def test_a_cut_off_agrees_with_the_minutes(case: Case, promise: Promise, share: float) -> None:
    start = case.start + (case.end - case.start) * share
    expected = promise.due_after(case, start)
    if expected is not None:
        found = CutOff(case.calendar(), promise.cuts, promise.days, promise.due).due_us(to_us(start))
        assert from_us(found) == expected


@settings(deadline=None, max_examples=50)
@given(anchor=st.sampled_from(ANCHORS), offset=st.integers(-2, 2))
def test_the_end_of_a_day_agrees_with_the_minutes(anchor: tuple[str, str], offset: int) -> None:
    zone, day = anchor[0], date.fromisoformat(anchor[1]) + offset * DAY
    noon = datetime.combine(day, time(12), UTC)
    minutes = [noon + n * MINUTE for n in range(-48 * 60, 48 * 60)]
    last = [at for at in minutes if at.astimezone(ZoneInfo(zone)).date() <= day][-1]
    assert build_calendar("always", zone=zone, weekly=None, holidays=[]).end_of_day(day) == last + MINUTE


instants = st.timedeltas(timedelta(), 30 * 365 * DAY).map(lambda since: utc("2015-01-01") + since)
durations = st.timedeltas(timedelta(), 400 * DAY)
zones = st.sampled_from(sorted({zone for zone, _ in ANCHORS}))


@cache
def office(zone: str) -> Calendar:
    weekdays = {day: [("08:00", "12:00"), ("13:00", "17:00")] for day in DAYS[:5]}
    nights = {"sat": [("23:00", "24:00")], "sun": [("00:00", "02:30")]}
    return build_calendar("office", zone=zone, weekly=weekdays | nights, holidays=[date(2026, 12, 25)])


@settings(deadline=None)
@given(zone=zones, start=instants, business=durations)
def test_between_is_the_inverse_of_add(zone: str, start: datetime, business: timedelta) -> None:
    asked = office(zone)
    end = asked.add(start, business)
    assert asked.between(start, end) == business
    if business:  # and no earlier instant would do
        assert asked.between(start, end - MICROSECOND) == business - MICROSECOND


@settings(deadline=None)
@given(zone=zones, start=instants, first=durations, second=durations)
def test_time_may_be_added_in_parts(zone: str, start: datetime, first: timedelta, second: timedelta) -> None:
    asked = office(zone)
    assert asked.add(asked.add(start, first), second) == asked.add(start, first + second)


@settings(deadline=None, max_examples=10)
@given(starts=st.lists(instants, min_size=2, max_size=4), business=durations)
def test_the_answer_does_not_depend_on_what_was_asked_before(starts: list[datetime], business: timedelta) -> None:
    fresh = office.__wrapped__
    used = fresh("Europe/Berlin")
    assert [used.add(start, business) for start in starts] == [
        fresh("Europe/Berlin").add(start, business) for start in starts
    ]
