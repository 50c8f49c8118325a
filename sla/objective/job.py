"""The step that judges objectives, for the scheduler: how each stands, and who is to hear of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from alerting import commands
from milepost.catalog.objective import zone_of
from milepost.catalog.policy import Policy
from milepost.catalog.schema import Catalog
from milepost.db.engine import transaction_lock
from sla import attained
from sla.objective import budget, standing, store, telling
from sla.objective.budget import Window
from sla.objective.standing import WHOLE, Counts, Place, Standing

LOCK: Final = "sla.objective"
Fired = Mapping[Place, Mapping[str, datetime]]


def judge_once(engine: sa.Engine, catalog: Catalog, *, now: datetime, through: datetime) -> int:
    """Judge every objective at what is known, and tell alerting; answers how many burn too fast.

    `through`: up to when everything is known. While another process is at it, nothing is done.
    """
    at = min(now, through)
    policies = {policy.name: policy for policy in catalog.policies}
    windows = {name: _window(policy, catalog, at) for name, policy in policies.items()}
    spans = {span for name, one in policies.items() for span in standing.spans(one.objective, windows[name], at)}
    with engine.begin() as connection:
        if not transaction_lock(connection, LOCK):
            return 0
        attained.count_hours(connection, catalog, now)
        before, told = store.fired(connection), store.open_items(connection)
        counts = store.counts(connection, catalog.policies, spans, at)
        found = [
            one
            for name, policy in policies.items()
            for one in _stand(policy, windows[name], counts, before, told, at)
        ]  # fmt: skip
        store.save(connection, found)
        breaching = store.breaching(connection)
        commands.send(connection, telling.signals(policies, found, before, told, breaching, now), now=now)
    return sum(bool(one.firing) for one in found)


def _stand(
    policy: Policy,
    window: Window,
    counts: Mapping[Place, Counts],
    before: Fired,
    told: Collection[telling.Item],
    at: datetime,
) -> list[Standing]:
    """A policy as a whole, and its groups."""
    places = {(policy.name, WHOLE), *(place for place in counts if place[0] == policy.name)}
    found = [
        standing.stand(place, policy.objective, window, counts.get(place, {}), before.get(place, {}), at)
        for place in sorted(places)
    ]
    known = {place for place in places if telling.item_of(place) in told}
    return standing.worth_keeping(standing.explained(found, known))


def _window(policy: Policy, catalog: Catalog, at: datetime) -> Window:
    return budget.window(policy.objective, at, zone_of(policy, catalog))
