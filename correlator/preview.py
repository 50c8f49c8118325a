"""What a decision would do to journeys, before anybody takes it: the same rules, once without and once with it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from correlator import hubs
from correlator import journeystore as store
from correlator.assess import assess
from correlator.decided import Decided
from correlator.merged import fold
from correlator.model import Compiled, CompiledModel
from correlator.stitch import Graph, Missing
from milepost.catalog.schema import Catalog
from milepost.decisions import correlation as decisions
from milepost.decisions.correlation import Decision
from milepost.errors import NotFound
from milepost.explanation import Effect, Preview, Proposal, Standing, Thing

MAX_JOURNEYS: Final = 40
MAX_RELATIONS: Final = 5_000
MAX_OBJECTS: Final = 20_000
_DEGREE: Final = sa.text(
    "SELECT count(*) FROM (SELECT FROM derived.relations WHERE first_id = ANY(CAST(:ids AS bigint[]))"
    " UNION ALL SELECT FROM derived.relations WHERE second_id = ANY(CAST(:ids AS bigint[])) LIMIT :limit) AS found"
)

Root = tuple[CompiledModel, int]


class _TooMuch(Exception):
    """A journey that is concerned is too large to be put together for a preview."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A journey on one side: how it stands, and its members."""

    standing: Standing
    members: frozenset[int]


def preview(connection: sa.Connection, catalog: Catalog, proposal: Proposal) -> Preview:
    """What the proposal would do. Raises NotFound for what isn't there, and Conflict for what can't be decided."""
    if not proposal.reverses:
        ends = decisions.pair(connection, proposal.first_id, proposal.second_id)
        decisions.check(connection, proposal.act, *ends, proposal.since)
    compiled, standing = Compiled(catalog), decisions.effective(connection)
    act, decided, about = _with(proposal, standing)
    if act == "split":
        return Preview((), "what a split does to journeys shows once it is decided; it can be taken back")
    wanted = {"ids": sorted(about), "limit": MAX_RELATIONS + 1}
    if (connection.scalar(_DEGREE, wanted) or 0) > MAX_RELATIONS:
        return Preview((), f"over {MAX_RELATIONS:,} others are related to it: each of their journeys is concerned")
    sides = _Side(connection, compiled, Decided(standing)), _Side(connection, compiled, decided)
    try:
        roots = {(root, model.name): (model, root) for side in sides for model, root in side.roots(about)}
        first = [roots[key] for key in sorted(roots)[:MAX_JOURNEYS]]
        effects = [_effect(sides, root) for root in first]
    except _TooMuch:
        return Preview((), f"journeys of over {MAX_OBJECTS:,} objects are concerned: they are not looked at")
    more = len(roots) - len(first)
    note = f"{more:,} more journeys are concerned and not looked at" if more else None
    return Preview(tuple(effect for effect in effects if effect is not None), note)


def _with(proposal: Proposal, standing: list[Decision]) -> tuple[str, Decided, set[int]]:
    """What is decided or taken back, the decisions as they would be, and the objects that it is about."""
    if proposal.reverses:
        taken = next((item for item in standing if item.decision_id == proposal.reverses), None)
        if taken is None:
            raise NotFound(f"decision {proposal.reverses} does not count")
        decided, about = Decided(item for item in standing if item is not taken), (taken.first_id, taken.second_id)
        act: str = taken.act
    else:
        decided, about = Decided([*standing, proposal]), (proposal.first_id, proposal.second_id)
        act = proposal.act
    return act, decided, {one for one in about if one is not None}


class _Side:
    """The objects around a decision as they stand, with or without it."""

    def __init__(self, connection: sa.Connection, compiled: Compiled, decided: Decided) -> None:
        self._connection = connection
        self._compiled = compiled
        self.graph = Graph()
        self.graph.decided = decided
        self.graph.hubs = hubs.known(connection) - decided.lifted

    def roots(self, about: set[int]) -> list[Root]:
        """The objects of root types above what it is about, and those whose correlation ids it touches."""
        self._need(about)
        self._find_hubs(about)
        threads = self.graph.threads(about)
        self._need(threads)
        concerned = about | self.graph.namers(threads, self._compiled.root_types)
        return [(model, root) for model in self._compiled.models for root in self._above(concerned, model)]

    def _find_hubs(self, about: Iterable[int]) -> None:
        """A hub that is no longer lifted is found again."""
        hubs.find(self.graph, about, self._compiled.models, self._compiled.catalog.hub_limit)

    def _above(self, concerned: set[int], model: CompiledModel) -> set[int]:
        while True:
            try:
                return self.graph.roots_above(concerned, model)
            except Missing as error:
                self._need(error.ids)

    def _need(self, ids: set[int]) -> None:
        missing = self.graph.unloaded(ids)
        if len(self.graph.nodes) + len(missing) > MAX_OBJECTS:
            raise _TooMuch
        if missing:
            store.load(self._connection, self.graph, missing, {})

    def see(self, model: CompiledModel, root: int) -> _Seen | None:
        """The journey of a root, as the assembler would put it together; None where it would have none."""
        while True:
            try:
                return self._seen(model, root)
            except Missing as error:
                self._need(error.ids)

    def _seen(self, model: CompiledModel, root: int) -> _Seen | None:
        graph, ranks = self.graph, self._compiled.ranks
        if not graph.is_root(graph.node(root), model):
            return None
        members = graph.closure(root, model)
        nodes = fold([graph.node(member.object_id) for member in members], graph.decided, ranks)
        journey = assess(nodes[0], graph.counting(nodes, model), model)
        if journey is None:
            return None
        stage = journey.stage.name if journey.stage else None
        standing = Standing(journey.state, stage, len(members))
        return _Seen(standing, frozenset(member.object_id for member in members))

    def things(self, ids: frozenset[int] | set[int]) -> tuple[Thing, ...]:
        self._need(set(ids))
        nodes = sorted((self.graph.node(one) for one in ids), key=lambda node: (node.type, node.key, node.id))
        return tuple(Thing(node.id, node.type, node.namespace, node.key) for node in nodes)


def _effect(sides: tuple[_Side, _Side], root: Root) -> Effect | None:
    """What the decision does to one journey; None for nothing."""
    one, other = sides
    before, after = one.see(*root), other.see(*root)
    if before == after:
        return None
    had, has = (seen.members if seen is not None else frozenset() for seen in (before, after))
    return Effect(
        root[0].name,
        one.things({root[1]})[0],
        before.standing if before is not None else None,
        after.standing if after is not None else None,
        other.things(has - had),
        one.things(had - has),
    )
