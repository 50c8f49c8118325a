"""Why a journey is as it is: proofs, what was kept out and by what, and what became known when.

Nothing is kept for it: it is computed when somebody asks, by the same rules. The replay needs all events of a journey;
where there are too many, or some are no longer stored, the explanation says so instead of guessing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

import sqlalchemy as sa

from correlator.dossier import MAX_BESIDE, MAX_EVENTS, MAX_MEMBERS, Dossier, Relation
from correlator.history import History, told
from correlator.journeystore import bits_of
from correlator.model import Compiled, stands_over
from correlator.node import PARENT, Node
from correlator.replay import portion, replay
from correlator.stitch import Graph, Missing
from milepost.catalog.schema import CORRELATION, Catalog
from milepost.explanation import Explanation, KeptOut, Odd, Placed, Ruling, Shared, Thing, Tie
from milepost.journeystate import Flag, ObjectState

ROUNDS: Final = 5
"""How often a replay may ask for objects that are not loaded yet."""
SHOWN: Final = 10
MAX_ODD: Final = 50
MAX_CHANGES: Final = 1_000


def explain(connection: sa.Connection, catalog: Catalog, journey_id: int) -> Explanation:
    """Explain one journey. Raises NotFound."""
    dossier = Dossier(connection, Compiled(catalog), journey_id)
    history, note = history_of(dossier)
    head, reasons = dossier.head, _Reasons(dossier)
    return Explanation(
        journey_id=journey_id,
        kind=head.model,
        root=dossier.thing(head.root_id),
        state=head.state,
        stage=head.stage,
        members=tuple(reasons.placed()),
        kept_out=tuple(reasons.kept_out()),
        shared=tuple(reasons.shared()),
        odd=tuple(reasons.odd()),
        rulings=tuple(reasons.rulings()),
        changes=tuple(history.changes[:MAX_CHANGES]) if history else (),
        missing=tuple(history.missing) if history else (),
        note=note,
    )


# --- what became known when ------------------------------------------------------------------------------------------


def history_of(dossier: Dossier) -> tuple[History | None, str | None]:
    """What became known when, or why it can't be told."""
    many = f"it has more than {MAX_MEMBERS:,} objects or {MAX_EVENTS:,} events: what was known when is not computed"
    dossier.fill(dossier.threads)
    _fill_beside(dossier)
    for _ in range(ROUNDS):
        if not dossier.read_events() or dossier.cut_short:
            return None, many
        if not dossier.whole:
            return None, "some of its events are no longer stored: what was known when can't be told"
        events = {number: stored.event for number, stored in dossier.events.items()}
        history = History(dossier.model, dossier.thing, events)
        world = dossier.world()
        try:
            history.read(replay(dossier.head.root_id, dossier.model, world))
        except Missing as error:
            if len(dossier.loaded | error.ids) > len(dossier.members) + MAX_BESIDE:
                return None, many
            dossier.fill(error.ids)
        else:
            return history, _cut(history, portion(world))
    return None, many


def _cut(history: History, together: int) -> str | None:
    if together > 1:
        return f"it is large: what {together} receipts in a row changed is told together"
    if len(history.changes) <= MAX_CHANGES:
        return None
    return f"only the first {MAX_CHANGES:,} of {len(history.changes):,} changes are told"


def _fill_beside(dossier: Dossier) -> None:
    """What a correlation id may have joined while only one root named it, unless a whole batch names it."""
    preferred = dossier.model.root_rank.get(dossier.names[dossier.head.root_id].type, 0)
    ranks = dossier.model.root_rank
    beside = {
        other
        for others in dossier.threads.values()
        for other in others
        if (kind := dossier.names[other].type) in dossier.model.types and ranks.get(kind, preferred + 1) > preferred
    }
    if len(beside - dossier.loaded) <= MAX_BESIDE // 2:
        dossier.fill(beside)


# --- why it is so -----------------------------------------------------------------------------------------------------


def _order(relation: Relation) -> tuple[int, str, str]:
    return (relation.event.occurred_us, relation.event.source, relation.event.event_id)


