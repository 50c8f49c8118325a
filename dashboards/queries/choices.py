"""Why the policy of each clock of a journey runs, and no other that promises the same."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import sqlalchemy as sa

from dashboards.queries.journey import ClockRow
from milepost.catalog.choice import choice, relatives
from milepost.catalog.schema import Catalog
from milepost.db.tables import object_states
from milepost.journeystate import Scalar, decode_object

Chosen = Mapping[tuple[str, int], str]
"""For policy and subject: why, in words. Clocks of which there is nothing to say are not in it."""


def chosen(
    connection: sa.Connection, catalog: Catalog, clocks: Sequence[ClockRow], attributes: Mapping[str, Scalar]
) -> Chosen:
    """`attributes` are the journey's. Nothing is said of what another catalog judged, or of clocks on exceptions."""
    policies = {policy.name: policy for policy in catalog.policies if policy.kind != "exception"}
    run = [clock for clock in clocks if clock.policy in policies]
    families = {name: relatives(policies[name], catalog) for name in {clock.policy for clock in run}}
    own = _states(connection, {clock.subject_id for clock in run if policies[clock.policy].per is not None})
    found = {}
    for clock in run:
        seen = {**attributes, **own.get(clock.subject_id, {})}
        if told := choice(families[clock.policy], clock.policy, seen):
            found[clock.policy, clock.subject_id] = str(told)
    return found


def _states(connection: sa.Connection, ids: Collection[int]) -> dict[int, dict[str, Scalar]]:
    if not ids:
        return {}
    its = object_states.c
    query = sa.select(its.object_id, its.state).where(its.object_id.in_(sorted(ids)))
    return {object_id: decode_object(state).values() for object_id, state in connection.execute(query)}
