"""Takes messages out of the outbox and delivers them. Any number of processes may run it."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import sqlalchemy as sa

from alerting import channels, commands, outbox, retry, store
from alerting.acklink import Links
from alerting.group import key_of
from alerting.notifiers import Delivery, Taken
from alerting.outbox import Claimed
from alerting.signal import Signal
from milepost.catalog.oncall import TO
from milepost.catalog.routing import Channel, Routing
from milepost.clock import Clock
from milepost.errors import Gone, Permanent, Transient
from milepost.settings import Alerting

log = logging.getLogger(__name__)

CHANNELS: Final = 16
"""So many channels a step serves at once."""
PATIENCE: Final = 1.0
"""Seconds that a step waits for its receivers. A slower one is waited for by its thread alone."""
RULE: Final = "delivery"
"""The rule of Milepost's own alert about a channel that does not work."""


@dataclass(frozen=True, slots=True)
class Sender:
    """What delivering needs."""

    engine: sa.Engine
    routing: Routing
    settings: Alerting
    clock: Clock
    environ: Mapping[str, str]
    links: Links | None

    @property
    def lease(self) -> timedelta:
        """Longer than a mail may take; a sender that dies holds a channel up so long."""
        return timedelta(seconds=3 * self.settings.notify_timeout)


def step(
    engine: sa.Engine,
    routing: Routing,
    settings: Alerting,
    *,
    clock: Clock,
    environ: Mapping[str, str] = os.environ,
    links: Links | None = None,
    patience: float = PATIENCE,
) -> bool:
    """Send what is due, one message a channel. Did it find work? `links` makes those that acknowledge.

    Each message has a thread, which records its outcome. The step waits `patience` seconds for them, so that one
    hanging receiver does not keep the others waiting; no thread outlives its timeouts. A message that is still on its
    way counts as claimed, here and in other processes, until its lease ends.
    """
    sender = Sender(engine, routing, settings, clock, environ, links)
    with engine.begin() as connection:
        pace_of = partial(channels.pace_of, routing=routing)
        claimed = outbox.claim(connection, clock(), sender.lease, CHANNELS, pace_of)
    _wait([_start(sender, each) for each in claimed], patience)
    return bool(claimed)


def _start(sender: Sender, claimed: Claimed) -> threading.Thread:
    thread = threading.Thread(target=_run, args=(sender, claimed), name=f"send-{claimed.channel}", daemon=True)
    thread.start()
    return thread


def _wait(threads: Sequence[threading.Thread], patience: float) -> None:
    end = time.monotonic() + patience
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))


def _run(sender: Sender, claimed: Claimed) -> None:
    try:
        deliver(sender, claimed)
    except Transient as error:
        log.warning("the outcome of %s is not recorded, it goes out again: %s", claimed.message_id, error)


def deliver(sender: Sender, claimed: Claimed) -> None:
    """Send one claimed message and record what came of it. Raises Transient when the database can't take it.

    What a notifier was not meant to raise counts as what may pass, so that it spends the budget and is parked too.
    """
    with sender.engine.begin() as connection:
        if outbox.drop_unopened(connection, claimed):
            return
        receipt = outbox.receipt(connection, claimed)
    try:
        channel = channels.find(claimed.channel, sender.routing)
        delivery = Delivery(
            claimed.message_id, claimed.message, sender.clock(), acknowledge_url(sender, claimed, channel), receipt
        )
        taken = channels.make(channel, sender.settings, sender.environ).deliver(delivery)
    except Transient as error:
        _failed(sender, claimed, error)
    except Permanent as error:
        _refused(sender, claimed, error)
    except Exception as error:
        log.exception("sending %s to %s broke", claimed.message_id, claimed.channel)
        _failed(sender, claimed, Transient(f"{type(error).__name__}: {error}"))
    else:
        _delivered(sender, claimed, taken)


def acknowledge_url(sender: Sender, claimed: Claimed, channel: Channel) -> str:
    """Where the alert of a message can be acknowledged; "" when it needn't be. It is the same for every attempt."""
    if sender.links is None or claimed.message.alert.state != "firing" or claimed.message.event == "digest":
        return ""
    person = claimed.channel.partition(TO)[2]
    readers = [person] if person else channel.to if channel.kind == "email" else []
    return sender.links.make(claimed.alert_id, claimed.channel, readers, at=claimed.created_at)


def _delivered(sender: Sender, claimed: Claimed, taken: Taken) -> None:
    now = sender.clock()
    with sender.engine.begin() as connection:
        outbox.sent(connection, claimed, now, taken)
        works(connection, claimed.channel, now)


def _failed(sender: Sender, claimed: Claimed, error: Transient) -> None:
    now = sender.clock()
    at = retry.next_attempt(
        attempt=claimed.attempt,
        created_at=claimed.created_at,
        now=now,
        retry_after=error.retry_after,
        jitter=random.random(),
    )
    if at is None:
        return _give_up(sender, claimed, f"given up after {claimed.attempt} attempts: {_words(error)}", now)
    with sender.engine.begin() as connection:
        outbox.retry(connection, claimed, at, _words(error))
        if error.retry_after is not None:
            outbox.hold_channel(connection, claimed.channel, at)
    return None


def _refused(sender: Sender, claimed: Claimed, error: Permanent) -> None:
    now = sender.clock()
    _give_up(sender, claimed, _words(error), now)
    if isinstance(error, Gone):
        with sender.engine.begin() as connection:
            outbox.park_channel(connection, claimed.channel, _words(error))


def _words(error: Exception) -> str:
    """What is stored of it: receivers may answer anything, but PostgreSQL takes no NUL."""
    return str(error).replace("\0", "\ufffd")


def _give_up(sender: Sender, claimed: Claimed, error: str, now: datetime) -> None:
    """Park it, and let people know on the channels that do work."""
    with sender.engine.begin() as connection:
        outbox.park(connection, claimed, error)
        fails(connection, claimed.channel, now, error)


# --- Milepost's own alert about a channel -----------------------------------------------------------------------------


def fails(connection: sa.Connection, channel: str, now: datetime, error: str) -> None:
    """Let people know, on the channels that do work, that this one does not."""
    commands.send(connection, [_trouble(channel, now, error)], now=now)


def works(connection: sa.Connection, channel: str, now: datetime) -> None:
    """End the alert about a channel, if there is one."""
    if store.is_open(connection, key_of("platform", RULE, _group(channel))):
        clear = replace(_trouble(channel, now, ""), action="clear", why="it works again")
        commands.send(connection, [clear], now=now)


def _group(channel: str) -> Mapping[str, str]:
    return {"channel": channel}


def _trouble(channel: str, now: datetime, words: str) -> Signal:
    """One item a channel: a channel that can't even tell of its own trouble does not pile up."""
    return Signal(
        action="raise",
        kind="platform",
        rule=RULE,
        group=_group(channel),
        item=f"channel:{channel}",
        at=now,
        summary=words,
        title="Notifications can't be delivered",
        severity="critical",
    )
