"""API keys, users and one-time log-ins: the only writer of their tables.

Secrets and tokens are stored as hashes; what is returned in clear is shown once. Every change belongs to the caller's
transaction and writes a line of the audit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, get_args

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from milepost.auth import (
    ROLES,
    ApiKey,
    NewKey,
    Scope,
    hash_password,
    hash_secret,
    make_key,
    make_token,
    verify_password,
)
from milepost.db.engine import lock_key
from milepost.db.tables import api_keys, ended_sessions, login_tokens, users
from milepost.decisions import audit
from milepost.errors import Conflict, NotFound, Permanent

QUICKSTART: Final = "quickstart"
QUICKSTART_VALID: Final = timedelta(hours=24)
LOGIN_VALID: Final = timedelta(hours=1)
SCOPES: Final[frozenset[str]] = frozenset(get_args(Scope))
_MAX_NAME: Final = 128


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key as lists show it."""

    key: ApiKey
    created_at: datetime
    created_by: str
    last_used_at: datetime | None
    successor: str | None


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may log in, unless `disabled_at` is set."""

    name: str
    role: str
    created_at: datetime
    disabled_at: datetime | None
    has_password: bool


# --- keys -------------------------------------------------------------------------------------------------------------


def create_key(
    connection: sa.Connection,
    *,
    name: str,
    sources: Sequence[str],
    types: Sequence[str],
    scopes: Sequence[str],
    expires_at: datetime | None,
    actor: str,
    now: datetime,
) -> NewKey:
    """A new key; its text is in the answer and nowhere else. Raises Permanent for what can't be used."""
    _check_key(name, sources, types, scopes, expires_at, now)
    new = make_key()
    grant = {"name": name, "sources": list(sources), "types": list(types), "scopes": sorted(set(scopes))}
    row = {"key_id": new.key_id, "secret_hash": new.secret_hash, "created_at": now, "created_by": actor}
    connection.execute(sa.insert(api_keys), row | grant | {"expires_at": expires_at})
    detail = grant | {"expires_at": expires_at.isoformat() if expires_at else None}
    audit.record(connection, actor=actor, action="key.created", target=new.key_id, now=now, detail=detail)
    return new


def _check_key(
    name: str,
    sources: Sequence[str],
    types: Sequence[str],
    scopes: Sequence[str],
    expires_at: datetime | None,
    now: datetime,
) -> None:
    _check_name("key", name)
    if not scopes or not SCOPES.issuperset(scopes):
        raise Permanent(f"scopes: give one or more of {', '.join(sorted(SCOPES))}")
    if "send" in scopes and not (sources and types and all(sources) and all(types)):
        raise Permanent("a key that sends needs the sources and the event types that it may send (* for all)")
    if expires_at is not None and expires_at <= now:
        raise Permanent("the key would have expired already")


def _check_name(what: str, name: str) -> None:
    if not name.strip() or len(name) > _MAX_NAME or not name.isprintable():
        raise Permanent(f"the {what}'s name must be 1 to {_MAX_NAME} printable characters")


def revoke_key(connection: sa.Connection, key_id: str, *, actor: str, now: datetime) -> None:
    """Make the key useless from now on; a revoked one stays as it is. Raises NotFound."""
    revoke = sa.update(api_keys).where(api_keys.c.key_id == key_id, api_keys.c.revoked_at.is_(None))
    if connection.execute(revoke.values(revoked_at=now)).rowcount:
        audit.record(connection, actor=actor, action="key.revoked", target=key_id, now=now)
    elif find_key(connection, key_id) is None:
        raise NotFound(f"there is no key {key_id}")


def rotate_key(
    connection: sa.Connection,
    key_id: str,
    *,
    overlap: timedelta,
    expires_at: datetime | None,
    actor: str,
    now: datetime,
) -> NewKey:
    """A new key with the same name and rights; the old one ends after `overlap`, unless it ends before.

    Raises NotFound, or Conflict for a key that no longer works or has a successor already.
    """
    row = (
        connection.execute(sa.select(api_keys).where(api_keys.c.key_id == key_id).with_for_update()).mappings().first()
    )
    if row is None:
        raise NotFound(f"there is no key {key_id}")
    old = _key(row)
    if not old.usable(now) or row["successor"] is not None:
        why = f"was rotated already, to {row['successor']}" if row["successor"] else "has ended"
        raise Conflict(f"the key {key_id} {why}; make a new one")
    new = create_key(
        connection,
        name=old.name,
        sources=old.sources,
        types=old.types,
        scopes=sorted(old.scopes),
        expires_at=expires_at,
        actor=actor,
        now=now,
    )
    ends = min(now + overlap, old.expires_at or datetime.max.replace(tzinfo=UTC))
    values = {"expires_at": ends, "successor": new.key_id}
    connection.execute(sa.update(api_keys).where(api_keys.c.key_id == key_id).values(values))
    detail = {"successor": new.key_id, "ends": ends}
    audit.record(connection, actor=actor, action="key.rotated", target=key_id, now=now, detail=detail)
    return new


