"""What people decided about who belongs to whom, and the keys that too many share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from milepost.db.tables import decisions, hubs
from milepost.decisions import correlation
from milepost.explanation import Ruling, Thing

MAX_ROWS: Final = 500


@dataclass(frozen=True, slots=True)
class Listed:
    """A decision, and by whom, when and why it was taken back; None while it counts."""

    ruling: Ruling
    reversed_by: str | None = None
    reversed_at: datetime | None = None
    reversed_why: str | None = None


@dataclass(frozen=True, slots=True)
class Hub:
    """A key that too many share. `parents` as of `found_at`; `sources` with the relations that their events prove."""

    thing: Thing
    parent_type: str
    parents: int
    sources: dict[str, int]
    found_at: datetime


def ruling_list(connection: sa.Connection, number: int | None = None) -> list[Listed]:
    """The decisions, the latest first, those taken back too; at most MAX_ROWS. With a number only that one."""
    its, back = decisions.c, decisions.alias("back")
    query = (
        sa.select(decisions, back.c.actor.label("by"), back.c.at.label("when"), back.c.reason.label("why"))
        .select_from(decisions.outerjoin(back, back.c.reverses == its.decision_id))
        .where(its.act != "reverse")
        .order_by(its.decision_id.desc())
        .limit(MAX_ROWS)
    )
    rows = connection.execute(query if number is None else query.where(its.decision_id == number)).all()
    ids = {one for row in rows for one in (row.first_id, row.second_id) if one is not None}
    names = correlation.names_of(connection, sorted(ids))
    return [_listed(row, names) for row in rows]


def _listed(row: Any, names: dict[int, Thing]) -> Listed:
    second = names.get(row.second_id) if row.second_id is not None else None
    first = names.get(row.first_id, Thing(row.first_id, "", "", ""))
    ruling = Ruling(row.decision_id, row.act, first, second, row.actor, row.at, row.reason, row.since)
    return Listed(ruling, row.by, row.when, row.why)


def hub_list(connection: sa.Connection) -> list[Hub]:
    """The hubs, the latest first; at most MAX_ROWS. One that was lifted is none."""
    rows = connection.execute(sa.select(hubs).order_by(hubs.c.found_at.desc(), hubs.c.object_id).limit(MAX_ROWS)).all()
    names = correlation.names_of(connection, [row.object_id for row in rows])
    return [
        Hub(
            names.get(row.object_id, Thing(row.object_id, row.type, "", row.key)),
            row.parent_type, row.parents, row.sources, row.found_at,
        )
        for row in rows
    ]  # fmt: skip
