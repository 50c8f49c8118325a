"""Who is looking: signed session cookies, API keys with scope read, and the gate before every page."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import sqlalchemy as sa
from itsdangerous import BadData, URLSafeSerializer

from milepost import auth
from milepost.clock import Clock, from_us, to_us
from milepost.decisions import access
from milepost.errors import ConfigurationError, NotAllowed, NotAuthenticated
from milepost.settings import Web

COOKIE: Final = "milepost_session"
_SALT: Final = "milepost session 1"
_TRUST: Final = timedelta(seconds=5)
"""A user's role is read again after this long: so soon a disabled user is out."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody, or a program with a key, who may read. `rights` as in milepost.auth."""

    name: str
    role: str

    def may(self, right: str) -> bool:
        return auth.may(self.role, right)

    def require(self, right: str) -> None:
        """Raises NotAllowed."""
        if not self.may(right):
            raise NotAllowed(f"your role ({self.role}) may not do this; ask an operator")


current_person: ContextVar[Person] = ContextVar("current_person")
"""Who the page or callback being answered is for; set by the gate."""


class Sessions:
    """Issues and checks session cookies. A cookie holds a name and the time of issue, signed; nothing is stored."""

    def __init__(self, engine: sa.Engine, web: Web, clock: Clock) -> None:
        if not web.secret:
            raise ConfigurationError("MILEPOST_SECRET: sessions are signed with it; set it to 32 random characters")
        self._engine = engine
        self._clock = clock
        self._signer = URLSafeSerializer(web.secret, salt=_SALT)
        self.lifetime = timedelta(hours=web.session_hours)
        self._secure = web.secure_cookies
        self._known: dict[str, tuple[datetime, Person | None]] = {}
        self._lock = threading.Lock()

    def issue(self, name: str) -> str:
        """A cookie's value for a user who has just logged in."""
        return str(self._signer.dumps([name, to_us(self._clock())]))

    def cookie_options(self) -> dict[str, Any]:
        age = int(self.lifetime.total_seconds())
        return {"max_age": age, "httponly": True, "samesite": "lax", "secure": self._secure, "path": "/"}

    def person(self, cookie: str | None) -> Person | None:
        """The user of a session cookie; None when it is missing, forged or expired, or the user is disabled."""
        name = self._name(cookie)
        return self._user(name) if name is not None else None

    def _name(self, cookie: str | None) -> str | None:
        if not cookie:
            return None
        try:
            name, issued_us = self._signer.loads(cookie)
        except (BadData, ValueError, TypeError):
            return None
        return name if self._clock() < from_us(issued_us) + self.lifetime else None

    def _user(self, name: str) -> Person | None:
        now = self._clock()
        with self._lock:
            known = self._known.get(name)
        if known and now - known[0] < _TRUST:
            return known[1]
        with self._engine.connect() as connection:
            user = access.find_user(connection, name)
        person = Person(name, user.role) if user is not None and user.disabled_at is None else None
        with self._lock:
            self._known[name] = (now, person)
        return person

    def key_holder(self, header: str) -> Person:
        """The holder of an API key with scope read. Raises NotAuthenticated or NotAllowed."""
        scheme, _, text = header.partition(" ")
        if scheme.lower() != "bearer":
            raise NotAuthenticated("send the key as: Authorization: Bearer mp_…")
        key_id, secret = auth.split_key(text)
        with self._engine.connect() as connection:
            key = access.find_key(connection, key_id)
        if key is None or not auth.verify_secret(secret, key.secret_hash) or not key.usable(self._clock()):
            raise NotAuthenticated("this key is unknown, expired or revoked")
        if not auth.allows(key.scopes, "read"):
            raise NotAllowed("this key may not read; make one with the scope read")
        return Person(f"key {key.name}", "viewer")


def same_origin(headers: Mapping[str, str], public_url: str) -> bool:
    """Whether a request that changes something comes from our own pages (or from no browser at all)."""
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")
    return urlsplit(origin).netloc in (headers.get("host"), urlsplit(public_url).netloc)
