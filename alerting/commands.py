"""What other components may ask of alerting: say that something is wrong or right again, acknowledge, resolve.

Each is a row of record.signals, written in the caller's transaction; alerting.pipeline alone turns them into alerts,
so that alerts have one writer. The effect shows within a tick of the pipeline (about half a second). This module is the
only writer of record.signals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from alerting.signal import Act, Kind, Signal
from milepost.db.document import rows_of
from milepost.db.tables import alerts, signals
from milepost.decisions import audit
from milepost.errors import Conflict, NotFound


@dataclass(frozen=True, slots=True)
class Taken:
    """The next unhandled signals in their order: either `signals`, or one `act`."""

    ids: Sequence[int]
    signals: Sequence[Signal] = ()
    act: Act | None = None


__all__ = ["Act", "Kind", "Signal", "Taken", "acknowledge", "handled", "resolve", "send", "take"]

_COLUMNS: Final = ("action", "kind", "rule", "group", "item", "at")
_ACTS: Final = ("acknowledge", "resolve")


def send(connection: sa.Connection, sent: Sequence[Signal], *, now: datetime) -> None:  # noqa: ARG001 (all commands alike)
    """Append signals in their order. They take effect once the caller's transaction commits."""
    if sent:
        rows = [_row(signal) for signal in sent]
        connection.execute(sa.insert(signals).from_select(list(rows[0]), rows_of(signals, rows)))


def acknowledge(connection: sa.Connection, alert_id: int, *, actor: str, now: datetime) -> None:
    """Ask that the alert be acknowledged. Raises NotFound, or Conflict when it is resolved."""
    _append(connection, Act("acknowledge", alert_id, actor, now))


def resolve(connection: sa.Connection, alert_id: int, *, actor: str, now: datetime, reason: str) -> None:
    """Ask that the alert be resolved, its open items with it. Raises NotFound, or Conflict when it is resolved."""
    _append(connection, Act("resolve", alert_id, actor, now, reason))


def take(connection: sa.Connection, limit: int) -> Taken | None:
    """The oldest unhandled signals, `limit` at most, up to the next act of a person; None when there are none."""
    query = sa.select(signals).where(signals.c.handled_at.is_(None)).order_by(signals.c.signal_id).limit(limit)
    rows = connection.execute(query).mappings().all()
    if not rows:
        return None
    if rows[0]["action"] in _ACTS:
        return Taken([rows[0]["signal_id"]], act=_act(rows[0]))
    stop = next((index for index, row in enumerate(rows) if row["action"] in _ACTS), len(rows))
    return Taken([row["signal_id"] for row in rows[:stop]], [_signal(row) for row in rows[:stop]])


def handled(connection: sa.Connection, taken: Taken, *, now: datetime) -> None:
    """Mark as handled, in the transaction of the effects."""
    ids = sa.cast(list(taken.ids), sa.ARRAY(sa.BigInteger))
    connection.execute(sa.update(signals).where(signals.c.signal_id == sa.func.any(ids)).values(handled_at=now))


def _row(signal: Signal) -> dict[str, Any]:
    row = {name: getattr(signal, name) for name in _COLUMNS}
    body = {name: getattr(signal, name) for name in Signal.__slots__ if name not in _COLUMNS}
    return {**row, "body": body}


def _append(connection: sa.Connection, act: Act) -> None:
    query = sa.select(alerts.c.state, alerts.c.kind, alerts.c.rule, alerts.c.group).where(
        alerts.c.alert_id == act.alert_id
    )
    alert = connection.execute(query).mappings().first()
    if alert is None:
        raise NotFound(f"there is no alert {act.alert_id}")
    if alert["state"] == "resolved":
        raise Conflict(f"alert {act.alert_id} is resolved already")
    body = {"alert_id": act.alert_id, "actor": act.actor, "reason": act.reason}
    place = {name: alert[name] for name in ("kind", "rule", "group")}
    row = {**place, "action": act.action, "item": f"alert:{act.alert_id}", "at": act.at, "body": body}
    connection.execute(sa.insert(signals), row)
    _audit(connection, act)


def _audit(connection: sa.Connection, act: Act) -> None:
    detail = {"reason": act.reason} if act.reason else {}
    action, target = f"alert.{act.action}d", f"alert {act.alert_id}"
    audit.record(connection, actor=act.actor, action=action, target=target, now=act.at, detail=detail)


def _signal(row: sa.RowMapping) -> Signal:
    return msgspec.convert({**row["body"], **{name: row[name] for name in _COLUMNS}}, Signal)


def _act(row: sa.RowMapping) -> Act:
    return msgspec.convert({**row["body"], "action": row["action"], "at": row["at"]}, Act)
