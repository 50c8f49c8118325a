"""Who belongs to whose journey: the rules of correlation over a graph of objects. Pure.

A node is an object with its state and its relations; the models direct them. The numbers in the comments are the rules
of docs/explanation/correlation.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from correlator.model import CORRELATION, CompiledModel
from milepost.journeystate import Member, ObjectState

MENTION: Final = 1
NAMING: Final = 2  # one side is a correlation
PARENT: Final = 4  # an explicit link in which this node is the parent
CHILD: Final = 8  # an explicit link in which this node is the child


class Node:
    """An object with its state and its relations: `edges` maps the other object's id to what relates them (bits)."""

    __slots__ = ("above", "below", "edges", "id", "key", "namespace", "naming", "owners", "state", "type", "used")

    def __init__(self, object_id: int, kind: str, namespace: str, key: str, state: ObjectState) -> None:
        self.id = object_id
        self.type = kind
        self.namespace = namespace
        self.key = key
        self.state = state
        self.edges: dict[int, int] = {}
        self.naming: list[int] = []  # the edges to correlations, or from one
        self.used = 0
        self.below: dict[str, list[int]] = {}
        self.above: dict[str, list[int]] = {}
        self.owners: dict[str, int | None] = {}

    def relate(self, other: int, bits: int) -> None:
        """Add a relation; what was concluded from the former ones is forgotten."""
        if bits & NAMING and other not in self.naming:
            self.naming.append(other)
        self.edges[other] = self.edges.get(other, 0) | bits
        self.below = {}
        self.above = {}
        self.owners = {}


class Missing(Exception):
    """A traversal met objects that are not loaded."""

    def __init__(self, ids: set[int]) -> None:
        super().__init__(ids)
        self.ids = ids


