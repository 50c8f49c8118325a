"""What a silence would hide: of what is open, and of what the last days brought. Reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import sqlalchemy as sa

from milepost.catalog.matcher import Matcher
from milepost.db.tables import alert_items, alerts

SHOWN: Final = 20
"""So many alerts are named."""
Span = tuple[datetime, datetime]

_A: Final = alerts.c
_I: Final = alert_items.c
_OWN: Final[Mapping[str, sa.ColumnElement[str]]] = {"kind": _A.kind, "rule": _A.rule, "severity": _A.severity}


@dataclass(frozen=True, slots=True)
class Found:
    """An alert, and how many of its items match."""

    alert_id: int
    title: str
    state: str
    items: int


@dataclass(frozen=True, slots=True)
class Sum:
    """What matches: items in alerts, the money of their journeys by currency, and the alerts with most items."""

    items: int
    alerts: int
    money: Mapping[str, Decimal]
    found: Sequence[Found]


@dataclass(frozen=True, slots=True)
class Preview:
    """`now`: of what is open. `past`: of what was raised in the `spans`, still open or not."""

    now: Sum
    past: Sum
    since: datetime


def preview(
    connection: sa.Connection, matchers: Sequence[Matcher], *, since: datetime, spans: Sequence[Span] | None = None
) -> Preview:
    """What these matchers are about. `spans`: only what was raised in one of them counts of the past; None: any time
    from `since` on.

    Items are matched by their alert's severity and owner, which may have risen since they were raised.
    """
    wanted = [_matches(one) for one in matchers]
    is_open = [_I.cleared_at.is_(None), _A.state != "resolved"]
    past = [_I.raised_at >= since]
    if spans is not None:
        past.append(sa.or_(sa.false(), *(sa.and_(_I.raised_at >= start, _I.raised_at < end) for start, end in spans)))
    return Preview(_sum(connection, *wanted, *is_open), _sum(connection, *wanted, *past), since)


def _matches(one: Matcher) -> sa.ColumnElement[bool]:
    value = _value(one.label)
    found = sa.or_(*(_like(value, wanted) for wanted in one.values))
    return found if one.op == "=" else sa.not_(found)


def _like(value: sa.ColumnElement[str], wanted: str) -> sa.ColumnElement[bool]:
    if wanted.endswith("*"):
        return sa.and_(value != "", sa.func.starts_with(value, wanted[:-1]))
    return value == wanted


def _value(label: str) -> sa.ColumnElement[str]:
    """The value of a label, in the order of route.labels_of; "" where it is missing."""
    if label in _OWN:
        return _OWN[label]
    texts: list[Any] = [_A.group[label].astext, _I.labels[label].astext, ""]
    return sa.func.coalesce(*([_A.owner, *texts] if label == "owner" else texts))


def _sum(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> Sum:
    matched = (
        sa.select(_I.alert_id, _I.item, _I.journey_id, _I.amount, _I.currency, _A.title, _A.state)
        .join(alerts, _A.alert_id == _I.alert_id)
        .where(*conditions)
        .cte("matched")
    )
    m = matched.c
    per_alert = (
        sa.select(m.alert_id, m.title, m.state, sa.func.count().label("items"))
        .group_by(m.alert_id, m.title, m.state)
        .order_by(sa.func.count().desc(), m.alert_id.desc())
    )
    found = [Found(*row) for row in connection.execute(per_alert)]
    money = {row[0]: row[1] for row in connection.execute(_money(matched))} if found else {}
    return Sum(sum(one.items for one in found), len(found), money, found[:SHOWN])


def _money(matched: sa.CTE) -> sa.Select[Any]:
    """(currency, amount): a journey's money once."""
    m = matched.c
    owner = sa.func.coalesce(sa.cast(m.journey_id, sa.Text), m.item)
    currency = sa.func.coalesce(m.currency, "")
    once = (
        sa.select(currency.label("currency"), sa.func.max(m.amount).label("amount"))
        .where(m.amount.is_not(None))
        .group_by(currency, owner)
        .subquery()
    )
    return sa.select(once.c.currency, sa.func.sum(once.c.amount)).group_by(once.c.currency)
