"""Exceptions: what is open, grouped by what it is; all of them, in pages; those of one journey.

One counts as open that nothing has resolved while a journey of its object goes on. An object may be in no journey at
all (a message that nobody's order names); then only what resolves it closes it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import sqlalchemy as sa

from dashboards.queries.paging import Order, Page, bounded, time_order
from milepost.db.tables import correlations, exceptions, journeys, members, objects
from milepost.inbox.objects import shown

MAX_OPEN: Final = 20_000
"""Open exceptions that are grouped, the newest; beyond it nobody works them off one by one."""
MAX_GROUPS: Final = 200
MAX_SHOWN: Final = 50
"""Exceptions of one journey that its page shows."""
SHOWN_JOURNEYS: Final = 5
"""Journeys that are named beside an exception: one object may be in hundreds."""
_e, _m, _j = exceptions.c, members.c, journeys.c
_ROW: Final = sa.cast(_e.object_id, sa.BigInteger) * 65_536 + _e.number
"""Numbers of an object are few: a row's id, for cursors."""
ORDER: Final[Order] = time_order(_e.opened_at, _ROW, descending=True)


@dataclass(frozen=True, slots=True)
class Filter:
    """What a list is narrowed to; None means any. An empty `code` means those without one."""

    open: bool | None = None
    kind: str | None = None
    type: str | None = None
    code: str | None = None
    source: str | None = None
    since: datetime | None = None
    objects: Collection[int] | None = None


@dataclass(frozen=True, slots=True)
class Journey:
    kind: str
    key: str
    namespace: str
    state: str


@dataclass(frozen=True, slots=True)
class Row:
    """One exception of an object. `event_no` and `received_at` find the event that opened it; `journeys` are the first
    few of its object, the open ones first."""

    row_id: int
    object_id: int
    object_type: str
    namespace: str
    key: str
    type: str
    kind: str
    outcome: str
    code: str | None
    source: str
    reason: str | None
    count: int
    opened_at: datetime
    last_at: datetime
    resolved_at: datetime | None
    resolved_by: str | None
    event_no: int
    received_at: datetime
    journeys: list[Journey] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Group:
    """Open exceptions that are alike. `reason` is the most usual one; `money` is the value of their open journeys by
    currency, what is at stake counted once."""

    kind: str
    type: str
    code: str | None
    source: str
    reason: str | None
    count: int
    oldest_at: datetime
    journeys: int
    money: dict[str, Decimal]


def _goes_on() -> sa.ColumnElement[bool]:
    """Whether a journey of the object is open, or it is in none.

    An aggregate, so that PostgreSQL asks it for each row; an EXISTS it may answer for all objects there are at once.
    """
    mine = members.join(journeys, _j.journey_id == _m.journey_id)
    open_ = sa.select(sa.func.bool_or(_j.state == "open")).select_from(mine).where(_m.object_id == _e.object_id)
    return sa.func.coalesce(open_.scalar_subquery(), sa.true())


def _conditions(wanted: Filter) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    if wanted.open is not None:
        is_open = sa.and_(_e.resolved_at.is_(None), _goes_on())
        found.append(is_open if wanted.open else sa.not_(is_open))
    equal = {name: getattr(wanted, name) for name in ("kind", "type", "source")}
    found += [_e[name] == value for name, value in equal.items() if value is not None]
    if wanted.code is not None:
        found.append(_e.code == wanted.code if wanted.code else _e.code.is_(None))
    if wanted.since is not None:
        found.append(_e.opened_at >= wanted.since)
    if wanted.objects is not None:
        found.append(_e.object_id.in_(sorted(wanted.objects)))
    return found


def list_page(
    connection: sa.Connection, wanted: Filter, *, limit: int, cursor: str | None = None, with_journeys: bool = True
) -> Page[Row]:
    """The latest first. Raises Permanent for a bad cursor."""
    limit = bounded(limit)
    o, c = objects.c, correlations.c
    chosen = select_rows(wanted, limit + 1, cursor).subquery("chosen")
    names = [name for name in Row.__dataclass_fields__ if name in chosen.c]
    statement = (
        sa.select(
            *(chosen.c[name] for name in names),
            sa.func.coalesce(o.type, "correlation").label("object_type"),
            sa.func.coalesce(o.namespace, "").label("namespace"),
            sa.func.coalesce(o.key, c.key, "").label("key"),
            o.since,
        )
        .select_from(
            chosen.outerjoin(objects, o.object_id == chosen.c.object_id).outerjoin(
                correlations, c.object_id == chosen.c.object_id
            )
        )
        .order_by(chosen.c.opened_at.desc(), chosen.c.row_id.desc())
    )
    rows = connection.execute(statement).mappings().all()
    of = _journeys_of(connection, [row["object_id"] for row in rows]) if with_journeys else {}
    found = [_row(row, of.get(row["object_id"], [])) for row in rows]
    return ORDER.page(found, limit, lambda row: (row.opened_at, row.row_id), cursor)


def _row(found: sa.RowMapping, journeys_of: list[Journey]) -> Row:
    values = dict(found)
    values["key"] = shown(values["key"], values.pop("since"))
    return Row(**values, journeys=journeys_of)


def select_rows(wanted: Filter, limit: int, cursor: str | None = None) -> sa.Select[Any]:
    chosen = sa.select(exceptions, _ROW.label("row_id")).where(ORDER.after(cursor), *_conditions(wanted))
    return chosen.order_by(*ORDER.by()).limit(limit)


