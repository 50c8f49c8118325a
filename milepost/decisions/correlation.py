"""What people decide about who belongs to whom: cut, exclude, merge, lift a hub, split, and take one of these back.

Rows are only added. The assembler sees the new ones with its next step, and a rebuild applies them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import sqlalchemy as sa

from milepost.catalog.schema import CORRELATION
from milepost.contract import OUTSIDE, is_possible
from milepost.db.tables import correlations, decisions, event_object, members, objects, relations
from milepost.decisions import audit
from milepost.errors import Conflict, NotFound
from milepost.explanation import Thing
from milepost.inbox.objects import refs_of, shown

Act = Literal["cut", "exclude", "merge", "lift", "split"]
# One after the other, until they commit: what is checked still stands then, and the assembler, which goes on from the
# last number that it saw, sees no lower one later. Readers go on.
_ALONE: Final = sa.text("LOCK TABLE input.decisions IN SHARE ROW EXCLUSIVE MODE")
Named = Thing


@dataclass(frozen=True, slots=True)
class Epoch:
    """One of the objects of a key: `thing` has the key as it is shown. `since` when the key names it, None: ever."""

    thing: Named
    number: int = 0
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """cut: the relation between `first_id` and `second_id` counts for nothing, whatever proves it.

    exclude: `second_id` is no member of the journey of `first_id`, by whatever path. merge: `second_id` is the same
    thing as `first_id`, whose name stays. lift: `first_id` is no hub, however many share it. split: events from `since`
    on that name the key of `first_id`, its first object, mean another one.
    """

    decision_id: int
    at: datetime
    actor: str
    act: Act
    first_id: int
    second_id: int | None
    reason: str
    since: datetime | None = None


def find(
    connection: sa.Connection, kind: str, key: str, namespace: str | None = None, epoch: int | None = None
) -> Named:
    """The object or correlation of this name. Raises NotFound, and Conflict where several namespaces or epochs have
    it."""
    found = [
        item
        for item in epochs(connection, kind, key)
        if namespace in (None, item.thing.namespace) and epoch in (None, item.number)
    ]
    if not found:
        raise NotFound(f"there is no {kind} {key}" + (f" of epoch {epoch}" if epoch is not None else ""))
    spaces = {item.thing.namespace for item in found}
    if len(spaces) > 1:
        listed = ", ".join(sorted(space or '""' for space in spaces))
        raise Conflict(f"{kind} {key} exists in several namespaces; name one of {listed}")
    if len(found) > 1:
        listed = ", ".join(f"{kind}:{key}#{item.number} for {item.thing.key}" for item in found)
        raise Conflict(f"{kind} {key} was split; name one of them, or give its epoch: {listed}")
    return found[0].thing


def epochs(connection: sa.Connection, kind: str, key: str) -> list[Epoch]:
    """The objects that a key names, by namespace and time: several of one namespace where it was split.

    Only those that stored evidence mentions: ids are given to what a catalog makes of an event that is only tried, too.
    """
    its = objects.c
    counts = (its.epoch == 0) | its.since.is_not(None)
    query = sa.select(its.object_id, its.namespace, its.epoch, its.since)
    query = query.where(its.key == key, its.type == kind, counts, _mentioned())
    query = query.order_by(its.namespace, its.since.nulls_first())
    found = [
        Epoch(Named(row.object_id, kind, row.namespace, shown(key, row.since)), row.epoch, row.since)
        for row in connection.execute(query)
    ]
    if kind == CORRELATION:
        threads = connection.scalars(sa.select(correlations.c.object_id).where(correlations.c.key == key))
        found = [*(Epoch(Named(number, kind, "", key)) for number in threads), *found]
    return found


def _mentioned() -> sa.ColumnElement[bool]:
    """What was split counts too, though one of its objects may have no event yet, or any longer."""
    its, other = objects.c, objects.alias().c
    same = (other.key == its.key, other.type == its.type, other.namespace == its.namespace)
    places = (members.c.object_id, relations.c.first_id, relations.c.second_id, event_object.c.object_id)
    return sa.or_(
        sa.exists().where(*same, other.epoch > 0), *(sa.exists().where(place == its.object_id) for place in places)
    )


def decide(
    connection: sa.Connection,
    act: str,
    first: Named,
    second: Named | None = None,
    *,
    actor: str,
    reason: str,
    now: datetime,
    since: datetime | None = None,
) -> int:
    """Decide, in the caller's transaction; returns the decision's number. Raises Conflict for what can't be."""
    connection.execute(_ALONE)
    _check_reason(reason)
    check(connection, act, first, second, since)
    values = {
        "at": now,
        "actor": actor,
        "act": act,
        "first_id": first.object_id,
        "second_id": second.object_id if second is not None else None,
        "reason": reason,
        "since": since,
    }
    number: int = connection.scalars(sa.insert(decisions).values(values).returning(decisions.c.decision_id)).one()
    detail = {"decision": number, "second": str(second) if second is not None else None, "reason": reason}
    if since is not None:
        detail["since"] = since.isoformat()
    audit.record(connection, actor=actor, action=f"correlation.{act}", target=str(first), now=now, detail=detail)
    return number


