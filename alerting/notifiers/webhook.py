"""Signed webhooks as Standard Webhooks 1.0.0 has them (github.com/standard-webhooks/standard-webhooks).

Headers webhook-id, webhook-timestamp (seconds) and webhook-signature: `v1,` and the base64 of HMAC-SHA256 over
`{id}.{timestamp}.{body}`, one for each secret, separated by a space. The body is
`{"type": "alert.opened", "timestamp": …, "data": {"alert": …, "items": […], "items_left_out": n, "url": …}}`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct

from alerting.message import AlertView, ItemView, Message
from alerting.notifiers import Delivery, http
from milepost.catalog.schema import Channel
from milepost.errors import ConfigurationError
from milepost.settings import Alerting

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = range(24, 65)


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


def secrets_of(value: str) -> list[bytes]:
    """The keys of a secret variable: one, or several separated by spaces while they are rotated. Raises ValueError."""
    keys = [_key(text) for text in value.split()]
    if not keys:
        raise ValueError("it is empty")
    return keys


def _key(text: str) -> bytes:
    if not text.startswith(PREFIX):
        raise ValueError(f"it does not begin with {PREFIX}")
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError(f"what follows {PREFIX} is not base64") from error
    if len(key) not in SECRET_BYTES:
        raise ValueError(f"it has {len(key)} bytes; {SECRET_BYTES.start} to {SECRET_BYTES.stop - 1} are needed")
    return key


def sign(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """The value of webhook-signature."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return " ".join(f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}" for key in keys)


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
            keys = secrets_of(environ.get(channel.secret_env, ""))
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
            "webhook-signature": sign(self.keys, delivery.message_id, timestamp, body),
        }
        response = http.post(self.target, headers, body, timeout=self.timeout, allow_private=self.allow_private)
        http.check(response, now=delivery.at)
        return ""
