"""Alerts: the list, and one with its items, changes and notifications."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from alerting import wave
from alerting.explain import Findings
from alerting.message import Related
from dashboards.queries.paging import Page, bounded, time_order
from milepost.db.tables import alert_changes, alert_hidden, alert_items, alerts, breaches, journeys, notifications

STATES: Final = ("firing", "acknowledged", "resolved")
MAX_ITEMS: Final = 500
BREACH: Final = "breach:"
"""How an item begins that is a breach; its number follows."""
_a = alerts.c
ORDER: Final = time_order(_a.opened_at, _a.alert_id, descending=True)


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert as it stands. `money` is {currency: amount as text} over its open items."""

    alert_id: int
    kind: str
    rule: str
    group: dict[str, str]
    state: str
    severity: str
    title: str
    summary: str
    opened_at: datetime
    updated_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    resolved_at: datetime | None
    resolved_by: str | None
    items_open: int
    items_total: int
    oldest_at: datetime | None
    money: dict[str, str]
    labels: dict[str, str]
    owner: str | None
    runbook: str | None
    findings: dict[str, Any]

    @property
    def known(self) -> Findings:
        """What was found out about it."""
        return msgspec.convert(self.findings, Findings)


_COLUMNS: Final = tuple(_a[name] for name in Alert.__dataclass_fields__)


def list_page(
    connection: sa.Connection,
    *,
    state: str | None = None,
    kind: str | None = None,
    severity: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[Alert]:
    """The latest alerts first. State "open" means firing or acknowledged. Raises Permanent for a bad cursor."""
    statement = sa.select(*_COLUMNS).where(ORDER.after(cursor), *_conditions(state, kind, severity))
    limit = bounded(limit)
    rows = connection.execute(statement.order_by(*ORDER.by()).limit(limit + 1)).mappings()
    found = [Alert(**row) for row in rows]
    return ORDER.page(found, limit, lambda alert: (alert.opened_at, alert.alert_id))


def _conditions(state: str | None, kind: str | None, severity: str | None) -> list[sa.ColumnElement[bool]]:
    wanted: list[sa.ColumnElement[bool]] = []
    if state == "open":
        wanted.append(_a.state != "resolved")
    elif state:
        wanted.append(_a.state == state)
    if kind:
        wanted.append(_a.kind == kind)
    if severity:
        wanted.append(_a.severity == severity)
    return wanted


def counts(connection: sa.Connection) -> dict[str, int]:
    """How many alerts fire and how many are acknowledged."""
    statement = sa.select(_a.state, sa.func.count()).where(_a.state != "resolved").group_by(_a.state)
    return {row[0]: row[1] for row in connection.execute(statement)}


def one(connection: sa.Connection, alert_id: int) -> Alert | None:
    row = connection.execute(sa.select(*_COLUMNS).where(_a.alert_id == alert_id)).mappings().one_or_none()
    return Alert(**row) if row else None


def whom(connection: sa.Connection, alert: Alert) -> wave.Whom:
    """How many journeys it is about now, and of how many customers."""
    return wave.whom(connection, alert.alert_id, only_open=alert.items_open > 0)


def related(connection: sa.Connection, alert: Alert) -> list[Related]:
    """The alerts of the same wave."""
    opened = wave.Opened(alert.alert_id, alert.opened_at, alert.kind, alert.rule, alert.known.values)
    return wave.related(connection, opened)


def items(connection: sa.Connection, alert_id: int, limit: int = MAX_ITEMS) -> list[dict[str, Any]]:
    """What is wrong, each with its journey's kind and key, what hides it now, and the version of the policy that judged
    it: the open ones first, the oldest of them first."""
    i = alert_items.c
    statement = select_items().where(i.alert_id == alert_id)
    ordered = statement.order_by(i.cleared_at.is_not(None), i.at, i.item).limit(limit)
    found = connection.execute(ordered).mappings().all()
    versions = _versions(connection, [row["item"] for row in found])
    return [{**row, "policy_version": versions.get(row["item"])} for row in found]


def _versions(connection: sa.Connection, items: Sequence[str]) -> dict[str, str]:
    """By item that is a breach, the version that judged it."""
    numbers = [item.removeprefix(BREACH) for item in items if item.startswith(BREACH)]
    ids = [int(number) for number in numbers if number.isdecimal()]
    b = breaches.c
    rows = connection.execute(sa.select(b.breach_id, b.policy_version).where(b.breach_id.in_(ids))) if ids else ()
    return {f"{BREACH}{row[0]}": row[1] for row in rows}


def select_items() -> sa.Select[Any]:
    """Items with their journeys, and with what hides each now."""
    i, j, h = alert_items.c, journeys.c, alert_hidden.c
    names = ("item", "at", "raised_at", "cleared_at", "cleared_why", "journey_id", "summary", "labels")
    return (
        sa.select(
            *(i[name] for name in names),
            i.amount,
            i.currency,
            j.model.label("journey_kind"),
            j.key.label("journey_key"),
            j.namespace.label("journey_namespace"),
            *(h[name].label(f"hidden_{name.removesuffix('_name')}") for name in ("stage", "by_name", "reason")),
        )
        .select_from(alert_items.outerjoin(journeys, j.journey_id == i.journey_id))
        .outerjoin(alert_hidden, sa.and_(h.alert_id == i.alert_id, h.item == i.item, h.ended_at.is_(None)))
    )


def changes(connection: sa.Connection, alert_id: int, limit: int = 200) -> list[dict[str, Any]]:
    """What happened to the alert, the latest first."""
    c = alert_changes.c
    statement = (
        sa.select(c.at, c.what, c.actor, c.detail)
        .where(c.alert_id == alert_id)
        .order_by(c.change_id.desc())
        .limit(limit)
    )
    return [dict(row) for row in connection.execute(statement).mappings()]


def escalation(connection: sa.Connection, alert_id: int) -> dict[str, Any] | None:
    """How far the alert has escalated, as alerting keeps it."""
    found: dict[str, Any] | None = connection.scalar(sa.select(_a.escalation).where(_a.alert_id == alert_id))
    return found


def deliveries(connection: sa.Connection, alert_id: int, limit: int = 200) -> list[dict[str, Any]]:
    """The notifications about the alert, the latest first."""
    n = notifications.c
    names = ("notification_id", "channel", "event", "created_at", "state", "attempts", "sent_at", "error")
    statement = (
        sa.select(*(n[name] for name in names))
        .where(n.alert_id == alert_id)
        .order_by(n.notification_id.desc())
        .limit(limit)
    )
    return [dict(row) for row in connection.execute(statement).mappings()]


def of_journey(connection: sa.Connection, journey_id: int, limit: int = 50) -> list[dict[str, Any]]:
    """The alerts that a journey is part of, the latest first."""
    i = alert_items.c
    statement = (
        sa.select(_a.alert_id, _a.title, _a.state, _a.severity, i.summary, i.at, i.cleared_at)
        .select_from(alert_items.join(alerts, _a.alert_id == i.alert_id))
        .where(i.journey_id == journey_id)
        .order_by(i.at.desc())
        .limit(limit)
    )
    return [dict(row) for row in connection.execute(statement).mappings()]
