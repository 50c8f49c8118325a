"""Learns from history for how long each source is usually quiet, and which source tells a milestone.

Both are counted anew once an hour, and after a rebuild: the only writer of derived.source_gaps and derived.tellers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Final

import sqlalchemy as sa

from milepost.catalog.schema import Catalog
from milepost.db.tables import source_gaps, source_minutes, tellers
from milepost.inbox.heard import speaking
from milepost.inbox.tellers import Teller, teller
from sla.flow import store
from sla.flow.usual import SPAN, Span, usual

EVERY: Final = timedelta(hours=1)
OF: Final = timedelta(days=30)
"""Milestones that were reached in so long tell who tells them."""


def learn_once(connection: sa.Connection, catalog: Catalog, now: datetime) -> bool:
    """Count anew what is older than an hour, or missing. Was there something to do?"""
    last = connection.scalar(sa.select(sa.func.max(tellers.c.fitted_at)))
    if last is not None and now - last < EVERY:
        return False
    _gaps(connection, now)
    _tellers(connection, catalog, now)
    return True


def _gaps(connection: sa.Connection, now: datetime) -> None:
    unusual: defaultdict[str, list[Span]] = defaultdict(list)
    for source, begin, end in store.silences_since(connection, now - SPAN):
        unusual[source].append((begin, end))
    rows = [
        {"source": source, "slot": slot, "seconds": one.seconds, "samples": one.samples, "fitted_at": now}
        for source, minutes in _heard(connection, now - SPAN)
        for slot, one in sorted(usual(minutes, unusual[source]).items())
    ]
    connection.execute(source_gaps.delete())
    if rows:
        connection.execute(source_gaps.insert(), rows)


def _heard(connection: sa.Connection, since: datetime) -> Iterator[tuple[str, list[datetime]]]:
    """The minutes in which each source spoke, in order."""
    m = source_minutes.c
    query = sa.select(m.source, m.minute).where(m.minute >= since, speaking()).order_by(m.source, m.minute)
    rows = connection.execute(query.execution_options(yield_per=50_000))
    for source, group in groupby(rows, key=lambda row: str(row.source)):
        yield source, [row.minute for row in group]


def _tellers(connection: sa.Connection, catalog: Catalog, now: datetime) -> None:
    rows: list[dict[str, Any]] = []
    for name, model in catalog.models.items():
        for step in model.milestones:
            told = Teller(None, {}, step.source) if step.source else teller(connection, name, step.name, now - OF)
            rows += [
                {"model": name, "milestone": step.name, "dimension": dimension, "value": value, "source": source}
                for dimension, value, source in told.rows()
            ]
    connection.execute(tellers.delete())
    # without any, a row says that it was looked
    rows = rows or [dict.fromkeys(("model", "milestone", "dimension", "value", "source"), "")]
    connection.execute(tellers.insert(), [{**row, "fitted_at": now} for row in rows])
