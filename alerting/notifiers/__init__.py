"""Ways out: one module for each kind of channel. A new one is a class with `deliver`, and a case in alerting.channels.

The contract of `deliver`: it returns once the receiver has taken the message. It raises a Transient where trying again
may help (with `retry_after` where the receiver said when), a Permanent where it can't, and Gone when the receiver wants
no more messages. The same delivery may come twice; `message_id` is then the same, and goes along where the receiver
knows an idempotency key. No exchange with the receiver takes longer than the timeout of the settings, a mail
with its many turns no longer than two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol

from alerting.message import Message


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt to hand a message over, made at `at`.

    `acknowledge_url`: where whoever reads it may acknowledge the alert without a log-in; "" for nowhere. `receipt`:
    what the alert's last message on this channel left; empty when there was none, or it left nothing.
    """

    message_id: str
    message: Message
    at: datetime
    acknowledge_url: str = ""
    receipt: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Taken:
    """The receiver has the message. `remark`: what it had to say; `receipt`: what the alert's next message needs."""

    remark: str = ""
    receipt: Mapping[str, str] = field(default_factory=dict)


NOTHING: Final = Taken()
"""Taken without a word."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a receiver may be sent to: one message `every` so long, `burst` at once after a rest."""

    every: timedelta
    burst: int = 1


class Notifier(Protocol):
    """A channel that is ready to deliver."""

    def deliver(self, delivery: Delivery) -> Taken:
        """Hand the message over; see the module for the contract."""
        ...
