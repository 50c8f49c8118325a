"""Signed webhooks as Standard Webhooks 1.0.0 has them (github.com/standard-webhooks/standard-webhooks).

The headers are those of milepost/signing.py. The body is
`{"type": "alert.opened", "timestamp": …, "data": {"alert": …, "items": […], "items_left_out": n, "url": …}}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
from msgspec import Struct

from alerting.message import AlertView, ItemView, Message
from alerting.notifiers import Delivery, http
from milepost import signing
from milepost.catalog.routing import Channel
from milepost.errors import ConfigurationError
from milepost.settings import Alerting


class Data(Struct, frozen=True):
    """What happened. `items`: the oldest ones, the others are counted; `thread`: the webhook-id of the opening."""

    headline: str
    alert: AlertView
    items: list[ItemView]
    items_left_out: int
    url: str
    thread: str


class Payload(Struct, frozen=True):
    """The body. `type`: alert.opened, .reopened, .updated, .acknowledged, .resolved; `timestamp`: when it happened."""

    type: str
    timestamp: datetime
    data: Data


def payload(message: Message) -> bytes:
    """The body of a message: always the same bytes for the same message."""
    data = Data(
        headline=message.headline,
        alert=message.alert,
        items=message.items,
        items_left_out=message.items_left_out,
        url=message.url,
        thread=message.thread,
    )
    body = Payload(f"alert.{message.event}", message.at, data)
    return msgspec.json.encode(body, order="deterministic")


@dataclass(frozen=True, slots=True)
class Webhook:
    """A receiver of signed webhooks."""

    target: http.Target
    keys: Sequence[bytes]
    timeout: float
    allow_private: bool

    @staticmethod
    def make(channel: Channel, settings: Alerting, environ: Mapping[str, str]) -> Webhook:
        """From the catalog and the variable that `secret_env` names. Raises ConfigurationError."""
        where = f"channel {channel.name}"
        if not channel.secret_env:
            raise ConfigurationError(f"{where}: secret_env names no variable; webhooks are always signed")
        try:
            keys = signing.secrets_of(environ.get(channel.secret_env, ""))
        except ValueError as error:
            raise ConfigurationError(f"{where}: the secret in {channel.secret_env}: {error}") from error
        target = http.parse(channel.url or "")
        return Webhook(target, keys, settings.notify_timeout, settings.allow_private_receivers)

    def deliver(self, delivery: Delivery) -> str:
        """POST it; see alerting.notifiers for the contract."""
        body = payload(delivery.message)
        timestamp = int(delivery.at.timestamp())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Milepost",
            "webhook-id": delivery.message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signing.sign(self.keys, delivery.message_id, timestamp, body),
        }
        response = http.post(self.target, headers, body, timeout=self.timeout, allow_private=self.allow_private)
        http.check(response, now=delivery.at)
        return ""
