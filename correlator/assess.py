"""What the events about objects make of them and of a journey: state, milestones, attributes, money. Pure.

The numbers in the comments are the rules of docs/explanation/correlation.md.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Final

from msgspec import Struct

from correlator.model import CompiledModel, Step
from correlator.node import Node
from milepost.journeystate import (
    MAX_REPEATS,
    MAX_TROUBLES,
    AttributeGroup,
    Evidence,
    ObjectState,
    Reached,
    Scalar,
    Trouble,
)

_MONEY_LIMIT: Final = Decimal(10) ** 14
_CENTS: Final = Decimal("0.0001")


class Journey(Struct, gc=False):
    """What the rules make of one root."""

    root: Node
    state: str
    ended_us: int | None
    milestones: list[Reached]
    stage: Reached | None
    attributes: dict[str, Scalar]
    amount: Decimal | None
    currency: str | None
    started_us: int
    last_us: int
    progress_us: int
    first_received_us: int
    last_received_us: int


def assess(root: Node, nodes: list[Node], model: CompiledModel) -> Journey | None:
    """The journey of a root and its member nodes (the root first); None when no event is about any of them."""
    span = _span(nodes)
    if span is None:
        return None
    milestones = _milestones(nodes, model)
    state, ended = _state(root, nodes, milestones, model)
    own = root.state.values()
    return Journey(
        root=root,
        state=state,
        ended_us=ended,
        milestones=milestones,
        stage=next((item for item in reversed(milestones) if not model.steps[item.rank].beside), None),
        attributes=_attributes(root, own, nodes),
        amount=money(own.get(model.source.amount)),
        currency=_text(own.get(model.source.currency)),
        started_us=span[0],
        last_us=span[1],
        progress_us=max([item.reached_us for item in milestones], default=span[0]),
        first_received_us=span[2],
        last_received_us=span[3],
    )


def _span(nodes: list[Node]) -> tuple[int, int, int, int] | None:
    """The first and the last time, then the first and the last receive time, of all that is told of some objects."""
    told = [node.state for node in nodes if node.state.events]
    if not told:
        return None
    state = told[0]
    first, last = state.first_us, state.last_us
    first_received, last_received = state.first_received_us, state.last_received_us
    for state in told[1:]:
        if state.first_us < first:
            first = state.first_us
        if state.last_us > last:
            last = state.last_us
        if state.first_received_us < first_received:
            first_received = state.first_received_us
        if state.last_received_us > last_received:
            last_received = state.last_received_us
    return first, last, first_received, last_received


def _milestones(nodes: list[Node], model: CompiledModel) -> list[Reached]:
    """The reached milestones by rank (rule 2)."""
    found: dict[int, list[tuple[Node, Evidence]]] = {}
    steps_of = model.steps_of
    for node in nodes:
        for event_type, evidence in node.state.reached.items():
            for step in steps_of.get(event_type, ()):
                if step.rank in found:
                    found[step.rank].append((node, evidence))
                else:
                    found[step.rank] = [(node, evidence)]
    members: dict[str, list[Node]] = {}
    for node in nodes:
        if node.type in model.all_types:
            members.setdefault(node.type, []).append(node)
    reached = []
    for rank in sorted(found):
        step = model.steps[rank]
        wanted = members.get(step.all_type) if step.all_type is not None else None
        item = _any(step, found[rank]) if wanted is None else _all(step, found[rank], wanted)
        if item is not None:
            reached.append(item)
    return reached


def _order(evidence: Evidence) -> tuple[int, str, str]:
    return (evidence.first_us, evidence.first_source, evidence.first_id)


def _any(step: Step, found: list[tuple[Node, Evidence]]) -> Reached:
    if len(found) == 1:
        return _reached(step, found[0][1], found[0][1].last_us, found[0][1].count)
    evidences = [evidence for _, evidence in found]
    last = max(evidence.last_us for evidence in evidences)
    return _reached(step, min(evidences, key=_order), last, sum(evidence.count for evidence in evidences))


def _all(step: Step, found: list[tuple[Node, Evidence]], members: list[Node]) -> Reached | None:
    """Reached when every member of the type that is not cancelled has it, at the last one's time."""
    cancelled = step.cancelled
    if len(members) == len(found) == 1 and found[0][0] is members[0] and cancelled not in members[0].state.reached:
        return _any(step, found)
    wanted = {node.id for node in members if cancelled not in node.state.reached}
    firsts: dict[int, Evidence] = {}
    count, last = 0, 0
    for node, evidence in found:
        if node.id in wanted:
            count += evidence.count
            last = max(last, evidence.last_us)
            known = firsts.get(node.id)
            if known is None or _order(evidence) < _order(known):
                firsts[node.id] = evidence
    if not wanted or len(firsts) < len(wanted):
        return None
    return _reached(step, max(firsts.values(), key=_order), last, count)


def _reached(step: Step, at: Evidence, last_us: int, count: int) -> Reached:
    return Reached(
        step.name,
        step.rank,
        at.first_us,
        last_us,
        count,
        at.first_no,
        at.first_received_us,
        at.first_source,
        at.first_id,
    )


def _state(root: Node, nodes: list[Node], milestones: list[Reached], model: CompiledModel) -> tuple[str, int | None]:
    """open, completed or cancelled, and since when. A root may be cancelled by the name of one that it absorbed."""
    ranks = model.root_rank
    cancelled = [
        node.state.reached[kind].first_us
        for kind in model.cancelling
        for node in nodes
        if kind in node.state.reached and (node is root or ranks.get(node.type, 0) > ranks[root.type])
    ]
    if cancelled:
        return "cancelled", min(cancelled)
    at = {item.name: item.reached_us for item in milestones}
    for way in model.source.complete_when:
        if all(name in at for name in way.reached) and not any(node.type in way.without for node in nodes):
            return "completed", max(at[name] for name in way.reached)
    return "open", None


