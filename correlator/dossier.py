"""What is stored of one journey and of what stands beside it: all that its explanation is made of. Reads only."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from correlator.assess import Occurrence
from correlator.decided import Decided
from correlator.facts import Fact, Facts, Name, Names, part, read_fact
from correlator.journeystore import bits_of
from correlator.model import Compiled, CompiledModel
from correlator.replay import Known, Received, World
from milepost.catalog.schema import CORRELATION
from milepost.clock import from_us, to_us
from milepost.contract import Entry
from milepost.db.tables import hubs, journeys, members
from milepost.decisions import correlation as decisions
from milepost.errors import NotFound
from milepost.explanation import Thing
from milepost.inbox import objects
from milepost.inbox.objects import Ref
from milepost.journeystate import Member, ObjectState, decode_object

MAX_MEMBERS: Final = 1_000
MAX_EVENTS: Final = 2_000
MAX_RELATIONS: Final = 5_000
MAX_BESIDE: Final = 200
"""Objects that are no members and are loaded all the same: what a correlation id joined before others named it."""

_RELATIONS: Final = sa.text(
    "SELECT * FROM derived.relations WHERE first_id = ANY(CAST(:ids AS bigint[]))"
    " UNION ALL SELECT * FROM derived.relations WHERE second_id = ANY(CAST(:ids AS bigint[])) LIMIT :limit"
)
_STATES: Final = sa.text(
    "SELECT object_id, state FROM derived.object_states WHERE object_id = ANY(CAST(:ids AS bigint[]))"
)
_ABOUT: Final = sa.text(
    "SELECT object_id, received_at, event_no, subject FROM input.event_object"
    " WHERE object_id = ANY(CAST(:ids AS bigint[])) AND received_at BETWEEN :first AND :last LIMIT :limit"
)
# by pairs: a join would read whole (compressed) partitions
_EVENTS: Final = sa.text(
    "SELECT e.* FROM unnest(CAST(:numbers AS bigint[]), CAST(:times AS timestamptz[])) AS p(number, at)"
    " CROSS JOIN LATERAL (SELECT event_no, received_at, flags, CAST(body AS text) AS body FROM input.events"
    " WHERE event_no = p.number AND received_at = p.at LIMIT 1) AS e"
)


@dataclass(frozen=True, slots=True)
class Head:
    """The journey's own row."""

    journey_id: int
    model: str
    root_id: int
    state: str
    stage: str | None


@dataclass(frozen=True, slots=True)
class Relation:
    """A stored relation with the event that proves it."""

    first: int
    second: int
    rel: str
    event: Occurrence

    def other(self, one: int) -> int:
        return self.second if one == self.first else self.first


@dataclass(frozen=True, slots=True)
class Stored:
    """An event with its flags, and what it says."""

    event: Occurrence
    flags: int
    fact: Fact


