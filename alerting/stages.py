"""The stages that keep things from being told, in their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from alerting import route
from alerting.hiding import Candidate, Kept, Place, Stage
from milepost.catalog.routing import Routing
from milepost.catalog.schema import Catalog

NOT_TOLD: Final = "recorded, never told: its rule says notify: false, or it was no news any more when it was known"
NO_ROUTE: Final = "no route matches it"
LOOK_AGAIN: Final = timedelta(hours=1)
"""What no route matched is routed again so often: routes change, and some go by the clock."""


def of(_: Catalog) -> list[Stage]:
    """The stages of a catalog, in their order: threshold, inhibit, silence."""
    return []


def _silent(_: sa.Connection, candidates: Sequence[Candidate], __: datetime) -> Mapping[Place, Kept]:
    return {one.place: Kept(one.signal.rule, NOT_TOLD) for one in candidates if not one.signal.notify}


RECORD_ONLY: Final = Stage("record_only", _silent)
"""Comes first: what is never told needs no other reason."""


def unrouted(routing: Routing) -> Stage:
    """Comes last: what no route takes anywhere is remembered as such."""

    def keep(_: sa.Connection, candidates: Sequence[Candidate], now: datetime) -> Mapping[Place, Kept]:
        why = Kept("routes", NO_ROUTE, look_at=now + LOOK_AGAIN if routing.routes else None)
        return {one.place: why for one in candidates if not route.channels_for(routing, one.labels)}

    return Stage("record_only", keep)
