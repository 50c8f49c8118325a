"""Reads and writes record.notifications, the outbox: its only writer.

A row is written in the transaction of the alert's change (`put`). A sender claims it by a lease (`claim`, in a
transaction of its own), sends while no transaction is open, and records the outcome. A sender that dies in between
loses its lease, and the same message id goes out again: at least once, and exactly once for a receiver that honours
the id.

Messages of one (alert, channel) go in their order: a later one waits until the earlier ones are sent, parked or
dropped. A channel gets one message at a time, no faster than its pace, and none while its receiver wants to be left
alone: record.channel_pace, which this module alone writes too, says from when on it may get the next one. The pace is a
token bucket: `paced_at` is when all that was sent would have gone at an even pace, and a burst may run ahead of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on, insert

from alerting.limit import Told
from alerting.message import Message
from alerting.notifiers import NOTHING, Pace, Taken
from milepost.db.tables import alerts, channel_pace, notifications
from milepost.decisions import audit

WAITING: Final = ("pending", "sending")
_ANSWERS: Final = ("acknowledged", "resolved")
_LATEST: Final = 200
"""So many messages are looked at for whether any leave."""
UNOPENED: Final = "the opening of this alert was not delivered"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to a channel, to be sent."""

    channel: str
    message_id: str
    message: Message


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message that this sender alone may send until its lease ends. `attempt` counts from 1."""

    notification_id: int
    alert_id: int
    channel: str
    message_id: str
    message: Message
    created_at: datetime
    attempt: int


@dataclass(frozen=True, slots=True)
class Heard:
    """What the channels have heard of an alert. `muted` ones never got its opening and hear no more of it."""

    told: dict[str, Told] = field(default_factory=dict)
    muted: set[str] = field(default_factory=set)


# --- written with the alert -------------------------------------------------------------------------------------------


def put(connection: sa.Connection, outgoing: Sequence[Outgoing], now: datetime) -> None:
    """Queue messages. An id that is there already is not queued again. What a message says better is dropped."""
    if not outgoing:
        return
    _supersede(connection, outgoing)
    query = insert(notifications).on_conflict_do_nothing(index_elements=[notifications.c.message_id])
    connection.execute(query, [_row(each, now) for each in outgoing])


def heard(connection: sa.Connection, alert_ids: Collection[int]) -> Mapping[int, Heard]:
    """What each channel has heard, or is about to hear, of each alert."""
    table = notifications.c
    query = (
        sa.select(table.alert_id, table.channel, table.event, table.created_at, table.state)
        .where(table.alert_id == sa.func.any(sa.cast(sorted(alert_ids), sa.ARRAY(sa.BigInteger))))
        .order_by(table.notification_id)
    )
    by_alert: defaultdict[int, Heard] = defaultdict(Heard)
    for alert_id, channel, event, created_at, state in connection.execute(query):
        if state == "parked" and event == "opened":
            by_alert[alert_id].muted.add(channel)
        elif state != "dropped":
            by_alert[alert_id].told[channel] = Told(event, created_at)
    for each in by_alert.values():
        for channel in each.muted:
            each.told.pop(channel, None)
    return by_alert


def _row(outgoing: Outgoing, now: datetime) -> dict[str, Any]:
    message = outgoing.message
    return {
        "alert_id": message.alert.id,
        "channel": outgoing.channel,
        "event": message.event,
        "message_id": outgoing.message_id,
        "body": msgspec.to_builtins(message),
        "created_at": now,
        "state": "pending",
        "next_attempt_at": now,
    }


def _supersede(connection: sa.Connection, outgoing: Sequence[Outgoing]) -> None:
    """Drop updates that wait: what comes now says more; and calls, once they are answered. What is being sent stays."""
    table = notifications.c
    pair = sa.tuple_(table.alert_id, table.channel)
    places = [(each.message.alert.id, each.channel) for each in outgoing]
    answered = [(each.message.alert.id, each.channel) for each in outgoing if each.message.event in _ANSWERS]
    said_better = sa.and_(table.event == "updated", pair.in_(places))
    needless = sa.and_(table.event == "escalated", pair.in_(answered))
    connection.execute(
        sa.update(notifications)
        .where(table.state == "pending", sa.or_(said_better, needless))
        .values(state="dropped", error="superseded by a later message")
    )


# --- claimed and recorded by senders ----------------------------------------------------------------------------------


def claim(
    connection: sa.Connection,
    now: datetime,
    lease: timedelta,
    limit: int,
    pace_of: Callable[[str], Pace | None] = lambda _: None,
) -> list[Claimed]:
    """Claim what is due, one message a channel, `limit` at most. True once the transaction has committed.

    `pace_of` says how fast a channel may be sent to; None: as fast as it takes.
    """
    chosen = _claimable(now, limit).cte("chosen")
    table = notifications.c
    query = (
        sa.update(notifications)
        .where(table.notification_id == chosen.c.notification_id)
        .values(state="sending", attempts=table.attempts + 1, lease_until=now + lease, next_attempt_at=now + lease)
        .returning(notifications)
    )
    claimed = [_claimed(row) for row in connection.execute(query).mappings()]
    for each in sorted(claimed, key=lambda one: one.channel):  # in one order, for senders that wait for each other
        if (pace := pace_of(each.channel)) is not None:
            _paced(connection, each.channel, pace, now)
    return claimed


def _paced(connection: sa.Connection, channel: str, pace: Pace, now: datetime) -> None:
    """One more was sent: when its pace allows the next one."""
    table, ahead = channel_pace.c, (pace.burst - 1) * pace.every
    query = insert(channel_pace).values(channel=channel, paced_at=now + pace.every, free_at=now + pace.every - ahead)
    paced_at = sa.func.greatest(table.paced_at, now) + pace.every
    changed = {"paced_at": paced_at, "free_at": sa.func.greatest(table.free_at, paced_at - ahead)}
    connection.execute(query.on_conflict_do_update(index_elements=[table.channel], set_=changed))


def _claimable(now: datetime, limit: int) -> sa.Select[Any]:
    """Rows to claim, locked; rows that another sender is claiming are passed over.

    A lease that has run out makes its row due again. The conditions on the row itself stand in the outer query too,
    where they are checked again on what a concurrent sender made of the row.
    """
    row, head = notifications.alias("row"), notifications.alias("head")
    heads = (
        sa.select(head.c.notification_id)
        .ext(distinct_on(head.c.channel))
        .where(*_may_go(head, now))
        .order_by(head.c.channel, head.c.next_attempt_at, head.c.notification_id)
    )
    return (
        sa.select(row.c.notification_id)
        .where(row.c.notification_id.in_(heads), row.c.state.in_(WAITING), row.c.next_attempt_at <= now)
        .order_by(row.c.next_attempt_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )


def _may_go(head: sa.FromClause, now: datetime) -> list[sa.ColumnElement[bool]]:
    """It is due, the first of its alert on its channel, and the channel is free."""
    earlier, busy = notifications.alias("earlier"), notifications.alias("busy")
    is_first = ~sa.exists().where(
        earlier.c.alert_id == head.c.alert_id,
        earlier.c.channel == head.c.channel,
        earlier.c.notification_id < head.c.notification_id,
        earlier.c.state.in_(WAITING),
    )
    is_free = ~sa.exists().where(
        busy.c.channel == head.c.channel, busy.c.state == "sending", busy.c.next_attempt_at > now
    )
    is_held = sa.exists().where(channel_pace.c.channel == head.c.channel, channel_pace.c.free_at > now)
    return [head.c.state.in_(WAITING), head.c.next_attempt_at <= now, is_first, is_free, ~is_held]


def stuck_since(connection: sa.Connection, now: datetime, patience: timedelta) -> datetime | None:
    """Since when a message is due that nobody takes; None while messages leave, or none has been due for so long.

    One that waits for an earlier one, or for a receiver that asked for it, is not due.
    """
    table, head = notifications.c, notifications.alias("head")
    oldest = connection.scalar(sa.select(sa.func.min(head.c.next_attempt_at)).where(*_may_go(head, now)))
    if oldest is None or oldest > now - patience:
        return None
    latest = sa.select(table.sent_at).order_by(table.notification_id.desc()).limit(_LATEST).subquery()
    leaves = connection.scalar(sa.select(sa.func.max(latest.c.sent_at)))
    return oldest if leaves is None or leaves < now - patience else None


def _claimed(row: sa.RowMapping) -> Claimed:
    return Claimed(
        notification_id=row["notification_id"],
        alert_id=row["alert_id"],
        channel=row["channel"],
        message_id=row["message_id"],
        message=msgspec.convert(row["body"], Message),
        created_at=row["created_at"],
        attempt=row["attempts"],
    )


def sent(connection: sa.Connection, claimed: Claimed, now: datetime, taken: Taken = NOTHING) -> None:
    """Record a delivery; true whoever holds the lease by now. What the receiver had to remark stands under error."""
    values = {"error": taken.remark or None, "receipt": dict(taken.receipt) or None}
    _record(connection, claimed, state="sent", sent_at=now, fenced=False, **values)


def receipt(connection: sa.Connection, claimed: Claimed) -> Mapping[str, str]:
    """What the last message about this alert on this channel left that left anything."""
    table = notifications.c
    query = (
        sa.select(table.receipt)
        .where(
            table.alert_id == claimed.alert_id,
            table.channel == claimed.channel,
            table.state == "sent",
            table.receipt.is_not(None),
        )
        .order_by(table.notification_id.desc())
        .limit(1)
    )
    return connection.scalar(query) or {}


def retry(connection: sa.Connection, claimed: Claimed, at: datetime, error: str) -> None:
    """Record a failure that is tried again."""
    _record(connection, claimed, state="pending", next_attempt_at=at, error=error)


def park(connection: sa.Connection, claimed: Claimed, error: str) -> None:
    """Give a message up, visibly. With an opening, what waits for it on that channel is dropped."""
    parked = _record(connection, claimed, state="parked", error=error)
    if parked and claimed.message.event == "opened":
        table = notifications.c
        connection.execute(
            sa.update(notifications)
            .where(table.alert_id == claimed.alert_id, table.channel == claimed.channel, table.state == "pending")
            .values(state="dropped", error=UNOPENED)
        )


def drop_unopened(connection: sa.Connection, claimed: Claimed) -> bool:
    """Drop a message whose alert's opening was parked on that channel; whether it was.

    What waits is dropped when an opening is parked, but the pipeline may be writing one more at that moment.
    """
    table = notifications.c
    parked = sa.select(
        sa.exists().where(
            table.alert_id == claimed.alert_id,
            table.channel == claimed.channel,
            table.event == "opened",
            table.state == "parked",
        )
    )
    if claimed.message.event == "opened" or not connection.scalar(parked):
        return False
    return _record(connection, claimed, state="dropped", error=UNOPENED)


def hold_channel(connection: sa.Connection, channel: str, until: datetime) -> None:
    """Send nothing to a channel before: its receiver asked for that."""
    table = channel_pace.c
    query = insert(channel_pace).values(channel=channel, free_at=until, paced_at=until)
    changed = {"free_at": sa.func.greatest(table.free_at, until)}
    connection.execute(query.on_conflict_do_update(index_elements=[table.channel], set_=changed))


def park_channel(connection: sa.Connection, channel: str, error: str) -> None:
    """Give up everything that waits for a channel: its receiver is gone."""
    table = notifications.c
    connection.execute(
        sa.update(notifications)
        .where(table.channel == channel, table.state == "pending")
        .values(state="parked", error=error)
    )


# --- parked, and sent again by hand -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Parked:
    """A message that was given up."""

    notification_id: int
    alert_id: int
    channel: str
    event: str
    created_at: datetime
    attempts: int
    error: str | None


def parked(connection: sa.Connection, *, limit: int, channel: str | None = None) -> list[Parked]:
    """What was given up, the latest first."""
    table = notifications.c
    query = (
        sa.select(*(table[name] for name in Parked.__slots__))
        .where(table.state == "parked", sa.true() if channel is None else table.channel == channel)
        .order_by(table.notification_id.desc())
        .limit(limit)
    )
    return [Parked(**row) for row in connection.execute(query).mappings()]


def requeue(
    connection: sa.Connection, numbers: Collection[int] | None, channel: str | None, *, actor: str, now: datetime
) -> int:
    """Send parked messages after all, with a fresh budget: these, or all of a channel. How many that were.

    Openings of alerts that are over stay parked: nobody would be told of the end. So does what the channel heard later
    news about: an end would be taken for the latest. A digest says nothing about those after it.
    """
    table, later = notifications.c, notifications.alias("later").c
    mine = table.channel == channel if numbers is None else table.notification_id.in_(numbers)
    over = sa.exists().where(alerts.c.alert_id == table.alert_id, alerts.c.state == "resolved", table.event == "opened")
    is_stale = sa.exists().where(
        table.event != "digest",
        *(later.alert_id == table.alert_id, later.channel == table.channel),
        *(later.notification_id > table.notification_id, later.state == "sent"),
    )
    query = (
        sa.update(notifications)
        .where(table.state == "parked", mine, ~over, ~is_stale)
        .values(state="pending", attempts=0, next_attempt_at=now, created_at=now, error=None)
        .returning(table.notification_id)
    )
    done = sorted(connection.scalars(query))
    if done:
        target = f"channel {channel}" if channel else f"{len(done)} notifications"
        detail = {"notifications": done}
        audit.record(connection, actor=actor, action="notification.retried", target=target, now=now, detail=detail)
    return len(done)


def _record(connection: sa.Connection, claimed: Claimed, *, fenced: bool = True, **values: Any) -> bool:
    """Write an outcome; when `fenced` only if nobody has claimed the row since."""
    table = notifications.c
    mine = [table.notification_id == claimed.notification_id]
    if fenced:
        mine += [table.state == "sending", table.attempts == claimed.attempt]
    result = connection.execute(sa.update(notifications).where(*mine).values(lease_until=None, **values))
    return result.rowcount == 1
