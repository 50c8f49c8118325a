"""Reads and writes record.alerts, record.alert_items and record.alert_changes: their only writer.

Every function takes part in the caller's transaction. Only the pipeline calls the writing ones, and it runs alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on, insert

from alerting.explain import Totals
from alerting.group import LATELY, WIDENS, Batch, Item, ItemId, Rule, Standing
from alerting.lifecycle import Alert, What
from alerting.message import ITEMS_SHOWN, ItemView
from alerting.signal import Signal
from milepost.db.document import rows_of
from milepost.db.tables import alert_changes, alert_items, alerts

MILEPOST: Final = "milepost"
"""The actor of what no person did."""


@dataclass(frozen=True, slots=True)
class Change:
    """A row of record.alert_changes."""

    alert_id: int
    at: datetime
    what: What
    actor: str
    detail: Mapping[str, Any]


# --- alerts -----------------------------------------------------------------------------------------------------------


def get(connection: sa.Connection, alert_id: int) -> Alert | None:
    """The alert, or None."""
    row = connection.execute(sa.select(alerts).where(alerts.c.alert_id == alert_id)).mappings().first()
    return Alert(**row) if row else None


def get_all(connection: sa.Connection, alert_ids: Collection[int]) -> list[Alert]:
    """The alerts of these numbers."""
    if not alert_ids:
        return []
    query = sa.select(alerts).where(alerts.c.alert_id.in_(alert_ids)).order_by(alerts.c.alert_id)
    return [Alert(**row) for row in connection.execute(query).mappings()]


def by_key(connection: sa.Connection, keys: Collection[str], *, resolved_after: datetime) -> dict[str, Alert]:
    """For each key its open alert, or the last one if it was resolved later than `resolved_after`."""
    wanted = sa.or_(alerts.c.state != "resolved", alerts.c.resolved_at > resolved_after)
    query = (
        sa.select(alerts)
        .ext(distinct_on(alerts.c.key))
        .where(alerts.c.key == sa.func.any(_texts(keys)), wanted)
        .order_by(alerts.c.key, alerts.c.alert_id.desc())
    )
    return {row["key"]: Alert(**row) for row in connection.execute(query).mappings()}


def open_or_ended(connection: sa.Connection, since: datetime) -> list[Alert]:
    """The alerts that are open, and those that were resolved after `since`."""
    query = sa.select(alerts).where(sa.or_(alerts.c.state != "resolved", alerts.c.resolved_at > since))
    return [Alert(**row) for row in connection.execute(query.order_by(alerts.c.alert_id)).mappings()]


def is_open(connection: sa.Connection, key: str) -> bool:
    """Whether an alert of this key is not resolved."""
    return bool(connection.scalar(sa.select(sa.exists().where(alerts.c.key == key, alerts.c.state != "resolved"))))


def standing(connection: sa.Connection, signals: Iterable[Signal], now: datetime) -> dict[Rule, Standing]:
    """How the alerts of the signals' rules stand."""
    rules = {(signal.kind, signal.rule) for signal in signals if signal.action == "raise" and signal.group}
    if not rules:
        return {}
    its = alerts.c
    recent = its.opened_at > now - LATELY
    query = (
        sa.select(its.kind, its.rule, its.key, its.state, its.opened_at, its.folded)
        .where(sa.tuple_(its.kind, its.rule).in_(sorted(rules)))
        .where(sa.or_(its.state != "resolved", recent))
    )
    rows: defaultdict[Rule, list[Any]] = defaultdict(list)
    for row in connection.execute(query):
        rows[row.kind, row.rule].append(row)
    return {rule: _standing(of_rule, now) for rule, of_rule in rows.items()}


def _standing(rows: Collection[Any], now: datetime) -> Standing:
    own = [row for row in rows if row.folded is None]
    several = next((row for row in rows if row.folded is not None and row.state != "resolved"), None)
    return Standing(
        own={row.key for row in own if row.state != "resolved"},
        lately=sum(row.opened_at > now - LATELY for row in own),
        taken=None if several is None else set(several.folded),
        widens=several is not None and several.state == "firing" and several.opened_at > now - WIDENS,
    )


def due(connection: sa.Connection, now: datetime) -> list[Alert]:
    """Alerts whose next update may go out, or whose escalation is to be looked at."""
    is_due = sa.or_(alerts.c.next_update_at <= now, alerts.c.escalate_at <= now)
    query = sa.select(alerts).where(is_due).order_by(alerts.c.alert_id)
    return [Alert(**row) for row in connection.execute(query).mappings()]


def add(connection: sa.Connection, new: Sequence[Alert]) -> list[int]:
    """Store new alerts; their ids, in the same order."""
    if not new:
        return []
    query = sa.insert(alerts).returning(alerts.c.alert_id, sort_by_parameter_order=True)
    return list(connection.scalars(query, [_values(alert) for alert in new]))


