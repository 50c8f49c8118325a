"""From the moments of a replay to what changed with each receipt, and what was missing when. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from correlator.assess import Occurrence
from correlator.model import CompiledModel
from correlator.replay import Moment
from milepost import gaps
from milepost.clock import from_us
from milepost.explanation import HISTORY, Change, Missing, Thing, Told
from milepost.journeystate import Member, Reached

Named = Callable[[int], Thing]


def told(event: Occurrence) -> Told:
    """An event as people are shown it."""
    return Told(event.source, event.event_id, event.type, from_us(event.occurred_us), from_us(event.received_us))


class History:
    """What became known of a journey, receipt by receipt. `named` gives the objects, `events` all events by number."""

    def __init__(self, model: CompiledModel, named: Named, events: Mapping[int, Occurrence]) -> None:
        self._model = model
        self._named = named
        self._events = events
        self.changes: list[Change] = []
        self.last: Moment | None = None
        self._imported = False
        self._standing: dict[str, Missing] = {}
        self._over: list[Missing] = []

    def read(self, moments: Iterable[Moment]) -> None:
        """Read the moments of a replay."""
        for moment in moments:
            if moment.journey is not None:
                if self.last is None:
                    self._imported = from_us(moment.at_us) - from_us(_last(moment)) >= HISTORY
                self.changes += self._between(self.last, moment)
                self._look_for_gaps(moment)
                self.last = moment

    @property
    def missing(self) -> list[Missing]:
        """What was missing from which receipt to which, in the order in which it was first missing."""
        return sorted([*self._over, *self._standing.values()], key=lambda one: (one.since, one.name))

    def _look_for_gaps(self, moment: Moment) -> None:
        assert moment.journey is not None
        at, reached, stage = from_us(moment.at_us), _reached(moment), moment.journey.stage
        types = {self._named(member.object_id).type for member in moment.members}
        absent = {step.name for step in gaps.missing(self._model.source, reached, types)}
        for step in absent:
            self._standing.setdefault(step, Missing(step, stage.name if stage else "", at, None, None))
        for step in self._standing.keys() - absent:
            item = reached.get(step)
            filled = self._evidence(item) if item is not None else None
            self._over.append(replace(self._standing.pop(step), until=at, filled_by=filled))

    # --- what changed between two moments -----------------------------------------------------------------------------

    def _between(self, former: Moment | None, moment: Moment) -> Iterator[Change]:
        joined = list(self._joined(former, moment))
        yield from _state(former, moment)
        yield from joined
        yield from self._left(former, moment)
        yield from self._milestones(former, moment)
        yield from self._undone(former, moment, joined)

    def _joined(self, former: Moment | None, moment: Moment) -> Iterator[Change]:
        known = {member.object_id for member in former.members} if former is not None else set()
        for member in moment.members:
            brought = moment.before.get(member.object_id, 0)
            if member.object_id in known or (member.via_id is None and not brought):
                continue
            via = self._named(member.via_id) if member.via_id is not None else None
            cause = _proof(moment, member)
            thing = self._named(member.object_id)
            yield Change(from_us(moment.at_us), "joined", cause=cause, thing=thing, via=via, brought=brought)

    def _left(self, former: Moment | None, moment: Moment) -> Iterator[Change]:
        kept = {member.object_id for member in moment.members}
        for member in former.members if former is not None else ():
            if member.object_id not in kept:
                thing = self._named(member.object_id)
                yield Change(from_us(moment.at_us), "left", cause=_cause(moment), thing=thing)

    def _milestones(self, former: Moment | None, moment: Moment) -> Iterator[Change]:
        before, at = _reached(former), from_us(moment.at_us)
        for step, item in _reached(moment).items():
            known = before.get(step)
            if known is not None and known.reached_us == item.reached_us:
                continue
            cause, now = _cause(moment, item.event_no), from_us(item.reached_us)
            in_order = self._imported and (former is None or _last(former) <= item.reached_us)
            made = Change(at, "reached", step, cause, self._evidence(item), now=now, in_order=in_order)
            yield made if known is None else replace(made, what="moved", was=from_us(known.reached_us))

    def _undone(self, former: Moment | None, moment: Moment, joined: Sequence[Change]) -> Iterator[Change]:
        after = _reached(moment)
        for step, item in _reached(former).items():
            if step not in after:
                wanted = self._model.steps[item.rank].all_type
                thing = next((one.thing for one in joined if one.thing and one.thing.type == wanted), None)
                at, was = from_us(moment.at_us), from_us(item.reached_us)
                yield Change(at, "undone", step, _cause(moment), thing=thing, was=was)

    def _evidence(self, item: Reached) -> Told:
        event = self._events.get(item.event_no)
        kind = event.type if event is not None else ""
        return Told(item.source, item.event_id, kind, from_us(item.reached_us), from_us(item.received_us))


def _last(moment: Moment) -> int:
    return moment.journey.last_us if moment.journey is not None else 0


def _reached(moment: Moment | None) -> Mapping[str, Reached]:
    return {item.name: item for item in moment.journey.milestones} if moment is not None and moment.journey else {}


def _cause(moment: Moment, event_no: int | None = None) -> Told | None:
    """The event of this receipt with that number, else the first of them, else one that proved a relation."""
    events = [*moment.new, *(known.event for known in moment.relations)]
    chosen = next((event for event in events if event.event_no == event_no), events[0] if events else None)
    return told(chosen) if chosen is not None else None


def _proof(moment: Moment, member: Member) -> Told | None:
    pair = {member.object_id, member.via_id}
    proof = next((known.event for known in moment.relations if {known.first, known.second} == pair), None)
    return told(proof) if proof is not None else _cause(moment)


def _state(former: Moment | None, moment: Moment) -> Iterator[Change]:
    assert moment.journey is not None
    at, state, cause = from_us(moment.at_us), moment.journey.state, _cause(moment)
    if former is None or former.journey is None:
        yield Change(at, "began", state, cause)
    elif former.journey.state != state:
        yield Change(at, "state", state, cause, former=former.journey.state)
