"""Reads what inhibition is judged by: silences of sources, when they were heard, and what an alert explains."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from alerting import inhibit
from alerting.hiding import Candidate, Kept, Place, Stage
from alerting.inhibit import AWAITS, GRACE, NAMED, Explained, Feed, Silence
from milepost.calendar import Calendar, calendar_of
from milepost.catalog import flow
from milepost.catalog.schema import Catalog
from milepost.db.tables import alert_hidden, alert_items, flow_breaches, journeys
from milepost.inbox import heard
from milepost.quiet import due_at

_H: Final = alert_hidden.c
_I: Final = alert_items.c
_B: Final = flow_breaches.c
_UNTOLD: Final = _H.stage.in_(("record_only", "threshold", "hours"))
_SOURCE: Final = _B.dimensions["source"].astext
# no parameters: as the index alert_items_awaits_idx has them
_AWAITED: Final = _I.labels.op("->>", return_type=sa.Text())(sa.literal_column(f"'{AWAITS}'"))
_AWAITS: Final = _I.labels.op("?", return_type=sa.Boolean())(sa.literal_column(f"'{AWAITS}'"))


@dataclass(frozen=True, slots=True)
class _Watch:
    """The policies that call whole sources silent and tell people, with their calendars."""

    policies: Sequence[tuple[flow.Silence, Calendar]]

    def tells(self, policy: str, late: timedelta) -> bool:
        """Whether a silence that was found so late is told."""
        return any(one.name == policy and late < _length(one.notify_within.us) for one, _ in self.policies)

    def verdict_at(self, source: str, heard_at: datetime, usual: timedelta | None) -> datetime | None:
        """When the first of them calls the source silent, if it stays quiet."""
        dues = [
            due_at(heard_at, None if one.within is None else _length(one.within.us), usual, calendar)
            for one, calendar in self.policies
            if flow.concerns(one, source)
        ]
        return min((due for due in dues if due is not None), default=None)


_watches: Final[dict[str, _Watch]] = {}
_KEPT: Final = 8


def stage(catalog: Catalog) -> Stage:
    """Inhibition by the silences that this catalog tells people of: what nobody is told of explains nothing."""
    watch = _watches.get(catalog.version)
    if watch is None:
        if len(_watches) >= _KEPT:
            _watches.clear()
        watch = _watches[catalog.version] = _compiled(catalog)

    def keep(connection: sa.Connection, candidates: Sequence[Candidate], now: datetime) -> Mapping[Place, Kept]:
        sources = {source for one in candidates if (source := inhibit.awaited(one)) is not None}
        return inhibit.keep(_feeds(connection, sources, watch, now), candidates, now) if sources else {}

    return Stage("inhibit", keep)


def _compiled(catalog: Catalog) -> _Watch:
    found = [one for one in catalog.flows if isinstance(one, flow.Silence) and one.notify and not one.events]
    return _Watch([(one, calendar_of(one.calendar, catalog.calendars[one.calendar])) for one in found])


def _length(us: int) -> timedelta:
    return timedelta(microseconds=us)


def _feeds(connection: sa.Connection, sources: Collection[str], watch: _Watch, now: datetime) -> dict[str, Feed]:
    silences = _silences(connection, sources, watch, now)
    last, usual = heard.last_heard(connection, sources), heard.usual_gaps(connection, now, sources)
    return {
        source: Feed(
            silences[source],
            last.get(source),
            usual.get(source),
            watch.verdict_at(source, last[source], usual.get(source)) if source in last else None,
        )
        for source in sources
    }


def _silences(
    connection: sa.Connection, sources: Collection[str], watch: _Watch, now: datetime
) -> defaultdict[str, list[Silence]]:
    found: defaultdict[str, list[Silence]] = defaultdict(list)
    for row in connection.execute(_lately(now).where(_SOURCE.in_(sorted(sources)))):
        if watch.tells(row.policy, row.opened_at - row.since):
            found[row.source].append(Silence(*(getattr(row, name) for name in _SILENCE)))
    return found


_SILENCE: Final = ("source", "dimensions", "alert_id", "since", "opened_at", "ended_at")


def _lately(now: datetime) -> sa.Select[tuple[str, str, dict[str, str], datetime, datetime, datetime | None, int]]:
    """The silences that are open or just over, with the alert that tells each.

    Without those that are told to nobody, as no route takes them now or they are too few, and those whose alert
    somebody resolved: it tells nothing any more.
    """
    told = sa.and_(_B.ended_at.is_(None), _I.cleared_at.is_(None))
    names = (_B.policy, _SOURCE.label("source"), _B.dimensions, _B.since, _B.opened_at, _B.ended_at, _I.alert_id)
    return (
        sa.select(*names)
        .join(alert_items, _I.item == sa.func.concat(inhibit.FLOW, _B.breach_id))
        .where(~sa.exists().where(_H.alert_id == _I.alert_id, _H.item == _I.item, _H.ended_at.is_(None), _UNTOLD))
        .where(_B.kind == "silence", sa.or_(told, _B.ended_at > now - GRACE))
        .order_by(_B.breach_id)
    )


# --- what an alert explains -------------------------------------------------------------------------------------------


def explained(connection: sa.Connection, alert_ids: Collection[int], now: datetime) -> dict[int, Explained]:
    """Of these alerts those that tell a silence, with what is stuck for want of its source."""
    wanted = sorted(alert_ids)
    silences = connection.execute(_lately(now).where(_I.alert_id.in_(wanted))).all() if wanted else []
    found = {}
    for row in silences:
        one = _of_source(connection, row.alert_id, row.dimensions)
        if one.items:
            found[row.alert_id] = one
    return found


def _of_source(connection: sa.Connection, alert_id: int, labels: Mapping[str, str]) -> Explained:
    others = {name: value for name, value in labels.items() if name != "source"}
    conditions = [sa.literal(labels["source"]) == _AWAITED, _AWAITS, _I.cleared_at.is_(None)]
    conditions += [_I.labels[name].astext == value for name, value in others.items()]
    owner = sa.func.coalesce(sa.cast(_I.journey_id, sa.Text), _I.item)
    held = (
        sa.select(
            owner.label("owner"),
            sa.func.count().label("number"),
            sa.func.min(_I.at).label("at"),
            sa.func.min(_I.journey_id).label("journey_id"),
            sa.func.max(_I.amount).label("amount"),
            sa.func.max(_I.currency).label("currency"),
            sa.func.min(_I.summary).label("summary"),
        )
        .where(*conditions)
        .group_by(owner)
        .cte("held")
    )
    h = held.c
    sums = sa.select(h.currency, sa.func.sum(h.number), sa.func.sum(h.amount)).group_by(h.currency)
    rows = connection.execute(sums).all()
    key = sa.func.coalesce(journeys.c.key, sa.func.split_part(h.summary, " ", 1))
    oldest = sa.select(key).outerjoin(journeys, journeys.c.journey_id == h.journey_id).order_by(h.at, key).limit(NAMED)
    hidden = sa.select(sa.func.count()).where(_H.by_id == alert_id, _H.stage == "inhibit", _H.ended_at.is_(None))
    return Explained(
        items=int(sum(row[1] for row in rows)),
        hidden=connection.scalar(hidden) or 0,
        keys=list(connection.scalars(oldest)),
        money={currency or "": amount for currency, _, amount in rows if amount is not None},
    )
