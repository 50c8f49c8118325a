"""What was known of a journey when: its own events in the order in which they were received. Pure.

The rules are those of correlator.stitch and correlator.assess, applied to what had been received so far. Decisions and
hubs count as they stand now, and the root counts as one throughout.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from correlator.assess import Journey, Occurrence, assess, learn
from correlator.decided import Decided
from correlator.merged import fold
from correlator.model import CompiledModel
from correlator.node import CHILD, PARENT, Node
from correlator.stitch import Graph
from milepost.journeystate import Member, ObjectState

WORK: Final = 40_000
"""Objects times moments that one replay may cost: a tenth of a second. Beyond it receipts are taken together."""


@dataclass(frozen=True, slots=True)
class Known:
    """A relation (`bits` as seen from `first`) and the event with which it was known."""

    first: int
    second: int
    bits: int
    event: Occurrence


@dataclass(frozen=True, slots=True)
class Received:
    """An event and those of the loaded objects that it is about: (object id, whether it is a subject)."""

    event: Occurrence
    about: tuple[tuple[int, bool], ...]


@dataclass(frozen=True, slots=True)
class World:
    """All that a replay needs. `names` are those of the loaded objects, `types` also those of what they relate to."""

    names: Mapping[int, tuple[str, str, str]]
    types: Mapping[int, str]
    events: Sequence[Received]
    relations: Sequence[Known]
    hubs: frozenset[int]
    decided: Decided
    ranks: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Moment:
    """A journey after a receipt; None before an event was about it. `new` are the events of this receipt, `relations`
    what became known with them. `before` counts the events that each object had before."""

    at_us: int
    new: tuple[Occurrence, ...]
    relations: tuple[Known, ...]
    before: Mapping[int, int]
    members: tuple[Member, ...]
    journey: Journey | None


def replay(root: int, model: CompiledModel, world: World) -> Iterator[Moment]:
    """The moments in order; the last one is the journey as it stands. Raises stitch.Missing for unloaded objects."""
    graph = _graph(world)
    heard: dict[int, int] = {}
    for at_us, events, relations in _receipts(world):
        before = dict(heard)
        for known in relations:
            graph.relate(known.first, known.second, known.bits)
            graph.relate(known.second, known.first, CHILD if known.bits == PARENT else known.bits)
        for item in events:
            for object_id, subject in item.about:
                learn(graph.nodes[object_id].state, event=item.event, subject=subject, ranks=world.ranks)
                heard[object_id] = heard.get(object_id, 0) + 1
        members = graph.closure(root, model)
        nodes = fold([graph.nodes[member.object_id] for member in members], world.decided, world.ranks)
        journey = assess(nodes[0], graph.counting(nodes, model), model)
        new = tuple(item.event for item in events)
        yield Moment(at_us, new, tuple(relations), before, tuple(members), journey)


def _graph(world: World) -> Graph:
    graph = Graph()
    graph.hubs, graph.decided = set(world.hubs), world.decided
    graph.types.update(world.types)
    for object_id, name in world.names.items():
        graph.types[object_id] = name[0]
        graph.nodes[object_id] = Node(object_id, *name, ObjectState())
    return graph


def portion(world: World) -> int:
    """How many receipts are taken together, so that the replay of a large journey is bounded."""
    times = {item.event.received_us for item in world.events} | {known.event.received_us for known in world.relations}
    return max(1, -(-len(times) * len(world.names) // WORK))


def _receipts(world: World) -> Iterator[tuple[int, list[Received], list[Known]]]:
    """Events and relations by receive time; neighbouring times together, where there are too many of them."""
    events: dict[int, list[Received]] = {}
    relations: dict[int, list[Known]] = {}
    for item in world.events:
        events.setdefault(item.event.received_us, []).append(item)
    for known in world.relations:
        relations.setdefault(known.event.received_us, []).append(known)
    times = sorted(events.keys() | relations.keys())
    size = portion(world)
    for start in range(0, len(times), size):
        chosen = times[start : start + size]
        told = [item for at in chosen for item in events.get(at, ())]
        told.sort(key=lambda item: (item.event.occurred_us, item.event.source, item.event.event_id))
        yield chosen[-1], told, [known for at in chosen for known in relations.get(at, ())]
