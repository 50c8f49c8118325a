"""What people do with the quarantine: edit, replay, discard.

The body that came is never changed: an edit is a revision beside it. Rows are locked first, groups after them in their
order, the audit last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
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
MAX_CHUNK_BYTES: Final = 32 * 1024 * 1024
"""Bodies that one step has in memory."""
_g: Final = quarantine_groups.c


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
            wanted.append(q.quarantine_id == _any(self.ids))
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


@dataclass(frozen=True, slots=True)
class Chunk:
    """Open rows in their order. `last`: the number after which there may be more, None when there are none."""

    rows: list[Held]
    last: int | None


def take(connection: sa.Connection, wanted: Wanted, *, limit: int, after: int = 0, lock: bool = True) -> Chunk:
    """Open rows after a number, locked to the transaction's end: at most `limit`, and MAX_CHUNK_BYTES or one row.

    Whoever holds a row is waited for; what he closes is left out.
    """
    q = quarantine.c
    size = sa.select(q.quarantine_id, sa.func.octet_length(q.body)).where(q.state == "open", q.quarantine_id > after)
    sizes = connection.execute(size.where(wanted.condition()).order_by(q.quarantine_id).limit(limit)).all()
    ids = _within((row[0], row[1]) for row in sizes)
    query = sa.select(quarantine).where(q.quarantine_id == _any(ids), q.state == "open").order_by(q.quarantine_id)
    rows = connection.execute(query.with_for_update() if lock else query).mappings().all()
    bodies = _edited(connection, [row["quarantine_id"] for row in rows])
    more = len(ids) < len(sizes) or len(sizes) == limit
    return Chunk([_held(row, bodies) for row in rows], ids[-1] if ids and more else None)


def _within(sizes: Iterable[tuple[int, int]]) -> list[int]:
    """The first numbers whose bodies may be in memory together."""
    ids: list[int] = []
    total = 0
    for number, size in sizes:
        total += size
        if ids and total > MAX_CHUNK_BYTES:
            break
        ids.append(number)
    return ids


def _any(ids: Sequence[int]) -> Any:
    return sa.func.any(sa.cast(list(ids), sa.ARRAY(sa.BigInteger)))


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
    held = take_one(connection, quarantine_id)
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
    chunk = take(connection, wanted, limit=limit, after=after)
    pairs = []
    for held in chunk.rows:
        with suppress(InvalidEvent):
            pairs.append((held, change(held.body)))
    rows = _revise(connection, pairs, actor, now)
    if rows:
        _audit_edit(connection, wanted, rows, actor, now)
    return Edited(rows, len(chunk.rows), chunk.last)


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


def take_one(connection: sa.Connection, quarantine_id: int) -> Held:
    """The row, locked. Raises NotFound, or Conflict when it is closed."""
    found = take(connection, Wanted(ids=[quarantine_id]), limit=1).rows
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
    close = sa.update(quarantine).where(q.quarantine_id == _any(chosen))
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
    moved = sa.bindparam("rows", type_=sa.BigInteger)
    count_groups(connection, groups, {"open": _g.open - moved, state: _g[state] + moved})


def count_groups(connection: sa.Connection, groups: Mapping[int, int], values: Mapping[str, Any]) -> None:
    """Change the counts of groups: {group: rows}; `values` may name the parameter `rows`.

    Groups are locked in the order in which `keep` counts them.
    """
    if not groups:
        return
    order = [sa.collate(column, "C") for column in (_g.source, _g.kind, _g.rule)]
    lock = sa.select(_g.group_id).where(_g.group_id == _any(list(groups))).order_by(*order).with_for_update()
    ids = connection.scalars(lock).all()
    update = sa.update(quarantine_groups).where(_g.group_id == sa.bindparam("number")).values(**values)
    connection.execute(update, [{"number": group_id, "rows": groups[group_id]} for group_id in ids])