def find_key(connection: sa.Connection, key_id: str) -> ApiKey | None:
    """The key with this id, usable or not; its secret is still to be verified."""
    row = connection.execute(sa.select(api_keys).where(api_keys.c.key_id == key_id)).mappings().one_or_none()
    return _key(row) if row is not None else None


def key_ids(connection: sa.Connection) -> frozenset[str]:
    """The ids of the keys that are not revoked."""
    return frozenset(connection.scalars(sa.select(api_keys.c.key_id).where(api_keys.c.revoked_at.is_(None))))


def list_keys(connection: sa.Connection) -> list[KeyRecord]:
    """All keys, the newest first."""
    rows = connection.execute(sa.select(api_keys).order_by(api_keys.c.created_at.desc(), api_keys.c.key_id))
    names = ("created_at", "created_by", "last_used_at", "successor")
    return [KeyRecord(_key(row), *(row[name] for name in names)) for row in rows.mappings()]


def _key(row: sa.RowMapping) -> ApiKey:
    return ApiKey(
        key_id=row["key_id"],
        secret_hash=row["secret_hash"],
        name=row["name"],
        sources=tuple(row["sources"]),
        types=tuple(row["types"]),
        scopes=frozenset(row["scopes"]),
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
    )


def quickstart_key(connection: sa.Connection, *, actor: str, now: datetime) -> NewKey:
    """A key for trying things out: source "quickstart", 24 hours. The one before it is revoked."""
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(lock_key("milepost.quickstart"))))
    former = sa.select(api_keys.c.key_id).where(api_keys.c.name == QUICKSTART, api_keys.c.revoked_at.is_(None))
    for key_id in connection.scalars(former).all():
        revoke_key(connection, key_id, actor=actor, now=now)
    return create_key(
        connection,
        name=QUICKSTART,
        sources=[QUICKSTART],
        types=["*"],
        scopes=["send"],
        expires_at=now + QUICKSTART_VALID,
        actor=actor,
        now=now,
    )


def touch_keys(connection: sa.Connection, used: Mapping[str, datetime]) -> None:
    """Note when keys were last used: {key id: time}. Not audited; to be called now and then, not on every request."""
    update = (
        sa.update(api_keys)
        .where(api_keys.c.key_id == sa.bindparam("id"))
        .values(last_used_at=sa.func.greatest(api_keys.c.last_used_at, sa.bindparam("at", type_=sa.DateTime(True))))
    )
    # sorted, so that two processes which note the same keys can't deadlock
    rows = [{"id": key_id, "at": used[key_id]} for key_id in sorted(used)]
    if rows:
        connection.execute(update, rows)


# --- users ------------------------------------------------------------------------------------------------------------


def create_user(
    connection: sa.Connection, *, name: str, password: str | None, role: str, actor: str, now: datetime
) -> User:
    """A new user; without a password only one-time links let them in. Raises Conflict, or Permanent."""
    _check_name("user", name)
    _check_role(role)
    password_hash = hash_password(password) if password is not None else None
    if not _add_user(connection, name, password_hash, role, actor, now):
        raise Conflict(f"there is a user {name} already")
    return User(name, role, now, None, password is not None)


def ensure_admin(connection: sa.Connection, name: str, *, actor: str, now: datetime) -> bool:
    """Make this administrator, without a password, unless the user is there; whether it was made now.

    Two who find nobody at the same time both get their answer: the second waits for the first, and makes nothing.
    """
    return _add_user(connection, name, None, "admin", actor, now)


def _add_user(
    connection: sa.Connection, name: str, password_hash: str | None, role: str, actor: str, now: datetime
) -> bool:
    """Insert the user unless the name is taken; whether it was made."""
    row = {"name": name, "password_hash": password_hash, "role": role, "created_at": now}
    statement = insert(users).values(row).on_conflict_do_nothing(index_elements=["name"]).returning(users.c.user_id)
    made = connection.scalar(statement) is not None
    if made:
        audit.record(connection, actor=actor, action="user.created", target=name, now=now, detail={"role": role})
    return made


def set_password(connection: sa.Connection, name: str, password: str, *, actor: str, now: datetime) -> None:
    """Give the user another password, and end their sessions. Raises NotFound, or Permanent when it is too short."""
    _change_user(connection, name, password_hash=hash_password(password), sessions_from=now)
    audit.record(connection, actor=actor, action="user.password_set", target=name, now=now)


def disable_user(connection: sa.Connection, name: str, *, actor: str, now: datetime) -> None:
    """Let the user in no more, by session or link. Raises NotFound."""
    _change_user(connection, name, disabled_at=now, sessions_from=now)
    connection.execute(sa.delete(login_tokens).where(login_tokens.c.user_name == name))
    audit.record(connection, actor=actor, action="user.disabled", target=name, now=now)


