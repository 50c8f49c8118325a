"""Who is looking: signed session cookies, and API keys with scope read."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import OrderedDict
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
from milepost.guard import Guard
from milepost.settings import Web

COOKIE: Final = "milepost_session"
_SALT: Final = "milepost session 2"
_TRUST: Final = timedelta(seconds=5)
"""A session is looked up again after this long: so soon a disabled user is out, and a new key's id is known."""
_REMEMBERED: Final = 10_000
_USE_NOTED: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a `role`, or a program with a key and its `scopes`. Rights as in milepost.auth."""

    name: str
    role: str
    scopes: frozenset[str] = frozenset()

    def may(self, right: str) -> bool:
        return auth.may(self.role, right) or right in self.scopes

    def require(self, right: str) -> None:
        """Raises NotAllowed."""
        if not self.may(right):
            who = f"your role ({self.role})" if self.role else f"this key ({', '.join(sorted(self.scopes))})"
            raise NotAllowed(f"{who} may not do this; it needs the right {right}")


current_person: ContextVar[Person] = ContextVar("current_person")
"""Who the page or callback being answered is for; set by the gate."""


@dataclass(frozen=True, slots=True)
class _Session:
    """What a cookie says: whose it is, when it began, and the hash of what only it knows."""

    name: str
    begun: datetime
    hash: bytes


class Sessions:
    """Issues and checks session cookies: a name, the time of issue and a random part, signed.

    The database holds what ends a session before its time: a log-out, or a change of the user.
    """

    def __init__(self, engine: sa.Engine, web: Web, clock: Clock) -> None:
        if not web.secret:
            raise ConfigurationError("MILEPOST_SECRET: sessions are signed with it; set it to 32 random characters")
        self._engine = engine
        self._clock = clock
        self._signer = URLSafeSerializer(web.secret, salt=_SALT)
        self.lifetime = timedelta(hours=web.session_hours)
        self.secure = web.secure_cookies or web.scheme == "https"
        # the prefix makes browsers refuse a cookie of this name from a neighbouring host, or over plain HTTP
        self.cookie = f"__Host-{COOKIE}" if self.secure else COOKIE
        self._known: OrderedDict[bytes, tuple[datetime, Person | None]] = OrderedDict()
        self._lock = threading.Lock()
        self._guard = Guard()
        self._learned: datetime | None = None
        self._used: dict[str, datetime] = {}  # keys that are real, so no more than there are

    def issue(self, name: str) -> str:
        """A new session's cookie for a user who has just logged in."""
        return str(self._signer.dumps([name, to_us(self._clock()), secrets.token_urlsafe(16)]))

    def cookie_options(self) -> dict[str, Any]:
        age = int(self.lifetime.total_seconds())
        return {"max_age": age, "httponly": True, "samesite": "lax", "secure": self.secure, "path": "/"}

    def person(self, cookies: Mapping[str, str]) -> Person | None:
        """The user of a request's session; None when it is missing, forged or over, or the user is disabled."""
        session = self._read(cookies.get(self.cookie))
        return self._user(session) if session is not None else None

    def end(self, cookies: Mapping[str, str]) -> None:
        """Log out: the session is over for every copy of its cookie."""
        session = self._read(cookies.get(self.cookie))
        if session is None:
            return
        with self._engine.begin() as connection:
            expires = session.begun + self.lifetime
            access.end_session(connection, session.hash, session.name, expires_at=expires, now=self._clock())
        with self._lock:
            self._known.pop(session.hash, None)

    def _read(self, cookie: str | None) -> _Session | None:
        if not cookie:
            return None
        try:
            name, begun_us, random = self._signer.loads(cookie)
        except (BadData, ValueError, TypeError):
            return None
        session = _Session(name, from_us(begun_us), hashlib.sha256(random.encode()).digest())
        return session if self._clock() < session.begun + self.lifetime else None

    def _user(self, session: _Session) -> Person | None:
        now = self._clock()
        with self._lock:
            known = self._known.get(session.hash)
        if known and now - known[0] < _TRUST:
            return known[1]
        with self._engine.connect() as connection:
            user = access.session_user(connection, session.name, session.hash, session.begun)
        person = Person(session.name, user.role) if user is not None else None
        with self._lock:
            self._known[session.hash] = (now, person)
            self._known.move_to_end(session.hash)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return person

    # --- keys ---------------------------------------------------------------------------------------------------------

    def key_holder(self, headers: Mapping[str, str], client: str | None) -> Person:
        """The holder of an API key. Raises NotAuthenticated, RateLimited, or NotAllowed for one that only sends."""
        text, now = auth.presented(headers.get("authorization"), headers.get("x-api-key")), self._clock()
        if not self._guard.knows(auth.id_of(text)):
            self._learn(now)
        self._guard.admit(client, auth.id_of(text), now)
        try:
            key = self._key(text, now)
        except NotAuthenticated:
            self._guard.failed(client, now)
            raise
        self._note_use(key.key_id, now)
        if not key.scopes - {"send"}:
            raise NotAllowed("this key may only send; make one with the scope read")
        return Person(f"key {key.name}", "", key.scopes)

    def _key(self, text: str, now: datetime) -> auth.ApiKey:
        key_id, secret = auth.split_key(text)
        with self._engine.connect() as connection:
            key = access.find_key(connection, key_id)
        # an unknown key takes the same work as a wrong secret
        right = auth.verify_secret(secret, key.secret_hash if key is not None else auth.NO_SECRET)
        if key is None or not right or not key.usable(now):
            raise NotAuthenticated(auth.REFUSED)
        return key

    def _note_use(self, key_id: str, now: datetime) -> None:
        """Write down when a key was last used, now and then."""
        with self._lock:
            before = self._used.get(key_id)
            if before is not None and timedelta(0) <= now - before < _USE_NOTED:
                return
            self._used[key_id] = now
        with self._engine.begin() as connection:
            access.touch_keys(connection, {key_id: now})

    def _learn(self, now: datetime) -> None:
        """Read which ids of keys are real, now and then."""
        if self._learned is None or not timedelta(0) <= now - self._learned < _TRUST:
            self._learned = now
            with self._engine.connect() as connection:
                self._guard.know(access.key_ids(connection))


def same_origin(headers: Mapping[str, str], public_url: str) -> bool:
    """Whether a request that changes something comes from our own pages (or from no browser at all)."""
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")
    return urlsplit(origin).netloc in (headers.get("host"), urlsplit(public_url).netloc)
