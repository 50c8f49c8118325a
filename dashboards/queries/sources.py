"""Sources: what each of them sent, how fresh it is, and what was refused."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from dashboards.queries.feeds import Feed, feeds, promises
from dashboards.queries.quarantine import counts
from milepost.catalog.schema import Catalog
from milepost.db.tables import pollers, source_minutes, source_stats

WINDOW: Final = timedelta(hours=1)
"""What the curve of a source shows."""
HISTORY_US: Final = 86_400_000_000
"""A minute whose events are older than this on average brought history in: it says nothing of how fresh a source is."""
NOW: Final = timedelta(minutes=10)
"""What rate and lag are taken over."""


@dataclass(slots=True)
class Source:
    """A sender. `minutes` holds (minute, events) of WINDOW; events and lag (receive time less event time, in seconds)
    of the window are those of NOW. `quarantined`: what is open, by kind; `unkept`: refusals that were only counted."""

    source: str
    title: str = ""
    system: str = ""
    owner: str | None = None
    first_received_at: datetime | None = None
    last_received_at: datetime | None = None
    last_occurred_at: datetime | None = None
    events: int = 0
    duplicates: int = 0
    conflicts: int = 0
    skewed: int = 0
    quarantined: dict[str, int] = field(default_factory=dict)
    unkept: int = 0
    window_events: int = 0
    lag_mean: float | None = None
    lag_max: float | None = None
    minutes: list[tuple[datetime, int]] = field(default_factory=list)
    feed: Feed = field(default_factory=Feed)

    @property
    def own(self) -> bool:
        """Whether Milepost itself sends it, as reconciliations do."""
        return self.source.startswith("/milepost/")

    @property
    def refused(self) -> int:
        """Open in quarantine."""
        return sum(self.quarantined.values())

    @property
    def rate(self) -> float:
        """Events a minute over the window."""
        return self.window_events / (NOW / timedelta(minutes=1))


def source_list(connection: sa.Connection, catalog: Catalog, now: datetime) -> list[Source]:
    """Every source that was heard, named in the catalog or refused, by name; rate and lag over NOW."""
    found: dict[str, Source] = {}
    for name, spec in catalog.sources.items():
        found[name] = Source(name, spec.title, spec.system, spec.owner)
    for row in connection.execute(sa.select(source_stats)).mappings():
        one = found.setdefault(row["source"], Source(row["source"]))
        for name, value in row.items():
            setattr(one, name, value)
    _add_window(connection, found, now)
    for name, kept in counts(connection).items():
        one = found.setdefault(name, Source(name))
        one.quarantined, one.unkept = kept.open, kept.unkept
    known = feeds(connection, now)
    for name, one in found.items():
        one.feed = known[name]
        one.feed.promises = promises(catalog, name)
    return sorted(found.values(), key=lambda one: one.source)


def _add_window(connection: sa.Connection, found: dict[str, Source], now: datetime) -> None:
    m = source_minutes.c
    statement = sa.select(source_minutes).where(m.minute >= now - WINDOW).order_by(m.source, m.minute)
    lag_us: defaultdict[str, int] = defaultdict(int)
    for row in connection.execute(statement).mappings():
        one = found.setdefault(row["source"], Source(row["source"]))
        if row["lag_us_sum"] > HISTORY_US * max(1, row["events"]):
            continue
        one.minutes.append((row["minute"], row["events"]))
        if row["minute"] < now - NOW:
            continue
        one.window_events += row["events"]
        lag_us[one.source] += int(row["lag_us_sum"])
        one.lag_max = max(one.lag_max or 0.0, row["lag_us_max"] / 1e6)
    for name, total in lag_us.items():
        one = found[name]
        one.lag_mean = total / one.window_events / 1e6 if one.window_events else None


def poller_list(connection: sa.Connection) -> list[dict[str, Any]]:
    """The connections that Milepost polls, with their last error."""
    p = pollers.c
    statement = sa.select(p.name, p.polled_at, p.error, p.failing_since).order_by(p.name)
    return [dict(row) for row in connection.execute(statement).mappings()]
