"""Reads what inhibition is judged by: silences of sources, when they were heard, and what an alert explains."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from alerting import inhibit
from alerting.hiding import Candidate, Kept, Place, Stage
from alerting.inhibit import GRACE, NAMED, Explained, Feed, Silence
from milepost.catalog.schema import Catalog
from milepost.db.tables import alert_hidden, alert_items, flow_breaches, journeys
from milepost.inbox import heard

_H: Final = alert_hidden.c
_OPEN: Final = sa.and_(_H.ended_at.is_(None), _H.stage == "inhibit")


def stage(catalog: Catalog) -> Stage:
    """Inhibition by the silences that this catalog tells people of: what nobody is told of explains nothing."""
    told = {
        policy.name: policy.notify_within.us
        for policy in catalog.flows
        if policy.notify and type(policy).__name__ == "Silence" and not getattr(policy, "events", ())
    }

    def keep(connection: sa.Connection, candidates: Sequence[Candidate], now: datetime) -> Mapping[Place, Kept]:
        sources = {source for one in candidates if (source := inhibit.awaited(one)) is not None}
        return inhibit.keep(_feeds(connection, sources, told, now), candidates, now) if sources else {}

    return Stage("inhibit", keep)


def _feeds(
    connection: sa.Connection, sources: Collection[str], told: Mapping[str, int], now: datetime
) -> dict[str, Feed]:
    silences = _silences(connection, sources, told, now)
    last, usual = heard.last_heard(connection, sources), heard.usual_gaps(connection, now, sources)
    return {source: Feed(silences[source], last.get(source), usual.get(source)) for source in sources}


def _silences(
    connection: sa.Connection, sources: Collection[str], told: Mapping[str, int], now: datetime
) -> defaultdict[str, list[Silence]]:
    b, i = flow_breaches.c, alert_items.c
    item = sa.func.concat(inhibit.FLOW, b.breach_id)
    source = b.dimensions["source"].astext
    query = (
        sa.select(b.policy, b.dimensions, b.since, b.opened_at, b.ended_at, i.alert_id, source.label("source"))
        .join(alert_items, i.item == item)
        .where(b.kind == "silence", source.in_(sorted(sources)), sa.or_(b.ended_at.is_(None), b.ended_at > now - GRACE))
        .order_by(b.breach_id)
    )
    found: defaultdict[str, list[Silence]] = defaultdict(list)
    for row in connection.execute(query):
        late = (row.opened_at - row.since).total_seconds() * 1e6
        if late < told.get(row.policy, 0):  # one that was known too late was told to nobody
            found[row.source].append(Silence(row.source, row.dimensions, row.alert_id, row.since, row.ended_at))
    return found


# --- what an alert explains -------------------------------------------------------------------------------------------


def explained(connection: sa.Connection, alert_ids: Collection[int]) -> dict[int, Explained]:
    """Of these alerts those that explain something now."""
    if not alert_ids:
        return {}
    i, j = alert_items.c, journeys.c
    held = (
        sa.select(_H.by_id, _H.item, i.at, i.journey_id, i.amount, i.currency, i.summary)
        .join(alert_items, sa.and_(i.alert_id == _H.alert_id, i.item == _H.item))
        .where(_OPEN, _H.by_id.in_(sorted(alert_ids)))
        .cte("held")
    )
    h = held.c
    counts = connection.execute(sa.select(h.by_id, sa.func.count()).group_by(h.by_id)).all()
    money: defaultdict[int, dict[str, Any]] = defaultdict(dict)
    owner = sa.func.coalesce(sa.cast(h.journey_id, sa.Text), h.item)
    once = (
        sa.select(h.by_id, h.currency, sa.func.max(h.amount).label("amount"))
        .where(h.amount.is_not(None))
        .group_by(h.by_id, h.currency, owner)
        .subquery()
    )
    sums = sa.select(once.c.by_id, once.c.currency, sa.func.sum(once.c.amount)).group_by(once.c.by_id, once.c.currency)
    for alert_id, currency, amount in connection.execute(sums):
        money[alert_id][currency or ""] = amount
    rank = sa.over(sa.func.row_number(), partition_by=h.by_id, order_by=(h.at, h.item)).label("rank")
    ranked = sa.select(h.by_id, h.journey_id, h.summary, rank).subquery()
    key = sa.func.coalesce(j.key, sa.func.split_part(ranked.c.summary, " ", 1))
    oldest = (
        sa.select(ranked.c.by_id, key)
        .outerjoin(journeys, j.journey_id == ranked.c.journey_id)
        .where(ranked.c.rank <= NAMED)
        .order_by(ranked.c.by_id, ranked.c.rank)
    )
    keys: defaultdict[int, list[str]] = defaultdict(list)
    for alert_id, name in connection.execute(oldest):
        keys[alert_id].append(name)
    return {
        alert_id: Explained(number, list(dict.fromkeys(keys[alert_id])), money[alert_id]) for alert_id, number in counts
    }