def _attributes(root: Node, own: dict[str, Scalar], nodes: list[Node]) -> dict[str, Scalar]:
    """The root's value, else the only distinct one among the members, else none; null is no value (rule 11)."""
    merged: dict[str, Scalar] = {}
    disputed: set[str] = set()
    for node in nodes:
        if node is not root:
            for group in node.state.attributes:
                for name, value in group.values.items():
                    if value is None:
                        continue
                    known = merged.setdefault(name, value)
                    # 1, 1.0 and True are equal, and which of them came first must not matter
                    if known is not value and (known != value or type(known) is not type(value)):
                        disputed.add(name)
    for name in disputed:
        del merged[name]
    merged.update([item for item in own.items() if item[1] is not None])
    return merged


def _text(value: Scalar) -> str | None:
    return None if value is None else str(value)


def money(value: Scalar) -> Decimal | None:
    """An amount as numeric(18,4); None for what is no number or doesn't fit."""
    if value is None or isinstance(value, bool):
        return None
    try:
        amount = Decimal(str(value).strip()).quantize(_CENTS)
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and abs(amount) < _MONEY_LIMIT else None


def learn(
    state: ObjectState,
    *,
    event: Occurrence,
    subject: bool,
    ranks: Mapping[str, int],
) -> None:
    """Add one event to the state of an object that it is about. The order in which events are added doesn't matter."""
    _extend(state, event)
    if not subject:
        return
    if event.outcome == "ok":
        _reach(state, event)
    else:
        _trouble(state, event)
    if event.attributes:
        _attribute(state, event, ranks)


def learn_exceptions(states: Sequence[ObjectState], event: Occurrence, *, subjects: int, opens: bool) -> None:
    """Add to the states of what an event is about, the first `subjects` of which it has learned, what else it says of
    exceptions. `opens`: the catalog calls events of its type exceptions, even with outcome ok.

    An event without a subject counts for all that it names: it opens and resolves exceptions of theirs, but it is no
    milestone of theirs, and gives them no attributes.
    """
    went_well = event.outcome == "ok"
    for state in states[:subjects] or states:
        if went_well and not subjects:
            _repeat(state, event.type, event.occurred_us)
        if opens if went_well else not subjects:
            _trouble(state, event)


class Occurrence(Struct, gc=False):
    """The part of a stored event that counts for state. Times in microseconds."""

    event_no: int
    received_us: int
    occurred_us: int
    source: str
    event_id: str
    type: str
    outcome: str
    code: str | None
    reason: str | None
    attributes: Mapping[str, Scalar] | None


def _extend(state: ObjectState, event: Occurrence) -> None:
    if not state.events:
        state.first_us = state.last_us = event.occurred_us
        state.first_received_us = state.last_received_us = event.received_us
    else:
        state.first_us = min(state.first_us, event.occurred_us)
        state.last_us = max(state.last_us, event.occurred_us)
        state.first_received_us = min(state.first_received_us, event.received_us)
        state.last_received_us = max(state.last_received_us, event.received_us)
    state.events += 1


def _reach(state: ObjectState, event: Occurrence) -> None:
    reached = state.reached
    known = reached.get(event.type)
    if known is None:
        at, number, received = event.occurred_us, event.event_no, event.received_us
        reached[event.type] = Evidence(1, at, event.source, event.event_id, number, received, at)
        return
    if known.count == 1:
        _repeat(state, event.type, known.last_us)
    _repeat(state, event.type, event.occurred_us)
    known.count += 1
    known.last_us = max(known.last_us, event.occurred_us)
    if (event.occurred_us, event.source, event.event_id) < _order(known):
        known.first_us, known.first_source, known.first_id = event.occurred_us, event.source, event.event_id
        known.first_no, known.first_received_us = event.event_no, event.received_us


def _repeat(state: ObjectState, kind: str, at_us: int) -> None:
    """Keep one more time at which it went well: of a set, told in whatever order, the first and the last stay."""
    if state.repeats is None:
        state.repeats = {}
    times = state.repeats.setdefault(kind, [])
    place = bisect_left(times, at_us)
    if place < len(times) and times[place] == at_us:
        return
    times.insert(place, at_us)
    if len(times) > MAX_REPEATS:
        del times[1]


def _trouble(state: ObjectState, event: Occurrence) -> None:
    known = state.trouble.setdefault(event.type, [])
    one = Trouble(
        event.occurred_us,
        event.source,
        event.event_id,
        event.event_no,
        event.received_us,
        event.outcome,
        event.code,
        event.reason,
    )
    insort(known, one, key=trouble_order)
    if len(known) > MAX_TROUBLES:
        del known[1]


def trouble_order(trouble: Trouble) -> tuple[int, str, str]:
    """How troubles are ordered: like all evidence, by time, source and id."""
    return (trouble.at_us, trouble.source, trouble.id)


def _attribute(state: ObjectState, event: Occurrence, ranks: Mapping[str, int]) -> None:
    """The last by (rank of the source, time, source, id) has the word for each attribute."""
    assert event.attributes is not None
    mine = (ranks.get(event.source, 0), event.occurred_us, event.source, event.event_id)
    won = dict(event.attributes)
    groups = []
    for group in state.attributes:
        theirs = (ranks.get(group.source, 0), group.at_us, group.source, group.id)
        if theirs > mine:
            for name in group.values:
                won.pop(name, None)
            groups.append(group)
            continue
        kept = {name: value for name, value in group.values.items() if name not in event.attributes}
        if kept:
            group.values = kept
            groups.append(group)
    if won:
        groups.append(AttributeGroup(event.occurred_us, event.source, event.event_id, won))
    state.attributes = groups
