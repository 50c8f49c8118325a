"""Objects that people merged count as one: their states are united (rule 8). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from correlator.assess import trouble_order
from correlator.decided import Decided
from correlator.node import Node
from milepost.journeystate import MAX_REPEATS, MAX_TROUBLES, AttributeGroup, Evidence, ObjectState, Scalar, Trouble


def fold(nodes: list[Node], decided: Decided, ranks: Mapping[str, int]) -> list[Node]:
    """The members of a journey, each group of merged ones as one node by the name that stays. Order is kept."""
    if not decided.into:
        return nodes
    groups: dict[int, list[Node]] = {}
    for node in nodes:
        groups.setdefault(decided.into.get(node.id, node.id), []).append(node)
    return [group[0] if len(group) == 1 else _one(standing, group, ranks) for standing, group in groups.items()]


def _one(standing: int, group: list[Node], ranks: Mapping[str, int]) -> Node:
    named = next((node for node in group if node.id == standing), group[0])
    return Node(named.id, named.type, named.namespace, named.key, unite([node.state for node in group], ranks))


def unite(states: Sequence[ObjectState], ranks: Mapping[str, int]) -> ObjectState:
    """The state of one object that all of these events were about. `ranks` are those of the sources."""
    told = [state for state in states if state.events]
    result = ObjectState(events=sum(state.events for state in told))
    if not told:
        return result
    result.first_us = min(state.first_us for state in told)
    result.last_us = max(state.last_us for state in told)
    result.first_received_us = min(state.first_received_us for state in told)
    result.last_received_us = max(state.last_received_us for state in told)
    for kind in sorted({kind for state in told for kind in state.reached}):
        result.reached[kind] = _evidence([state.reached[kind] for state in told if kind in state.reached])
    for kind in sorted({kind for state in told for kind in state.trouble}):
        result.trouble[kind] = _troubles(item for state in told for item in state.trouble.get(kind, ()))
    result.repeats = _repeats(told)
    result.attributes = _attributes([group for state in told for group in state.attributes], ranks)
    return result


def _evidence(found: Sequence[Evidence]) -> Evidence:
    first = min(found, key=lambda item: (item.first_us, item.first_source, item.first_id))
    return Evidence(
        sum(item.count for item in found),
        first.first_us,
        first.first_source,
        first.first_id,
        first.first_no,
        first.first_received_us,
        max(item.last_us for item in found),
    )


def _troubles(found: Iterable[Trouble]) -> list[Trouble]:
    """Each event once, also one that names the thing by both its names."""
    ordered = sorted({trouble_order(item): item for item in found}.items(), key=lambda pair: pair[0])
    kept = [item for _, item in ordered]
    return [*kept[:1], *kept[1:][1 - MAX_TROUBLES :]]


def _repeats(states: Sequence[ObjectState]) -> dict[str, list[int]] | None:
    kinds = sorted({kind for state in states for kind in (state.reached.keys() | (state.repeats or {}).keys())})
    times = {kind: sorted({at for state in states for at in state.went_well(kind)}) for kind in kinds}
    known = {kind for state in states for kind in state.reached}
    kept = {kind: [*at[:1], *at[1:][1 - MAX_REPEATS :]] for kind, at in times.items()}
    return {kind: at for kind, at in kept.items() if len(at) > 1 or kind not in known} or None


def _attributes(groups: Sequence[AttributeGroup], ranks: Mapping[str, int]) -> list[AttributeGroup]:
    """For each attribute the last word."""
    words: dict[str, tuple[tuple[int, str, str], Scalar]] = {}
    for group in sorted(groups, key=lambda item: (ranks.get(item.source, 0), item.at_us, item.source, item.id)):
        words.update((name, ((group.at_us, group.source, group.id), value)) for name, value in group.values.items())
    kept: dict[tuple[int, str, str], dict[str, Scalar]] = {}
    for name, (said, value) in words.items():
        kept.setdefault(said, {})[name] = value
    return [AttributeGroup(*said, values) for said, values in kept.items()]
