"""What people do with the quarantine: edit, replay, discard.

The body that came is never changed: an edit is a revision beside it. Rows are locked first, groups after them in their
order, the audit last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

from milepost.db.tables import quarantine, quarantine_groups, quarantine_revisions
from milepost.decisions import audit
from milepost.errors import Conflict, InvalidEvent, NotFound, Permanent, TooLarge
from milepost.inbox.quarantine.keep import Kind, storable

State = Literal["open", "replayed", "discarded"]
Outcome = Literal["accepted", "duplicate", "conflict", "refused"]
"""What came of a replay. accepted: it is in the event log. duplicate: it is stored already. conflict: another event
with its source and id is stored. refused: as before, or for another reason."""
PASSED: Final[frozenset[Outcome]] = frozenset({"accepted", "duplicate"})
"""What closes a row; after the others it stays open."""
MAX_REVISION_BYTES: Final = 16 * 1024 * 1024
MAX_REASON: Final = 500


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which open rows: by number, or all of a group, source or kind. Conditions are joined by and."""

    ids: Sequence[int] | None = None
    group_id: int | None = None
    source: str | None = None
    kind: Kind | None = None

    def condition(self) -> sa.ColumnElement[bool]:
        """Raises Permanent when nothing is named: nobody means the whole quarantine by leaving something out."""
        q = quarantine.c
        wanted: list[sa.ColumnElement[bool]] = []
        if self.ids is not None:
            wanted.append(q.quarantine_id == sa.func.any(sa.cast(list(self.ids), sa.ARRAY(sa.BigInteger))))
        for column, value in ((q.group_id, self.group_id), (q.source, self.source), (q.kind, self.kind)):
            if value is not None:
                wanted.append(column == value)
        if not wanted:
            raise Permanent("say which ones: by number, group, source or kind")
        return sa.and_(*wanted)

    def shown(self) -> str:
        """For the audit."""
        given = (("group", self.group_id), ("source", self.source), ("kind", self.kind))
        names = [f"{name} {value}" for name, value in given if value is not None]
        return ", ".join(names) or "quarantine " + " ".join(str(number) for number in (self.ids or ())[:20])


@dataclass(frozen=True, slots=True)
class Held:
    """An open row as a replay reads it. `body` is the last revision, or what came."""

    quarantine_id: int
    group_id: int
    received_at: datetime
    source: str
    kind: Kind
    way: str
    event_id: str | None
    body: bytes
    context: Mapping[str, Any]
    key_id: str | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of the replay of one row. `note` says why it did not pass; `events` are the ids of what it gave."""

    quarantine_id: int
    outcome: Outcome
    note: str = ""
    events: Sequence[str] = ()


@dataclass(slots=True)
class Report:
    """What came of the replay of many. `notes` counts why rows did not pass; `more`: not all were looked at."""

    outcomes: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    more: bool = False


@dataclass(frozen=True, slots=True)
class Edited:
    """What came of an edit of many: rows changed, of how many looked at; the last one's number if there may be more."""

    rows: int
    seen: int
    last: int | None


def take(connection: sa.Connection, wanted: Wanted, *, limit: int, after: int = 0, lock: bool = True) -> list[Held]:
    """Open rows after a number, in their order, locked to the transaction's end. Whoever holds one is waited for, and
    what he closed is left out."""
    q = quarantine.c
    query = sa.select(quarantine).where(q.state == "open", q.quarantine_id > after, wanted.condition())
    query = query.order_by(q.quarantine_id).limit(limit)
    rows = connection.execute(query.with_for_update() if lock else query).mappings().all()
    bodies = _edited(connection, [row["quarantine_id"] for row in rows])
    return [_held(row, bodies) for row in rows]


def _held(row: sa.RowMapping, bodies: Mapping[int, bytes]) -> Held:
    values = {name: row[name] for name in Held.__dataclass_fields__}
    body = bodies.get(row["quarantine_id"], row["body"])
    return Held(**{**values, "body": body, "context": row["context"] or {}})


def _edited(connection: sa.Connection, ids: Sequence[int]) -> dict[int, bytes]:
    """The last revision of those that have one."""
    r = quarantine_revisions.c
    query = sa.select(r.quarantine_id, r.body).where(r.quarantine_id.in_(ids))
    query = query.ext(distinct_on(r.quarantine_id)).order_by(r.quarantine_id, r.revision.desc())
    return {row.quarantine_id: row.body for row in connection.execute(query)} if ids else {}


def edit(connection: sa.Connection, quarantine_id: int, body: bytes, *, actor: str, now: datetime) -> int:
    """Put another body beside the one that came; the number of the revision. The same body again makes none.

    Raises NotFound, Conflict for a row that is closed, TooLarge.
    """
    held = _open(connection, quarantine_id)
    changed = _revise(connection, [(held, body)], actor, now)
    if changed:
        _audit_edit(connection, Wanted(ids=[quarantine_id]), changed, actor, now)
    r = quarantine_revisions.c
    return connection.scalar(sa.select(sa.func.max(r.revision)).where(r.quarantine_id == quarantine_id)) or 0


