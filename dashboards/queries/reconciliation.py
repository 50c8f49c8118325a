"""Reconciliations: how each stands, its days, and the objects that do not agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Final

import sqlalchemy as sa

from dashboards.queries.paging import Page, bounded, time_order
from milepost.db.tables import discrepancies, journeys, members, objects, reconciliation_days, reconciliation_runs
from milepost.inbox.objects import shown

_d = discrepancies.c
ORDER: Final = time_order(_d.at, _d.discrepancy_id, descending=True)
KINDS: Final = ("missing_left", "missing_right", "amount")
STATES: Final = ("open", "gone")
MAX_DAYS: Final = 400
REPORTED: Final = 100_000
"""Discrepancies that one report lists at most."""


@dataclass(frozen=True, slots=True)
class Run:
    """One comparison. `until` is None when it failed; `note` says why, or whom it waits for."""

    run_id: int
    name: str
    at: datetime
    since: datetime
    until: datetime | None
    scheduled: bool
    left_count: int
    right_count: int
    only_left: int
    only_right: int
    differing: int
    excused: int
    opened: int
    closed: int
    over: bool
    seconds: float
    note: str | None


@dataclass(frozen=True, slots=True)
class Day:
    """What the last comparison of a day counted. `amounts`: {currency: [left, right]} as text."""

    name: str
    day: date
    left_count: int
    right_count: int
    only_left: int
    only_right: int
    differing: int
    excused: int
    amounts: Mapping[str, Sequence[str]]
    judged: bool
    over: bool
    why: str | None


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """An object that one side lacks, or has with another amount; and a journey that contains it."""

    discrepancy_id: int
    name: str
    kind: str
    at: datetime
    day: date
    left_amount: Decimal | None
    left_currency: str | None
    right_amount: Decimal | None
    right_currency: str | None
    found_at: datetime
    gone_at: datetime | None
    why: str | None
    type: str | None
    namespace: str | None
    key: str | None
    journey_kind: str | None
    journey_key: str | None
    journey_namespace: str | None


_RUN: Final = tuple(reconciliation_runs.c[name] for name in Run.__dataclass_fields__)
_DAY: Final = tuple(reconciliation_days.c[name] for name in Day.__dataclass_fields__)
_journey: Final = (
    sa.select(journeys.c.model, journeys.c.key, journeys.c.namespace)
    .join(members, members.c.journey_id == journeys.c.journey_id)
    .where(members.c.object_id == _d.object_id)
    # its own journey first, then the oldest that contains it
    .order_by(journeys.c.root_id != _d.object_id, journeys.c.journey_id)
    .limit(1)
    .lateral("journey")
)
_DISCREPANCY: Final = (
    *(_d[name] for name in list(Discrepancy.__dataclass_fields__)[:-6]),
    objects.c.type,
    objects.c.namespace,
    objects.c.key,
    objects.c.since,
    _journey.c.model.label("journey_kind"),
    _journey.c.key.label("journey_key"),
    _journey.c.namespace.label("journey_namespace"),
)
_SOURCE: Final = discrepancies.outerjoin(objects, objects.c.object_id == _d.object_id).outerjoin(_journey, sa.true())


def last_runs(connection: sa.Connection) -> dict[str, Run]:
    """The latest scheduled run of each reconciliation."""
    r = reconciliation_runs.c
    latest = sa.select(sa.func.max(r.run_id)).where(r.scheduled).group_by(r.name)
    rows = connection.execute(sa.select(*_RUN).where(r.run_id.in_(latest))).mappings()
    return {row["name"]: Run(**row) for row in rows}


def open_counts(connection: sa.Connection) -> dict[str, int]:
    """How many discrepancies are open, by reconciliation."""
    query = sa.select(_d.name, sa.func.count()).where(_d.gone_at.is_(None)).group_by(_d.name)
    return {row[0]: row[1] for row in connection.execute(query)}


def days(connection: sa.Connection, name: str, since: date, until: date) -> list[Day]:
    """The days from `since` to `until`, both included, the oldest first; MAX_DAYS of them at most."""
    c = reconciliation_days.c
    query = sa.select(*_DAY).where(c.name == name, c.day.between(since, until)).order_by(c.day).limit(MAX_DAYS)
    return [Day(**row) for row in connection.execute(query).mappings()]


def days_of_all(connection: sa.Connection, since: date) -> dict[str, list[Day]]:
    """The days from `since` on, by reconciliation."""
    c = reconciliation_days.c
    found: dict[str, list[Day]] = {}
    for row in connection.execute(sa.select(*_DAY).where(c.day >= since).order_by(c.name, c.day)).mappings():
        found.setdefault(row["name"], []).append(Day(**row))
    return found


def list_page(
    connection: sa.Connection,
    name: str,
    *,
    state: str | None = None,
    kind: str | None = None,
    day: date | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[Discrepancy]:
    """The latest first. Raises Permanent for a bad cursor."""
    wanted = [_d.name == name, ORDER.after(cursor), *_state(state)]
    if kind:
        wanted.append(_d.kind == kind)
    if day:
        wanted.append(_d.day == day)
    limit = bounded(limit)
    query = sa.select(*_DISCREPANCY).select_from(_SOURCE).where(*wanted).order_by(*ORDER.by()).limit(limit + 1)
    found = [_discrepancy(row) for row in connection.execute(query).mappings()]
    return ORDER.page(found, limit, lambda row: (row.at, row.discrepancy_id))


def of_days(connection: sa.Connection, name: str, since: date, until: date) -> Iterator[Discrepancy]:
    """For a report: all of these days, gone ones too, the oldest first."""
    query = (
        sa.select(*_DISCREPANCY)
        .select_from(_SOURCE)
        .where(_d.name == name, _d.day.between(since, until))
        .order_by(_d.at, _d.discrepancy_id)
        .limit(REPORTED)
    )
    for row in connection.execute(query).mappings():
        yield _discrepancy(row)


def _discrepancy(found: sa.RowMapping) -> Discrepancy:
    values = dict(found)
    since = values.pop("since")
    return Discrepancy(**{**values, "key": values["key"] and shown(values["key"], since)})


def _state(state: str | None) -> list[sa.ColumnElement[bool]]:
    if state == "open":
        return [_d.gone_at.is_(None)]
    return [_d.gone_at.is_not(None)] if state == "gone" else []
