"""The stages that keep things from being told, in their order."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from alerting import inhibit_store, route, silence, silences, store, threshold, windows
from alerting.desk import Desk
from alerting.hiding import Candidate, Kept, Place, Stage
from alerting.silence import Cover
from milepost.catalog.schema import Catalog
from milepost.catalog.window import Window

NOT_TOLD: Final = "recorded, never told: its rule says notify: false, or it was no news any more when it was known"
RECORDED: Final = "recorded, never told: the route that takes it has no channels"
WAITS: Final = "its route is taken at other hours: it is told when they begin"
NO_ROUTE: Final = "no route matches it"
LOOK_AGAIN: Final = timedelta(hours=1)
"""What no route matched is routed again so often: routes change, and some go by the clock."""


def of(catalog: Catalog) -> list[Stage]:
    """The stages of a catalog, in their order: threshold, inhibit, silence."""
    rules = {one.name: one.after for one in [*catalog.policies, *catalog.flows] if one.after is not None}
    return [threshold.stage(rules), inhibit_store.stage(catalog), silenced(catalog.windows)]


def silenced(open_at_times: Mapping[str, Window]) -> Stage:
    """What people silence, and what maintenance windows keep."""

    def covers(connection: sa.Connection, now: datetime) -> list[Cover]:
        return [*silences.covers(connection, now), *windows.covers(open_at_times, now)]

    def keep(connection: sa.Connection, candidates: Sequence[Candidate], now: datetime) -> Mapping[Place, Kept]:
        return silence.keep(covers(connection, now), candidates)

    def quiet(connection: sa.Connection, alert_ids: Collection[int], now: datetime) -> Mapping[int, datetime]:
        covering = covers(connection, now)
        found = store.open_labels(connection, alert_ids) if covering else {}
        ends = {alert_id: silence.quiet_until(covering, labels) for alert_id, labels in found.items()}
        return {alert_id: until for alert_id, until in ends.items() if until is not None}

    return Stage("silence", keep, quiet)


def _silent(_: sa.Connection, candidates: Sequence[Candidate], __: datetime) -> Mapping[Place, Kept]:
    return {one.place: Kept(one.signal.rule, NOT_TOLD) for one in candidates if not one.signal.notify}


RECORD_ONLY: Final = Stage("record_only", _silent)
"""Comes first: what is never told needs no other reason."""


def by_hours(desk: Desk) -> Stage:
    """What no route takes at this hour, and one does at another, waits for that."""

    def keep(_: sa.Connection, candidates: Sequence[Candidate], __: datetime) -> Mapping[Place, Kept]:
        found = {one.place: _waits(desk, one.labels) for one in candidates}
        return {place: why for place, why in found.items() if why is not None}

    return Stage("hours", keep)


def unrouted(desk: Desk) -> Stage:
    """Comes last: what no route takes anywhere is remembered as such."""

    def keep(_: sa.Connection, candidates: Sequence[Candidate], __: datetime) -> Mapping[Place, Kept]:
        found = {one.place: _nowhere(desk, one.labels) for one in candidates}
        return {place: why for place, why in found.items() if why is not None}

    return Stage("record_only", keep)


def _waits(desk: Desk, labels: Mapping[str, str]) -> Kept | None:
    way = route.way(desk, labels)
    if not way.waiting or route.channels(desk, way.taken):
        return None
    index = min(way.waiting, key=way.waiting.__getitem__)
    until = way.waiting[index]
    look_at = min(until, desk.now + LOOK_AGAIN)
    return Kept(f"route {route.title(desk.routing, index)}", WAITS, until=until, look_at=look_at)


def _nowhere(desk: Desk, labels: Mapping[str, str]) -> Kept | None:
    """Why something goes nowhere; None when a route takes it somewhere."""
    way = route.way(desk, labels)
    if route.channels(desk, way.taken):
        return None
    if way.taken:
        return Kept(f"route {route.title(desk.routing, way.taken[-1])}", RECORDED)
    return Kept("routes", NO_ROUTE, look_at=desk.now + LOOK_AGAIN if desk.routing.routes else None)
