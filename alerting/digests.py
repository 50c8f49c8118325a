"""Makes digests: gathers what is open, and puts one message for each period into the outbox.

The only writer of record.digests, whose row for a period is written in the transaction of the message: of two
schedulers that come at once, one makes it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from alerting import digest, lifecycle, message, outbox, overrides, store
from alerting.desk import Desk
from alerting.digest import Standing
from alerting.explain import Totals
from alerting.message import Message
from alerting.outbox import Outgoing
from alerting.signal import Signal
from milepost.calendar import Calendar
from milepost.catalog.oncall import Digest
from milepost.catalog.routing import Routing
from milepost.db.tables import alert_hidden, alert_items, alerts, digests


def step(
    engine: sa.Engine, routing: Routing, calendars: Mapping[str, Calendar], *, now: datetime, public_url: str
) -> bool:
    """Make what is due. Was there any? A digest that is new begins with its next period; of missed periods only the
    last is told, with all that happened since the one before them."""
    made = False
    for name, wanted in routing.digests.items():
        with engine.begin() as connection:
            desk = overrides.desk(connection, routing, calendars, now)
            made |= _make(connection, name, wanted, desk, public_url)
    return made


def _make(connection: sa.Connection, name: str, wanted: Digest, desk: Desk, public_url: str) -> bool:
    due = digest.due(wanted, desk.calendar(wanted.calendar), desk.now)
    before = _last(connection, name)
    if due is None or (before is not None and before.due_at >= due) or not _take(connection, name, due, desk.now):
        return False
    if before is None:
        return False
    standing = gather(connection, wanted, since=before.made_at)
    if standing.empty and not wanted.when_empty:
        return False
    said = compose(name, wanted, standing, now=desk.now, public_url=public_url)
    outbox.put(connection, [_addressed(said, channel) for channel in desk.reach(wanted.channels)], desk.now)
    _sent(connection, name, due)
    return True


def _addressed(said: Message, channel: str) -> Outgoing:
    own = message.message_id(said.alert.key, said.at.isoformat(), channel)
    return Outgoing(channel, own, msgspec.structs.replace(said, thread=own))


def _last(connection: sa.Connection, name: str) -> sa.Row[Any] | None:
    query = sa.select(digests).where(digests.c.name == name).order_by(digests.c.due_at.desc()).limit(1)
    return connection.execute(query).first()


def _take(connection: sa.Connection, name: str, due: datetime, now: datetime) -> bool:
    """Write the period's row; false when another process has."""
    query = insert(digests).values(name=name, due_at=due, made_at=now, sent=False).on_conflict_do_nothing()
    return connection.execute(query.returning(digests.c.name)).first() is not None


def _sent(connection: sa.Connection, name: str, due: datetime) -> None:
    query = sa.update(digests).where(digests.c.name == name, digests.c.due_at == due)
    connection.execute(query.values(sent=True))


# --- what it tells ----------------------------------------------------------------------------------------------------


def gather(connection: sa.Connection, wanted: Digest, *, since: datetime) -> Standing:
    """What is open now, and what ended since."""
    found = [alert for alert in store.open_or_ended(connection, since) if digest.matches(wanted, alert)]
    is_open = digest.in_order([alert for alert in found if alert.state != "resolved"])
    ids = [alert.alert_id for alert in is_open]
    hidden = _silenced(connection, ids)
    return Standing(
        since=since,
        open=is_open,
        ended=[alert for alert in found if alert.state == "resolved"],
        money=_money(connection, ids),
        groups=_groups(connection, ids),
        silenced=[alert.title for alert in is_open if alert.alert_id in hidden],
    )


def compose(name: str, wanted: Digest, standing: Standing, *, now: datetime, public_url: str) -> Message:
    """The message, in the shape of an alert's: every notifier can tell it."""
    title = wanted.title or f"Digest {name}"
    seed = Signal(action="raise", kind="platform", rule=name, group={}, item="", at=now)
    severity = standing.open[0].severity if standing.open else "info"
    money = {currency: str(amount) for currency, amount in standing.money.items()}
    about = replace(
        lifecycle.opened(f"digest:{name}", seed, now),
        kind="digest", title=title, severity=severity, summary=digest.summary(standing), money=money,
        items_open=len(standing.open), items_total=len(standing.open) + len(standing.ended),
    )  # fmt: skip
    totals = Totals(items_open=len(standing.open), items_total=about.items_total)
    said = message.compose("digest", about, totals, digest.items(standing), public_url=public_url, thread="", at=now)
    line = digest.headline(title, standing)
    return msgspec.structs.replace(said, headline=line, url=f"{public_url}/alerts")


def _silenced(connection: sa.Connection, ids: Collection[int]) -> set[int]:
    its = alert_hidden.c
    query = (
        sa.select(its.alert_id).distinct().where(its.ended_at.is_(None), its.stage == "silence", _of(its.alert_id, ids))
    )
    return set(connection.scalars(query))


def _money(connection: sa.Connection, ids: Collection[int]) -> dict[str, Decimal]:
    once = _once(ids)
    query = sa.select(once.c.currency, sa.func.sum(once.c.amount)).group_by(once.c.currency)
    return {row[0]: row[1] for row in connection.execute(query)}


def _groups(connection: sa.Connection, ids: Collection[int]) -> dict[str, dict[str, Decimal]]:
    label = sa.func.jsonb_each_text(alerts.c.group).table_valued("key", "value").render_derived()
    once = _once(ids, label.c.key.label("label"), label.c.value.label("value"), label=label)
    query = sa.select(once.c.label, once.c.value, once.c.currency, sa.func.sum(once.c.amount))
    found: defaultdict[str, dict[str, Decimal]] = defaultdict(dict)
    for name, value, currency, amount in connection.execute(query.group_by(*once.c[:3])):
        found[f"{name} {value}"][currency] = amount
    return found


def _once(ids: Collection[int], *by: sa.ColumnElement[Any], label: Any = None) -> sa.Subquery:
    """The money of open items, each journey once (for each of `by`); never summed across currencies."""
    i = alert_items.c
    currency = sa.func.coalesce(i.currency, "").label("currency")
    owner = sa.func.coalesce(sa.cast(i.journey_id, sa.Text), i.item)
    tables = alert_items.join(alerts, alerts.c.alert_id == i.alert_id)
    source = tables if label is None else tables.join(label, sa.true())
    return (
        sa.select(*by, currency, sa.func.max(i.amount).label("amount"))
        .select_from(source)
        .where(i.cleared_at.is_(None), i.amount.is_not(None), _of(i.alert_id, ids))
        .group_by(*by, currency, owner)
        .subquery()
    )


def _of(column: sa.ColumnElement[int], ids: Collection[int]) -> sa.ColumnElement[bool]:
    return column == sa.func.any(sa.cast(sorted(ids), sa.ARRAY(sa.BigInteger)))