class Graph:
    """The loaded nodes, and the types of the nodes that they relate to."""

    def __init__(self) -> None:
        self.nodes: dict[int, Node] = {}
        self.types: dict[int, str] = {}
        self.ahead: dict[int, set[int]] = {}
        """By correlation: who names it as the database has it, while the touch that tells so is still to come."""

    def node(self, object_id: int) -> Node:
        """Raises Missing when the node is not loaded."""
        found = self.nodes.get(object_id)
        if found is None:
            raise Missing({object_id})
        return found

    def correlations(self, node: Node) -> list[Node]:
        """The correlations that a node names. Raises Missing with all that are not loaded."""
        try:
            return [self.nodes[z] for z in node.naming]
        except KeyError:
            raise Missing({z for z in node.naming if z not in self.nodes}) from None

    def owner(self, correlation: Node, model: CompiledModel) -> int | None:
        """The one root that names a correlation (rule 5), or None."""
        if model.name not in correlation.owners:
            correlation.owners[model.name] = self.owner_among(correlation.edges, model)
        return correlation.owners[model.name]

    def owner_among(self, naming: Iterable[int], model: CompiledModel) -> int | None:
        """Of the root types that name a correlation the most preferred one counts, and no root type may name it twice:
        a batch job's correlation id, named by many orders, owns nothing."""
        best: tuple[int, int] | None = None
        seen: set[str] = set()
        for other in naming:
            kind = self.types[other]
            rank = model.root_rank.get(kind)
            if rank is None:
                continue
            if kind in seen:
                return None
            seen.add(kind)
            if best is None or rank < best[0]:
                best = (rank, other)
        return best[1] if best else None

    def children(self, node: Node, model: CompiledModel) -> list[int]:
        """The objects directly below a node (rules 3, 4 and 5)."""
        if node.type == CORRELATION:
            return self._named_by(node, model)
        below = node.below.get(model.name)
        if below is None:
            below = node.below[model.name] = [
                other
                for other, bits in node.edges.items()
                if not bits & NAMING and self._over(node, other, bits, model)
            ]
        if node.naming and node.type in model.root_rank:
            named = [z.id for z in self.correlations(node) if self.owner(z, model) in (None, node.id)]
            return below + named
        return below

    def _named_by(self, correlation: Node, model: CompiledModel) -> list[int]:
        owner = self.owner(correlation, model)
        if owner is None:
            return []
        return [other for other in correlation.edges if other != owner and self.types[other] in model.types]

    def _over(self, node: Node, other: int, bits: int, model: CompiledModel) -> bool:
        """Whether the node is above the other: models direct a relation; of two types that a model doesn't order, an
        explicit link's direction counts."""
        kind = self.types[other]
        if kind in model.below.get(node.type, ()):
            return True
        if not bits & PARENT or kind not in model.types or node.type not in model.types:
            return False
        return node.type not in model.below.get(kind, ())

    def _under(self, node: Node, other: int, bits: int, model: CompiledModel) -> bool:
        """Whether the node is below the other: `_over` seen from the other side."""
        kind = self.types[other]
        if node.type in model.below.get(kind, ()):
            return True
        if not bits & CHILD or kind not in model.types or node.type not in model.types:
            return False
        return kind not in model.below.get(node.type, ())

    def parents(self, node: Node, model: CompiledModel) -> list[int]:
        """The objects directly above a node: the exact inverse of `children`."""
        if node.type == CORRELATION:
            owner = self.owner(node, model)
            if owner is not None:
                return [owner]
            return [other for other in node.edges if self.types[other] in model.root_rank]
        above = node.above.get(model.name)
        if above is None:
            above = node.above[model.name] = [
                other
                for other, bits in node.edges.items()
                if not bits & NAMING and self._under(node, other, bits, model)
            ]
        if node.naming and node.type in model.types:
            owners = ((z.id, self.owner(z, model)) for z in self.correlations(node))
            return above + [z for z, owner in owners if owner is not None and owner != node.id]
        return above

    def tops(self, pairs: Iterable[tuple[int, int]], model: CompiledModel) -> tuple[set[int], set[int]]:
        """For newly related pairs: the upper ends, whose journeys grow, and the lower ends that may stop being roots.

        Journeys above a lower end through its other parents stay as they are, however many there are.
        """
        upper: set[int] = set()
        lower: set[int] = set()
        for one, other in pairs:
            for top, bottom in ((one, other), (other, one)):
                node = self.node(top)
                if self._over(node, bottom, node.edges[bottom], model):
                    upper.add(top)
                    if self.types[bottom] in model.root_rank:
                        lower.add(bottom)
        return upper, lower

    def absorbers(self, node: Node, model: CompiledModel) -> list[int]:
        """The objects of a preferred root type directly above a lesser root (rule 6); empty: it is a root itself."""
        rank = model.root_rank[node.type]
        found = []
        for parent in self.parents(node, model):
            above = self.owner(self.node(parent), model) if self.types[parent] == CORRELATION else parent
            if above is not None and model.root_rank.get(self.types[above], rank) < rank:
                found.append(above)
        return found

    def roots_above(self, start: Iterable[int], model: CompiledModel) -> set[int]:
        """All objects of the model's root types among the starts and everything above them."""
        roots: set[int] = set()
        missing: set[int] = set()
        stack = [object_id for object_id in start if self.types.get(object_id) in model.types]
        seen = set(stack)
        while stack:
            object_id = stack.pop()
            if self.types[object_id] in model.root_rank:
                roots.add(object_id)
            try:
                above = self.parents(self.node(object_id), model)
            except Missing as error:
                missing |= error.ids
                continue
            for parent in above:
                if parent not in seen:
                    seen.add(parent)
                    stack.append(parent)
        if missing:
            raise Missing(missing)
        return roots

    def closure(self, root: int, model: CompiledModel) -> list[Member]:
        """The root and everything reachable downwards, breadth first, ties by id: the shortest path is the reason."""
        members = [Member(root, None, 0)]
        seen = {root}
        missing: set[int] = set()
        level = [root]
        depth = 0
        while level:
            depth += 1
            reached: list[tuple[int, int]] = []
            for object_id in level:
                try:
                    below = self.children(self.node(object_id), model)
                except Missing as error:
                    missing |= error.ids
                    continue
                for child in below:
                    if child not in seen:
                        seen.add(child)
                        reached.append((child, object_id))
            reached.sort()
            members += [Member(child, via, depth) for child, via in reached]
            level = [child for child, _ in reached]
        if missing:
            raise Missing(missing)
        return members
