"""From what events say to relations and touches with ids: the part of recording that a rebuild repeats."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from correlator import store
from correlator.bounded import forget_oldest
from correlator.facts import Fact, Facts, Name, Names, part
from correlator.touches import Relation, Touch, TouchBatch, put
from milepost.clock import from_us
from milepost.inbox import objects
from milepost.inbox.objects import Splits

CACHE: Final = 400_000


@dataclass(slots=True)
class Known:
    """What this process knows to be committed. Bounded; forgetting costs a look-up, never correctness.

    Names get their ids before the commit: whoever's transaction fails forgets all of this.
    """

    names: Names = field(default_factory=Names)
    relations: dict[tuple[int, int, str], tuple[int, str, str]] = field(default_factory=dict)
    splits: Splits = field(default_factory=dict)

    def learn(self, relations: Iterable[Relation]) -> None:
        """After the commit."""
        for item in relations:
            self.relations[item.first_id, item.second_id, item.rel] = (item.occurred_us, item.source, item.event_id)
        forget_oldest(self.names, CACHE)
        forget_oldest(self.relations, CACHE)

    def resolve(self, connection: sa.Connection, facts: Facts, now: datetime) -> list[Name]:
        """Allocate ids for the names that have none, and return these; all that the facts name then has its id.

        Which keys are split is asked each time: the caller holds a lock that keeps it so (`generation.watch`).
        """
        splits = objects.splits(connection)
        if splits != self.splits:
            self.splits = splits
            self.relations.clear()  # those of a split key were written anew
        if splits:
            part(facts, splits, self.names)
        new = [name for name in facts.names if not name.object_id]
        ids = objects.allocate(connection, [name.ref for name in new], now)
        for name in new:
            name.object_id = ids[name.ref]
        return new

    def news(self, facts: Facts) -> list[Relation]:
        """The relations of the batch that are new, or proven by an earlier event than before."""
        best: dict[tuple[int, int, str], Relation] = {}
        for item in facts.items:
            proof = (item.occurred_us, item.source, item.event_id)
            for one, other, rel in item.relations:
                first, second = one.object_id, other.object_id
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


def hand_over(
    connection: sa.Connection, facts: Facts, new: Iterable[Name], relations: list[Relation], schemas: Iterable[str]
) -> None:
    """Write relations, and touches for the assembler, into each of the schemas. Of the names it is told the new ones:
    it knows the others, or finds them in the database."""
    names: dict[int, tuple[str, str, str]] = {name.object_id: name.ref for name in new}
    oldest = from_us(min([item.received_us for item in facts.items]))
    batch = TouchBatch(names, relations, [touch_of(item) for item in facts.items])
    for schema in schemas:
        store.write_relations(connection, relations, schema)
        put(connection, batch, oldest, schema)


def touch_of(item: Fact) -> Touch:
    """What the assembler is told of an event."""
    event = item.event
    about = [(name.object_id, subject) for name, subject in item.about]
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
