"""What the assembler reads and writes: object states, journeys, members, milestones.

Rows are copied or merged many at once (milepost/db/staging.py), so that a batch costs a handful of statements.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from correlator.node import CHILD, MENTION, NAMING, PARENT, Node
from correlator.stitch import Graph
from milepost.catalog.schema import CORRELATION
from milepost.clock import to_us
from milepost.db import tables
from milepost.db.engine import array_literal
from milepost.db.staging import Rows, save
from milepost.inbox import objects
from milepost.journeystate import JourneyFacts, ObjectState, decode_facts, decode_object, encode_object

_RELATED: Final = sa.text(
    "SELECT first_id, second_id, rel FROM derived.relations WHERE first_id = ANY(CAST(:ids AS bigint[]))"
    " UNION ALL SELECT first_id, second_id, rel FROM derived.relations WHERE second_id = ANY(CAST(:ids AS bigint[]))"
)
_STATES: Final = sa.text(
    "SELECT object_id, state FROM derived.object_states WHERE object_id = ANY(CAST(:ids AS bigint[]))"
)
_JOURNEYS: Final = sa.text(
    "SELECT journey_id, model, root_id, facts FROM derived.journeys WHERE root_id = ANY(CAST(:ids AS bigint[]))"
)


def bits_of(rel: str) -> int:
    """What a stored relation is from its first object's side."""
    if rel == "mention":
        return MENTION
    return NAMING if rel == "correlation" else PARENT


def relate(graph: Graph, first: int, second: int, rel: str) -> None:
    """Put a relation on those of its two ends that are loaded."""
    bits = bits_of(rel)
    graph.relate(first, second, bits)
    graph.relate(second, first, CHILD if bits == PARENT else bits)


def load(connection: sa.Connection, graph: Graph, ids: Collection[int], names: dict[int, tuple[str, str, str]]) -> None:
    """Load nodes with their states and relations, and the types of all that they relate to."""
    wanted = sorted(ids)
    related = connection.execute(_RELATED, {"ids": array_literal([i for i in wanted if i not in graph.hubs])}).all()
    near = {end for first, second, _ in related for end in (first, second)}
    unnamed = [i for i in (*wanted, *near) if i not in names and i not in graph.types]
    unnamed += [i for i in wanted if i not in names and i in graph.types]
    found = dict(names) if not unnamed else names | dict(objects.refs_of(connection, set(unnamed)))
    states = {row[0]: row[1] for row in connection.execute(_STATES, {"ids": array_literal(wanted)})}
    graph.know({object_id: found[object_id][0] for object_id in (*wanted, *(i for i in near if i not in graph.types))})
    for object_id in wanted:
        _, namespace, key = found[object_id]
        data = states.get(object_id)
        state = ObjectState() if data is None else decode_object(data)
        node = graph.nodes[object_id] = Node(object_id, graph.types[object_id], namespace, key, state)
        node.stored = data is not None
    for first, second, rel in related:
        if rel == CORRELATION:
            _foresee(graph, first, second)
        relate(graph, first, second, rel)


def make(graph: Graph, ids: Collection[int], names: dict[int, tuple[str, str, str]]) -> None:
    """Nodes for objects of which nothing is stored yet."""
    for object_id in ids:
        _, namespace, key = names[object_id]
        graph.nodes[object_id] = Node(object_id, graph.types[object_id], namespace, key, ObjectState())


def _foresee(graph: Graph, first: int, second: int) -> None:
    """Mark a naming that a correlation didn't have: nobody was told of it yet, as far as this process knows."""
    correlation, other = (first, second) if graph.types[first] == CORRELATION else (second, first)
    node = graph.nodes.get(correlation)
    if node is not None and other not in node.edges:
        graph.ahead.setdefault(correlation, set()).add(other)


def load_journeys(connection: sa.Connection, roots: Collection[int]) -> dict[tuple[str, int], tuple[int, JourneyFacts]]:
    """The stored journeys of these roots: (model, root id) → (journey id, facts)."""
    rows = connection.execute(_JOURNEYS, {"ids": array_literal(sorted(roots))})
    return {(row[1], row[2]): (row[0], decode_facts(row[3])) for row in rows}


def save_states(connection: sa.Connection, nodes: Iterable[Node]) -> None:
    rows = Rows()
    for node in sorted(nodes, key=lambda node: node.id):
        (rows.changed if node.stored else rows.new).append((node.id, encode_object(node.state)))
        node.stored = True
    save(connection, tables.object_states, ["object_id"], rows)


def remove_journeys(connection: sa.Connection, ids: Sequence[int]) -> None:
    """Take absorbed journeys away."""
    for name in ("members", "milestones", "journeys"):
        connection.execute(
            sa.text(f"DELETE FROM derived.{name} WHERE journey_id = ANY(CAST(:ids AS bigint[]))"), {"ids": list(ids)}
        )


def journeys_of_others(
    connection: sa.Connection, kinds: Collection[tuple[str, str]]
) -> list[tuple[int, str, int, str, int]]:
    """Some journeys of other (model, root type)s than these: id, model, root id, key, start in microseconds."""
    its = tables.journeys.c
    chosen = sa.tuple_(its.model, its.root_type).not_in(sorted(kinds))
    rows = connection.execute(
        sa.select(its.journey_id, its.model, its.root_id, its.key, its.started_at).where(chosen).limit(PORTION)
    )
    return [(row[0], row[1], row[2], row[3], to_us(row[4])) for row in rows]


def take_over(connection: sa.Connection, holder: str) -> tuple[bool, str | None, int]:
    """Lock the assembler's row for this transaction and put our name into it.

    Returns whether it was ours already (if not, somebody else may have changed what we cached), and the version of the
    catalog and the last decision that the journeys were last put together with.
    """
    table = tables.assembled
    row = sa.select(table).where(table.c.name == _ROW).with_for_update()
    found = connection.execute(row).one_or_none()
    if found is None:
        # who comes second waits here for the first one's transaction, and has the lock only with the row
        connection.execute(insert(table).values(name=_ROW, holder="").on_conflict_do_nothing())
        found = connection.execute(row).one()
    if found.holder != holder:
        connection.execute(table.update().where(table.c.name == _ROW).values(holder=holder))
    return found.holder == holder, found.catalog_version, found.decision_id


def set_catalog_version(connection: sa.Connection, version: str) -> None:
    """Say with which catalog the journeys are being put together."""
    table = tables.assembled
    connection.execute(table.update().where(table.c.name == _ROW).values(catalog_version=version))


def set_decision(connection: sa.Connection, decision_id: int) -> None:
    """Say which decision is the last one that counts."""
    table = tables.assembled
    connection.execute(table.update().where(table.c.name == _ROW).values(decision_id=decision_id))


_ROW: Final = "journeys"


def root_objects(connection: sa.Connection, types: Collection[str]) -> Iterable[Sequence[int]]:
    """The ids of all objects of these types, in portions."""
    statement = sa.select(tables.objects.c.object_id).where(tables.objects.c.type.in_(sorted(types)))
    # on the statement: set on the connection, every later statement would get a server-side cursor too
    return connection.scalars(statement.execution_options(yield_per=PORTION)).partitions()


PORTION: Final = 5_000