def reverse(connection: sa.Connection, decision_id: int, *, actor: str, reason: str, now: datetime) -> None:
    """Take a decision back. Raises NotFound, and Conflict where it was taken back already."""
    connection.execute(_ALONE)
    _check_reason(reason)
    standing = effective(connection)
    taken = next((item for item in standing if item.decision_id == decision_id), None)
    if taken is None:
        exists = sa.select(decisions.c.act).where(decisions.c.decision_id == decision_id)
        if connection.scalar(exists) in (None, "reverse"):
            raise NotFound(f"there is no decision {decision_id}")
        raise Conflict(f"decision {decision_id} was taken back already")
    if taken.act == "split":
        _check_unused(connection, taken, standing)
    values = {"at": now, "actor": actor, "act": "reverse", "reverses": decision_id, "reason": reason}
    connection.execute(sa.insert(decisions).values(values))
    detail = {"reason": reason}
    audit.record(
        connection, actor=actor, action="correlation.reverse", target=f"decision {decision_id}", now=now, detail=detail
    )


def effective(connection: sa.Connection) -> list[Decision]:
    """The decisions that count, oldest first."""
    its, later = decisions.c, decisions.alias()
    reversed_ = sa.select(later.c.reverses).where(later.c.reverses.is_not(None))
    columns = (its.decision_id, its.at, its.actor, its.act, its.first_id, its.second_id, its.reason, its.since)
    query = sa.select(*columns).where(its.act != "reverse", its.decision_id.not_in(reversed_))
    return [Decision(*row) for row in connection.execute(query.order_by(its.decision_id))]


def concerned_since(connection: sa.Connection, decision_id: int) -> set[int]:
    """The objects that decisions after this one are about, those taken back too."""
    its, former = decisions.c, decisions.alias()
    new = sa.select(its.first_id, its.second_id).where(its.decision_id > decision_id)
    back = sa.select(former.c.first_id, former.c.second_id).join(decisions, its.reverses == former.c.decision_id)
    rows = connection.execute(sa.union(new, back.where(its.decision_id > decision_id)))
    return {object_id for row in rows for object_id in row if object_id is not None}


def last(connection: sa.Connection) -> int:
    """The number of the last decision, 0 while there is none."""
    found: int | None = connection.scalar(sa.select(sa.func.max(decisions.c.decision_id)))
    return found or 0


def names_of(connection: sa.Connection, ids: Sequence[int]) -> dict[int, Named]:
    """The names behind ids."""
    return {number: Named(number, *ref) for number, ref in refs_of(connection, ids).items()}


