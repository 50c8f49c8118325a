"""The audit: who did what to what, and when, as a chain of hashes.

Rows are only ever added, in the transaction of the act itself. Each holds `previous`, the hash of the row before it (32
zero bytes in the first), and `hash`, the SHA-256 of its own canonical form: one JSON object in UTF-8 with the members
action, actor, at, audit_id, detail, previous, target, sorted by name at every level, without white space, non-ASCII
characters as they are; `at` like 2026-11-20T10:02:11.123456Z, `previous` in hexadecimal. Numbers in `detail` are
integers. Whoever can compute a SHA-256 can check it; Python's json.dumps(row, sort_keys=True, ensure_ascii=False,
separators=(",", ":")) writes the form.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa

from milepost.db.engine import lock_key
from milepost.db.tables import audit

SYSTEM: Final = "milepost"
MAX_REASON: Final = 500
"""Characters that people may give as a reason."""
"""The actor of what Milepost does by itself."""
FIRST: Final = bytes(32)
"""What stands in the first row for the hash of the one before."""
_LOCK: Final = "milepost.audit"
_READ_AT_ONCE: Final = 1000
_LOST: Final = "no row has the hash that was given: rows at the end were removed, or all were written anew"


@dataclass(frozen=True, slots=True)
class Line:
    """One row."""

    audit_id: int
    at: datetime
    actor: str
    action: str
    target: str
    detail: Mapping[str, Any]
    previous: bytes
    hash: bytes

    def content(self) -> dict[str, Any]:
        """What is hashed."""
        return {
            "audit_id": self.audit_id,
            "at": self.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "actor": self.actor,
            "action": self.action,
            "target": self.target,
            "detail": self.detail,
            "previous": self.previous.hex(),
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found: `rows` good rows up to `head`, the hash of the last one, and the first `problem`, if any."""

    rows: int
    head: bytes
    problem: str | None = None


def record(
    connection: sa.Connection,
    *,
    actor: str,
    action: str,
    target: str,
    now: datetime,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Add a line. `action` is like `key.created`; `detail` must never hold a secret.

    Those who add lines wait for each other from here to the end of their transactions: record last.
    """
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(lock_key(_LOCK))))
    last = sa.select(audit.c.audit_id, audit.c.hash).order_by(audit.c.audit_id.desc()).limit(1)
    before = connection.execute(last).one_or_none()
    number, previous = (before.audit_id + 1, before.hash) if before is not None else (1, FIRST)
    line = Line(number, now, _plain(actor), action, _plain(target), _plain(detail or {}), previous, b"")
    row = {name: getattr(line, name) for name in ("audit_id", "at", "actor", "action", "target", "detail", "previous")}
    connection.execute(sa.insert(audit), {**row, "hash": hash_of(line.content())})


def hash_of(content: Mapping[str, Any]) -> bytes:
    """The SHA-256 of a row's canonical form."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).digest()


def _plain(value: Any) -> Any:
    """What comes out of jsonb exactly as it went in: no fractions, no U+0000, no lone surrogates."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Mapping):
        return {_plain(str(name)): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def lines(
    connection: sa.Connection,
    *,
    actor: str | None = None,
    action: str | None = None,
    since: datetime | None = None,
    limit: int = 100,
) -> list[Line]:
    """The last lines, oldest first. `action`: the whole of it, or its part before the dot."""
    a = audit.c
    query = sa.select(audit).order_by(a.audit_id.desc()).limit(limit)
    query = query if actor is None else query.where(a.actor == actor)
    query = query if since is None else query.where(a.at >= since)
    if action is not None:
        query = query.where(sa.or_(a.action == action, sa.func.split_part(a.action, ".", 1) == action))
    return [_line(row) for row in connection.execute(query).mappings()][::-1]


def verify(connection: sa.Connection, *, head: bytes | None = None) -> Verdict:
    """Walk the whole chain. `head`, the hash of a row that was seen before, must still be in it."""
    everything = sa.select(audit).order_by(audit.c.audit_id).execution_options(yield_per=_READ_AT_ONCE)
    return check((_line(row) for row in connection.execute(everything).mappings()), head=head)


def check(chain: Iterable[Line], *, head: bytes | None = None) -> Verdict:
    """The verdict on a chain. Pure: rows may come from anywhere."""
    good, last, seen = 0, FIRST, head is None or head == FIRST
    for line, problem in _judged(chain):
        if problem is not None:
            return Verdict(good, last, problem)
        good, last, seen = good + 1, line.hash, seen or line.hash == head
    return Verdict(good, last, None if seen else _LOST)


def _judged(chain: Iterable[Line]) -> Iterator[tuple[Line, str | None]]:
    last = FIRST
    for number, line in enumerate(chain, 1):
        yield line, _problem(line, number, last)
        last = line.hash


def _problem(line: Line, number: int, last: bytes) -> str | None:
    place = f"row {line.audit_id} ({line.at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}, {line.action} by {line.actor})"
    if line.audit_id != number:
        missing = f"row {number}" if line.audit_id == number + 1 else f"rows {number} to {line.audit_id - 1}"
        return f"{missing} before {place}: missing"
    if hash_of(line.content()) != line.hash:
        return f"{place}: its content does not match its hash"
    if line.previous != last:
        return f"{place}: the row before it is not the one that it was written after"
    return None


def _line(row: sa.RowMapping) -> Line:
    return Line(**row)
