"""Sources: what each of them sent, how fresh it is, and what was refused."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from dashboards.queries.paging import Page, bounded, id_order, time_order
from milepost.catalog.schema import Catalog
from milepost.db.tables import pollers, quarantine, source_minutes, source_stats

WINDOW: Final = timedelta(hours=1)
"""What the curve of a source shows."""
HISTORY_US: Final = 86_400_000_000
"""A minute whose events are older than this on average brought history in: it says nothing of how fresh a source is."""
NOW: Final = timedelta(minutes=10)
"""What rate and lag are taken over."""
MAX_OPEN: Final = 20_000
"""Open refusals are counted up to here: the page must stay fast when a sender goes wild."""
_q = quarantine.c
_BY_ID: Final = id_order(_q.quarantine_id)
_BY_TIME: Final = time_order(_q.received_at, _q.quarantine_id, descending=True)


@dataclass(slots=True)
class Source:
    """A sender. `minutes` holds (minute, events) of WINDOW; events and lag (receive time less event time, in seconds)
    of the window are those of NOW."""

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
    refused: int = 0
    window_events: int = 0
    lag_mean: float | None = None
    lag_max: float | None = None
    minutes: list[tuple[datetime, int]] = field(default_factory=list)

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
    for name, count in refusals(connection).items():
        found.setdefault(name, Source(name)).refused = count
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


def refusals(connection: sa.Connection) -> dict[str, int]:
    """Open refusals by source, among the last MAX_OPEN."""
    latest = sa.select(_q.source).where(_q.state == "open").order_by(_q.quarantine_id.desc()).limit(MAX_OPEN).subquery()
    statement = sa.select(latest.c.source, sa.func.count()).group_by(latest.c.source)
    return {row[0]: row[1] for row in connection.execute(statement)}


def poller_list(connection: sa.Connection) -> list[dict[str, Any]]:
    """The connections that Milepost polls, with their last error."""
    p = pollers.c
    statement = sa.select(p.name, p.polled_at, p.error, p.failing_since).order_by(p.name)
    return [dict(row) for row in connection.execute(statement).mappings()]


@dataclass(frozen=True, slots=True)
class Refused:
    """An event in quarantine; `body` is whole, as it came."""

    quarantine_id: int
    received_at: datetime
    source: str
    kind: str
    reason: str
    event_id: str | None
    body: bytes
    sender: str | None
    state: str


def quarantine_page(
    connection: sa.Connection,
    *,
    source: str | None = None,
    kind: str | None = None,
    state: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[Refused]:
    """The latest first. Raises Permanent for a bad cursor."""
    order = _BY_TIME if source else _BY_ID
    wanted = [order.after(cursor)]
    for column, value in ((_q.source, source), (_q.kind, kind), (_q.state, state)):
        if value:
            wanted.append(column == value)
    limit = bounded(limit)
    columns = (_q[name] for name in Refused.__dataclass_fields__)
    rows = connection.execute(sa.select(*columns).where(*wanted).order_by(*order.by()).limit(limit + 1)).mappings()
    found = [Refused(**row) for row in rows]
    return order.page(found, limit, lambda row: (row.received_at if source else row.quarantine_id, row.quarantine_id))
