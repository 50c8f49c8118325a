"""An object in memory, with its state and its relations. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from milepost.journeystate import ObjectState

MENTION: Final = 1
NAMING: Final = 2  # one side is a correlation
PARENT: Final = 4  # an explicit link in which this node is the parent
CHILD: Final = 8  # an explicit link in which this node is the child
LINK: Final = PARENT | CHILD
_NONE_NAMED: Final[list[int]] = []  # what nodes begin with, and none adds to; so are the next two
_NO_LISTS: Final[Mapping[str, list[int]]] = {}
_NO_OWNERS: Final[Mapping[str, int | None]] = {}


class Node:
    """An object with its state and its relations: `edges` maps the other object's id to what relates them (bits)."""

    __slots__ = (
        "above",
        "below",
        "edges",
        "id",
        "key",
        "linked",
        "look_at",
        "namespace",
        "naming",
        "owners",
        "placed",
        "state",
        "stored",
        "type",
        "used",
    )

    def __init__(self, object_id: int, kind: str, namespace: str, key: str, state: ObjectState) -> None:
        self.id = object_id
        self.type = kind
        self.namespace = namespace
        self.key = key
        self.state = state
        self.edges: dict[int, int] = {}
        self.naming = _NONE_NAMED  # the edges to correlations, or from one
        self.linked = False  # whether an explicit link is among the edges
        self.used = self.placed = 0  # the steps in which it was used last, and took its place among all nodes
        self.stored = False  # whether the database has a state of it
        self.look_at = 0  # how many edges it must have before it may be a hub
        self.conclude_anew()

    def relate(self, other: int, bits: int) -> None:
        """Add a relation; if it is new, what was concluded from the former ones is forgotten."""
        known = self.edges.get(other, 0)
        both = known | bits
        if both == known:
            return
        if bits & NAMING:
            if not self.naming:
                self.naming = []
            self.naming.append(other)
        elif bits & LINK:
            self.linked = True
        self.edges[other] = both
        self.conclude_anew()

    def conclude_anew(self) -> None:
        """Forget what was concluded from its relations, by model."""
        self.below: Mapping[str, list[int]] = _NO_LISTS
        self.above: Mapping[str, list[int]] = _NO_LISTS
        self.owners: Mapping[str, int | None] = _NO_OWNERS


def shown(node: Node) -> Node:
    """The node with nothing but when something was told of it."""
    told = node.state
    state = ObjectState(
        events=told.events,
        first_us=told.first_us,
        last_us=told.last_us,
        first_received_us=told.first_received_us,
        last_received_us=told.last_received_us,
    )
    return Node(node.id, node.type, node.namespace, node.key, state)