def pair(connection: sa.Connection, first_id: int, second_id: int | None) -> tuple[Named, Named | None]:
    """The objects of a decision by their ids. Raises NotFound."""
    ids = [first_id] if second_id is None else [first_id, second_id]
    names = names_of(connection, ids)
    if not names.keys() >= set(ids):
        raise NotFound("there is no such object")
    return names[first_id], names[second_id] if second_id is not None else None


def check(
    connection: sa.Connection, act: str, first: Named, second: Named | None, since: datetime | None = None
) -> None:
    """Raises Conflict for what can't be decided."""
    if (act in ("lift", "split")) != (second is None):
        raise Conflict(f"{act} needs {'one object' if second is not None else 'two objects'}")
    if (act == "split") != (since is not None):
        raise Conflict("a split, and nothing else, is from a time on")
    epoch = connection.scalar(sa.select(objects.c.epoch).where(objects.c.object_id == first.object_id))
    if since is not None and (epoch or since.microsecond):
        raise Conflict(f"{first}: a split names the first object of a key, and a time to the second")
    if since is not None and not is_possible(since):
        raise Conflict(f"{first}: {since.isoformat()} {OUTSIDE}, as no event does")
    if second is not None and first.object_id == second.object_id:
        raise Conflict(f"{first}: twice the same")
    standing = effective(connection)
    if any(item.act == act and item.since == since and _same(item, first, second) for item in standing):
        raise Conflict(f"{first}: this is decided already")
    for named in (first, second):
        if named is not None:
            _check_standing(connection, named, standing)
    if act == "merge" and second is not None:
        _check_merge(first, second, standing)


def _same(item: Decision, first: Named, second: Named | None) -> bool:
    """Whether a decision of the same act is about the same. A cut has no direction."""
    ids = (first.object_id, _id(second))
    return (item.first_id, item.second_id) in ((ids, ids[::-1]) if item.act == "cut" else (ids,))


def _check_reason(reason: str) -> None:
    if not reason.strip() or len(reason) > audit.MAX_REASON:
        raise Conflict(f"a decision needs a reason, of {audit.MAX_REASON} characters at most")


def _check_merge(first: Named, second: Named, standing: Sequence[Decision]) -> None:
    if first.type != second.type or CORRELATION in (first.type, second.type):
        raise Conflict(f"{first} and {second} are no two names of one object")
    merges = [item for item in standing if item.act == "merge"]
    if any(item.second_id in (first.object_id, second.object_id) for item in merges):
        raise Conflict("one of them is merged into another object already; merge into that one")
    if any(item.first_id == second.object_id for item in merges):
        raise Conflict(f"others are merged into {second}; take that back first, or merge the other way round")


def _check_standing(connection: sa.Connection, named: Named, standing: Sequence[Decision]) -> None:
    """What a split made that was taken back is nothing, even while that isn't carried out."""
    its = objects.c
    query = sa.select(its.type, its.namespace, its.key, its.since).where(
        its.object_id == named.object_id, its.epoch > 0
    )
    made = connection.execute(query).one_or_none()
    if made is None:
        return
    splits = {item.first_id for item in standing if item.act == "split" and item.since == made.since}
    if made[:3] not in refs_of(connection, splits).values():
        raise Conflict(f"{named}: the split that made it was taken back")


def _check_unused(connection: sa.Connection, split: Decision, standing: Sequence[Decision]) -> None:
    """What was decided about the object that a split made would be about nothing."""
    first = names_of(connection, [split.first_id])[split.first_id]
    same = (item for item in epochs(connection, first.type, first.key) if item.since == split.since)
    ids = {item.thing.object_id for item in same if item.thing.namespace == first.namespace}
    for item in standing:
        if ids & {item.first_id, item.second_id}:
            raise Conflict(f"decision {item.decision_id} is about what the split made; take that back first")


def _id(named: Named | None) -> int | None:
    return None if named is None else named.object_id
