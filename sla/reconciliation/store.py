"""What a comparison reads and writes: the only writer of record.reconciliation_runs, _days and record.discrepancies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

from milepost.catalog.reconciliation import Reconciliation, Side
from milepost.db.tables import (
    alert_items,
    alerts,
    discrepancies,
    reconciliation_days,
    reconciliation_runs,
    source_stats,
)
from milepost.inbox.objects import refs_of
from sla.reconciliation.events import Named
from sla.reconciliation.judge import Day
from sla.reconciliation.result import Change
from sla.reconciliation.statement import TABLE, Window, close, compare, like

MOST: Final = 10_000
"""Discrepancies that one run opens, and that it closes: the next one goes on."""
WORK_MEM: Final = "64MB"


def last_scheduled(connection: sa.Connection) -> dict[str, datetime]:
    """When each reconciliation was last begun by itself."""
    r = reconciliation_runs.c
    last = sa.select(r.name, r.at).ext(distinct_on(r.name)).where(r.scheduled).order_by(r.name, r.run_id.desc())
    return {row.name: row.at for row in connection.execute(last)}


def failing(connection: sa.Connection, name: str) -> bool:
    """Whether the last scheduled run of it failed."""
    r = reconciliation_runs.c
    query = sa.select(r.until.is_(None)).where(r.name == name, r.scheduled).order_by(r.run_id.desc()).limit(1)
    return bool(connection.scalar(query))


def told_through(connection: sa.Connection, side: Side) -> datetime | None:
    """Up to when any of a side's sources has told, by the time of its events; None for a milestone, or before any.

    Not when it was last heard: one that catches up after an outage speaks now, but of what was hours ago."""
    if not side.events:
        return None
    s = source_stats.c
    query = sa.select(sa.func.max(s.last_occurred_at))
    if side.sources:
        query = query.where(sa.or_(*(s.source.like(like(one)) for one in side.sources)))
    for one in side.not_sources:
        query = query.where(s.source.not_like(like(one)))
    found: datetime | None = connection.scalar(query)
    return found


def open_items(connection: sa.Connection, names: Sequence[str]) -> list[tuple[str, str]]:
    """(rule, item) of all that is open in alerts of reconciliations that are none of `names`."""
    a, i = alerts.c, alert_items.c
    query = sa.select(a.rule, i.item).join(alert_items, i.alert_id == a.alert_id)
    query = query.where(a.kind == "reconciliation", a.state != "resolved", a.rule.not_in(names), i.cleared_at.is_(None))
    return [(row[0], row[1]) for row in connection.execute(query)]


def over_before(connection: sa.Connection, name: str, first: date, zone: ZoneInfo) -> dict[date, str | None]:
    """Why days before `first` were over their tolerance, of those that the last scheduled run compared."""
    r, d = reconciliation_runs.c, reconciliation_days.c
    since = sa.select(r.since).where(r.name == name, r.scheduled, r.until.is_not(None)).order_by(r.run_id.desc())
    last = connection.scalar(since.limit(1))
    if last is None:
        return {}
    query = sa.select(d.day, d.why).where(d.name == name, d.over, d.day < first, d.day >= last.astimezone(zone).date())
    return {row[0]: row[1] for row in connection.execute(query)}


# --- comparing --------------------------------------------------------------------------------------------------------


def make(connection: sa.Connection, name: str, one: Reconciliation, window: Window) -> None:
    """Compare: makes the temporary table of `statement`, for the rest of the transaction."""
    connection.execute(sa.text(f"SET LOCAL statement_timeout = {one.timeout.us // 1000}"))
    connection.execute(sa.text(f"SET LOCAL work_mem = '{WORK_MEM}'"))
    connection.execute(sa.text("SET LOCAL jit = off"))
    made = compare(name, one, window)
    connection.execute(sa.text(made.sql), made.parameters)
    connection.execute(sa.text(f"ANALYZE {TABLE}"))


_GOOD: Final = "found IS DISTINCT FROM 'excused'"
_MATCHED: Final = sa.text(
    "SELECT CAST(at AT TIME ZONE :zone AS date) AS day,"
    f' count(*) FILTER (WHERE l_seen IS NOT NULL AND {_GOOD}) AS "left",'
    f' count(*) FILTER (WHERE r_seen IS NOT NULL AND {_GOOD}) AS "right",'
    " count(*) FILTER (WHERE found = 'missing_right') AS only_left,"
    " count(*) FILTER (WHERE found = 'missing_left') AS only_right,"
    " count(*) FILTER (WHERE found = 'amount') AS differing, count(*) FILTER (WHERE found = 'excused') AS excused,"
    f" count(*) FILTER (WHERE {_GOOD}) AS units FROM {TABLE} WHERE at IS NOT NULL GROUP BY day ORDER BY day"
)
_SIDES: Final = (
    f"SELECT {{at}} AS at, 'l' AS side, l_amount AS amount, l_currency AS currency FROM {TABLE} WHERE {{left}}"
    f" UNION ALL SELECT {{other}}, 'r', r_amount, r_currency FROM {TABLE} WHERE {{right}}"
)
_PAIRED: Final = _SIDES.format(
    at="at", other="at", left=f"at IS NOT NULL AND {_GOOD}", right=f"at IS NOT NULL AND {_GOOD}"
)
_APART: Final = _SIDES.format(at="l_at", other="r_at", left="l_at IS NOT NULL", right="r_at IS NOT NULL")
_COUNTED: Final = sa.text(
    "SELECT CAST(at AT TIME ZONE :zone AS date) AS day, count(*) FILTER (WHERE side = 'l') AS \"left\","
    " count(*) FILTER (WHERE side = 'r') AS \"right\", 0 AS only_left, 0 AS only_right, 0 AS differing,"
    f" 0 AS excused, count(*) AS units FROM ({_APART}) AS s GROUP BY day ORDER BY day"
)
_SUMS: Final = (
    "SELECT CAST(at AT TIME ZONE :zone AS date) AS day, coalesce(currency, '') AS currency,"
    " coalesce(sum(amount) FILTER (WHERE side = 'l'), 0) AS l, coalesce(sum(amount) FILTER (WHERE side = 'r'), 0) AS r"
    " FROM ({sides}) AS s WHERE amount IS NOT NULL GROUP BY 1, 2"
)
_SUMS_PAIRED: Final = sa.text(_SUMS.format(sides=_PAIRED))
_SUMS_APART: Final = sa.text(_SUMS.format(sides=_APART))


def days(connection: sa.Connection, one: Reconciliation, over_before: date) -> Iterator[Day]:
    """What was compared, by day. Totals are judged of days before `over_before` only."""
    apart, zone = one.by == "day", {"zone": one.zone}
    amounts: dict[date, dict[str, tuple[Decimal, Decimal]]] = {}
    for day, currency, left, right in connection.execute(_SUMS_APART if apart else _SUMS_PAIRED, zone):
        amounts.setdefault(day, {})[currency] = (left, right)
    for row in connection.execute(_COUNTED if apart else _MATCHED, zone).mappings():
        judged = not apart or row["day"] < over_before
        yield Day(**row, amounts=amounts.get(row["day"], {}), judged=judged)


# --- discrepancies ----------------------------------------------------------------------------------------------------

_TOLD: Final = (
    "discrepancy_id, kind, object_id, at, occurrence, left_amount, left_currency, right_amount, right_currency"
)
_TOLD_OF_D: Final = ", ".join(f"d.{column}" for column in _TOLD.split(", "))
_OPEN: Final = sa.text(
    "INSERT INTO record.discrepancies (name, version, kind, object_id, at, day, occurrence, left_amount, left_currency,"
    " right_amount, right_currency, found_at, run_id)"
    " SELECT :name, :version, c.found, c.unit, c.at, CAST(c.at AT TIME ZONE :zone AS date),"
    " 1 + (SELECT count(*) FROM record.discrepancies AS b"
    " WHERE b.object_id = c.unit AND b.name = :name AND b.kind = c.found),"
    " c.l_amount, c.l_currency, c.r_amount, c.r_currency, :now, :run"
    f" FROM {TABLE} AS c WHERE c.at IS NOT NULL AND c.found IN ('missing_right', 'missing_left', 'amount')"
    " AND NOT EXISTS (SELECT FROM record.discrepancies AS d"
    " WHERE d.name = :name AND d.object_id = c.unit AND d.kind = c.found AND d.gone_at IS NULL)"
    f" ORDER BY c.at, c.unit LIMIT :most RETURNING {_TOLD}"
)


def open_new(connection: sa.Connection, name: str, one: Reconciliation, about: Mapping[str, Any]) -> list[Change]:
    """Write down what was not known yet, the oldest first, MOST at once. `about`: version, now, run."""
    rows = connection.execute(_OPEN, {"name": name, "zone": one.zone, "most": MOST, **about})
    return [Change(*row) for row in rows]


def close_gone(connection: sa.Connection, name: str, one: Reconciliation, about: Mapping[str, Any]) -> list[Change]:
    """End what is no longer so, MOST at once."""
    rows = connection.execute(
        sa.text(close(one, _TOLD_OF_D)), {"name": name, "model": one.model, "most": MOST, **about}
    )
    return [Change(*row) for row in rows]


def withdraw(connection: sa.Connection, names: Sequence[str], now: datetime) -> list[tuple[str, Change]]:
    """End what is open of reconciliations that are none of `names`, MOST at once; with the name of each."""
    d = discrepancies.c
    gone = sa.select(d.discrepancy_id).where(d.gone_at.is_(None), d.name.not_in(names)).limit(MOST)
    told = [discrepancies.c[column] for column in _TOLD.split(", ")]
    rows = connection.execute(
        sa.update(discrepancies)
        .where(d.discrepancy_id.in_(gone))
        .values(gone_at=now, why="withdrawn")
        .returning(d.name, *told, d.why)
    )
    return [(row[0], Change(*row[1:])) for row in rows]


def names_of(connection: sa.Connection, ids: Sequence[int]) -> dict[int, Named]:
    return {number: Named(*ref[:3]) for number, ref in refs_of(connection, ids).items()}


# --- runs and days ----------------------------------------------------------------------------------------------------


def begin(connection: sa.Connection, name: str, version: str, window: Window, now: datetime, *, scheduled: bool) -> int:
    """A new run that has counted nothing yet; its number."""
    empty = dict.fromkeys(
        ("left_count", "right_count", "only_left", "only_right", "differing", "excused", "opened", "closed"), 0
    )
    row = {
        "name": name, "version": version, "at": now, "since": window.since, "scheduled": scheduled, "over": False,
        "seconds": 0.0, **empty,
    }  # fmt: skip
    made = sa.insert(reconciliation_runs).values(row).returning(reconciliation_runs.c.run_id)
    return int(connection.execute(made).scalar_one())


def end(connection: sa.Connection, run_id: int, values: Mapping[str, Any]) -> None:
    r = reconciliation_runs
    connection.execute(sa.update(r).where(r.c.run_id == run_id).values(dict(values)))


def save_days(
    connection: sa.Connection, name: str, run_id: int, first: date, last: date, found: Sequence[tuple[Day, str | None]]
) -> dict[date, str | None]:
    """Replace the days from `first` to `last` by what was found, with why each is over its tolerance; returns why the
    former ones were."""
    t = reconciliation_days
    within = (t.c.name == name, t.c.day.between(first, last))
    gone = connection.execute(sa.delete(t).where(*within).returning(t.c.day, t.c.why))
    former = {row[0]: row[1] for row in gone}
    rows = [_day_row(name, run_id, day, why) for day, why in found]
    if rows:
        connection.execute(sa.insert(t), rows)
    return former


def _day_row(name: str, run_id: int, day: Day, why: str | None) -> dict[str, Any]:
    return {
        "name": name, "day": day.day, "run_id": run_id, "left_count": day.left, "right_count": day.right,
        "only_left": day.only_left, "only_right": day.only_right, "differing": day.differing, "excused": day.excused,
        "amounts": {currency: [str(left), str(right)] for currency, (left, right) in sorted(day.amounts.items())},
        "judged": day.judged, "over": why is not None, "why": why,
    }  # fmt: skip


def drop_before(connection: sa.Connection, cutoff: datetime) -> int:
    """Forget runs, days and what is gone from before; returns how many rows went. What is open stays."""
    d = discrepancies.c
    gone = (
        sa.delete(reconciliation_runs).where(reconciliation_runs.c.at < cutoff),
        sa.delete(reconciliation_days).where(reconciliation_days.c.day < cutoff.date()),
        sa.delete(discrepancies).where(d.gone_at < cutoff),
    )
    return sum(connection.execute(statement).rowcount for statement in gone)
