"""Tells each Alertmanager again what it was told: what fires, and for some minutes what is over.

It sends the last message that the channel has taken about each alert, so that what nobody was told of is not told this
way either. Lost or double, a round matters little: the next one comes in a minute. One that is refused raises the alert
about the channel, as a message that is refused does.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

from alerting import send
from alerting.message import Message
from alerting.notifiers.alertmanager import LASTS, Alertmanager, alert
from milepost.catalog.routing import Channel, Routing
from milepost.clock import Clock
from milepost.db.tables import alerts, notifications
from milepost.errors import Permanent, Transient
from milepost.settings import Alerting

log = logging.getLogger(__name__)

MOST: Final = 200
"""Alerts in one request."""


def step(
    engine: sa.Engine,
    routing: Routing,
    settings: Alerting,
    *,
    clock: Clock,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """One round. An Alertmanager that can't be reached is left for the next one."""
    for channel in routing.channels:
        if channel.kind == "alertmanager":
            _tell(engine, channel, settings, clock(), environ)


def _tell(engine: sa.Engine, channel: Channel, settings: Alerting, now: datetime, environ: Mapping[str, str]) -> None:
    with engine.connect() as connection:
        told = last_told(connection, channel.name, now)
    if not told:
        return
    try:
        receiver = Alertmanager.make(channel, settings, environ)
        for start in range(0, len(told), MOST):
            receiver.send([alert(message, now) for message in told[start : start + MOST]], now)
    except Transient as error:
        log.warning("channel %s could not be told again what fires: %s", channel.name, error)
    except Permanent as error:
        with engine.begin() as connection:
            send.fails(connection, channel.name, now, str(error))
    else:
        with engine.begin() as connection:
            send.works(connection, channel.name, now)


def last_told(connection: sa.Connection, channel: str, now: datetime) -> list[Message]:
    """The last message about each alert that the channel has taken, of alerts that are open or ended just now."""
    n = notifications.c
    query = (
        sa.select(n.body)
        .ext(distinct_on(n.alert_id))
        .join(alerts, alerts.c.alert_id == n.alert_id)
        .where(
            n.channel == channel,
            n.state == "sent",
            n.event != "digest",
            sa.or_(alerts.c.state != "resolved", alerts.c.resolved_at > now - LASTS),
        )
        .order_by(n.alert_id, n.notification_id.desc())
    )
    return [msgspec.convert(body, Message) for body in connection.scalars(query)]
