"""Ways out: one module for each kind of channel. A new one is a class with `deliver`, and a case in alerting.channels.

The contract of `deliver`: it returns once the receiver has taken the message, with a remark ("" for none). It raises a
Transient where trying again may help (with `retry_after` where the receiver said when), a Permanent where it can't, and
Gone when the receiver wants no more messages. The same delivery may come twice; `message_id` is then the same, and goes
along as the receiver's idempotency key. No exchange with the receiver takes longer than the timeout of the settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from alerting.message import Message


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt to hand a message over, made at `at`."""

    message_id: str
    message: Message
    at: datetime


class Notifier(Protocol):
    """A channel that is ready to deliver."""

    def deliver(self, delivery: Delivery) -> str:
        """Hand the message over; see the module for the contract."""
        ...
