"""The exceptions of objects as rows: written anew for the few objects that had trouble and have news."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import sqlalchemy as sa

from correlator.memory import Memory
from correlator.merged import unite
from milepost.db import tables
from milepost.db.staging import given, kinds_of, wire_time
from milepost.exceptions import Rules, intervals
from milepost.journeystate import ObjectState

_STAGING: Final = "staging_exceptions"
_KEY: Final = ("object_id", "type", "number")
_COLUMNS: Final = [column.name for column in tables.exceptions.columns]
_CHANGES: Final = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name not in _KEY)
_OTHER: Final = " OR ".join(f"t.{name} IS DISTINCT FROM excluded.{name}" for name in _COLUMNS if name not in _KEY)
_MERGE: Final = (
    f"INSERT INTO derived.exceptions AS t SELECT {', '.join(_COLUMNS)} FROM {{}}"
    f" ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET {_CHANGES} WHERE {_OTHER}"
)
_REMOVE: Final = (
    "DELETE FROM derived.exceptions AS t WHERE t.object_id = ANY(CAST(:ids AS bigint[])) AND NOT EXISTS (SELECT FROM {}"
    f" WHERE ({', '.join(f'{_STAGING}.{name}' for name in _KEY)}) = ({', '.join(f't.{name}' for name in _KEY)}))"
)


def write(
    connection: sa.Connection, memory: Memory, ids: Collection[int], rules: Rules, ranks: Mapping[str, int]
) -> None:
    """Bring the rows of these objects up to date. Merged objects have theirs under the name that stays (rule 8)."""
    if not ids:
        return
    decided = memory.graph.decided
    groups = {standing: {standing, *decided.mates.get(standing, ())} for standing in map(decided.standing, ids)}
    everyone = {*ids, *(one for group in groups.values() for one in group)}
    memory.need(connection, everyone)
    nodes = memory.graph.nodes
    states = {standing: [nodes[one].state for one in sorted(group)] for standing, group in groups.items()}
    united = {standing: _united(told, ranks) for standing, told in sorted(states.items())}
    rows = [row for one, state in united.items() for row in _rows(one, nodes[one].type, state, rules)]
    source, parameters = given(connection, _STAGING, kinds_of(tables.exceptions), rows)
    connection.execute(sa.text(_REMOVE.format(source)), {**parameters, "ids": sorted(everyone)})
    connection.execute(sa.text(_MERGE.format(source)), parameters)


def forget(connection: sa.Connection, ids: Collection[int]) -> None:
    """Drop the rows of these objects, whose states are made anew."""
    its = tables.exceptions.c.object_id
    connection.execute(
        sa.delete(tables.exceptions).where(its == sa.func.any(sa.cast(sorted(ids), sa.ARRAY(sa.BigInteger))))
    )


def _united(states: list[ObjectState], ranks: Mapping[str, int]) -> ObjectState:
    return states[0] if len(states) == 1 else unite(states, ranks)


def _rows(object_id: int, kind: str, state: ObjectState, rules: Rules) -> Iterable[tuple[Any, ...]]:
    for number, item in enumerate(intervals(state, rules, kind)):
        first, last = item.first, item.last
        yield (
            object_id,
            item.type,
            number,
            item.kind,
            last.outcome,
            last.code,
            last.source,
            last.reason,
            item.count,
            wire_time(first.at_us),
            wire_time(last.at_us),
            None if item.resolved_us is None else wire_time(item.resolved_us),
            item.resolved_by,
            first.event_no,
            wire_time(first.received_us),
        )
