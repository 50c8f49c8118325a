"""The quarantine as people read it: groups of one sort of failure, their rows, and one row with all that is known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from dashboards.queries.paging import Page, bounded, id_order, time_order
from milepost import contract
from milepost.db.tables import (
    correlations,
    event_object,
    events,
    objects,
    quarantine,
    quarantine_groups,
    quarantine_hours,
    quarantine_revisions,
)
from milepost.errors import NotFound
from milepost.journeystate import Flag

TREND: Final = 24
"""Hours that the curve of a group shows."""
_MAX_OBJECTS: Final = 200
_q, _g, _e = quarantine.c, quarantine_groups.c, events.c
_ROWS: Final = id_order(_q.quarantine_id)
_GROUPS: Final = time_order(_g.last_at, _g.group_id, descending=True)
_SKEWED: Final = id_order(_e.event_no)


@dataclass(frozen=True, slots=True)
class Group:
    """Failures of one source, kind and rule. `open`, `replayed` and `discarded` are kept; `repeated` (the same again
    within the hour), `unkept` (over the key's allowance) and `thinned` (for want of room) were counted only."""

    group_id: int
    source: str
    kind: str
    rule: str
    first_at: datetime
    last_at: datetime
    open: int
    replayed: int
    discarded: int
    repeated: int
    unkept: int
    thinned: int


@dataclass(frozen=True, slots=True)
class Row:
    """A row without its body."""

    quarantine_id: int
    group_id: int
    received_at: datetime
    source: str
    kind: str
    way: str
    reason: str
    event_id: str | None
    sender: str | None
    state: str
    acted_at: datetime | None
    acted_by: str | None
    outcome: str | None
    note: str | None


@dataclass(frozen=True, slots=True)
class Revision:
    revision: int
    at: datetime
    actor: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Detail:
    """A row whole: `body` as it came, the edits, and for a conflict the event that stands."""

    row: Row
    body: bytes
    context: Mapping[str, Any]
    revisions: Sequence[Revision]
    stands: Mapping[str, Any] | None

    @property
    def complaint(self) -> str:
        """Why it does not pass, as far as is known; empty for what is closed."""
        return (self.row.note or self.row.reason) if self.row.state == "open" else ""

    @property
    def before(self) -> str:
        """What stood before the body in the interchange that it was a part of."""
        around = self.context.get("around")
        return str(around[0]) if isinstance(around, list) and around else ""

    @property
    def present(self) -> bytes:
        """What a replay would read."""
        return self.revisions[-1].body if self.revisions else self.body


@dataclass(slots=True)
class Counts:
    """What is open of one source, by kind, and how many refusals were not kept."""

    open: dict[str, int] = field(default_factory=dict)
    unkept: int = 0


def group_page(
    connection: sa.Connection,
    *,
    source: str | None = None,
    kind: str | None = None,
    closed: bool = False,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[Group]:
    """Groups with something open, or all of them when `closed`; the latest first. Raises Permanent for a bad cursor."""
    wanted = [_GROUPS.after(cursor), *_named(((_g.source, source), (_g.kind, kind)))]
    if not closed:
        wanted.append(_g.open > 0)
    limit = bounded(limit)
    query = sa.select(quarantine_groups).where(*wanted).order_by(*_GROUPS.by()).limit(limit + 1)
    found = [Group(**row) for row in connection.execute(query).mappings()]
    return _GROUPS.page(found, limit, lambda group: (group.last_at, group.group_id))


def one_group(connection: sa.Connection, group_id: int) -> Group | None:
    query = sa.select(quarantine_groups).where(_g.group_id == group_id)
    row = connection.execute(query).mappings().one_or_none()
    return Group(**row) if row is not None else None


def trends(connection: sa.Connection, group_ids: Sequence[int], now: datetime) -> dict[int, list[int]]:
    """Refusals in each of the last TREND hours, the present one last."""
    h = quarantine_hours.c
    last = now.replace(minute=0, second=0, microsecond=0)
    first = last - timedelta(hours=TREND - 1)
    found: defaultdict[int, list[int]] = defaultdict(lambda: [0] * TREND)
    query = sa.select(h.group_id, h.hour, h.refused).where(h.group_id.in_(group_ids), h.hour.between(first, last))
    for row in connection.execute(query):
        found[row.group_id][int((row.hour - first) / timedelta(hours=1))] = row.refused
    return {group_id: found[group_id] for group_id in group_ids}


def row_page(
    connection: sa.Connection,
    *,
    group_id: int | None = None,
    source: str | None = None,
    kind: str | None = None,
    state: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[Row]:
    """The latest first. Raises Permanent for a bad cursor."""
    named = ((_q.group_id, group_id), (_q.source, source), (_q.kind, kind), (_q.state, state))
    limit = bounded(limit)
    columns = (_q[name] for name in Row.__dataclass_fields__)
    query = sa.select(*columns).where(_ROWS.after(cursor), *_named(named)).order_by(*_ROWS.by()).limit(limit + 1)
    found = [Row(**row) for row in connection.execute(query).mappings()]
    return _ROWS.page(found, limit, lambda row: (row.quarantine_id, row.quarantine_id))


def _named(pairs: Sequence[tuple[sa.Column[Any], Any]]) -> list[sa.ColumnElement[bool]]:
    return [column == value for column, value in pairs if value is not None]


def known(connection: sa.Connection, quarantine_id: int) -> Detail:
    """As `detail`. Raises NotFound."""
    found = detail(connection, quarantine_id)
    if found is None:
        raise NotFound(f"nothing in quarantine has the number {quarantine_id}")
    return found


def detail(connection: sa.Connection, quarantine_id: int) -> Detail | None:
    """A row with everything that is known of it."""
    values = connection.execute(sa.select(quarantine).where(_q.quarantine_id == quarantine_id)).mappings().one_or_none()
    if values is None:
        return None
    row = Row(**{name: values[name] for name in Row.__dataclass_fields__})
    r = quarantine_revisions.c
    query = sa.select(r.revision, r.at, r.actor, r.body).where(r.quarantine_id == quarantine_id).order_by(r.revision)
    revisions = [Revision(**each) for each in connection.execute(query).mappings()]
    stands = None
    if "conflict" in (row.kind, row.outcome):
        edited = bool(revisions) and row.kind != "conflict"  # a conflict is with what came
        stands = _standing(connection, revisions[-1].body if edited else values["body"])
    return Detail(row, values["body"], values["context"] or {}, revisions, stands)


def _standing(connection: sa.Connection, body: bytes) -> Mapping[str, Any] | None:
    """The stored event with a body's source and id, found by the objects that the body names; None where it names
    others, or nothing reads it."""
    try:
        event = contract.read(body)
    except msgspec.MsgspecError:
        return None
    keys = {key for keys in event.data.keys.values() for key in contract.key_list(keys)}
    named = sa.select(objects.c.object_id).where(objects.c.key.in_(keys))
    by_id = sa.select(correlations.c.object_id).where(correlations.c.key == event.correlationid)
    about = sa.union_all(named, by_id).limit(_MAX_OBJECTS)
    ids = list(connection.scalars(about))
    o = event_object.c
    pairs = sa.select(o.event_no, o.received_at).where(o.object_id.in_(ids)).subquery()
    query = sa.select(_e.body).where(
        _e.event_no == pairs.c.event_no,
        _e.received_at == pairs.c.received_at,
        _e.source == event.source,
        _e.event_id == event.id,
    )
    found: Mapping[str, Any] | None = connection.scalar(query.limit(1)) if ids else None
    return found


def counts(connection: sa.Connection) -> dict[str, Counts]:
    """By source; only those with something open, or not kept."""
    lost = sa.func.sum(_g.unkept + _g.thinned)
    query = sa.select(_g.source, _g.kind, sa.func.sum(_g.open).label("open"), lost.label("lost"))
    found: defaultdict[str, Counts] = defaultdict(Counts)
    for row in connection.execute(query.group_by(_g.source, _g.kind).order_by(_g.source, _g.kind)):
        if row.open:
            found[row.source].open[row.kind] = int(row.open)
        found[row.source].unkept += int(row.lost)
    return {source: one for source, one in found.items() if one.open or one.unkept}


@dataclass(frozen=True, slots=True)
class Skewed:
    """An event that was stored, but claims a time more than five minutes after its reception."""

    event_no: int
    received_at: datetime
    claimed_at: datetime | None
    source: str
    event_id: str
    type: str


def skewed_page(
    connection: sa.Connection, *, source: str | None = None, limit: int = 50, cursor: str | None = None
) -> Page[Skewed]:
    """The latest first. Raises Permanent for a bad cursor."""
    limit = bounded(limit)
    columns = (_e[name] for name in Skewed.__dataclass_fields__)
    # as the index has it: no bound parameter
    skewed = sa.text(f"(flags & {Flag.CLOCK_SKEW.value}) <> 0")
    wanted = (_SKEWED.after(cursor), *_named(((_e.source, source),)))
    query = sa.select(*columns).where(skewed, *wanted).order_by(*_SKEWED.by()).limit(limit + 1)
    found = [Skewed(**row) for row in connection.execute(query).mappings()]
    return _SKEWED.page(found, limit, lambda row: (row.event_no, row.event_no))
