"""derived.clock_hours: how many clocks of a policy and group fell due in an hour, and how many were not met in time.

Counted anew once an hour for the hours before the present one, so that a month of attainment needn't be counted from
millions of clocks whenever somebody looks. The present hour is not in it: readers count that themselves. What late
evidence changes in an older hour shows within the hour.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from milepost.catalog.objective import IN_TIME, NOT_IN_TIME
from milepost.catalog.policy import Policy
from milepost.catalog.schema import Catalog
from milepost.db.engine import transaction_lock
from milepost.db.tables import clock_hours, clocks, journeys

EVERY: Final = timedelta(hours=1)
DAYS: Final = 32
"""More than what is shown, by the days that a reader's window may be older than the last count."""
TWO_MONTHS: Final = timedelta(days=63)
"""What a calendar month needs: the one before tells how many clocks to expect."""
GROUPS: Final = ("channel", "warehouse", "carrier", "partner")
"""What journeys can be told apart by in the database."""
UNKNOWN: Final = "unknown"

missed: Final = clocks.c.state.in_(NOT_IN_TIME)
judged: Final = clocks.c.state.in_((*IN_TIME, *NOT_IN_TIME))
"""Whether a clock has an outcome: it was met in time, or not."""
with_journeys: Final = clocks.outerjoin(journeys, journeys.c.journey_id == clocks.c.journey_id)


def count_hours(connection: sa.Connection, catalog: Catalog, now: datetime) -> bool:
    """Count the hours anew when that is due; whether it was."""
    if not transaction_lock(connection, "sla.attained") or not _due(connection, now):
        return False
    last = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    first = last - reach(catalog.policies)
    hour = sa.func.date_trunc("hour", clocks.c.due_at, "UTC")
    counted = sa.literal(now, clock_hours.c.counted_at.type)
    found = (
        sa.select(hour, clocks.c.policy, group_of(catalog.policies), *tallied(), counted)
        .select_from(with_journeys)
        .where(clocks.c.due_at >= first, clocks.c.due_at < last, judged)
        .group_by(sa.text("1"), sa.text("2"), sa.text("3"))
    )
    connection.execute(clock_hours.delete())
    connection.execute(clock_hours.insert().from_select(list(clock_hours.c.keys()), found))
    # a row for each hour that was counted, also where nothing fell due
    hours = sa.func.generate_series(first, last - EVERY, EVERY).column_valued("hour")
    empty = sa.select(hours, sa.literal(""), sa.literal(""), *[sa.literal(0)] * 3, counted)
    connection.execute(clock_hours.insert().from_select(list(clock_hours.c.keys()), empty))
    return True


def _due(connection: sa.Connection, now: datetime) -> bool:
    counted: datetime | None = connection.scalar(sa.select(sa.func.max(clock_hours.c.counted_at)))
    return counted is None or not timedelta(0) <= now - counted < EVERY


def tallied(within: sa.ColumnElement[bool] | None = None) -> list[sa.ColumnElement[int]]:
    """Of clocks with an outcome how many there are, were missed, and were heard of when it was too late already."""
    wanted = sa.true() if within is None else within
    return [sa.func.count().filter(wanted, also) for also in (sa.true(), missed, clocks.c.state == "late_known")]


def reach(policies: Iterable[Policy]) -> timedelta:
    """How far back hours are counted: as far as the longest window of an objective needs."""
    windows = (policy.objective.window.length for policy in policies)
    longest = max((TWO_MONTHS if length is None else length for length in windows), default=timedelta())
    return max(timedelta(days=DAYS), longest + timedelta(days=1))


def group_of(policies: Iterable[Policy]) -> sa.ColumnElement[str]:
    """The group of a clock in `with_journeys` as JSON, by what its policy groups by."""
    by_names: dict[tuple[str, ...], list[str]] = {}
    for policy in policies:
        by_names.setdefault(names_of(policy), []).append(policy.name)
    whens = [
        (clocks.c.policy.in_(listed), sa.cast(sa.cast(_values(names), JSONB), sa.Text))
        for names, listed in by_names.items()
        if names
    ]
    return sa.case(*whens, else_=sa.literal("{}")) if whens else sa.literal("{}")


def names_of(policy: Policy) -> tuple[str, ...]:
    """What a policy's clocks are told apart by."""
    return tuple(sorted(name for name in policy.group_by if name in GROUPS))


def _values(names: Iterable[str]) -> sa.Function[Any]:
    pairs = ((sa.literal(name), sa.func.coalesce(journeys.c[name], UNKNOWN)) for name in names)
    return sa.func.jsonb_build_object(*(part for pair in pairs for part in pair))
