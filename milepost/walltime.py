"""Wall times of a zone as instants, in microseconds since 1970 UTC, also where its clocks change. Pure."""

from __future__ import annotations

from bisect import bisect_left
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_SECOND: Final = 1_000_000


def midnight(day: date) -> datetime:
    """The wall time at which a day begins, naive, whether it happens or not."""
    return datetime.combine(day, time())


def first_at(wall: datetime, zone: ZoneInfo) -> int:
    """The first instant whose local wall time is at or past `wall` (naive), in microseconds since 1970 UTC."""
    first, second = _both(wall, zone)
    return first if first <= second else _gap_end(wall, zone, second, first)


def last_before(wall: datetime, zone: ZoneInfo) -> int:
    """The end of the last instant whose local wall time is before `wall` (naive), in microseconds since 1970 UTC."""
    first, second = _both(wall, zone)
    if first > second:
        return _gap_end(wall, zone, second, first)
    # In a fold, the second time counts, unless it is the very start: nothing of the repeated hour is before `wall`.
    return second if first == second or wall_of(second - _SECOND, zone) < wall else first


def _both(wall: datetime, zone: ZoneInfo) -> tuple[int, int]:
    """When `wall` happens first and last. In a gap it never does: the first is then the later one (PEP 495)."""
    aware = wall.replace(tzinfo=zone)
    return (aware - EPOCH) // _MICROSECOND, (aware.replace(fold=1) - EPOCH) // _MICROSECOND


def _gap_end(wall: datetime, zone: ZoneInfo, before: int, after: int) -> int:
    """When the clocks skip `wall`, known to be in (before, after]; zones change at whole seconds."""
    seconds = range(before, after + _SECOND, _SECOND)
    return seconds[bisect_left(seconds, wall, key=lambda at: wall_of(at, zone))]


def wall_of(at: int, zone: ZoneInfo) -> datetime:
    """The local wall time of an instant, naive."""
    return (EPOCH + timedelta(microseconds=at)).astimezone(zone).replace(tzinfo=None, fold=0)
