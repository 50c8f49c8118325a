"""Overrides of rotations: somebody stands in on call. Rows are never deleted.

The only writer of input.oncall_overrides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from alerting.desk import Desk
from alerting.oncall import Duty, Override, people_now, schedule, turn
from milepost.calendar import Calendar
from milepost.catalog.oncall import Rotation
from milepost.catalog.routing import Routing
from milepost.db.tables import oncall_overrides
from milepost.decisions import audit
from milepost.errors import Conflict, NotFound

_LONGEST: Final = timedelta(days=30)
"""Longer than any two turns."""
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


@dataclass(frozen=True, slots=True)
class Roster:
    """A rotation as it stands: who is on call, who follows, who is from then on, and who stands in."""

    name: str
    rotation: Rotation
    duties: Sequence[Duty]
    overrides: Sequence[Override]

    @property
    def now(self) -> Duty:
        return self.duties[0]

    @property
    def following(self) -> Duty:
        """The next other person; where there is none, the next turn."""
        return next((duty for duty in self.duties if duty.person != self.now.person), self.duties[-1])


def rosters(connection: sa.Connection, routing: Routing, since: datetime, until: datetime) -> list[Roster]:
    """All rotations from `since` until `until`, each with one duty more, that of who follows."""
    found = between(connection, since, max(until, since + _LONGEST)) if routing.rotations else []
    return [_roster(name, one, found, since, until) for name, one in routing.rotations.items()]


def _roster(name: str, rotation: Rotation, found: Sequence[Override], since: datetime, until: datetime) -> Roster:
    own = [one for one in found if one.rotation == name]
    later = turn(rotation, turn(rotation, since).until).until
    return Roster(name, rotation, list(schedule(name, rotation, own, since, max(until, later))), own)


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
