"""Events by the minute in which they were counted, from counts by the hour in which they happened. Pure.

The recorder counts events by source, type, attribute and hour (input.volume_hours). Looked at again and again, what has
been added since the last look is what has come since: so a rate over the last minutes costs the recorder nothing, and
a look costs what kinds of events there are, not how many. Events that come more than `HOURS` late count for no rate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

HOURS: Final = timedelta(hours=2)
BUCKETS: Final = 60
"""A window is kept in so many parts; one of less than an hour in minutes."""
STALE: Final = timedelta(minutes=10)
"""After a longer time without a look nobody knows when it came."""

Pair = tuple[int, int]
"""(events, of them bad)"""


@dataclass(slots=True)
class Seen:
    """What a look saw, and what has come in the window. `hours`: {hour in ISO form: events and bad ones};
    `buckets`: (beginning in seconds since 1970, events, bad)."""

    hours: dict[str, Pair] = field(default_factory=dict)
    buckets: list[tuple[int, int, int]] = field(default_factory=list)

    @property
    def sums(self) -> Pair:
        return sum(events for _, events, _ in self.buckets), sum(bad for _, _, bad in self.buckets)


def added(before: Mapping[str, Pair], now: Mapping[str, Pair]) -> Pair:
    """What came between two looks."""
    events = sum(max(0, count[0] - before.get(hour, (0, 0))[0]) for hour, count in now.items())
    bad = sum(max(0, count[1] - before.get(hour, (0, 0))[1]) for hour, count in now.items())
    return events, min(events, bad)


def look(before: Seen | None, hours: Mapping[str, Pair], window: timedelta, at: datetime) -> Seen:
    """The next look. `before` None: the first one, which can't tell when what it sees has come."""
    if before is None:
        return Seen(dict(hours))
    size = max(60, int(window.total_seconds()) // BUCKETS)
    events, bad = added(before.hours, hours)
    oldest = at.timestamp() - window.total_seconds()
    kept = [bucket for bucket in before.buckets if bucket[0] + size > oldest]
    if events:
        kept = _put(kept, int(at.timestamp()) // size * size, events, bad)
    return Seen(dict(hours), kept)


def _put(buckets: list[tuple[int, int, int]], begins: int, events: int, bad: int) -> list[tuple[int, int, int]]:
    if buckets and buckets[-1][0] == begins:
        _, former, worse = buckets[-1]
        return [*buckets[:-1], (begins, former + events, worse + bad)]
    return [*buckets, (begins, events, bad)]


def total(counts: Iterable[Pair]) -> Pair:
    pairs = list(counts)
    return sum(one for one, _ in pairs), sum(two for _, two in pairs)
