"""The list of journeys: filter, sort, keyset pages."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal, get_args

import sqlalchemy as sa

from dashboards.queries.paging import Order, Page, amount_order, bounded, time_order
from milepost.clock import from_us
from milepost.db.tables import alert_items, alerts, journeys, running_clocks
from milepost.errors import Permanent
from milepost.journeystate import decode_clocks

Health = Literal["on_track", "off_track", "at_risk", "breached"]
"""off_track: at risk or breached."""
HEALTHS: Final[tuple[Health, ...]] = get_args(Health)
STATES: Final = ("open", "completed", "cancelled")
DIMENSIONS: Final = ("channel", "warehouse", "carrier", "partner")
NO_STAGE: Final = "none"
"""As a stage: journeys that have reached no milestone yet."""
_RECENT: Final = 3000
"""How many of the latest journeys of each state the choices of a filter come from."""

_j, _c = journeys.c, running_clocks.c


@dataclass(frozen=True, slots=True)
class Filter:
    """What a list of journeys is narrowed to; None means any. `stage_rank` is the rank of `stage` in `kind`.

    `ids` are the results of a search. `since` and `until`: when it started, the latter excluded.
    `alert`: the journeys of its open items, or of all its items once none is open.
    """

    kind: str | None = None
    state: str | None = None
    stage: str | None = None
    stage_rank: int | None = None
    health: Health | None = None
    channel: str | None = None
    warehouse: str | None = None
    carrier: str | None = None
    partner: str | None = None
    ids: Collection[int] | None = None
    since: datetime | None = None
    until: datetime | None = None
    alert: int | None = None

    @property
    def narrow(self) -> bool:
        """Whether it leaves anything out."""
        return self != Filter()


@dataclass(frozen=True, slots=True)
class Row:
    """A journey in a list. Times are aware UTC.

    `next_at` is when the next of its clocks warns or falls due, `due_at` when the next one falls due. Of those that are
    past due, `late_since` and `late_by` are the due time and the policy of the first.
    """

    journey_id: int
    kind: str
    key: str
    namespace: str
    state: str
    stage: str | None
    started_at: datetime
    last_at: datetime
    progress_at: datetime
    channel: str | None
    warehouse: str | None
    carrier: str | None
    partner: str | None
    amount: Decimal | None
    currency: str | None
    at_risk: bool
    breached: bool
    next_at: datetime | None
    due_at: datetime | None
    late_since: datetime | None
    late_by: str | None

    @property
    def health(self) -> Health:
        return "breached" if self.breached else "at_risk" if self.at_risk else "on_track"


ORDERS: Final[Mapping[str, Order]] = {
    "last_at": time_order(_j.last_at, _j.journey_id, descending=True),
    "quiet": time_order(_j.last_at, _j.journey_id, descending=False),
    "started_at": time_order(_j.started_at, _j.journey_id, descending=True),
    "due": time_order(_c.next_at, _j.journey_id, descending=False),
    "amount": amount_order(_j.amount, _j.journey_id),
}
OPEN_ONLY: Final = ("due", "amount")
"""Sorts for what can still be late: over all journeys ever they would need an index of their own."""
_VALUES: Final = {"last_at": "last_at", "quiet": "last_at", "started_at": "started_at", "due": "next_at"}
_FLAGS: Final[Mapping[str | None, sa.ColumnElement[bool]]] = {
    "breached": _c.breached,
    "at_risk": sa.and_(_c.at_risk, ~_c.breached),
    "off_track": sa.or_(_c.at_risk, _c.breached),
}
_COLUMNS: Final = (
    _j.journey_id,
    _j.model.label("kind"),
    *(_j[name] for name in ("key", "namespace", "state", "stage", "started_at", "last_at", "progress_at")),
    *(_j[name] for name in DIMENSIONS),
    _j.amount,
    _j.currency,
    sa.func.coalesce(_c.at_risk, False).label("at_risk"),
    sa.func.coalesce(_c.breached, False).label("breached"),
    _c.next_at,
    _c.clocks,
)


def list_page(
    connection: sa.Connection,
    filter_: Filter,
    *,
    kinds: Sequence[str],
    sort: str = "last_at",
    limit: int = 50,
    cursor: str | None = None,
    backwards: bool = False,
) -> Page[Row]:
    """One page of journeys, after the cursor or, when `backwards`, before it.

    `kinds` are the models that the catalog knows. Raises Permanent for a bad cursor, and for a sort of OPEN_ONLY with
    another state than open (none means open there).
    """
    if sort in OPEN_ONLY:
        filter_ = _open_only(filter_, sort)
    order, limit = ORDERS[sort], bounded(limit)
    statement = select_page(filter_, kinds, sort, limit, cursor, backwards=backwards)
    rows = [_row(**row) for row in connection.execute(statement).mappings()]
    value = _VALUES.get(sort, sort)
    return order.page(rows, limit, lambda row: (getattr(row, value), row.journey_id), cursor, backwards=backwards)


def _row(*, clocks: bytes | None, **values: Any) -> Row:
    running = decode_clocks(clocks) if clocks else []
    times = sorted((clock.due_us, clock.policy, clock.breached) for clock in running if clock.due_us is not None)
    due = next((from_us(at) for at, _, breached in times if not breached), None)
    late = next(((from_us(at), policy) for at, policy, breached in times if breached), (None, None))
    return Row(**values, due_at=due, late_since=late[0], late_by=late[1])


def select_ids(filter_: Filter) -> sa.Select[Any]:
    """The ids of all journeys that a filter leaves, in no order."""
    wanted = [*_conditions(filter_), *_kind_and_state(filter_)]
    source: sa.FromClause = journeys
    if filter_.health in _FLAGS:
        source = journeys.join(running_clocks, _c.journey_id == _j.journey_id)
        wanted.append(_FLAGS[filter_.health])
    return sa.select(_j.journey_id).select_from(source).where(sa.true(), *wanted)


def _open_only(filter_: Filter, sort: str) -> Filter:
    if filter_.state not in (None, "open"):
        raise Permanent(f"sort: {sort} sorts open journeys only; leave the state out")
    return replace(filter_, state="open")


def select_page(
    filter_: Filter, kinds: Sequence[str], sort: str, limit: int, cursor: str | None = None, *, backwards: bool = False
) -> sa.Select[Any]:
    """The statement behind `list_page`: up to `limit` + 1 rows, in the turned order when `backwards`."""
    order = ORDERS[sort].turned() if backwards else ORDERS[sort]
    wanted = sa.and_(sa.true(), *_conditions(filter_), order.after(cursor))
    if sort == "amount":
        wanted = sa.and_(wanted, _j.amount.is_not(None))
    if sort == "due" or filter_.health in _FLAGS:
        return _driven_by_clocks(filter_, wanted, order, limit)
    if filter_.ids is None and filter_.alert is None and sort in ("last_at", "quiet", "started_at"):
        return _merged(filter_, kinds, wanted, order, limit)
    source = journeys.outerjoin(running_clocks, _c.journey_id == _j.journey_id)
    plain = sa.and_(wanted, *_kind_and_state(filter_))
    return sa.select(*_COLUMNS).select_from(source).where(plain).order_by(*order.by()).limit(limit + 1)


def _driven_by_clocks(filter_: Filter, wanted: Any, order: Order, limit: int) -> sa.Select[Any]:
    """The flagged and the due are few and indexed among the running clocks: start there."""
    source = journeys.join(running_clocks, _c.journey_id == _j.journey_id)
    extra = [_FLAGS[filter_.health]] if filter_.health in _FLAGS else []
    if order.column is _c.next_at:
        extra.append(_c.next_at.is_not(None))
    wanted = sa.and_(wanted, *_kind_and_state(filter_), *extra)
    return sa.select(*_COLUMNS).select_from(source).where(wanted).order_by(*order.by()).limit(limit + 1)


def _merged(filter_: Filter, kinds: Sequence[str], wanted: Any, order: Order, limit: int) -> sa.Select[Any]:
    """Each pair of kind and state has its journeys in order in one index: take the first of each and merge.

    A branch asks for ids alone, so that the index tells which ones pass a filter, and no other row is read.
    """
    branches = [
        sa.select(_j.journey_id)
        .where(_j.model == kind, _j.state == state, wanted)
        .order_by(*order.by())
        .limit(limit + 1)
        .subquery()
        for kind in ([filter_.kind] if filter_.kind else kinds)
        for state in ([filter_.state] if filter_.state else STATES)
    ]
    ids = sa.union_all(*(sa.select(branch.c.journey_id) for branch in branches)).subquery()
    source = ids.join(journeys, _j.journey_id == ids.c.journey_id).outerjoin(
        running_clocks, _c.journey_id == _j.journey_id
    )
    return sa.select(*_COLUMNS).select_from(source).order_by(*order.by()).limit(limit + 1)


def _kind_and_state(filter_: Filter) -> list[sa.ColumnElement[bool]]:
    wanted = []
    if filter_.kind:
        wanted.append(_j.model == filter_.kind)
    if filter_.state:
        wanted.append(_j.state == filter_.state)
    return wanted


def _conditions(filter_: Filter) -> list[sa.ColumnElement[bool]]:
    """All conditions but kind, state and a flagged health."""
    wanted: list[sa.ColumnElement[bool]] = []
    if filter_.ids is not None:
        wanted.append(_j.journey_id.in_(sorted(filter_.ids)))
    if filter_.alert is not None:
        wanted.append(_j.journey_id.in_(_of_alert(filter_.alert)))
    if filter_.stage == NO_STAGE:
        wanted.append(_j.stage_rank == -1)
    elif filter_.stage:
        ranked = filter_.kind and filter_.stage_rank is not None  # of one kind the rank says it, and the index has it
        wanted.append(_j.stage_rank == filter_.stage_rank if ranked else _j.stage == filter_.stage)
    if filter_.since is not None:
        wanted.append(_j.started_at >= filter_.since)
    if filter_.until is not None:
        wanted.append(_j.started_at < filter_.until)
    for name in DIMENSIONS:
        value = getattr(filter_, name)
        if value is not None:
            wanted.append(_j[name] == value)
    if filter_.health == "on_track":
        flags = running_clocks.alias("flags").c
        wanted.append(~sa.exists().where(flags.journey_id == _j.journey_id, sa.or_(flags.breached, flags.at_risk)))
    return wanted


def _of_alert(alert_id: int) -> sa.Select[Any]:
    item = alert_items.c
    over = sa.select(alerts.c.items_open == 0).where(alerts.c.alert_id == alert_id).scalar_subquery()
    return sa.select(item.journey_id).where(item.alert_id == alert_id, sa.or_(item.cleared_at.is_(None), over))


def choices(connection: sa.Connection, kinds: Sequence[str]) -> dict[str, list[str]]:
    """For each dimension the values seen in the latest journeys, sorted: what a filter offers."""
    found: dict[str, set[str]] = {name: set() for name in DIMENSIONS}
    for kind in kinds:
        for state in ("open", "completed"):
            for name, values in _recent_values(connection, kind, state).items():
                found[name] |= values
    return {name: sorted(values) for name, values in found.items()}


def _recent_values(connection: sa.Connection, kind: str, state: str) -> dict[str, set[str]]:
    recent = (
        sa.select(*(_j[name] for name in DIMENSIONS))
        .where(_j.model == kind, _j.state == state)
        .order_by(_j.last_at.desc(), _j.journey_id.desc())
        .limit(_RECENT)
        .subquery()
    )
    lists = [sa.func.array_agg(sa.distinct(recent.c[name])).label(name) for name in DIMENSIONS]
    row = connection.execute(sa.select(*lists)).mappings().one()
    return {name: {value for value in row[name] or () if value is not None} for name in DIMENSIONS}
