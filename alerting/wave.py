"""Reads what explains an alert, and whom it concerns: its items held against the other open journeys of their kind.

What is read is bounded: the alert's own items, and the LOOKED_AT open journeys of the kind that started last, which the
index on their start tells with their dimensions. Values without a column of their own are in the states of objects:
then only SAMPLE journeys are looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from alerting import before
from alerting.explain import SHARE, Findings, Tally, Totals, Wave
from alerting.inhibit import AWAITS
from alerting.lifecycle import Alert
from alerting.message import Related
from milepost.catalog.policy import Policy
from milepost.db.tables import alert_items, alerts, journeys, object_states, running_clocks
from milepost.journeystate import decode_object

LOOKED_AT: Final = 20_000
SAMPLE: Final = 1_000
VALUES: Final = 8
"""So many values are held against each other at most."""
TOGETHER: Final = timedelta(minutes=15)
"""Alerts that opened within this time of each other may be of one wave."""
NEIGHBOURS: Final = 200
UNKNOWN: Final = "unknown"
_COLUMNS: Final = ("channel", "warehouse", "carrier", "partner")

Match = Mapping[str, Collection[str]]
Value = tuple[str, str]
_i, _j = alert_items.c, journeys.c


class Whom(NamedTuple):
    """So many journeys of the kind that most are of, and of how many customers (partners)."""

    model: str
    journeys: int
    customers: int


def matches(policies: Iterable[Policy]) -> dict[str, Match]:
    """By policy what it is limited to: that explains none of its breaches."""
    return {policy.name: policy.match for policy in policies}


def findings(connection: sa.Connection, alert: Alert, totals: Totals, match: Match, now: datetime) -> Findings:
    """What is known of an alert. `match`: what its rule is limited to."""
    items = _items(alert.alert_id, only_open=totals.items_open > 0)
    model, number, customers = _whom(connection, items)
    if not number:
        return Findings(at=now, items=totals.items, before=before.changes(connection, alert, totals.oldest_at))
    wave = _wave(connection, alert, items, totals.items, Peers(alert.alert_id, model, match, now))
    cause = wave.cause(alert.group)
    return Findings(
        at=now,
        items=totals.items,
        model=model,
        journeys=number,
        customers=customers,
        cause=cause,
        values=wave.group_values(alert.group) | (cause.values if cause else {}),
        before=before.changes(connection, alert, totals.oldest_at),
    )


def whom(connection: sa.Connection, alert_id: int, *, only_open: bool) -> Whom:
    """Whom an alert concerns: its open items, or all."""
    return _whom(connection, _items(alert_id, only_open=only_open))


def _items(alert_id: int, *, only_open: bool) -> sa.CTE:
    wanted = [_i.alert_id == alert_id]
    if only_open:
        wanted.append(_i.cleared_at.is_(None))
    return sa.select(_i.journey_id, _i.labels).where(*wanted).cte("items")


def _whom(connection: sa.Connection, items: sa.CTE) -> Whom:
    number = sa.func.count(sa.distinct(_j.journey_id))
    partner = sa.func.coalesce(items.c.labels["partner"].astext, _j.partner)
    query = (
        sa.select(_j.model, number, sa.func.count(sa.distinct(partner)))
        .select_from(items.join(journeys, _j.journey_id == items.c.journey_id))
        .group_by(_j.model)
        .order_by(number.desc(), _j.model)
        .limit(1)
    )
    row = connection.execute(query).first()
    return Whom(*row) if row else Whom("", 0, 0)


# --- the contrast -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Peers:
    """What items are held against: the other open journeys of a kind, as far as they match a rule, `now`."""

    alert_id: int
    model: str
    match: Match
    now: datetime


def _wave(connection: sa.Connection, alert: Alert, items: sa.CTE, number: int, peers: Peers) -> Wave:
    group = [(label, value) for label, value in alert.group.items() if value != UNKNOWN]
    common = [pair for pair in _common(connection, items, number) if pair[0] not in alert.group]
    ours = {*peers.match, AWAITS}
    values = [pair for pair in (*group, *common) if pair[0] not in ours][:VALUES]
    if not values:
        return Wave((), {}, {})
    own = _tally(connection, items, [items.c.labels[label].astext == value for label, value in values])
    return Wave(values, own, _others(connection, peers, values))


def _common(connection: sa.Connection, items: sa.CTE, number: int) -> list[Value]:
    """The values that enough items have, the commonest first."""
    label = sa.func.jsonb_each_text(items.c.labels).table_valued("key", "value").render_derived()
    query = (
        sa.select(label.c.key, label.c.value)
        .select_from(items.join(label, sa.true()))
        .group_by(label.c.key, label.c.value)
        .having(sa.func.count() >= SHARE * number)
        .order_by(sa.func.count().desc(), label.c.key)
    )
    return [(key, value) for key, value in connection.execute(query)]


def _tally(connection: sa.Connection, rows: sa.FromClause, tests: Sequence[sa.ColumnElement[bool]]) -> Tally:
    query = (
        sa.select(*tests, sa.func.count()).select_from(rows).group_by(*(sa.text(str(n + 1)) for n in range(len(tests))))
    )
    return {tuple(row[:-1]): row[-1] for row in connection.execute(query)}


def _others(connection: sa.Connection, peers: Peers, values: Sequence[Value]) -> Tally:
    names = {*peers.match, *(label for label, _ in values)}
    if not names.issubset(_COLUMNS):
        return _decoded(connection, peers, values)
    others = others_query(peers, LOOKED_AT).subquery("others")
    return _tally(connection, others, [others.c[label] == value for label, value in values])


def others_query(peers: Peers, limit: int) -> sa.Select[Any]:
    """(journey_id, dimensions) of the open journeys that started last, without those of the alert's open items, and
    without those that have a clock due: of a wave these are the items that are not judged yet.
    """
    last = (
        sa.select(_j.journey_id, *(_j[name] for name in _COLUMNS))
        .where(_j.model == peers.model, _j.state == "open")
        .order_by(_j.started_at.desc(), _j.journey_id.desc())
        .limit(limit)
        .subquery("last")
    )
    # NOT IN, not NOT EXISTS: PostgreSQL hashes it however wrong its idea of the number of items is, which grows at once
    mine = sa.select(_i.journey_id).where(
        _i.alert_id == peers.alert_id, _i.journey_id.is_not(None), _i.cleared_at.is_(None)
    )
    due = sa.select(running_clocks.c.journey_id).where(running_clocks.c.next_at <= peers.now)
    limited = [last.c[name].in_(wanted) for name, wanted in peers.match.items() if name in _COLUMNS]
    return sa.select(last).where(last.c.journey_id.not_in(mine), last.c.journey_id.not_in(due), *limited)


def _decoded(connection: sa.Connection, peers: Peers, values: Sequence[Value]) -> Tally:
    """The same of fewer journeys, with the attributes of their roots."""
    others = others_query(peers, SAMPLE).subquery("others")
    query = (
        sa.select(others, object_states.c.state)
        .join(journeys, _j.journey_id == others.c.journey_id)
        .join(object_states, object_states.c.object_id == _j.root_id)
    )
    tally: Counter[tuple[bool | None, ...]] = Counter()
    for row in connection.execute(query).mappings():
        known = decode_object(row["state"]).values() | {name: row[name] for name in _COLUMNS if row[name] is not None}
        if all(str(known.get(name)) in wanted for name, wanted in peers.match.items()):
            tally[tuple(_has(known, label, value) for label, value in values)] += 1
    return tally


def _has(known: Mapping[str, object], label: str, value: str) -> bool | None:
    found = known.get(label)
    return None if found is None else str(found) == value


# --- alerts of one wave -----------------------------------------------------------------------------------------------


class Opened(NamedTuple):
    """What an alert may share with others: when it opened, what it is about, and what sets it apart."""

    alert_id: int
    opened_at: datetime
    kind: str
    rule: str
    values: Mapping[str, str]


def related(connection: sa.Connection, one: Opened, public_url: str = "") -> list[Related]:
    """Other alerts that opened about the same time and are set apart by one of its values, or are about the same
    policy in another way; the latest first.
    """
    its = alerts.c
    query = (
        sa.select(its.alert_id, its.title, its.kind, its.rule, its.findings["values"].label("values"))
        .where(its.opened_at.between(one.opened_at - TOGETHER, one.opened_at + TOGETHER))
        .where(its.alert_id != one.alert_id)
        .order_by(its.opened_at.desc(), its.alert_id.desc())
        .limit(NEIGHBOURS)
    )
    return [
        Related(row.alert_id, row.title, shared, f"{public_url}/alerts/{row.alert_id}")
        for row in connection.execute(query)
        if (shared := _shared(one, row))
    ]


def _shared(one: Opened, row: Any) -> dict[str, str]:
    shared = dict(one.values.items() & (row.values or {}).items())
    return {"policy": one.rule} if not shared and row.rule == one.rule and row.kind != one.kind else shared
