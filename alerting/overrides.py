"""Overrides of rotations: somebody stands in on call. Rows are never deleted.

The only writer of input.oncall_overrides.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from alerting.desk import Desk
from alerting.oncall import Override, people_now
from milepost.calendar import Calendar
from milepost.catalog.routing import Routing
from milepost.db.tables import oncall_overrides
from milepost.decisions import audit
from milepost.errors import Conflict, NotFound

_MOMENT: Final = timedelta(microseconds=1)
_TABLE: Final = oncall_overrides.c


def desk(connection: sa.Connection, routing: Routing, calendars: Mapping[str, Calendar], now: datetime) -> Desk:
    """Who can be told now."""
    if not routing.rotations:
        return Desk(routing, now, calendars)
    people = people_now(routing, between(connection, now, now + _MOMENT), now)
    return Desk(routing, now, calendars, people)


def between(connection: sa.Connection, since: datetime, until: datetime) -> list[Override]:
    """Those that have a part in this time, in the order in which they were made."""
    ends = sa.func.least(_TABLE.until, _TABLE.ended_at)
    query = sa.select(
        _TABLE.override_id, _TABLE.rotation, _TABLE.person, _TABLE.since, ends, _TABLE.reason, _TABLE.created_by
    ).where(_TABLE.since < until, _TABLE.until > since, ends > sa.func.greatest(since, _TABLE.since))
    return [Override(*row) for row in connection.execute(query.order_by(_TABLE.override_id))]


def add(
    connection: sa.Connection,
    routing: Routing,
    *,
    rotation: str,
    person: str,
    since: datetime,
    until: datetime,
    reason: str,
    actor: str,
    now: datetime,
) -> int:
    """Put somebody on call for a while; returns its number. Raises NotFound, or Conflict for a time that can't be."""
    if rotation not in routing.rotations:
        raise NotFound(f"there is no rotation {rotation}{_listed(routing.rotations)}")
    if person not in routing.people:
        raise NotFound(f"there is no {person} in people{_listed(routing.people)}")
    if since >= until:
        raise Conflict("the override ends before it begins")
    if until <= now:
        raise Conflict("the override is over already")
    row = {"rotation": rotation, "person": person, "since": since, "until": until, "reason": reason}
    query = sa.insert(oncall_overrides).values(**row, created_at=now, created_by=actor).returning(_TABLE.override_id)
    number: int = connection.scalars(query).one()
    detail = {"override": number, **row, "since": since.isoformat(), "until": until.isoformat()}
    audit.record(
        connection, actor=actor, action="oncall.overridden", target=f"rotation {rotation}", now=now, detail=detail
    )
    return number


def end(connection: sa.Connection, number: int, *, actor: str, now: datetime) -> None:
    """End an override now; one that has not begun never does. Raises NotFound, or Conflict when it is over."""
    row = connection.execute(sa.select(oncall_overrides).where(_TABLE.override_id == number)).mappings().first()
    if row is None:
        raise NotFound(f"there is no override {number}")
    done = (
        sa.update(oncall_overrides)
        .where(_TABLE.override_id == number, _TABLE.until > now, _TABLE.ended_at.is_(None))
        .values(ended_at=now, ended_by=actor)
    )
    if not connection.execute(done).rowcount:
        raise Conflict(f"override {number} is over already")
    audit.record(
        connection, actor=actor, action="oncall.override_ended", target=f"rotation {row['rotation']}", now=now,
        detail={"override": number},
    )  # fmt: skip


def _listed(names: object) -> str:
    known = sorted(names) if isinstance(names, dict) else []
    return f"; there are {', '.join(known)}" if known else ""
