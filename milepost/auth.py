"""Keys, passwords and roles: make, hash, verify. Knows no web framework and no database."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from functools import cache
from typing import Final, Literal, get_args

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from milepost.errors import NotAuthenticated, Permanent

Role = Literal["viewer", "operator", "analyst", "admin"]
Scope = Literal["send", "read", "quarantine"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
PREFIX: Final = "mp"
MIN_PASSWORD: Final = 10
REFUSED: Final = "this key is not known, has expired or was revoked"
"""The one answer to a key that doesn't count, whatever is wrong with it."""

_hasher: Final = PasswordHasher()
_rights: Final[dict[Role, frozenset[str]]] = {
    "viewer": frozenset({"read"}),
    "operator": frozenset({"read", "act", "quarantine"}),
    "analyst": frozenset({"read", "export"}),
    "admin": frozenset({"read", "act", "quarantine", "export", "administer"}),
}


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made. `text` is shown once; only `key_id` and `secret_hash` are stored."""

    key_id: str
    secret_hash: bytes
    text: str


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A stored key. `sources` and `types` are patterns (`*` matches anything)."""

    key_id: str
    secret_hash: bytes
    name: str
    sources: tuple[str, ...]
    types: tuple[str, ...]
    scopes: frozenset[str]
    expires_at: datetime | None
    revoked_at: datetime | None

    @property
    def default_source(self) -> str | None:
        """The source of events that name none: the key's only plain one."""
        plain = [source for source in self.sources if "*" not in source]
        return plain[0] if len(plain) == 1 else None

    def usable(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def may_send(self, source: str, event_type: str) -> bool:
        return matches(self.sources, source) and matches(self.types, event_type)


def matches(patterns: Sequence[str], name: str) -> bool:
    return any(pattern == "*" or pattern == name or fnmatchcase(name, pattern) for pattern in patterns)


def make_key() -> NewKey:
    """A fresh key `mp_<id>_<secret>`: 60 bits of id, 256 bits of secret."""
    key_id, secret = secrets.token_hex(8), secrets.token_hex(32)
    return NewKey(key_id, hash_secret(secret), f"{PREFIX}_{key_id}_{secret}")


def presented(authorization: str | None, api_key: str | None) -> str:
    """The key in a request's headers Authorization and X-Api-Key. Raises NotAuthenticated."""
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if api_key is not None:
        return api_key.strip()
    raise NotAuthenticated("send the header `Authorization: Bearer mp_…` with an API key")


def id_of(key: str) -> str:
    """The id in the text of a key, whatever the text is worth."""
    return key.removeprefix(f"{PREFIX}_").partition("_")[0]


def split_key(text: str) -> tuple[str, str]:
    """(key_id, secret) of a key as it was shown. Raises NotAuthenticated."""
    parts = text.strip().split("_")
    if len(parts) != 3 or parts[0] != PREFIX or not parts[1] or not parts[2]:
        raise NotAuthenticated("this is not a Milepost key; it looks like mp_<id>_<secret>")
    return parts[1], parts[2]


def hash_secret(secret: str) -> bytes:
    """SHA-256: the secret is random, so stretching would only cost time on every request."""
    return hashlib.sha256(secret.encode()).digest()


def verify_secret(secret: str, secret_hash: bytes) -> bool:
    return hmac.compare_digest(hash_secret(secret), secret_hash)


NO_SECRET: Final = hash_secret("")
"""Compared with where there is no key: the same work, and never right, as `split_key` refuses an empty secret."""


def hash_password(password: str) -> str:
    """argon2id. Raises Permanent when the password is too short."""
    if len(password) < MIN_PASSWORD:
        raise Permanent(f"the password needs at least {MIN_PASSWORD} characters")
    return _hasher.hash(password)


def verify_password(password: str, password_hash: str | None) -> bool:
    """Constant work, whether the user exists (a hash) or not (None)."""
    try:
        _hasher.verify(password_hash or _nobody(), password)
    except (VerifyMismatchError, InvalidHashError):
        return False
    return password_hash is not None


@cache
def _nobody() -> str:
    """What is verified when the user is unknown, so that both cases take the same time."""
    return _hasher.hash(secrets.token_urlsafe(16))


def make_token() -> tuple[str, bytes]:
    """A one-time token: the text, shown once, and the hash to store."""
    token = secrets.token_urlsafe(32)
    return token, hash_secret(token)


def may(role: str, right: str) -> bool:
    """Whether a role has a right: read, act, quarantine, export, administer."""
    return right in _rights.get(role, frozenset())  # type: ignore[call-overload]


def allows(scopes: Collection[str], scope: Scope) -> bool:
    return scope in scopes