def of_objects(connection: sa.Connection, ids: Collection[int]) -> list[Row]:
    """The latest exceptions of the members of one journey, the open ones first; without the journeys they are in."""
    found = list_page(connection, Filter(objects=ids), limit=MAX_SHOWN, with_journeys=False).items
    return sorted(found, key=lambda row: row.resolved_at is not None)


def _journeys_of(connection: sa.Connection, ids: Sequence[int]) -> dict[int, list[Journey]]:
    wanted = sa.select(
        sa.func.unnest(sa.literal(sorted(set(ids)), sa.ARRAY(sa.BigInteger))).label("object_id")
    ).subquery()
    some = (
        sa.select(_j.model, _j.key, _j.namespace, _j.state)
        .select_from(members.join(journeys, _j.journey_id == _m.journey_id))
        .where(_m.object_id == wanted.c.object_id)
        .order_by(_j.state != "open", _m.depth, _j.journey_id)
        .limit(SHOWN_JOURNEYS)
        .lateral("some")
    )
    found: dict[int, list[Journey]] = {}
    for row in connection.execute(sa.select(wanted.c.object_id, *some.c).select_from(wanted.join(some, sa.true()))):
        found.setdefault(row[0], []).append(Journey(*row[1:]))
    return found


def groups(connection: sa.Connection, kind: str | None = None) -> list[Group]:
    """The open exceptions by class, type, code and source: the most numerous first, at most MAX_GROUPS."""
    rows = connection.execute(select_groups(kind)).mappings()
    return [Group(**{**row, "money": _money_of(row["money"])}) for row in rows]


def _money_of(found: dict[str, str] | None) -> dict[str, Decimal]:
    return {currency: Decimal(amount) for currency, amount in sorted((found or {}).items())}


def select_groups(kind: str | None) -> sa.Select[Any]:
    o = _open(kind).c
    names = ("kind", "type", "code", "source")
    by = [o[name] for name in names]
    count = sa.func.count(sa.distinct(sa.tuple_(o.object_id, o.number))).label("count")
    oldest = sa.func.min(o.opened_at).label("oldest_at")
    concerned = sa.func.count(sa.distinct(o.journey_id)).label("journeys")
    reason = sa.func.mode().within_group(o.reason).label("reason")
    counts = sa.select(*by, reason, count, oldest, concerned).group_by(*by).subquery("counts")
    # each journey once in a group, however many of its objects have the exception
    priced = sa.select(*by, o.journey_id, o.amount, o.currency).where(o.amount.is_not(None), o.currency.is_not(None))
    each = priced.distinct().subquery("each").c
    groups = [each[name] for name in names]
    total = sa.cast(sa.func.sum(each.amount), sa.Text).label("total")
    sums = sa.select(*groups, each.currency, total).group_by(*groups, each.currency).subquery("sums").c
    mine = [sums[name] for name in names]
    of = sa.func.jsonb_object_agg(sums.currency, sums.total).label("money")
    money = sa.select(*mine, of).group_by(*mine).subquery("money")
    same = [money.c[name].is_not_distinct_from(counts.c[name]) for name in names]
    told = sa.select(counts, money.c.money).select_from(counts.outerjoin(money, sa.and_(*same)))
    return told.order_by(counts.c["count"].desc(), *(counts.c[name] for name in names)).limit(MAX_GROUPS)


def _open(kind: str | None) -> sa.CTE:
    """The newest open exceptions, each with the open journeys of its object: none whose root stands in another of them,
    as a discrepancy's own journey does in its order's, since what is at stake would count twice."""
    chosen = sa.select(exceptions).where(_e.resolved_at.is_(None), *([] if kind is None else [_e.kind == kind]))
    newest = chosen.order_by(_e.opened_at.desc()).limit(MAX_OPEN).subquery("newest")
    ongoing = sa.and_(_j.journey_id == _m.journey_id, _j.state == "open")
    joined = newest.outerjoin(members, _m.object_id == newest.c.object_id).outerjoin(journeys, ongoing)
    columns = (_j.journey_id, _j.amount, _j.currency)
    outermost = sa.and_(_j.journey_id.is_not(None), sa.not_(_stands_in_another()))
    told = sa.select(newest, *columns).select_from(joined).where(sa.or_(outermost, _m.journey_id.is_(None)))
    return told.cte("open").prefix_with("MATERIALIZED")


def _stands_in_another() -> sa.ColumnElement[bool]:
    """Whether the journey's root is in another open journey of the object. Where each of two has the other's root, the
    older one counts. An aggregate for the reason that `_goes_on` gives."""
    other, root, own, back = journeys.alias("other"), members.alias("root"), members.alias("own"), members.alias("back")
    both = other.join(root, root.c.journey_id == other.c.journey_id).join(own, own.c.journey_id == other.c.journey_id)
    mutual = sa.exists().where(back.c.journey_id == _j.journey_id, back.c.object_id == other.c.root_id)
    mutual = mutual.correlate(journeys, other)  # two levels up, which SQLAlchemy doesn't see by itself
    wins = sa.or_(other.c.journey_id < _j.journey_id, sa.not_(mutual))
    found = sa.select(sa.func.bool_or(wins)).select_from(both).where(
        root.c.object_id == _j.root_id, own.c.object_id == _m.object_id,
        other.c.state == "open", other.c.journey_id != _j.journey_id,
    )  # fmt: skip
    return sa.func.coalesce(found.scalar_subquery(), sa.false())
