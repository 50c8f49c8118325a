"""How much the quarantine may hold. Each function is one step of a bounded size, and tells how many rows it took.

What is closed goes after a time. What is open never goes by age. Where there is more than there is room for, the
largest groups are thinned, the oldest rows first: only of what its sender was told to be refused, and has itself. What
was acknowledged (conflicts, unmapped payloads, what could not be recorded) is nowhere else, and stays.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from milepost.db.tables import quarantine, quarantine_groups, quarantine_hours, quarantine_revisions
from milepost.decisions import audit
from milepost.inbox.quarantine import mend

STEP: Final = 5_000
KEPT_EACH: Final = 1_000
"""Of a thinned group so many rows stay."""
_GROUPS: Final = 50
"""Groups that are looked at in a step: some have rows of other ways only."""
HOURS_KEPT: Final = timedelta(days=8)
TOLD: Final = ("events", "json")
"""Ways whose senders are told what is refused."""
_KINDS: Final = ("malformed", "forbidden")
_q, _g = quarantine.c, quarantine_groups.c


def drop_closed(connection: sa.Connection, before: datetime) -> int:
    """Delete what was replayed or discarded before a time, and groups that have nothing left."""
    old = sa.select(_q.quarantine_id).where(_q.state != "open", _q.acted_at < before).order_by(_q.acted_at).limit(STEP)
    taken = _delete(connection, old)
    for state in ("replayed", "discarded"):
        groups = Counter({group: number for (group, its), number in taken.items() if its == state})
        _uncount(connection, groups, state)
    nothing = sa.and_(_g.open == 0, _g.replayed == 0, _g.discarded == 0, _g.last_at < before)
    connection.execute(sa.delete(quarantine_groups).where(nothing))
    connection.execute(sa.delete(quarantine_hours).where(quarantine_hours.c.hour < before - HOURS_KEPT))
    return taken.total()


def thin(connection: sa.Connection, most: int, now: datetime) -> int:
    """Where there are more than `most` rows, take the oldest of the largest group that may be thinned."""
    total = connection.scalar(sa.select(sa.func.sum(_g.open + _g.replayed + _g.discarded))) or 0
    if total <= most:
        return 0
    largest = sa.select(_g.group_id, _g.open).where(_g.kind.in_(_KINDS), _g.open > KEPT_EACH)
    for group in connection.execute(largest.order_by(_g.open.desc()).limit(_GROUPS)).all():
        wanted = min(STEP, int(total) - most, group.open - KEPT_EACH)
        mine = sa.and_(_q.group_id == group.group_id, _q.state == "open", _q.way.in_(TOLD))
        taken = _delete(connection, sa.select(_q.quarantine_id).where(mine).order_by(_q.quarantine_id).limit(wanted))
        if taken:
            rows = taken.total()
            _uncount(connection, Counter({group.group_id: rows}), "open", thinned=True)
            audit.record(
                connection, actor=audit.SYSTEM, action="quarantine.thinned", target=f"group {group.group_id}",
                now=now, detail={"rows": rows, "most": most},
            )  # fmt: skip
            return rows
    return 0


def _delete(connection: sa.Connection, chosen: sa.Select[tuple[int]]) -> Counter[tuple[int, str]]:
    """Delete rows with their edits; how many by group and state. A row that somebody works on is left out."""
    ids = list(connection.scalars(chosen.with_for_update(skip_locked=True)))
    among = sa.func.any(sa.cast(ids, sa.ARRAY(sa.BigInteger)))
    connection.execute(sa.delete(quarantine_revisions).where(quarantine_revisions.c.quarantine_id == among))
    delete = sa.delete(quarantine).where(_q.quarantine_id == among).returning(_q.group_id, _q.state)
    return Counter((row.group_id, row.state) for row in connection.execute(delete))


def _uncount(connection: sa.Connection, groups: Counter[int], state: str, *, thinned: bool = False) -> None:
    gone = sa.bindparam("rows", type_=sa.BigInteger)
    mend.count_groups(
        connection, groups, {state: _g[state] - gone} | ({"thinned": _g.thinned + gone} if thinned else {})
    )
