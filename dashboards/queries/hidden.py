"""What was kept from people: by a silence or window, of an alert, and how many; and what is silenced now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

import sqlalchemy as sa

from alerting import silences, store, windows
from alerting.silence import Cover, covering
from milepost.catalog.window import Window
from milepost.db.tables import alert_hidden, alert_items, alerts, journeys

SHOWN: Final = 200
_H: Final = alert_hidden.c
_OPEN: Final = _H.ended_at.is_(None)


@dataclass(frozen=True, slots=True)
class Row:
    """One item that was kept. `end`: told, cleared, or handed on to what kept it since; None while it is hidden."""

    alert_id: int
    title: str
    item: str
    summary: str
    stage: str
    by_id: int | None
    by_name: str
    reason: str
    since: datetime
    until_at: datetime | None
    ended_at: datetime | None
    end: str | None
    amount: Decimal | None
    currency: str | None
    journey_kind: str | None
    journey_key: str | None
    journey_namespace: str | None


@dataclass(frozen=True, slots=True)
class Count:
    """How many items something hides now, and how many it ever kept."""

    hides: int = 0
    kept: int = 0


@dataclass(frozen=True, slots=True)
class Hider:
    """Something that hides items of an alert now."""

    stage: str
    by_id: int | None
    by_name: str
    reason: str
    until_at: datetime | None
    items: int


def by(connection: sa.Connection, stage: str, by_name: str, limit: int = SHOWN) -> list[Row]:
    """What something kept, the latest first."""
    return _rows(connection, _H.stage == stage, _H.by_name == by_name, limit=limit)


def _rows(connection: sa.Connection, *conditions: sa.ColumnElement[bool], limit: int) -> list[Row]:
    i, j = alert_items.c, journeys.c
    names = ("alert_id", "item", "stage", "by_id", "by_name", "reason", "since", "until_at", "ended_at", "end")
    query = (
        sa.select(
            *(_H[name] for name in names),
            *(alerts.c.title, i.summary, i.amount, i.currency),
            *(j.model.label("journey_kind"), j.key.label("journey_key"), j.namespace.label("journey_namespace")),
        )
        .join(alerts, alerts.c.alert_id == _H.alert_id)
        .join(alert_items, sa.and_(i.alert_id == _H.alert_id, i.item == _H.item))
        .outerjoin(journeys, j.journey_id == i.journey_id)
        .where(*conditions)
        .order_by(_H.hidden_id.desc())
        .limit(limit)
    )
    return [Row(**row) for row in connection.execute(query).mappings()]


def counts(connection: sa.Connection, stage: str, names: Collection[str]) -> dict[str, Count]:
    """By name, how much it hides and kept."""
    query = (
        sa.select(_H.by_name, sa.func.count().filter(_OPEN), sa.func.count())
        .where(_H.stage == stage, _H.by_name.in_(names))
        .group_by(_H.by_name)
    )
    found = {row[0]: Count(row[1], row[2]) for row in connection.execute(query)}
    return {name: found.get(name, Count()) for name in names}


def hiders(connection: sa.Connection, alert_ids: Collection[int]) -> Mapping[int, Sequence[Hider]]:
    """By alert what hides items of it now, and how many; whatever hides most first."""
    number = sa.func.count()
    who = (_H.alert_id, _H.stage, _H.by_id, _H.by_name)
    query = (
        sa.select(*who, sa.func.max(_H.reason), sa.func.max(_H.until_at), number)
        .where(_OPEN, _H.alert_id.in_(alert_ids))
        .group_by(*who)
        .order_by(_H.alert_id, number.desc(), _H.by_name)
    )
    found: defaultdict[int, list[Hider]] = defaultdict(list)
    for alert_id, stage, by_id, by_name, reason, until_at, items in connection.execute(query):
        found[alert_id].append(Hider(stage, by_id, by_name, reason, until_at, items))
    return found


def covers(
    connection: sa.Connection, alert_ids: Collection[int], planned: Mapping[str, Window], now: datetime
) -> dict[int, Cover]:
    """By alert, the silence or window that lasts longest of those that match something open in it. Such an alert is
    silenced also where people were told of it before, and nothing of it is hidden."""
    active = [*silences.covers(connection, now), *windows.covers(planned, now)]
    labels = store.open_labels(connection, alert_ids) if active else {}
    found = {
        alert_id: [cover for one in of_items if (cover := covering(active, one)) is not None]
        for alert_id, of_items in labels.items()
    }
    return {alert_id: max(each, key=lambda cover: cover.until) for alert_id, each in found.items() if each}
