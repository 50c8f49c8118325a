"""Hubs: keys that too many share ("N/A" typed into thousands of orders). They join nothing, and are reported (rule 7).

The only writer of derived.hubs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from alerting import commands
from alerting.commands import Signal
from correlator.model import CompiledModel
from correlator.node import Node
from correlator.stitch import Graph
from milepost.db.tables import hubs

_SOURCES: Final = sa.text(
    "SELECT source, count(*) AS relations FROM (SELECT source FROM derived.relations WHERE first_id = :id"
    " UNION ALL SELECT source FROM derived.relations WHERE second_id = :id) AS proofs GROUP BY source"
)
_POSSIBLE: Final = sa.text(
    "SELECT id FROM (SELECT first_id AS id FROM derived.relations UNION ALL SELECT second_id FROM derived.relations)"
    " AS ends GROUP BY id HAVING count(*) > :limit"
)


@dataclass(frozen=True, slots=True)
class Hub:
    """An object with more direct parents of one type than the limit."""

    node: Node
    parents: int
    parent_type: str
    neighbours: frozenset[int]


def known(connection: sa.Connection) -> set[int]:
    """The hubs that were found, lifted ones too."""
    return set(connection.scalars(sa.select(hubs.c.object_id)))


def forget(connection: sa.Connection, ids: Collection[int] | None = None) -> None:
    """Take hubs back, all of them without `ids`: what still is one is found again."""
    connection.execute(sa.delete(hubs) if ids is None else sa.delete(hubs).where(hubs.c.object_id.in_(ids)))


def possible(connection: sa.Connection, limit: int) -> list[int]:
    """The objects with so many relations that they may be hubs. Reads all relations."""
    return sorted(connection.scalars(_POSSIBLE, {"limit": limit}))


def find(graph: Graph, ids: Iterable[int], models: Collection[CompiledModel], limit: int) -> list[Hub]:
    """The hubs among loaded objects that weren't known as such; from now on they keep no relations."""
    found = []
    for object_id in ids:
        node = graph.nodes.get(object_id)
        if node is None or len(node.edges) <= max(limit, node.look_at) or object_id in graph.decided.lifted:
            continue
        parents, kind = max(graph.most_parents(node, model) for model in models)
        node.look_at = len(node.edges) + limit - parents  # before that it can't be one
        if parents > limit:
            found.append(Hub(node, parents, kind, frozenset(node.edges)))
    for hub in found:
        _close(graph, hub)
    return found


def _close(graph: Graph, hub: Hub) -> None:
    graph.hubs.add(hub.node.id)
    hub.node.edges.clear()
    hub.node.naming = []
    hub.node.conclude_anew()
    for other in hub.neighbours:
        if (node := graph.nodes.get(other)) is not None:
            node.conclude_anew()


def report(connection: sa.Connection, found: Iterable[Hub], now: datetime, *, tell: bool) -> None:
    """Write hubs down, and `tell` operators which source names them."""
    signals = []
    for hub in found:
        sources = {row.source: row.relations for row in connection.execute(_SOURCES, {"id": hub.node.id})}
        row = {
            "object_id": hub.node.id,
            "type": hub.node.type,
            "key": hub.node.key,
            "parent_type": hub.parent_type,
            "parents": hub.parents,
            "sources": sources,
            "found_at": now,
        }
        connection.execute(sa.insert(hubs).values(row))
        signals.append(_signal(hub, sources, now))
    if tell:
        commands.send(connection, signals, now=now)


def _signal(hub: Hub, sources: dict[str, int], now: datetime) -> Signal:
    source = max(sources, key=lambda name: (sources[name], name), default="")
    what = f"{hub.node.type} {hub.node.key}: over {hub.parents - 1} of type {hub.parent_type} name it"
    return Signal(
        action="raise",
        kind="platform",
        rule="hub",
        group={"source": source},
        item=f"hub:{hub.node.id}",
        at=now,
        title="A key is shared by too many to mean anything",
        summary=f"{what}, mostly events of {source}; it joins them no more",
        labels={"source": source, "type": hub.node.type},
    )
