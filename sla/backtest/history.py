"""Stored journeys as the SLA engine saw them, in one read-only snapshot, some at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from exports.snapshot import Snapshot
from milepost.catalog.schema import Catalog, Model
from milepost.clock import to_us
from milepost.db.tables import journeys
from milepost.journeystate import JourneyChange, merge_attributes
from sla.loading import Wanted, load

AHEAD: Final = timedelta(days=31)
"""Journeys that ended so long before the window are still read: a clock of theirs could be due in it. It would be met,
so what lies further ahead misses in the share of clocks met, never among the breaches."""
_j: Final = journeys.c


@dataclass(frozen=True, slots=True)
class Window:
    """What fell due from `since` on and before `until`."""

    since: datetime
    until: datetime

    @property
    def chosen(self) -> sa.ColumnElement[bool]:
        """The journeys that could have a clock due in it."""
        lately = sa.or_(_j.state == "open", _j.last_at >= self.since - AHEAD, _j.last_received_at >= self.since)
        return sa.and_(_j.started_at < self.until, lately)


@dataclass(frozen=True, slots=True)
class Batch:
    """Some journeys, and the keys of their objects."""

    changes: Sequence[JourneyChange]
    names: Mapping[int, str]


def count(connection: sa.Connection, window: Window) -> int:
    """How many journeys are to be read."""
    return connection.scalar(sa.select(sa.func.count()).select_from(journeys).where(window.chosen)) or 0


def batches(snapshot: Snapshot, catalog: Catalog, window: Window) -> Iterator[Batch]:
    """The journeys of the window. `catalog` has the models that they were put together with."""
    query = sa.select(_j.journey_id, _j.completed_at).where(window.chosen).order_by(_j.journey_id)
    for rows in snapshot.pieces(query):
        loaded = load(snapshot.connection, [Wanted(row[0], (), True) for row in rows])
        completed = {row[0]: row[1] for row in rows}
        for change in loaded.changes.values():
            change.ended_us = _ended(change, completed[change.journey_id], catalog.models.get(change.model))
            others = [state.values() for one, state in change.states.items() if one != change.root_id]
            change.attributes = merge_attributes(change.attributes, others)
        yield Batch(list(loaded.changes.values()), loaded.names)


def _ended(change: JourneyChange, completed: datetime | None, model: Model | None) -> int | None:
    """When the journey was completed, or cancelled by whatever name its root has."""
    if change.state == "completed":
        return None if completed is None else to_us(completed)
    if change.state != "cancelled" or model is None:
        return None
    lesser = model.roots[model.roots.index(change.types[change.root_id]) + 1 :]
    own = [state for one, state in change.states.items() if one == change.root_id or change.types.get(one) in lesser]
    times = [state.reached[kind].first_us for state in own for kind in model.cancelled_by if kind in state.reached]
    return min(times, default=None)
