"""Learns from history for how long each source is usually quiet, and which source tells a milestone.

Both are counted anew once an hour, after a rebuild, and more often while they grow. The only writer of
derived.source_gaps and derived.tellers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Final

import sqlalchemy as sa

from milepost.catalog.schema import Catalog, Milestone
from milepost.db.tables import source_gaps, source_minutes, tellers, volume_hours
from milepost.inbox.heard import speaking
from milepost.inbox.tellers import Teller, teller
from sla.flow import store
from sla.flow.usual import HOUR, SPAN, Span, usual

SOON: Final = timedelta(minutes=1)
EVERY: Final = timedelta(hours=1)


@dataclass(slots=True)
class Learner:
    """Learns when it is time. Remembers how soon that is: keep one for a process."""

    every: timedelta = SOON
    known: tuple[int, int] = (0, 0)

    def step(self, connection: sa.Connection, catalog: Catalog, now: datetime) -> bool:
        """Count anew what is old or missing. Was there something to do?

        While what is known grows, as it does when history is brought in, it is old after a minute; then ever later, up
        to an hour.
        """
        last = connection.scalar(sa.select(sa.func.max(tellers.c.fitted_at)))
        if last is not None and timedelta(0) <= now - last < self.every:
            return False
        known = _gaps(connection, now), _tellers(connection, catalog, now)
        self.every = min(2 * self.every, EVERY) if known == self.known else SOON
        self.known = known
        return True


def _gaps(connection: sa.Connection, now: datetime) -> int:
    unusual: defaultdict[str, list[Span]] = defaultdict(list)
    for source, begin, end in store.silences_since(connection, now - SPAN):
        unusual[source].append((begin, end))
    known = {source: usual(minutes, unusual[source]) for source, minutes in _heard(connection, now - SPAN)}
    for source, hours in _happened(connection, now - SPAN):
        known[source] = known.get(source) or usual(hours, unusual[source], HOUR)
    rows = [
        {"source": source, "slot": slot, "seconds": one.seconds, "samples": one.samples, "fitted_at": now}
        for source, slots in sorted(known.items())
        for slot, one in sorted(slots.items())
    ]
    connection.execute(source_gaps.delete())
    if rows:
        connection.execute(source_gaps.insert(), rows)
    return len(rows)


def _heard(connection: sa.Connection, since: datetime) -> Iterator[tuple[str, list[datetime]]]:
    """The minutes in which each source spoke, in order."""
    m = source_minutes.c
    query = sa.select(m.source, m.minute).where(m.minute >= since, speaking()).order_by(m.source, m.minute)
    rows = connection.execute(query.execution_options(yield_per=50_000))
    for source, group in groupby(rows, key=lambda row: str(row.source)):
        yield source, [row.minute for row in group]


def _happened(connection: sa.Connection, since: datetime) -> Iterator[tuple[str, list[datetime]]]:
    """The hours in which something happened that each source told, be it as history."""
    v = volume_hours.c
    query = sa.select(v.source, v.hour).where(v.hour >= since, v.dimension == "").distinct().order_by(v.source, v.hour)
    for source, group in groupby(connection.execute(query), key=lambda row: str(row.source)):
        yield source, [row.hour for row in group]


def _tellers(connection: sa.Connection, catalog: Catalog, now: datetime) -> int:
    rows: list[dict[str, Any]] = []
    for name, model in catalog.models.items():
        for step in model.milestones:
            told = _teller(connection, name, step, now)
            rows += [
                {"model": name, "milestone": step.name, "dimension": dimension, "value": value, "source": source}
                for dimension, value, source in told.rows()
            ]
    connection.execute(tellers.delete())
    # without any, a row says that it was looked
    rows = rows or [dict.fromkeys(("model", "milestone", "dimension", "value", "source"), "")]
    connection.execute(tellers.insert(), [{**row, "fitted_at": now} for row in rows])
    return len(rows)


def _teller(connection: sa.Connection, model: str, step: Milestone, now: datetime) -> Teller:
    return Teller(None, {}, step.source) if step.source else teller(connection, model, step.name, now - SPAN)
