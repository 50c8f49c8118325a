"""What people decide about who belongs to whom: cut, exclude, merge, lift a hub, and take one of these back.

Rows are only added. The assembler sees the new ones with its next step, and a rebuild applies them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import sqlalchemy as sa

from milepost.db.tables import correlations, decisions, objects
from milepost.decisions import audit
from milepost.errors import Conflict, NotFound

Act = Literal["cut", "exclude", "merge", "lift"]
CORRELATION: Final = "correlation"


@dataclass(frozen=True, slots=True)
class Named:
    """An object by its id, as people know it."""

    object_id: int
    type: str
    namespace: str
    key: str

    def __str__(self) -> str:
        return f"{self.type} {self.key}" + (f" ({self.namespace})" if self.namespace else "")


@dataclass(frozen=True, slots=True)
class Decision:
    """cut: the relation between `first_id` and `second_id` counts for nothing, whatever proves it.

    exclude: `second_id` is no member of the journey of `first_id`, by whatever path. merge: `second_id` is the same
    thing as `first_id`, whose name stays. lift: `first_id` is no hub, however many share it.
    """

    decision_id: int
    at: datetime
    actor: str
    act: Act
    first_id: int
    second_id: int | None
    reason: str


def find(connection: sa.Connection, kind: str, key: str, namespace: str | None = None) -> Named:
    """The object or correlation of this name. Raises NotFound, and Conflict where several namespaces have it."""
    if kind == CORRELATION:
        query = sa.select(correlations.c.object_id).where(correlations.c.key == key)
        found = [Named(number, kind, "", key) for number in connection.scalars(query)]
    else:
        query = sa.select(objects).where(objects.c.key == key, objects.c.type == kind)
        query = query if namespace is None else query.where(objects.c.namespace == namespace)
        found = [Named(row.object_id, kind, row.namespace, key) for row in connection.execute(query)]
    if not found:
        raise NotFound(f"there is no {kind} {key}")
    if len(found) > 1:
        spaces = ", ".join(sorted(item.namespace or '""' for item in found))
        raise Conflict(f"{kind} {key} exists in several namespaces; name one of {spaces}")
    return found[0]


def decide(
    connection: sa.Connection,
    act: Act,
    first: Named,
    second: Named | None = None,
    *,
    actor: str,
    reason: str,
    now: datetime,
) -> int:
    """Decide, in the caller's transaction; returns the decision's number. Raises Conflict for what can't be."""
    check(connection, act, first, second)
    values = {
        "at": now,
        "actor": actor,
        "act": act,
        "first_id": first.object_id,
        "second_id": second.object_id if second is not None else None,
        "reason": reason,
    }
    number: int = connection.scalars(sa.insert(decisions).values(values).returning(decisions.c.decision_id)).one()
    detail = {"decision": number, "second": str(second) if second is not None else None, "reason": reason}
    audit.record(connection, actor=actor, action=f"correlation.{act}", target=str(first), now=now, detail=detail)
    return number


def reverse(connection: sa.Connection, decision_id: int, *, actor: str, reason: str, now: datetime) -> None:
    """Take a decision back. Raises NotFound, and Conflict where it was taken back already."""
    known = {item.decision_id for item in effective(connection)}
    if decision_id not in known:
        exists = sa.select(decisions.c.act).where(decisions.c.decision_id == decision_id)
        if connection.scalar(exists) in (None, "reverse"):
            raise NotFound(f"there is no decision {decision_id}")
        raise Conflict(f"decision {decision_id} was taken back already")
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
    columns = (its.decision_id, its.at, its.actor, its.act, its.first_id, its.second_id, its.reason)
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
    query = sa.select(objects.c.object_id, objects.c.type, objects.c.namespace, objects.c.key)
    found = {row.object_id: Named(*row) for row in connection.execute(query.where(objects.c.object_id.in_(ids)))}
    threads = sa.select(correlations.c.object_id, correlations.c.key).where(correlations.c.object_id.in_(ids))
    return found | {number: Named(number, CORRELATION, "", key) for number, key in connection.execute(threads)}


def check(connection: sa.Connection, act: str, first: Named, second: Named | None) -> None:
    """Raises Conflict for what can't be decided."""
    if (act == "lift") != (second is None):
        raise Conflict(f"{act} needs {'one object' if act == 'lift' else 'two objects'}")
    if second is not None and first.object_id == second.object_id:
        raise Conflict(f"{first}: twice the same")
    standing = effective(connection)
    if any((item.act, item.first_id, item.second_id) == (act, first.object_id, _id(second)) for item in standing):
        raise Conflict(f"{first}: this is decided already")
    if act == "merge" and second is not None:
        _check_merge(first, second, standing)


def _check_merge(first: Named, second: Named, standing: Sequence[Decision]) -> None:
    if first.type != second.type or CORRELATION in (first.type, second.type):
        raise Conflict(f"{first} and {second} are no two names of one object")
    merges = [item for item in standing if item.act == "merge"]
    if any(item.second_id in (first.object_id, second.object_id) for item in merges):
        raise Conflict("one of them is merged into another object already; merge into that one")
    if any(item.first_id == second.object_id for item in merges):
        raise Conflict(f"others are merged into {second}; take that back first, or merge the other way round")


def _id(named: Named | None) -> int | None:
    return None if named is None else named.object_id
