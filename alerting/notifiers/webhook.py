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
from alerting.notifiers import NOTHING, Delivery, Taken, http
from milepost import signing
from milepost.catalog.routing import Channel
from milepost.errors import ConfigurationError
from milepost.settings import Alerting


class Data(Struct, frozen=True):
    """What happened. `items`: the oldest ones, the others are counted; `thread`: the webhook-id of the opening.

    `acknowledge_url`: where whoever has it may acknowledge the alert without a log-in.
    """

    headline: str
    alert: AlertView
    items: list[ItemView]
    items_left_out: int
    url: str
    acknowledge_url: str | None
    thread: str


class Payload(Struct, frozen=True):
    """The body. `type`: alert.opened, .reopened, .updated, .acknowledged, .resolved; `timestamp`: when it happened."""

    type: str
    timestamp: datetime
    data: Data


def payload(message: Message, acknowledge_url: str = "") -> bytes:
    """The body of a message: always the same bytes for the same message."""
    data = Data(
        headline=message.headline,
        alert=message.alert,
        items=message.items,
        items_left_out=message.items_left_out,
        url=message.url,
        acknowledge_url=acknowledge_url or None,
        thread=message.thread,
    )
    body = Payload(f"alert.{message.event}", message.at, data)
    return msgspec.json.encode(body, order="deterministic")


@dataclass(frozen=True, slots=True)
class Webhook:
    """A receiver of signed webhooks."""

    endpoint: http.Endpoint
    keys: Sequence[bytes]

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
        return Webhook(http.Endpoint.make(channel.url or "", settings), keys)

    def deliver(self, delivery: Delivery) -> Taken:
        """POST it; see alerting.notifiers for the contract."""
        body = payload(delivery.message, delivery.acknowledge_url)
        timestamp = int(delivery.at.timestamp())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": delivery.message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signing.sign(self.keys, delivery.message_id, timestamp, body),
        }
        self.endpoint.post(headers, body, now=delivery.at)
        return NOTHING
