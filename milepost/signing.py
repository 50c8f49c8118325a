"""Signatures of webhooks, made and checked in one place. Pure.

Standard Webhooks 1.0.0 (github.com/standard-webhooks/standard-webhooks): headers webhook-id, webhook-timestamp
(seconds) and webhook-signature, which is `v1,` and the base64 of HMAC-SHA256 over `{id}.{timestamp}.{body}`, one for
each secret, separated by spaces. And the plainer habit: one header with the HMAC-SHA256 of the body.

Signatures and tokens are compared in constant time, over the body's raw bytes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from milepost.errors import NotAuthenticated

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = range(24, 65)
TOLERANCE: Final = timedelta(minutes=5)
MAX_SIGNATURES: Final = 16
"""Signatures of one request that are looked at."""
MAX_ID: Final = 256
_MAX_DIGITS: Final = 15


def secrets_of(value: str) -> list[bytes]:
    """The keys of a Standard Webhooks secret: one, or several separated by spaces in a rotation. Raises ValueError."""
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
    return " ".join(_signatures(keys, message_id, timestamp, body))


@dataclass(frozen=True, slots=True)
class Signed:
    """The three headers of a Standard Webhook, as they came; empty where one is missing."""

    message_id: str
    timestamp: str
    signatures: str


def require(given: Signed) -> None:
    """Whether the headers are there at all. Raises NotAuthenticated."""
    for name, value in (("id", given.message_id), ("timestamp", given.timestamp), ("signature", given.signatures)):
        require_header(value, f"webhook-{name}")
    if len(given.message_id) > MAX_ID:
        raise NotAuthenticated(f"webhook-id has more than {MAX_ID} characters")


def require_header(value: str, name: str) -> None:
    """Raises NotAuthenticated."""
    if not value:
        raise NotAuthenticated(f"the header {name} is missing")


def verify(
    keys: Sequence[bytes], given: Signed, body: bytes, *, now: datetime, tolerance: timedelta = TOLERANCE
) -> None:
    """Check a Standard Webhook. Raises NotAuthenticated."""
    require(given)
    if not (given.timestamp.isascii() and given.timestamp.isdigit() and len(given.timestamp) <= _MAX_DIGITS):
        raise NotAuthenticated("webhook-timestamp is not a number of seconds")
    seconds = int(given.timestamp)
    if abs(now.timestamp() - seconds) > tolerance.total_seconds():
        raise NotAuthenticated("webhook-timestamp is too old, or too far ahead; it may be a replay, or a wrong clock")
    if not _any_equal(given.signatures.split()[:MAX_SIGNATURES], _signatures(keys, given.message_id, seconds, body)):
        raise NotAuthenticated("webhook-signature does not match")


def _signatures(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> list[str]:
    signed = f"{message_id}.{timestamp}.".encode(errors="surrogateescape") + body
    return [f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}" for key in keys]


@dataclass(frozen=True, slots=True)
class BodyHmac:
    """HMAC-SHA256 of the body in one header, as base64 or hex, after a prefix such as `sha256=`."""

    encoding: Literal["base64", "hex"]
    prefix: str = ""

    def sign(self, key: bytes, body: bytes) -> str:
        """The header's value."""
        digest = hmac.digest(key, body, hashlib.sha256)
        return self.prefix + (digest.hex() if self.encoding == "hex" else base64.b64encode(digest).decode())

    def verify(self, keys: Sequence[bytes], header: str, body: bytes) -> None:
        """Raises NotAuthenticated."""
        given = self.prefix + header.removeprefix(self.prefix).lower() if self.encoding == "hex" else header
        if not _any_equal([given], [self.sign(key, body) for key in keys]):
            raise NotAuthenticated("the signature does not match")


def verify_token(tokens: Iterable[str], given: str) -> None:
    """A secret that both sides know, sent as it is. Raises NotAuthenticated."""
    if not given or not _any_equal([given], list(tokens)):
        raise NotAuthenticated("the token is missing or wrong")


def _any_equal(given: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether any pair is equal, in a time that tells nothing about which, or how nearly."""
    found = False
    for one in given:
        for other in wanted:
            found |= hmac.compare_digest(one.encode(errors="surrogateescape"), other.encode())
    return found
