"""What the assembler remembers of objects, and how touches change it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from sys import intern
from typing import Final

import sqlalchemy as sa

from correlator import hubs
from correlator import journeystore as store
from correlator.assess import learn, learn_exceptions
from correlator.bounded import forget_oldest
from correlator.model import Compiled, CompiledModel
from correlator.node import PARENT, Node
from correlator.stitch import Graph, Missing, Pair, Related
from correlator.touches import TouchBatch
from milepost.catalog.schema import CORRELATION
from milepost.inbox import objects

MANY_TYPES: Final = 3
"""How many types are kept for each node that may be loaded; more, and those that belong to none are forgotten."""


@dataclass(frozen=True, slots=True)
class News:
    """What touches brought: the objects concerned by their type, the pairs newly related, and the nodes that learned
    something."""

    concerned: Mapping[str, Sequence[int]]
    related: Related
    learned: set[Node]


class Memory:
    """The loaded objects. Bounded by `evict`; forgetting costs a look-up, never correctness."""

    def __init__(self, *, tells: bool = True) -> None:
        """`tells`: operators are told of hubs."""
        self.graph = Graph()
        self._tells = tells
        self.steps = 0
        self._many_types = 0  # so many types are left to lie: the last time, half of them belonged to something
        self._newest_known = -1
        """Objects with a greater id came into being while this process consumed all touches: of them nothing is stored
        that isn't in memory."""

    def begin(self, connection: sa.Connection) -> None:
        """Before each step, in its transaction."""
        if self._newest_known < 0:
            self._newest_known = objects.newest(connection)
        self.steps += 1

    def may_be_stored(self, object_id: int) -> bool:
        """Whether the database may know more of an object than is remembered."""
        return object_id <= self._newest_known

    def forgot(self, object_id: int) -> None:
        """Something of an object was dropped from memory: from now on the database is asked."""
        self._newest_known = max(self._newest_known, object_id)

    def evict(self, limit: int) -> None:
        """Keep `limit` nodes: after each step as many are forgotten as came in it, so that no step is long.

        They wait in the order of the dictionary; those that were used since they took their place go to its end once
        more (the CLOCK algorithm).
        """
        graph, nodes = self.graph, self.graph.nodes
        over = len(nodes) - limit
        if over <= 0:
            return
        for object_id in list(islice(nodes, 2 * over)):
            if nodes[object_id].used > nodes[object_id].placed:
                node = nodes[object_id] = nodes.pop(object_id)
                node.placed = self.steps
        for object_id in forget_oldest(nodes, limit):
            graph.ahead.pop(object_id, None)
            self.forgot(object_id)
        if len(graph.types) > max(MANY_TYPES * limit, self._many_types):
            near = {other for node in nodes.values() for other in node.edges}
            graph.types = {i: kind for i, kind in graph.types.items() if i in nodes or i in near}
            self._many_types = 2 * len(graph.types)

    def take_in(
        self, connection: sa.Connection, compiled: Compiled, batches: Sequence[TouchBatch], now: datetime
    ) -> News:
        """Bring relations and touches into the graph."""
        graph = self.graph
        names: dict[int, tuple[str, str, str]] = {}
        for batch in batches:
            names.update(batch.names)
        about = {object_id for batch in batches for touch in batch.touches for object_id, _ in touch.about}
        ends = {end for batch in batches for item in batch.relations for end in (item.first_id, item.second_id)}
        again = {object_id for batch in batches for object_id in batch.again}
        graph.know({object_id: name[0] for object_id, name in names.items()})
        unloaded = graph.unloaded(about | ends | again)
        fresh = {object_id for object_id in unloaded if object_id > self._newest_known and object_id in names}
        store.make(graph, fresh, names)
        if unloaded - fresh:
            store.load(connection, graph, unloaded - fresh, names)
        dirty, related = self._relate(compiled, batches)
        judged = again | self._find_hubs(connection, compiled, about | ends | again, now)
        dirty |= judged | self._naming_the_same(connection, compiled, judged)
        return News(self._by_type(about | dirty), related, self._learn(compiled, batches))

    def _by_type(self, ids: Iterable[int]) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for object_id in ids:
            found.setdefault(self.graph.types[object_id], []).append(object_id)
        return found

    def _naming_the_same(self, connection: sa.Connection, compiled: Compiled, ids: set[int]) -> set[int]:
        """The roots that name a correlation which one of these is, or names: its owner may have changed."""
        self.need(connection, ids)
        threads = self.graph.threads(ids)
        self.need(connection, threads)
        return self.graph.namers(threads, compiled.root_types)

    def need(self, connection: sa.Connection, ids: set[int]) -> None:
        """Have these loaded."""
        missing = self.graph.unloaded(ids)
        if missing:
            store.load(connection, self.graph, missing, {})

    def _find_hubs(self, connection: sa.Connection, compiled: Compiled, ids: set[int], now: datetime) -> set[int]:
        """Objects that have become hubs, and all that they were related to."""
        found = hubs.find(self.graph, ids, compiled.models, compiled.catalog.hub_limit)
        if not found:
            return set()
        hubs.report(connection, found, now, tell=self._tells)
        return {hub.node.id for hub in found}.union(*(hub.neighbours for hub in found))

    def _relate(self, compiled: Compiled, batches: Sequence[TouchBatch]) -> tuple[set[int], Related]:
        """Put new relations into the graph: the objects that correlations concern, and the other pairs."""
        graph, types = self.graph, self.graph.types
        dirty: set[int] = set()
        related: dict[tuple[str, str, bool], set[Pair]] = {}
        named: dict[int, set[int]] = {}
        for batch in batches:
            for item in batch.relations:
                first, second, rel = item.first_id, item.second_id, item.rel
                store.relate(graph, first, second, rel)
                if rel == CORRELATION:
                    correlation, other = (first, second) if types[first] == CORRELATION else (second, first)
                    named.setdefault(correlation, set()).add(other)
                    if correlation in graph.ahead:
                        graph.ahead[correlation].discard(other)
                else:
                    kinds = (types[first], types[second], store.bits_of(rel) == PARENT)
                    related.setdefault(kinds, set()).add((first, second))
        for correlation, others in named.items():
            dirty |= others
            dirty |= self._renamed(graph.nodes[correlation], others, compiled)
        return dirty, related

    def _renamed(self, correlation: Node, new: set[int], compiled: Compiled) -> set[int]:
        """What else changes when new objects name a correlation: all roots that name it, if its owner changes.

        Where a load brought namings that no touch has told, who was the owner is not known: then it may have changed.
        """
        graph = self.graph
        unsure = bool(graph.ahead.pop(correlation.id, None))
        dirty: set[int] = set()
        kinds = {graph.types[other] for other in correlation.edges}
        for model in compiled.models:
            if kinds.isdisjoint(model.root_rank):
                continue
            after = graph.owner(correlation, model)
            former = (other for other in correlation.edges if other not in new)
            before = graph.owner_among(correlation, former, model)
            if unsure or before != after:
                dirty |= {other for other in correlation.edges if graph.types[other] in model.root_rank}
            if after is not None:
                dirty.add(correlation.id)
        return dirty

    def _learn(self, compiled: Compiled, batches: Sequence[TouchBatch]) -> set[Node]:
        nodes = self.graph.nodes
        learned: set[Node] = set()
        exceptions, subject = compiled.catalog.exceptions, True
        for batch in batches:
            for touch in batch.touches:
                touch.source, touch.type = intern(touch.source), intern(touch.type)  # states keep them, few of each
                for object_id, subject in touch.about:
                    node = nodes[object_id]
                    node.used = self.steps
                    learn(node.state, event=touch, subject=subject, ranks=compiled.ranks)
                    learned.add(node)
                if not subject or touch.type in exceptions:
                    states = [nodes[object_id].state for object_id, _ in touch.about]
                    subjects = sum(subject for _, subject in touch.about)
                    if subjects or not touch.partial:
                        learn_exceptions(states, touch, subjects=subjects, opens=touch.type in exceptions)
        return learned

    def roots(self, connection: sa.Connection, news: News, model: CompiledModel) -> set[int]:
        """The objects of root types whose journeys are to be put together anew."""
        concerned = [object_id for kind in model.types for object_id in news.concerned.get(kind, ())]
        while True:
            try:
                upper, lower = self.graph.tops(news.related, model)
                roots = self.graph.roots_above(upper.union(concerned), model) | lower
                return roots | self.graph.excluded_below(roots, model)
            except Missing as error:
                self.need(connection, error.ids)
