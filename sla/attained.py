"""derived.clock_days: how many clocks of a policy fell due on a day, by what became of them.

Counted anew once an hour for the days before today, so that thirty days of attainment needn't be counted from millions
of clocks whenever somebody looks. Today is not in it: readers count that themselves. What late evidence changes on an
older day shows within the hour.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import sqlalchemy as sa

from milepost.db.tables import clock_days

EVERY: Final = timedelta(hours=1)
DAYS: Final = 32
"""More than what is shown, by the days that a reader's window may be older than the last count."""
_DAY: Final = timedelta(days=1)
_COUNT: Final = sa.text(
    "INSERT INTO derived.clock_days (day, policy, state, clocks, counted_at)"
    " SELECT date_trunc('day', due_at, 'UTC'), policy, state, count(*), :now FROM derived.clocks"
    " WHERE due_at >= :first AND due_at < :last GROUP BY 1, 2, 3"
    # a row for each day that was counted, also where nothing fell due
    " UNION ALL SELECT day, '', '', 0, :now FROM generate_series(:first, :last - interval '1 day', interval '1 day')"
    " AS day ON CONFLICT DO NOTHING"
)


def count_days(connection: sa.Connection, now: datetime) -> bool:
    """Count the days anew when that is due; whether it was."""
    counted: datetime | None = connection.scalar(sa.select(sa.func.max(clock_days.c.counted_at)))
    if counted is not None and now - counted < EVERY:
        return False
    last = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    first = last - DAYS * _DAY
    connection.execute(clock_days.delete())
    connection.execute(_COUNT, {"first": first, "last": last, "now": now})
    return True
