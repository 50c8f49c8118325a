"""Assemble: from touches to journeys. One at a time (the caller holds the leader's lock), so it may cache.

One step is one transaction: batches of touches leave the table; what they are about learns its state; every journey
above is put together anew from committed facts; the SLA engine is told in the same transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Final
from uuid import uuid4

import sqlalchemy as sa

from correlator import aside, exceptionstore, hubs, split, touches
from correlator import journeystore as store
from correlator.assess import Journey, assess
from correlator.bounded import forget_oldest
from correlator.decided import Decided
from correlator.memory import Memory
from correlator.merged import fold
from correlator.model import Compiled, CompiledModel
from correlator.node import Node
from correlator.poison import FAILURES, is_poison
from correlator.rows import Output, diff_members, diff_milestones, gone, journey_row
from correlator.stitch import Missing
from correlator.touches import TouchBatch, Waiting
from milepost.catalog.schema import Catalog
from milepost.clock import Clock
from milepost.db import tables
from milepost.db.engine import new_session, next_numbers
from milepost.db.staging import save
from milepost.decisions import correlation as decisions
from milepost.inbox import log
from milepost.journeystate import JourneyChange, JourneyFacts, Member

CACHE: Final = 300_000
MAX_TOUCHES: Final = 192_000
"""Touches that one step takes when so many wait: the more, the more of them meet in one journey (a third of the time of
48,000 when 20,000 orders are open). A step is then some seconds long; without a backlog steps are small."""
LONGEST: Final = timedelta(seconds=20)
"""What a step should take at most: after one that took longer, the next takes in proportion less."""
MAX_BATCHES: Final = 200
RESCAN: Final = 50
BEHIND: Final = timedelta(seconds=5)
GATHER: Final = timedelta(seconds=10)
"""How long a running assembler lets touches wait for more, when they are late already (BEHIND), and what recorders
still have to do is as well: large portions are done sooner."""

_log = logging.getLogger(__name__)

CatalogOf = Callable[[sa.Connection], Catalog]
Changed = Callable[[sa.Connection, Catalog, Sequence[JourneyChange], datetime], None]
"""Told of changed journeys, in the transaction that changes them."""

Root = tuple[str, int]  # model name, root id
Adopt = Callable[[Sequence[Root]], Mapping[Root, int]]
"""The ids that journeys have elsewhere already; the others get new ones."""


def _portion(queue: Sequence[Waiting], most: int) -> Sequence[Waiting]:
    """The first batches, of so many touches together at most, if there is more than one."""
    counts = accumulate(waiting.touches for waiting in queue)
    return [waiting for waiting, count in zip(queue, counts, strict=True) if count <= most] or queue[:1]


class Assembler:
    """The one consumer of touches. `step` does one transaction and tells whether it found work."""

    def __init__(
        self,
        engine: sa.Engine,
        catalog_of: CatalogOf,
        clock: Clock,
        changed: Changed,
        adopt: Adopt | None = None,
        *,
        gather: timedelta = timedelta(0),
        trial: bool = False,
    ) -> None:
        """`adopt` is for a rebuild, which tells nobody of hubs; `trial` for one that puts nothing into quarantine."""
        self._engine = engine
        self._adopt = adopt
        self._trial = trial
        self._gather = gather
        self._since: datetime | None = None
        self._catalog_of = catalog_of
        self._clock = clock
        self._changed = changed
        self._compiled: Compiled | None = None
        self._holder = uuid4().hex
        self._batches = MAX_BATCHES
        self._most = MAX_TOUCHES
        self._taken: list[int] = []
        self._given: dict[Root, int] = {}
        self._spare: list[int] = []
        self._works = False  # a step has succeeded since the last touch was set aside
        self._forget()

    def _forget(self) -> None:
        """Drop the caches: after a failure they may be ahead of what is committed."""
        self._memory = Memory(tells=self._adopt is None)
        self._journeys: dict[Root, tuple[int, JourneyFacts]] = {}
        self._quiet: set[int] = set()
        self._ranks: Mapping[str, int] = {}
        self._decision = -1
        self._split_due = True
        self._low = 0
        self._steps = 0

    def step(self) -> bool:
        now = self._clock()
        self._taken = []
        try:
            with self._engine.begin() as connection:
                connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
                found = self._step(connection, now)
        except FAILURES as error:
            self._forget()
            if not self._taken or not is_poison(error) or not self._set_aside(error, now):
                raise
            return True
        except BaseException:
            self._forget()
            raise
        self._works = self._works or bool(self._taken)
        return found

    def _set_aside(self, error: BaseException, now: datetime) -> bool:
        """Narrow a failure down to one touch, and set that aside; False when nothing else works either.

        A failure of every step is no touch's fault: as long as none succeeds, none is set aside.
        """
        if len(self._taken) > 1:
            self._batches = 1
            return True
        with self._engine.begin() as connection:
            done = aside.take_apart(
                connection, self._taken[0], str(error), now, drop=self._works, quarantined=not self._trial
            )
        if done == "dropped":
            self._works = False
            where = "left out of the trial" if self._trial else "set aside, see the quarantine"
            _log.error("a touch is %s: %s", where, error, exc_info=error)
        return done != "kept"

    def _step(self, connection: sa.Connection, now: datetime) -> bool:
        ours, version, decision = store.take_over(connection, self._holder)
        if new_session(connection, self) or not ours:
            self._forget()
        compiled = self._current(connection, version, now)
        if self._decide(connection, compiled, decision, now):
            return True
        self._memory.begin(connection)
        self._steps += 1
        if self._steps % RESCAN == 0:
            self._low = 0
        queue = touches.peek(connection, self._batches, self._low)
        if not queue:
            found, self._low = self._low > 0, 0
            return found
        portion = _portion(queue, self._most)
        if len(portion) == len(queue) < self._batches and self._waits(connection, queue, now):
            return False
        self._since = None
        self._taken = [waiting.seq for waiting in portion]
        self._low = self._taken[-1] + 1
        self._assemble(connection, compiled, touches.take(connection, portion), now)
        self._batches = min(MAX_BATCHES, self._batches * 2)
        self._pace(sum(waiting.touches for waiting in portion), self._clock() - now)
        return True

    def _pace(self, done: int, took: timedelta) -> None:
        """How much the next step may take, by how long it took to do so many touches."""
        self._most = max(1, int(done * (LONGEST / took))) if took > LONGEST else min(MAX_TOUCHES, self._most * 2)

    def _waits(self, connection: sa.Connection, queue: Sequence[Waiting], now: datetime) -> bool:
        """Whether more is to be gathered, while there is no full portion: these touches are late, and so is what comes.

        Not after these alone: what waits grows old, and would wait again.
        """
        if now - min(waiting.received_at for waiting in queue) <= BEHIND:
            return False
        coming = log.oldest(connection)
        if coming is None or now - coming <= BEHIND:
            return False
        self._since = self._since or now
        return now - self._since < self._gather

    def _current(self, connection: sa.Connection, version: str | None, now: datetime) -> Compiled:
        """The compiled catalog. When another one is active than the journeys were put together with, all are due."""
        catalog = self._catalog_of(connection)
        if self._compiled is None or self._compiled.version != catalog.version:
            self._compiled = Compiled(catalog)
            self._forget()  # nodes remember what is above and below them by the former models
        if version != catalog.version:
            if version is not None:
                # first of all, what may be a hub: nothing else is put together through one
                maybe = hubs.possible(connection, catalog.hub_limit)
                touches.put_first(connection, TouchBatch({}, [], [], maybe), now)
                for portion in store.root_objects(connection, self._compiled.root_types):
                    touches.put(connection, TouchBatch({}, [], [], list(portion)), now)
                self._retire(connection, self._compiled, now)
                hubs.forget(connection)
            store.set_catalog_version(connection, catalog.version)
        return self._compiled

    def _decide(self, connection: sa.Connection, compiled: Compiled, applied: int, now: datetime) -> bool:
        """Take new decisions into account; True when keys were split: what that concerns is then first in the queue."""
        last = decisions.last(connection)
        if self._decision != last or last != applied:
            self._concern(connection, compiled, applied, last, now)
        if not self._split_due:
            return False
        done = split.carry_out(connection, compiled, now)
        self._split_due = done is None
        if done:
            self._forget()
        return bool(done)

    def _concern(self, connection: sa.Connection, compiled: Compiled, applied: int, last: int, now: datetime) -> None:
        """All that new decisions are about is due."""
        self._forget()
        self._decision = last
        graph = self._memory.graph
        graph.decided = Decided(decisions.effective(connection))
        hubs.forget(connection, graph.decided.lifted)
        graph.hubs = hubs.known(connection)
        if last > applied:
            again = decisions.concerned_since(connection, applied)
            touches.put(connection, TouchBatch({}, [], [], sorted(again)), now)
            exceptionstore.write(connection, self._memory, again, compiled.catalog.exceptions, compiled.ranks)
            store.set_decision(connection, last)

    def _retire(self, connection: sa.Connection, compiled: Compiled, now: datetime) -> None:
        """Take away the journeys of models and root types that the catalog no longer has."""
        kinds = {(model.name, kind) for model in compiled.models for kind in model.root_rank}
        while found := store.journeys_of_others(connection, kinds):
            self._changed(connection, compiled.catalog, [gone(*row) for row in found], now)
            store.remove_journeys(connection, [row[0] for row in found])

    def _assemble(
        self, connection: sa.Connection, compiled: Compiled, batches: Sequence[TouchBatch], now: datetime
    ) -> None:
        news = self._memory.take_in(connection, compiled, batches, now)
        self._ranks = compiled.ranks
        self._quiet = {object_id for batch in batches if batch.quiet for object_id in batch.again}
        del batches  # a large portion's memory, for what comes now
        output = Output()
        roots = {
            (model.name, root): model
            for model in compiled.models
            for root in sorted(self._memory.roots(connection, news, model))  # what came together lies together
        }
        self._find_journeys(connection, roots)
        self._reserve(connection, roots)
        pending = list(roots.items())
        while pending:
            pending = self._put_together(connection, pending, output)
        self._save(connection, news.learned, output)
        merged = self._memory.graph.decided.mates
        troubled = {node.id for node in news.learned if node.state.trouble}
        if merged:
            troubled.update(one for group in news.concerned.values() for one in group if one in merged)
        exceptionstore.write(connection, self._memory, troubled, compiled.catalog.exceptions, compiled.ranks)
        if output.changes:
            self._changed(connection, compiled.catalog, output.changes, now)
        if output.absorbed:
            store.remove_journeys(connection, output.absorbed)
        self._evict()

    def _find_journeys(self, connection: sa.Connection, roots: Iterable[Root]) -> None:
        unknown = {
            root for model, root in roots if self._memory.may_be_stored(root) and (model, root) not in self._journeys
        }
        if unknown:
            found = store.load_journeys(connection, unknown)
            for root, journey in found.items():
                self._journeys.setdefault(root, journey)

    def _put_together(
        self, connection: sa.Connection, pending: list[tuple[Root, CompiledModel]], output: Output
    ) -> list[tuple[Root, CompiledModel]]:
        """Put journeys together; those that need nodes which aren't loaded come back, with the nodes loaded."""
        missing: set[int] = set()
        left = []
        for item in pending:
            (name, root), model = item
            try:
                self._one(name, root, model, output)
            except Missing as error:
                missing |= error.ids
                left.append(item)
        self._memory.need(connection, missing)
        return left

    def _one(self, name: str, root: int, model: CompiledModel, output: Output) -> None:
        graph = self._memory.graph
        node = graph.node(root)
        journey = None
        if graph.is_root(node, model):
            members = graph.closure(root, model)
            nodes = [graph.node(member.object_id) for member in members]
            for member in nodes:
                member.used = self._memory.steps
            nodes = fold(nodes, graph.decided, self._ranks)
            journey = assess(nodes[0], graph.counting(nodes, model), model)
        if journey is not None:
            self._keep(name, journey, members, nodes, output)
        elif (name, root) in self._journeys:
            self._absorb(name, node, output)

    def _absorb(self, name: str, node: Node, output: Output) -> None:
        journey_id, _ = self._journeys.pop((name, node.id))
        output.absorbed.append(journey_id)
        output.changes.append(gone(journey_id, name, node.id, node.key, node.state.first_us))

    def _keep(self, name: str, journey: Journey, members: list[Member], nodes: list[Node], output: Output) -> None:
        root = journey.root
        known = self._journeys.get((name, root.id))
        facts = JourneyFacts(members=members, milestones=journey.milestones)
        journey_id, before = known if known is not None else (self._new_id((name, root.id)), None)
        self._journeys[name, root.id] = (journey_id, facts)
        rows = output.journeys.new if before is None else output.journeys.changed
        rows.append(journey_row(journey_id, name, journey, facts))
        diff_members(journey_id, before, members, output)
        diff_milestones(journey_id, before, journey.milestones, output)
        output.changes.append(
            JourneyChange(
                journey_id,
                name,
                root.id,
                root.key,
                journey.state,
                journey.started_us,
                journey.last_us,
                journey.progress_us,
                journey.ended_us,
                {item.name: item for item in journey.milestones},
                journey.attributes,
                journey.amount,
                journey.currency,
                members,
                {node.id: node.state for node in nodes},
                {node.id: node.type for node in nodes},
                root.id in self._quiet,
                before is None and (name, root.id) not in self._given,
            )
        )

    def _reserve(self, connection: sa.Connection, roots: Iterable[Root]) -> None:
        """Have an id ready for each of these that may turn out to be a new journey."""
        new = [root for root in roots if root not in self._journeys]
        self._given = dict(self._adopt(new)) if self._adopt is not None else {}
        short = len(new) - len(self._spare)
        if short > 0:
            self._spare = sorted([*self._spare, *next_numbers(connection, "input.journey_ids", short)], reverse=True)

    def _new_id(self, root: Root) -> int:
        return self._given[root] if root in self._given else self._spare.pop()

    def _save(self, connection: sa.Connection, learned: set[Node], output: Output) -> None:
        store.save_states(connection, learned)
        save(connection, tables.journeys, ["journey_id"], output.journeys)
        save(connection, tables.members, ["journey_id", "object_id"], output.members)
        save(connection, tables.milestones, ["journey_id", "name"], output.milestones)

    def _evict(self) -> None:
        """Keep the caches bounded."""
        self._memory.evict(CACHE)
        for _, root in forget_oldest(self._journeys, CACHE):
            self._memory.forgot(root)