def edit_many(
    connection: sa.Connection,
    wanted: Wanted,
    change: Callable[[bytes], bytes],
    *,
    actor: str,
    now: datetime,
    limit: int = 1000,
    after: int = 0,
) -> Edited:
    """Change the bodies of open rows after a number alike, at most `limit`. What `change` refuses stays as it is."""
    found = take(connection, wanted, limit=limit, after=after)
    pairs = []
    for held in found:
        with suppress(InvalidEvent):
            pairs.append((held, change(held.body)))
    rows = _revise(connection, pairs, actor, now)
    if rows:
        _audit_edit(connection, wanted, rows, actor, now)
    return Edited(rows, len(found), found[-1].quarantine_id if len(found) == limit else None)


def _revise(connection: sa.Connection, pairs: Sequence[tuple[Held, bytes]], actor: str, now: datetime) -> int:
    """Add a revision to each row whose body is another one; how many. Raises TooLarge."""
    news = {held.quarantine_id: body for held, body in pairs if body != held.body}
    if any(len(body) > MAX_REVISION_BYTES for body in news.values()):
        raise TooLarge(f"a body may have {MAX_REVISION_BYTES} bytes at most")
    if not news:
        return 0
    r = quarantine_revisions.c
    last = (
        sa.select(r.quarantine_id, sa.func.max(r.revision)).where(r.quarantine_id.in_(news)).group_by(r.quarantine_id)
    )
    numbers = {row[0]: row[1] for row in connection.execute(last)}
    rows = [
        {"quarantine_id": number, "revision": numbers.get(number, 0) + 1, "at": now, "actor": actor, "body": body}
        for number, body in news.items()
    ]
    connection.execute(sa.insert(quarantine_revisions), rows)
    return len(rows)


def _audit_edit(connection: sa.Connection, wanted: Wanted, rows: int, actor: str, now: datetime) -> None:
    audit.record(
        connection, actor=actor, action="quarantine.edited", target=wanted.shown(), now=now, detail={"rows": rows}
    )


def _open(connection: sa.Connection, quarantine_id: int) -> Held:
    """The row, locked. Raises NotFound, or Conflict when it is closed."""
    found = take(connection, Wanted(ids=[quarantine_id]), limit=1)
    if not found:
        raise closed(connection, quarantine_id)
    return found[0]


def closed(connection: sa.Connection, quarantine_id: int) -> Permanent:
    """Why a row can't be had: NotFound, or Conflict with what was done to it."""
    q = quarantine.c
    query = sa.select(q.state, q.acted_by).where(q.quarantine_id == quarantine_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        return NotFound(f"nothing in quarantine has the number {quarantine_id}")
    return Conflict(f"{quarantine_id} was {row.state} already, by {row.acted_by}")


def discard(
    connection: sa.Connection, wanted: Wanted, *, reason: str, actor: str, now: datetime, limit: int = 1000
) -> int:
    """Close open rows without a replay; how many, at most `limit`. They stay readable until retention takes them.

    Raises Permanent without a reason.
    """
    if not reason.strip():
        raise Permanent("say why it is discarded")
    q = quarantine.c
    rows = sa.select(q.quarantine_id).where(q.state == "open", wanted.condition())
    chosen = connection.scalars(rows.order_by(q.quarantine_id).limit(limit).with_for_update()).all()
    ids = sa.cast(chosen, sa.ARRAY(sa.BigInteger))
    close = sa.update(quarantine).where(q.quarantine_id == sa.func.any(ids))
    values = {"state": "discarded", "acted_at": now, "acted_by": actor, "note": storable(reason), "outcome": None}
    groups = Counter(connection.scalars(close.values(**values).returning(q.group_id)))
    if not groups:
        return 0
    _move(connection, groups, "discarded")
    detail = {"rows": groups.total(), "reason": storable(reason)}
    audit.record(connection, actor=actor, action="quarantine.discarded", target=wanted.shown(), now=now, detail=detail)
    return groups.total()


def settle(
    connection: sa.Connection,
    pairs: Sequence[tuple[Held, Verdict]],
    *,
    target: str,
    vouched: bool,
    actor: str,
    now: datetime,
) -> None:
    """Write down what came of a replay, in the transaction that took the rows. What passed is closed."""
    if not pairs:
        return
    update = sa.update(quarantine).where(quarantine.c.quarantine_id == sa.bindparam("number"))
    values: dict[str, Any] = {name: sa.bindparam(f"new_{name}") for name in ("state", "outcome", "note")}
    rows = [_settled(verdict) for _, verdict in pairs]
    connection.execute(update.values(acted_at=now, acted_by=actor, **values), rows)
    _move(connection, Counter(held.group_id for held, verdict in pairs if verdict.outcome in PASSED), "replayed")
    detail: dict[str, Any] = dict(Counter(verdict.outcome for _, verdict in pairs))
    detail |= {"vouched": True} if vouched else {}
    audit.record(connection, actor=actor, action="quarantine.replayed", target=target, now=now, detail=detail)


def _settled(verdict: Verdict) -> dict[str, Any]:
    return {
        "number": verdict.quarantine_id,
        "new_state": "replayed" if verdict.outcome in PASSED else "open",
        "new_outcome": verdict.outcome,
        "new_note": storable(verdict.note) or None,
    }


def _move(connection: sa.Connection, groups: Mapping[int, int], state: str) -> None:
    """Count rows over from open to another state."""
    g = quarantine_groups.c
    moved = sa.bindparam("moved", type_=sa.BigInteger)
    update = sa.update(quarantine_groups).where(g.group_id == sa.bindparam("number"))
    rows = [{"number": group_id, "moved": number} for group_id, number in sorted(groups.items())]
    if rows:
        connection.execute(update.values({"open": g.open - moved, state: g[state] + moved}), rows)