class _Reasons:
    """What a dossier gives as reasons. Made when everything is loaded."""

    def __init__(self, dossier: Dossier) -> None:
        self._dossier = dossier
        self._members = dossier.member_ids
        self._between: dict[frozenset[int], list[Relation]] = {}
        self._of: dict[int, list[Relation]] = {}
        for relation in sorted(dossier.relations.values(), key=_order):
            self._between.setdefault(frozenset((relation.first, relation.second)), []).append(relation)
            for end in (relation.first, relation.second):
                self._of.setdefault(end, []).append(relation)

    def placed(self) -> Iterator[Placed]:
        """The members, each with the member that it was reached through, and what relates the two."""
        dossier = self._dossier
        for one, via_id, depth in ((item.object_id, item.via_id, item.depth) for item in dossier.members):
            state = dossier.states.get(one)
            via = dossier.thing(via_id) if via_id is not None else None
            ties = tuple(self._ties(one, via_id)) if via_id is not None else ()
            also = tuple(self._also(one, via_id)) if via_id is not None else ()
            yield Placed(dossier.thing(one), via, depth, ties, state.events if state else 0, also)

    def _also(self, one: int, via_id: int) -> Iterator[tuple[Thing, Tie]]:
        """Other members directly above one, with what proves it."""
        dossier, kind = self._dossier, self._dossier.names[one].type
        seen = {via_id}
        for relation in self._of.get(one, ()):
            other = relation.other(one)
            if other in self._members and other not in seen and other != one and len(seen) <= SHOWN:
                seen.add(other)
                apart = dossier.decided.apart(one, other) or CORRELATION in (kind, dossier.names[other].type)
                if not apart and self._above(relation, dossier.names[other].type, kind, other):
                    yield dossier.thing(other), self._tie(relation)

    def _ties(self, one: int, other: int) -> Iterator[Tie]:
        yield from map(self._tie, self._between.get(frozenset((one, other)), ()))
        if other in self._dossier.decided.mates.get(one, ()):
            yield Tie("merge", "", None, self._number("merge", {one, other}))

    def _tie(self, relation: Relation) -> Tie:
        """The event's type is known where the event is at hand."""
        number = relation.event.event_no
        stored = self._dossier.events.get(number)
        event = told(stored.event if stored is not None else relation.event)
        kind, _, rel = relation.rel.partition(":")
        return Tie("link" if kind == "link" else "correlation" if kind == CORRELATION else "mention", rel, event)

    def _number(self, act: str, about: set[int]) -> int | None:
        rulings = [item for item in self._dossier.rulings if item.act == act]
        return next((item.decision_id for item in rulings if about >= {item.first_id, item.second_id}), None) or next(
            (item.decision_id for item in rulings if item.second_id in about), None
        )

    # --- what is out, and why -----------------------------------------------------------------------------------------

    def kept_out(self) -> Iterator[KeptOut]:
        """What members relate to, or would, if no decision and no hub stood between."""
        dossier, seen = self._dossier, set()
        for relation in sorted(dossier.relations.values(), key=_order):
            for one in (relation.first, relation.second):
                other = relation.other(one)
                if one not in self._members or other in self._members or (one, other) in seen:
                    continue
                found = self._refused(relation, one, other)
                if found is not None:
                    seen.add((one, other))
                    yield found
        root = dossier.head.root_id
        for item in dossier.rulings:
            if item.act == "exclude" and item.first_id == root and item.second_id is not None:
                thing = dossier.thing(item.second_id)
                yield KeptOut(thing, dossier.thing(root), "excluded", None, item.decision_id)

    def _refused(self, relation: Relation, one: int, other: int) -> KeptOut | None:
        dossier = self._dossier
        thing, beside, tie = dossier.thing(other), dossier.thing(one), self._tie(relation)
        if dossier.decided.apart(one, other):
            return KeptOut(thing, beside, "cut", tie, self._number("cut", {one, other}))
        if other not in dossier.hubs or not self._above(relation, beside.type, thing.type, one):
            return None
        count, kind = dossier.hubs[other]
        return KeptOut(thing, beside, "hub", tie, None, count, kind)

    def _above(self, relation: Relation, upper: str, lower: str, one: int) -> bool:
        """Whether a relation makes `one`, of type `upper`, stand above the other, but for hubs and decisions."""
        if relation.rel == CORRELATION:
            return upper in self._dossier.model.root_rank
        linked = relation.first == one and bits_of(relation.rel) == PARENT
        return stands_over(upper, lower, linked, self._dossier.model)

    def shared(self) -> Iterator[Shared]:
        """The correlation ids among the members that several roots name."""
        dossier = self._dossier
        graph = Graph()
        graph.decided, graph.hubs = dossier.decided, set(dossier.hubs)
        graph.types = {object_id: ref.type for object_id, ref in dossier.names.items()}
        for thread in sorted(dossier.threads.keys() & self._members):
            naming = dossier.threads[thread]
            node = Node(thread, CORRELATION, "", "", ObjectState())
            if graph.owner_among(node, naming, dossier.model) is None:
                kinds = Counter(graph.types[one] for one in naming if graph.types[one] in dossier.model.root_rank)
                roots = {one for one in naming if kinds[graph.types[one]] > 1}
                others = set(naming) - roots - self._members
                shown, out = self._first(roots), self._first(others)
                yield Shared(dossier.thing(thread), shown, len(roots), out, len(others))

    def _first(self, ids: set[int]) -> tuple[Thing, ...]:
        return tuple(sorted(map(self._dossier.thing, ids), key=lambda one: (one.type, one.key))[:SHOWN])

    # --- what was odd, and what people decided ------------------------------------------------------------------------

    def odd(self) -> Iterator[Odd]:
        """The events about members that carry flags, in the order of their reception."""
        dossier = self._dossier
        flagged = [
            stored
            for number, stored in dossier.events.items()
            if stored.flags and any(one in self._members for one, _ in dossier.about.get(number, ()))
        ]
        flagged.sort(key=lambda stored: (stored.event.received_us, stored.event.event_no))
        for stored in flagged[:MAX_ODD]:
            yield Odd(
                told(stored.event), tuple(flag.name.lower() for flag in Flag if flag & stored.flags and flag.name)
            )

    def rulings(self) -> Iterator[Ruling]:
        """The decisions about members, and about what they are kept apart from."""
        dossier = self._dossier
        for item in dossier.rulings:
            ends = [item.first_id] if item.act == "exclude" else [item.first_id, item.second_id]
            if any(one in ({dossier.head.root_id} if item.act == "exclude" else self._members) for one in ends):
                second = dossier.thing(item.second_id) if item.second_id is not None else None
                first = dossier.thing(item.first_id)
                yield Ruling(item.decision_id, item.act, first, second, item.actor, item.at, item.reason, item.since)