def save(connection: sa.Connection, changed: Iterable[Alert]) -> None:
    """Write alerts that are stored already."""
    rows = [{"id": alert.alert_id, **_values(alert)} for alert in changed]
    if rows:
        connection.execute(sa.update(alerts).where(alerts.c.alert_id == sa.bindparam("id")), rows)


def add_changes(connection: sa.Connection, changes: Sequence[Change]) -> None:
    """Append what happened, in order."""
    if changes:
        connection.execute(sa.insert(alert_changes), [asdict(change) for change in changes])


def _values(alert: Alert) -> dict[str, Any]:
    values = asdict(alert)
    del values["alert_id"]
    return values


def _texts(values: Collection[str]) -> sa.Cast[Any]:
    return sa.cast(sorted(values), sa.ARRAY(sa.Text))


# --- items ------------------------------------------------------------------------------------------------------------


def open_items(connection: sa.Connection, items: Collection[ItemId]) -> dict[ItemId, str]:
    """For each of these items that is open: the key of its alert."""
    query = (
        sa.select(alerts.c.kind, alerts.c.rule, alert_items.c.item, alerts.c.key)
        .join(alerts, alerts.c.alert_id == alert_items.c.alert_id)
        .where(
            alert_items.c.item == sa.func.any(_texts({item for _, _, item in items})),
            alert_items.c.cleared_at.is_(None),
            alerts.c.state != "resolved",
        )
    )
    found = {(kind, rule, item): key for kind, rule, item, key in connection.execute(query)}
    return {item: key for item, key in found.items() if item in items}


def save_items(connection: sa.Connection, batches: Mapping[int, Batch], now: datetime) -> None:
    """Write what the batches do to the items of their alerts, given by alert id."""
    for alert_id, batch in batches.items():
        for why in set(batch.ended.values()):
            _end(connection, alert_id, [item for item, reason in batch.ended.items() if reason == why], why, now)
    rows = [_item_row(alert_id, item, now) for alert_id, batch in batches.items() for item in batch.raised.values()]
    if rows:
        connection.execute(_upsert(rows))


def end_all(connection: sa.Connection, alert_id: int, why: str, now: datetime) -> None:
    """Clear all open items of an alert."""
    connection.execute(
        sa.update(alert_items)
        .where(alert_items.c.alert_id == alert_id, alert_items.c.cleared_at.is_(None))
        .values(cleared_at=now, cleared_why=why)
    )


def _end(connection: sa.Connection, alert_id: int, items: Collection[str], why: str, now: datetime) -> None:
    connection.execute(
        sa.update(alert_items)
        .where(alert_items.c.alert_id == alert_id, alert_items.c.item == sa.func.any(_texts(items)))
        .values(cleared_at=now, cleared_why=why)
    )


def _upsert(rows: Sequence[Mapping[str, Any]]) -> sa.Insert:
    """An item that is still open keeps the time since when it is known; one that comes back starts anew."""
    query = insert(alert_items).from_select(list(rows[0]), rows_of(alert_items, rows))
    new = query.excluded
    still = alert_items.c.cleared_at.is_(None)
    refreshed = {name: new[name] for name in ("summary", "labels", "amount", "currency", "journey_id")}
    since = {name: sa.case((still, alert_items.c[name]), else_=new[name]) for name in ("at", "raised_at")}
    ended = {name: new[name] for name in ("cleared_at", "cleared_why")}
    return query.on_conflict_do_update(
        index_elements=[alert_items.c.alert_id, alert_items.c.item], set_={**refreshed, **since, **ended}
    )


def _item_row(alert_id: int, item: Item, now: datetime) -> dict[str, Any]:
    signal = item.signal
    return {
        "alert_id": alert_id,
        "item": signal.item,
        "at": signal.at,
        "raised_at": now,
        "cleared_at": None if item.ended is None else now,
        "cleared_why": item.ended,
        "journey_id": signal.journey_id,
        "summary": signal.summary,
        "labels": dict(signal.labels),
        "amount": signal.amount,
        "currency": signal.currency,
    }


def oldest(connection: sa.Connection, alert_id: int, *, only_open: bool) -> list[ItemView]:
    """The items that are wrong for the longest, as many as a message shows."""
    query = (
        sa.select(alert_items)
        .where(alert_items.c.alert_id == alert_id)
        .order_by(alert_items.c.at, alert_items.c.item)
        .limit(ITEMS_SHOWN)
    )
    if only_open:
        query = query.where(alert_items.c.cleared_at.is_(None))
    return [_item_view(row) for row in connection.execute(query).mappings()]