class Dossier:
    """One journey's members, and what they relate to. `fill` loads more objects; all else follows from what is loaded.

    Raises NotFound.
    """

    def __init__(self, connection: sa.Connection, compiled: Compiled, journey_id: int) -> None:
        self._connection = connection
        self.compiled = compiled
        self.head = _head(connection, journey_id)
        self.model = _model(compiled, self.head)
        self.members = _members(connection, journey_id)
        self.rulings = decisions.effective(connection)
        self.decided = Decided(self.rulings)
        self.names: dict[int, Ref] = {}
        self.loaded: set[int] = set()
        self._things: dict[int, Thing] = {}
        self.states: dict[int, ObjectState] = {}
        self.relations: dict[tuple[int, int, str], Relation] = {}
        self.hubs: dict[int, tuple[int, str]] = {}
        self.events: dict[int, Stored] = {}
        self.about: dict[int, list[tuple[int, bool]]] = {}
        self.cut_short = len(self.members) > MAX_MEMBERS
        del self.members[MAX_MEMBERS:]
        ids = {member.object_id for member in self.members}
        self.fill(ids.union(*(self.decided.mates.get(one, ()) for one in ids)))
        about = {one for item in self.rulings for one in (item.first_id, item.second_id) if one is not None}
        self.names |= objects.refs_of(connection, about - self.names.keys())

    @property
    def member_ids(self) -> set[int]:
        return {member.object_id for member in self.members}

    def thing(self, object_id: int) -> Thing:
        if object_id not in self.names:
            return Thing(object_id, "", "", "")
        if object_id not in self._things:
            self._things[object_id] = Thing(object_id, *self.names[object_id])
        return self._things[object_id]

    def fill(self, ids: Collection[int]) -> None:
        """Load objects with their states and relations, and the names of all that those relate to."""
        new = sorted(set(ids) - self.loaded)
        if not new:
            return
        self.loaded.update(new)
        plain = [one for one in new if one not in self.hubs]  # a hub's relations count for nothing, and are many
        rows = self._connection.execute(_RELATIONS, {"ids": plain, "limit": MAX_RELATIONS + 1}).all()
        self.cut_short |= len(rows) > MAX_RELATIONS
        for row in rows:
            self.relations[row.first_id, row.second_id, row.rel] = _relation(row)
        ends = {end for row in rows for end in (row.first_id, row.second_id)} | set(new)
        self.names |= objects.refs_of(self._connection, ends - self.names.keys())
        its = hubs.c
        found = self._connection.execute(
            sa.select(its.object_id, its.parents, its.parent_type).where(
                its.object_id == sa.func.any(sa.cast(sorted(ends), sa.ARRAY(sa.BigInteger)))
            )
        )
        self.hubs |= {row[0]: (row[1], row[2]) for row in found if row[0] not in self.decided.lifted}
        self.states |= {row[0]: decode_object(row[1]) for row in self._connection.execute(_STATES, {"ids": new})}

    # --- events -------------------------------------------------------------------------------------------------------

    def read_events(self) -> bool:
        """Read the events about the loaded objects, and those that prove their relations; False for too many."""
        told = [state for state in self.states.values() if state.events]
        self.about = {}
        pairs = {relation.event.event_no: relation.event.received_us for relation in self._relevant()}
        if told:
            span = {
                "first": from_us(min(state.first_received_us for state in told)),
                "last": from_us(max(state.last_received_us for state in told)),
            }
            wanted = {"ids": sorted(self.loaded), "limit": MAX_EVENTS + 1, **span}
            rows = self._connection.execute(_ABOUT, wanted).all()
            if len(rows) > MAX_EVENTS:
                return False
            for object_id, received_at, event_no, subject in rows:
                self.about.setdefault(event_no, []).append((object_id, subject))
                pairs[event_no] = to_us(received_at)
        self.events = self._read(pairs)
        return True

    def _relevant(self) -> Iterable[Relation]:
        """The relations between loaded objects, and all that say who names a correlation."""
        for relation in self.relations.values():
            if (relation.first in self.loaded and relation.second in self.loaded) or relation.rel == CORRELATION:
                yield relation

    def _read(self, pairs: Mapping[int, int]) -> dict[int, Stored]:
        numbers = sorted(pairs)
        values = {"numbers": numbers, "times": [from_us(pairs[number]) for number in numbers]}
        known, names = Names(), set[Name]()
        rows = self._connection.execute(_EVENTS, values)
        found = {row.event_no: _stored(row, self.compiled, known, names) for row in rows}
        part(Facts([stored.fact for stored in found.values()], names), objects.splits(self._connection), known)
        return found

    @property
    def whole(self) -> bool:
        """Whether all events of the members are still stored."""
        heard: dict[int, int] = {}
        for event_no, about in self.about.items():
            for object_id, _ in about if event_no in self.events else ():
                heard[object_id] = heard.get(object_id, 0) + 1
        return all(self.states[one].events <= heard.get(one, 0) for one in self.member_ids if one in self.states)

    def world(self) -> World:
        """What a replay needs."""
        firsts = self._firsts()
        known = [
            Known(item.first, item.second, bits_of(item.rel), firsts.get(_pair(item), item.event))
            for item in self.relations.values()
        ]
        received = [
            Received(stored.event, tuple(self.about[number]))
            for number, stored in sorted(self.events.items())
            if number in self.about
        ]
        types = {object_id: ref.type for object_id, ref in self.names.items()}
        names = {object_id: self.names[object_id] for object_id in self.loaded if object_id in self.names}
        return World(names, types, received, known, frozenset(self.hubs), self.decided, self.compiled.ranks)

    def _firsts(self) -> dict[Any, Occurrence]:
        """By relation, the first event to be received that says it: its stored proof is the first that occurred."""
        by_name: dict[Ref, list[int]] = {}
        for object_id, ref in self.names.items():
            by_name.setdefault(ref, []).append(object_id)
        firsts: dict[Any, Occurrence] = {}
        for stored in sorted(self.events.values(), key=lambda one: (one.event.received_us, one.event.event_no)):
            for one, other, rel in stored.fact.relations:
                for first in by_name.get(one.ref, ()):
                    for second in by_name.get(other.ref, ()):
                        firsts.setdefault(_pair(Relation(first, second, rel, stored.event)), stored.event)
        return firsts

    @property
    def threads(self) -> Mapping[int, Sequence[int]]:
        """The correlations that loaded objects name, each with all that name it."""
        found: dict[int, list[int]] = {}
        for relation in self.relations.values():
            for one in (relation.first, relation.second) if relation.rel == CORRELATION else ():
                if self.names[one].type == CORRELATION:
                    found.setdefault(one, []).append(relation.other(one))
        return found


def _pair(relation: Relation) -> Any:
    """What tells relations apart: only an explicit link has a direction."""
    ends = (relation.first, relation.second)
    return (ends if relation.rel.startswith("link:") else frozenset(ends), relation.rel)


def _head(connection: sa.Connection, journey_id: int) -> Head:
    its = journeys.c
    columns = (its.journey_id, its.model, its.root_id, its.state, its.stage)
    row = connection.execute(sa.select(*columns).where(its.journey_id == journey_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no journey {journey_id}")
    return Head(*row)


def _model(compiled: Compiled, head: Head) -> CompiledModel:
    found = next((model for model in compiled.models if model.name == head.model), None)
    if found is None:
        raise NotFound(f"the catalog has no model {head.model} any more")
    return found


def _members(connection: sa.Connection, journey_id: int) -> list[Member]:
    its = members.c
    query = sa.select(its.object_id, its.via_id, its.depth).where(its.journey_id == journey_id)
    rows = connection.execute(query.order_by(its.depth, its.object_id).limit(MAX_MEMBERS + 1))
    return [Member(*row) for row in rows]


def _relation(row: Any) -> Relation:
    proof = Occurrence(
        row.event_no, to_us(row.received_at), to_us(row.occurred_at), row.source, row.event_id, "",
        "ok", None, None, None,
    )  # fmt: skip
    return Relation(row.first_id, row.second_id, row.rel, proof)


def _stored(row: Any, compiled: Compiled, known: Names, names: set[Name]) -> Stored:
    received_us = to_us(row.received_at)
    fact = read_fact(Entry(b"", 0, received_us, row.body.encode()), compiled, known, names)
    event, data = fact.event, fact.event.data
    said = Occurrence(
        row.event_no, received_us, fact.occurred_us, event.source, event.id, event.type,
        data.outcome, data.code, data.reason, data.attributes or None,
    )  # fmt: skip
    return Stored(said, row.flags, fact)
