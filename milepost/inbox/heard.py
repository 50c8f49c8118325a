"""When each source was heard last, and for how long it is usually quiet at this hour."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from milepost.db.tables import source_gaps, source_minutes, source_stats
from milepost.quiet import slot_of

HISTORY: Final = timedelta(days=1)
"""A minute whose events are older than this on average brought history in: a source that is quiet does not speak so."""
_HISTORY_US: Final = HISTORY // timedelta(microseconds=1)
_MINUTE: Final = timedelta(minutes=1)


def speaking() -> sa.ColumnElement[bool]:
    """Of a row of source_minutes: whether the source spoke in it, and didn't only hand in history."""
    m = source_minutes.c
    return m.lag_us_sum <= _HISTORY_US * sa.func.greatest(m.events, 1)


def last_heard(connection: sa.Connection, sources: Collection[str] | None = None) -> dict[str, datetime]:
    """When each source, of those named or of all, was heard last: its last event's reception, repeats too.

    What was brought in as history counts as heard when it happened.
    One look into an index for each source, however much it has sent.
    """
    s, m = source_stats.c, source_minutes.c
    last = (
        sa.select(m.minute).where(m.source == s.source, speaking()).order_by(m.minute.desc()).limit(1).lateral("last")
    )
    query = sa.select(s.source, s.last_received_at, s.last_occurred_at, last.c.minute).outerjoin(last, sa.true())
    if sources is not None:
        query = query.where(s.source.in_(sorted(sources)))
    return {row.source: _heard(row) for row in connection.execute(query)}


def _heard(row: Any) -> datetime:
    happened: datetime = row.last_occurred_at
    return happened if row.minute is None else max(happened, min(row.last_received_at, row.minute + _MINUTE))


def usual_gaps(
    connection: sa.Connection, now: datetime, sources: Collection[str] | None = None
) -> dict[str, timedelta]:
    """For each source that is known well enough: how long its quiet usually is at most (p99) at this hour of the day
    and kind of day. `derived.source_gaps` has them, counted hourly."""
    g = source_gaps.c
    query: sa.Select[Any] = sa.select(g.source, g.seconds).where(g.slot == slot_of(now))
    if sources is not None:
        query = query.where(g.source.in_(sorted(sources)))
    return {row.source: timedelta(seconds=row.seconds) for row in connection.execute(query)}
