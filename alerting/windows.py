"""When maintenance windows are open. Pure, and exact over DST changes: by the rules by which shifts open and close
(milepost/walltime.py). So a time that the clocks skip is the end of the gap, and of an hour that comes twice a window
takes both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from alerting.silence import Cover
from milepost.calendar import DAYS
from milepost.catalog.window import Every, Window
from milepost.walltime import first_at, last_before

Span = tuple[datetime, datetime]
LOOK_AGAIN: Final = timedelta(minutes=5)
"""The catalog may change, and a window with it."""
FAR: Final = timedelta(days=800)
"""So far ahead is looked for the next time: a fifth Sunday of February is longer away, and no maintenance."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY: Final = timedelta(days=1)


def spans(window: Window, since: datetime, until: datetime) -> Iterator[Span]:
    """The times in which it is open, in order, of those that have a part in [since, until)."""
    for start, end in _spans(window, since, until):
        if start < end and start < until and end > since:
            yield start, end


def open_span(window: Window, at: datetime) -> Span | None:
    """The time in which it is open at this instant; of two that overlap the one that lasts longer."""
    found = [span for span in spans(window, at, at + timedelta(microseconds=1)) if span[0] <= at < span[1]]
    return max(found, key=lambda span: span[1], default=None)


def next_span(window: Window, at: datetime) -> Span | None:
    """The next one that opens after `at`."""
    return next((span for span in spans(window, at, at + FAR) if span[0] > at), None)


def covers(windows: Mapping[str, Window], now: datetime) -> list[Cover]:
    """What the windows that are open keep."""
    return [_cover(name, one, span, now) for name, one in windows.items() if (span := open_span(one, now)) is not None]


def _cover(name: str, one: Window, span: Span, now: datetime) -> Cover:
    reason = f"maintenance: {one.title or name}"
    return Cover(f"window {name}", reason, one.matchers, span[1], look_at=min(span[1], now + LOOK_AGAIN))


def _spans(window: Window, since: datetime, until: datetime) -> Iterator[Span]:
    zone = ZoneInfo(window.zone)
    if window.once is not None:
        yield _span(window.once.opens, window.once.closes, zone)
    if window.every is not None:
        first = since.astimezone(zone).date() - 2 * _DAY
        last = until.astimezone(zone).date() + _DAY
        for day in _days(window.every, first, last):
            midnight = datetime.combine(day, time())
            yield _span(midnight + window.every.opens, midnight + window.every.closes, zone)


def _span(opens: datetime, closes: datetime, zone: ZoneInfo) -> Span:
    """Wall times turned into instants; one that the clocks skip as a whole has no length."""
    return _at(first_at(opens, zone)), _at(last_before(closes, zone))


def _at(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def _days(every: Every, first: date, last: date) -> Iterator[date]:
    for ordinal in range(first.toordinal(), last.toordinal() + 1):
        day = date.fromordinal(ordinal)
        if _falls_on(every, day):
            yield day


def _falls_on(every: Every, day: date) -> bool:
    left = ((day.replace(day=1) + 31 * _DAY).replace(day=1) - day).days  # days to the end of the month, with this one
    if every.days:
        return day.day in every.days or -left in every.days
    if every.weekdays and DAYS[day.weekday()] not in every.weekdays:
        return False
    if every.nths:
        return (day.day - 1) // 7 + 1 in every.nths or (-1 in every.nths and left <= 7)
    return True
