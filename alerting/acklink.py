"""Links that acknowledge one alert without a log-in: signed, for one channel, valid for some days. Pure.

Whoever holds a link may acknowledge that alert and nothing else. The signature is an HMAC-SHA256 under a key that is
derived from MILEPOST_SECRET for this alone. The same message always has the same link, so that a retry says the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from itsdangerous import BadData, URLSafeSerializer

from milepost.clock import from_us, to_us
from milepost.errors import NotAuthenticated
from milepost.settings import Settings

PATH: Final = "/acknowledge/"
_SALT: Final = "milepost acknowledge 1"


@dataclass(frozen=True, slots=True)
class Link:
    """What a link says: which alert, in a message on which channel, to whom (None: to several, or nobody knows)."""

    alert_id: int
    channel: str
    recipient: str | None
    expires_at: datetime

    @property
    def actor(self) -> str:
        """Who acts by it, for the record."""
        return f"{self.recipient or 'somebody'} by link on channel {self.channel}"


@dataclass(frozen=True, slots=True)
class Links:
    """Makes and reads links. `lifetime` zero: none are made."""

    secret: str
    public_url: str
    lifetime: timedelta

    @staticmethod
    def of(settings: Settings) -> Links:
        """As the settings have it."""
        lifetime = timedelta(days=settings.alerting.acknowledge_link_days)
        return Links(settings.web.secret, settings.public_url, lifetime)

    def make(self, alert_id: int, channel: str, readers: Collection[str], *, at: datetime) -> str:
        """The address for an alert told of at `at` to these readers; "" where there are to be none."""
        if not (self.secret and self.lifetime):
            return ""
        recipient = next(iter(readers)) if len(readers) == 1 else None
        token = self._signer().dumps([alert_id, channel, recipient, to_us(at + self.lifetime)])
        return f"{self.public_url}{PATH}{token!s}"

    def read(self, token: str, *, now: datetime) -> Link:
        """What a token says. Raises NotAuthenticated when it is forged or has expired."""
        try:
            alert_id, channel, recipient, expires_us = self._signer().loads(token)
        except (BadData, ValueError, TypeError) as error:
            raise NotAuthenticated("this link is not one of ours") from error
        link = Link(alert_id, channel, recipient, from_us(expires_us))
        if now >= link.expires_at:
            raise NotAuthenticated("this link has expired")
        return link

    def _signer(self) -> URLSafeSerializer:
        return URLSafeSerializer(self.secret, salt=_SALT, signer_kwargs={"digest_method": hashlib.sha256})
