"""Milepost's own alert about collectors that no longer report."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import sqlalchemy as sa

from alerting import commands
from alerting.commands import Signal
from milepost.db.tables import alerts
from milepost.inbox.watermark import Known

RULE: Final = "collector-lost"


class LostCollectors:
    """Tells once when clocks are no longer held for a collector, and when it reports again or has gone."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def tell(self, connection: sa.Connection, known: Known, now: datetime) -> None:
        """Send what has changed. Belongs to the caller's transaction."""
        self._told &= known.lost.keys()
        opened = _open(connection)
        signals = [_lost(name, at) for name, at in known.lost.items() if name not in self._told | opened]
        signals += [_found(name, now) for name in opened - known.silent]
        commands.send(connection, signals, now=now)
        self._told |= known.lost.keys()


def _open(connection: sa.Connection) -> set[str]:
    name = alerts.c.group["collector"].astext
    query = sa.select(name).where(alerts.c.kind == "platform", alerts.c.rule == RULE, alerts.c.state != "resolved")
    return set(connection.scalars(query))


def _lost(name: str, at: datetime) -> Signal:
    return Signal(
        action="raise",
        kind="platform",
        rule=RULE,
        group={"collector": name},
        item=name,
        at=at,
        title=f"Collector {name} no longer reports",
        summary="Clocks are judged without it; what it acknowledged and could not store lies in its spool",
        severity="critical",
    )


def _found(name: str, now: datetime) -> Signal:
    group = {"collector": name}
    return Signal(action="clear", kind="platform", rule=RULE, group=group, item=name, at=now, why="reports again")