def enable_user(connection: sa.Connection, name: str, *, actor: str, now: datetime) -> None:
    """Let the user in again; the sessions from before stay ended. Raises NotFound."""
    _change_user(connection, name, disabled_at=None)
    audit.record(connection, actor=actor, action="user.enabled", target=name, now=now)


def set_role(connection: sa.Connection, name: str, role: str, *, actor: str, now: datetime) -> None:
    """Give the user another role; they have to log in again. Raises NotFound, or Permanent for an unknown role."""
    _check_role(role)
    user = find_user(connection, name)
    _change_user(connection, name, role=role, sessions_from=now)
    detail = {"role": role, "before": user.role if user is not None else None}
    audit.record(connection, actor=actor, action="user.role_set", target=name, now=now, detail=detail)


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise Permanent(f"role: give one of {', '.join(ROLES)}")


def _change_user(connection: sa.Connection, name: str, **values: Any) -> None:
    if not connection.execute(sa.update(users).where(users.c.name == name).values(values)).rowcount:
        raise NotFound(f"there is no user {name}")


def find_user(connection: sa.Connection, name: str) -> User | None:
    """The user of this name, disabled or not."""
    row = connection.execute(sa.select(users).where(users.c.name == name)).mappings().one_or_none()
    return _user(row) if row is not None else None


def list_users(connection: sa.Connection) -> list[User]:
    """All users by name."""
    return [_user(row) for row in connection.execute(sa.select(users).order_by(users.c.name)).mappings()]


def _user(row: sa.RowMapping) -> User:
    return User(row["name"], row["role"], row["created_at"], row["disabled_at"], row["password_hash"] is not None)


# --- logging in -------------------------------------------------------------------------------------------------------


def check_login(connection: sa.Connection, name: str, password: str, *, now: datetime) -> User | None:
    """The user, if the password is right and the user not disabled. Takes the same time either way."""
    row = connection.execute(sa.select(users).where(users.c.name == name)).mappings().one_or_none()
    right = verify_password(password, row["password_hash"] if row is not None else None)
    if not right or row is None or row["disabled_at"] is not None:
        return None
    audit.record(connection, actor=name, action="login.passed", target=name, now=now)
    return _user(row)


def note_blocked_login(connection: sa.Connection, name: str, address: str | None, *, now: datetime) -> None:
    """Somebody failed to log in so often that they have to wait. To be called once for each wait, not for each try."""
    detail = {"address": address}
    audit.record(connection, actor=audit.SYSTEM, action="login.blocked", target=name, now=now, detail=detail)


def end_session(connection: sa.Connection, session: bytes, name: str, *, expires_at: datetime, now: datetime) -> None:
    """The session was logged out: whoever else has its cookie is out too."""
    e = ended_sessions
    connection.execute(sa.delete(e).where(e.c.expires_at < now))
    row = {"session_hash": session, "expires_at": expires_at}
    if connection.execute(insert(e).values(row).on_conflict_do_nothing()).rowcount:
        audit.record(connection, actor=name, action="login.ended", target=name, now=now)


def session_user(connection: sa.Connection, name: str, session: bytes, begun: datetime) -> User | None:
    """The user of a session that began then; None when it was ended, by whatever way."""
    ended = sa.exists().where(ended_sessions.c.session_hash == session)
    u = users.c
    query = sa.select(users).where(u.name == name, u.disabled_at.is_(None), ~ended)
    query = query.where(sa.func.coalesce(u.sessions_from, begun) <= begun)
    row = connection.execute(query).mappings().one_or_none()
    return _user(row) if row is not None else None


def issue_login(
    connection: sa.Connection,
    user_name: str,
    *,
    now: datetime,
    valid: timedelta = LOGIN_VALID,
    actor: str = audit.SYSTEM,
) -> str:
    """A token that lets the user in once, within `valid`. Raises NotFound, or Conflict for a disabled user."""
    user = find_user(connection, user_name)
    if user is None:
        raise NotFound(f"there is no user {user_name}")
    if user.disabled_at is not None:
        raise Conflict(f"the user {user_name} is disabled")
    token, token_hash = make_token()
    connection.execute(sa.delete(login_tokens).where(login_tokens.c.expires_at < now))
    row = {"token_hash": token_hash, "user_name": user_name, "expires_at": now + valid}
    connection.execute(sa.insert(login_tokens), row)
    audit.record(connection, actor=actor, action="login.issued", target=user_name, now=now)
    return token


def redeem_login(connection: sa.Connection, token: str, *, now: datetime) -> User | None:
    """The user whom the token lets in, this once; None for a token that is used, expired or unknown."""
    t = login_tokens.c
    claim = (
        sa.update(login_tokens)
        .where(t.token_hash == hash_secret(token), t.used_at.is_(None), t.expires_at > now)
        .values(used_at=now)
        .returning(t.user_name)
    )
    name = connection.scalar(claim)
    user = find_user(connection, name) if name is not None else None
    if user is None or user.disabled_at is not None:
        return None
    audit.record(connection, actor=user.name, action="login.redeemed", target=user.name, now=now)
    return user