def _item_view(row: sa.RowMapping) -> ItemView:
    same = ("item", "summary", "cleared_why", "labels", "amount", "currency")
    return ItemView(since=row["at"], **{name: row[name] for name in same})


def open_labels(connection: sa.Connection, alert_ids: Collection[int]) -> Mapping[int, list[Mapping[str, str]]]:
    """By alert, the different labels of what is open in it, as silences match them, with the alert's severity."""
    if not alert_ids:
        return {}
    a, i = alerts.c, alert_items.c
    query = (
        sa.select(a.alert_id, a.kind, a.rule, a.group, a.severity, a.owner, i.labels)
        .distinct()
        .join(alert_items, i.alert_id == a.alert_id)
        .where(a.alert_id.in_(alert_ids), i.cleared_at.is_(None))
    )
    found: defaultdict[int, list[Mapping[str, str]]] = defaultdict(list)
    for row in connection.execute(query):
        owner = {"owner": row.owner} if row.owner else {}
        own = {"kind": row.kind, "rule": row.rule, "severity": row.severity}
        found[row.alert_id].append({**row.labels, **row.group, **owner, **own})
    return found


# --- sums over items --------------------------------------------------------------------------------------------------


def totals(connection: sa.Connection, alert_ids: Collection[int]) -> dict[int, Totals]:
    """The items of each alert summed up."""
    if not alert_ids:
        return {}
    counts = _counts(alert_ids)
    basis = _basis(counts)
    money, ended = _by_alert(connection, _money(basis)), _by_alert(connection, _ended(counts))
    first = _by_alert(connection, _first(basis))
    return {
        row.alert_id: Totals(
            items_open=row.items_open,
            items_total=row.items_total,
            oldest_at=row.oldest_at,
            oldest=first[row.alert_id][0][0],
            money=dict(money[row.alert_id]),
            ended=dict(ended[row.alert_id]),
        )
        for row in connection.execute(sa.select(counts))
    }


def _by_alert(connection: sa.Connection, query: sa.Select[Any]) -> defaultdict[int, list[tuple[Any, ...]]]:
    found: defaultdict[int, list[tuple[Any, ...]]] = defaultdict(list)
    for row in connection.execute(query):
        found[row[0]].append(tuple(row[1:]))
    return found


def _counts(alert_ids: Collection[int]) -> sa.CTE:
    is_open = alert_items.c.cleared_at.is_(None)
    return (
        sa.select(
            alert_items.c.alert_id,
            sa.func.count().label("items_total"),
            sa.func.count().filter(is_open).label("items_open"),
            sa.func.min(alert_items.c.at).filter(is_open).label("oldest_at"),
        )
        .where(alert_items.c.alert_id == sa.func.any(sa.cast(sorted(alert_ids), sa.ARRAY(sa.BigInteger))))
        .group_by(alert_items.c.alert_id)
        .cte("counts")
    )


def _basis(counts: sa.CTE) -> sa.CTE:
    """The open items; all of them for an alert that has none."""
    return (
        sa.select(alert_items)
        .join(counts, counts.c.alert_id == alert_items.c.alert_id)
        .where(sa.or_(alert_items.c.cleared_at.is_(None), counts.c.items_open == 0))
        .cte("basis")
    )


def _money(basis: sa.CTE) -> sa.Select[Any]:
    """(alert, currency, amount): never summed across currencies, a journey's money once."""
    currency = sa.func.coalesce(basis.c.currency, "")
    owner = sa.func.coalesce(sa.cast(basis.c.journey_id, sa.Text), basis.c.item)
    once = (
        sa.select(basis.c.alert_id, currency.label("currency"), sa.func.max(basis.c.amount).label("amount"))
        .where(basis.c.amount.is_not(None))
        .group_by(basis.c.alert_id, currency, owner)
        .subquery()
    )
    return sa.select(once.c.alert_id, once.c.currency, sa.func.sum(once.c.amount)).group_by(
        once.c.alert_id, once.c.currency
    )


def _first(basis: sa.CTE) -> sa.Select[Any]:
    """(alert, summary of its oldest item)"""
    return (
        sa.select(basis.c.alert_id, basis.c.summary)
        .ext(distinct_on(basis.c.alert_id))
        .order_by(basis.c.alert_id, basis.c.at, basis.c.item)
    )


def _ended(counts: sa.CTE) -> sa.Select[Any]:
    """(alert, why, items cleared so)"""
    why = sa.func.coalesce(alert_items.c.cleared_why, "")
    return (
        sa.select(counts.c.alert_id, why, sa.func.count())
        .join(alert_items, alert_items.c.alert_id == counts.c.alert_id)
        .where(alert_items.c.cleared_at.is_not(None))
        .group_by(counts.c.alert_id, why)
    )
