"""From what events say to relations and touches with ids: the part of recording that a rebuild repeats."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from correlator import store
from correlator.facts import Fact, Facts, part
from correlator.touches import Relation, Touch, TouchBatch, put
from milepost.clock import from_us
from milepost.inbox import objects
from milepost.inbox.objects import Ref, Splits

CACHE: Final = 400_000


@dataclass(slots=True)
class Done:
    """What one transaction is about to commit."""

    ids: dict[Ref, int] = field(default_factory=dict)
    relations: list[Relation] = field(default_factory=list)


@dataclass(slots=True)
class Known:
    """What this process knows to be committed. Bounded; forgetting costs a look-up, never correctness."""

    ids: dict[Ref, int] = field(default_factory=dict)
    relations: dict[tuple[int, int, str], tuple[int, str, str]] = field(default_factory=dict)
    splits: Splits = field(default_factory=dict)

    def learn(self, done: Done) -> None:
        """After the commit."""
        self.ids.update(done.ids)
        for item in done.relations:
            self.relations[item.first_id, item.second_id, item.rel] = (item.occurred_us, item.source, item.event_id)
        _shrink(self.ids)
        _shrink(self.relations)

    def resolve(self, connection: sa.Connection, facts: Facts, now: datetime) -> dict[Ref, int]:
        """Allocate ids for the names that aren't known; all that the facts name is then in `facts.ids`.

        Which keys are split is asked each time: the caller holds a lock that keeps it so (`generation.watch`).
        """
        splits = objects.splits(connection)
        if splits != self.splits:
            self.splits = splits
            self.relations.clear()  # those of a split key were written anew
        later = part(facts, splits) if splits else ()
        new = objects.allocate(connection, [ref for ref in facts.refs if ref not in self.ids], now)
        facts.ids = {ref: new[ref] if ref in new else self.ids[ref] for ref in facts.refs}
        facts.ids.update((epoch, epoch.object_id) for epoch in later)
        return new

    def news(self, facts: Facts) -> list[Relation]:
        """The relations of the batch that are new, or proven by an earlier event than before."""
        best: dict[tuple[int, int, str], Relation] = {}
        for item in facts.items:
            proof = (item.occurred_us, item.source, item.event_id)
            for one, other, rel in item.relations:
                first, second = facts.ids[one], facts.ids[other]
                if second < first and not rel.startswith("link:"):
                    first, second = second, first
                key = (first, second, rel)
                before = self.relations.get(key)
                if first == second or (before is not None and before <= proof):
                    continue
                held = best.get(key)
                if held is None or proof < (held.occurred_us, held.source, held.event_id):
                    best[key] = Relation(first, second, rel, *proof, item.event_no, item.received_us)
        return [best[key] for key in sorted(best)]


def _shrink(cache: dict[Any, Any]) -> None:
    """Forget the older half of a cache that is over its bound."""
    if len(cache) > CACHE:
        for key in list(cache)[: CACHE // 2]:
            del cache[key]


def hand_over(connection: sa.Connection, facts: Facts, relations: list[Relation], schemas: Iterable[str]) -> None:
    """Write relations, and touches for the assembler, into each of the schemas."""
    names = {object_id: (ref.type, ref.namespace, ref.key) for ref, object_id in facts.ids.items()}
    oldest = from_us(min(item.received_us for item in facts.items))
    batch = TouchBatch(names, relations, [touch_of(item, facts) for item in facts.items])
    for schema in schemas:
        store.write_relations(connection, relations, schema)
        put(connection, batch, oldest, schema)


def touch_of(item: Fact, facts: Facts) -> Touch:
    """What the assembler is told of an event."""
    event = item.event
    about = [(facts.ids[ref], subject) for ref, subject in item.about]
    data = event.data
    return Touch(
        item.event_no,
        item.received_us,
        item.occurred_us,
        event.source,
        event.id,
        event.type,
        data.outcome,
        data.code,
        data.reason,
        data.attributes or None,
        about,
    )
