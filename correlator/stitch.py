"""Who belongs to whose journey: the rules of correlation over a graph of objects. Pure.

The models direct the relations of the nodes. The numbers in the comments are the rules
of docs/explanation/correlation.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from sys import intern
from typing import Final

from correlator.decided import Decided
from correlator.model import CompiledModel, stands_over
from correlator.node import CHILD, NAMING, PARENT, Node, shown
from milepost.catalog.schema import CORRELATION
from milepost.journeystate import Member

_NONE: Final[frozenset[str]] = frozenset()
_NOTHING: Final[frozenset[int]] = frozenset()
FEW: Final = 8
"""What follows from so few relations is found again as soon as it would be looked up, and not remembered."""
Pair = tuple[int, int]
Related = Mapping[tuple[str, str, bool], Collection[Pair]]
"""Related objects by their types, and by whether an explicit link relates them (the parent first)."""


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
        self.hubs: set[int] = set()
        self.decided = Decided()

    def know(self, types: Mapping[int, str]) -> None:
        """Learn the types of objects. They are few: each is kept once."""
        kinds = {kind: intern(kind) for kind in set(types.values())}
        self.types.update((object_id, kinds[kind]) for object_id, kind in types.items())

    def unloaded(self, ids: Iterable[int]) -> set[int]:
        """Those of the objects that are not loaded. (`ids - nodes.keys()` would go through all that are.)"""
        return {object_id for object_id in ids if object_id not in self.nodes}

    def relate(self, one: int, other: int, bits: int) -> None:
        """Put a relation on a node, if that is loaded. A hub keeps none: they count for nothing."""
        node = self.nodes.get(one)
        if node is not None and one not in self.hubs:
            node.relate(other, bits)

    def most_parents(self, node: Node, model: CompiledModel) -> tuple[int, str]:
        """How many objects of one type stand directly above a node at most, and which type: were it no hub (rule 7)."""
        counts: dict[str, int] = {}
        for other, bits in node.edges.items():
            kind = self.types[other]
            if node.type == CORRELATION:
                above = kind in model.root_rank
            else:
                above = stands_over(kind, node.type, bits & CHILD, model)
            if above:
                counts[kind] = counts.get(kind, 0) + 1
        return max(((count, kind) for kind, count in counts.items()), default=(0, ""))

    def node(self, object_id: int) -> Node:
        """Raises Missing when the node is not loaded."""
        found = self.nodes.get(object_id)
        if found is None:
            raise Missing({object_id})
        return found

    def kind(self, object_id: int) -> str:
        """The type of an object that may be related by a decision only. Raises Missing when it isn't known."""
        found = self.types.get(object_id)
        if found is None:
            raise Missing({object_id})
        return found

    def correlations(self, node: Node) -> list[Node]:
        """The correlations that a node names. Raises Missing with all that are not loaded."""
        try:
            return [self.nodes[z] for z in node.naming]
        except KeyError:
            raise Missing(self.unloaded(node.naming)) from None

    def threads(self, ids: Iterable[int]) -> set[int]:
        """The correlations among loaded objects, and those that they name."""
        return {z for i in ids for z in ([i] if self.types[i] == CORRELATION else self.nodes[i].naming)}

    def namers(self, threads: Iterable[int], types: Collection[str]) -> set[int]:
        """What of these types names loaded correlations: whom they belong to may change for all of it."""
        return {other for z in threads for other in self.nodes[z].edges if self.types[other] in types}

    def owner(self, correlation: Node, model: CompiledModel) -> int | None:
        """The one root that names a correlation (rule 5), or None."""
        if model.name not in correlation.owners:
            owner = self.owner_among(correlation, correlation.edges, model)
            correlation.owners = {**correlation.owners, model.name: owner}
        return correlation.owners[model.name]

    def owner_among(self, correlation: Node, naming: Iterable[int], model: CompiledModel) -> int | None:
        """Of the root types that name a correlation the most preferred one counts, and no root type may name it twice:
        a batch job's correlation id, named by many orders, owns nothing."""
        best: tuple[int, int] | None = None
        seen: dict[str, int] = {}
        for other in naming:
            kind = self.types[other]
            rank = model.root_rank.get(kind)
            if rank is None or self._inert(correlation.id, other):
                continue
            one = self.decided.into.get(other, other)
            if seen.setdefault(kind, one) != one:
                return None
            if best is None or rank < best[0]:
                best = (rank, one)
        return best[1] if best else None

    def children(self, node: Node, model: CompiledModel) -> list[int]:
        """The objects directly below a node (rules 3, 4 and 5), and those that it was merged with (rule 8)."""
        if node.type == CORRELATION:
            return self._named_by(node, model)
        below = node.below.get(model.name)
        if below is None:
            below = self._below(node, model)
            if len(node.edges) > FEW:
                node.below = {**node.below, model.name: below}
        if node.naming and node.type in model.root_rank:
            own = (None, self.decided.into.get(node.id, node.id))
            named = [z.id for z in self.correlations(node) if not self._inert(node.id, z.id)]
            below = below + [z for z in named if self.owner(self.nodes[z], model) in own]
        return [*below, *self._mates(node)] if node.id in self.decided.mates else below

    def _below(self, node: Node, model: CompiledModel) -> list[int]:
        """The objects directly below a node that is no correlation."""
        if node.linked:
            edges = node.edges.items()
            return [other for other, bits in edges if not bits & NAMING and self._over(node, other, bits, model)]
        types, wanted = self.types, model.below.get(node.type, _NONE)
        below = [other for other in node.edges if types[other] in wanted] if wanted else []
        return [other for other in below if not self._inert(node.id, other)] if self._judged else below

    def _above(self, node: Node, model: CompiledModel) -> list[int]:
        """The objects directly above a node that is no correlation."""
        if node.linked:
            edges = node.edges.items()
            return [other for other, bits in edges if not bits & NAMING and self._under(node, other, bits, model)]
        types, wanted = self.types, model.above.get(node.type, _NONE)
        above = [other for other in node.edges if types[other] in wanted] if wanted else []
        return [other for other in above if not self._inert(other, node.id)] if self._judged else above

    def _named_by(self, correlation: Node, model: CompiledModel) -> list[int]:
        owner = self.owner(correlation, model)
        if owner is None:
            return []
        return [
            other
            for other in correlation.edges
            if other != owner and self.types[other] in model.types and not self._inert(correlation.id, other)
        ]

    @property
    def _judged(self) -> bool:
        """Whether anything may be inert at all: mostly nothing is, and it is asked for every relation."""
        return bool(self.hubs or self.decided.cuts)

    def counting(self, nodes: list[Node], model: CompiledModel) -> list[Node]:
        """The members of a journey with what counts for it: the events of a correlation that several roots name show
        in it, and are no milestone of its, and give it no attributes (rule 5)."""
        shared = {node.id for node in nodes if node.type == CORRELATION and self.owner(node, model) is None}
        return [shown(node) if node.id in shared else node for node in nodes] if shared else nodes

    def _inert(self, upper: int, lower: int) -> bool:
        """Whether a relation counts for nothing: its lower end is a hub (rule 7), or it was cut (rule 8)."""
        return lower in self.hubs or self.decided.apart(upper, lower)

    def _over(self, node: Node, other: int, bits: int, model: CompiledModel) -> bool:
        """Whether the node is above the other."""
        directed = stands_over(node.type, self.types[other], bits & PARENT, model)
        return directed and not (self._judged and self._inert(node.id, other))

    def _under(self, node: Node, other: int, bits: int, model: CompiledModel) -> bool:
        """Whether the node is below the other: `_over` seen from the other side."""
        directed = stands_over(self.types[other], node.type, bits & CHILD, model)
        return directed and not (self._judged and self._inert(other, node.id))

    def parents(self, node: Node, model: CompiledModel) -> list[int]:
        """The objects directly above a node: the exact inverse of `children`."""
        if node.type == CORRELATION:
            return self._naming(node, model)
        above = node.above.get(model.name)
        if above is None:
            above = self._above(node, model)
            if len(node.edges) > FEW:
                node.above = {**node.above, model.name: above}
        if node.naming and node.type in model.types and node.id not in self.hubs:
            own = (None, self.decided.into.get(node.id, node.id))
            named = [z.id for z in self.correlations(node) if not self.decided.apart(z.id, node.id)]
            above = above + [z for z in named if self.owner(self.nodes[z], model) not in own]
        return [*above, *self._mates(node)] if node.id in self.decided.mates else above

    def _mates(self, node: Node) -> set[int]:
        """What is the same thing as a node. A hub is nothing in particular."""
        return self.decided.mates[node.id] - self.hubs if node.id not in self.hubs else set()

    def _naming(self, correlation: Node, model: CompiledModel) -> list[int]:
        """The roots that a correlation belongs to."""
        if correlation.id in self.hubs:
            return []
        owner = self.owner(correlation, model)
        if owner is not None:
            return [owner]
        return [
            other
            for other in correlation.edges
            if self.types[other] in model.root_rank and not self.decided.apart(other, correlation.id)
        ]

    def tops(self, related: Related, model: CompiledModel) -> tuple[set[int], set[int]]:
        """For newly related pairs: the upper ends, whose journeys grow, and the lower ends that may stop being roots.

        Journeys above a lower end through its other parents stay as they are, however many there are.
        """
        upper: set[int] = set()
        lower: set[int] = set()
        for (one, other, linked), pairs in related.items():
            over = self._downwards(one, other, linked, pairs, model)
            upper.update(top for top, _ in over)
            if over and (one in model.root_rank or other in model.root_rank):
                lower.update(bottom for _, bottom in over if self.types[bottom] in model.root_rank)
        return upper, lower

    def _downwards(
        self, one: str, other: str, linked: bool, pairs: Collection[Pair], model: CompiledModel
    ) -> Collection[Pair]:
        """Those of the pairs, all of the same types, in which one is above the other, that one first."""
        if linked:
            both = [turned for pair in pairs for turned in (pair, pair[::-1])]
            return [(top, bottom) for top, bottom in both if self._links(top, bottom, model)]
        if other in model.below.get(one, _NONE):
            over = pairs
        elif one in model.below.get(other, _NONE):
            over = [pair[::-1] for pair in pairs]
        else:
            return ()
        return [pair for pair in over if not self._inert(*pair)] if self._judged else over

    def _links(self, top: int, bottom: int, model: CompiledModel) -> bool:
        node = self.node(top)
        return self._over(node, bottom, node.edges.get(bottom, 0), model)

    def is_root(self, node: Node, model: CompiledModel) -> bool:
        """Whether an object of a root type has a journey: it is no hub, not merged into another, not absorbed."""
        if node.id in self.hubs or node.id in self.decided.into:
            return False
        mates = (self.node(mate) for mate in self.decided.mates.get(node.id, ()))
        return not model.root_rank[node.type] or not any(self._absorbed(one, model) for one in (node, *mates))

    def _absorbed(self, node: Node, model: CompiledModel) -> bool:
        """Whether an object of a preferred root type stands directly above a lesser root (rule 6)."""
        rank = model.root_rank[node.type]
        for parent in self.parents(node, model):
            above = self.owner(self.node(parent), model) if self.kind(parent) == CORRELATION else parent
            if above is None or model.root_rank.get(self.kind(above), rank) >= rank or above in self.hubs:
                continue
            excluded = self.decided.outcast & {parent, node.id} - {above}
            if not excluded or self._holds(above, excluded, rank, model):
                return True
        return False

    def _holds(self, above: int, excluded: set[int], rank: int, model: CompiledModel) -> bool:
        """Whether a journey that the upper one is in has these too, which some journey excludes (rule 8)."""
        for root in self.roots_above([above], model):
            node = self.node(root)
            if model.root_rank[node.type] < rank and self.is_root(node, model):
                members = {member.object_id for member in self.closure(root, model)}
                if above in members and excluded <= members:
                    return True
        return False

    def roots_above(self, start: Iterable[int], model: CompiledModel) -> set[int]:
        """All objects of the model's root types among the starts and everything above them."""
        roots: set[int] = set()
        missing: set[int] = set()
        nodes, types, into, ranks = self.nodes, model.types, self.decided.into, model.root_rank
        stack = list(start)
        seen = set(stack)
        while stack:
            object_id = stack.pop()
            node = nodes.get(object_id)
            if node is None:
                missing.add(object_id)
                continue
            if node.type not in types:
                continue
            if node.type in ranks:
                roots.add(object_id)
                if object_id in into:
                    roots.add(into[object_id])
            try:
                above = self.parents(node, model)
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

    def excluded_below(self, roots: set[int], model: CompiledModel) -> set[int]:
        """Excluded objects of root types below these: whether they are roots depends on what holds them now."""
        kinds = ((one, self.kind(one)) for one in self.decided.outcast)
        lesser = (one for one, kind in kinds if model.root_rank.get(kind, 0))
        return {one for one in lesser if not roots.isdisjoint(self.roots_above([one], model))}

    def closure(self, root: int, model: CompiledModel) -> list[Member]:
        """The root and everything reachable downwards, breadth first, ties by id: the shortest path is the reason.

        What was excluded from the journey of a root that this one absorbed stays excluded (rule 8).
        """
        excluded = self.decided.excluded
        members = self._reach(root, excluded.get(root, _NOTHING), model)
        if not excluded:
            return members
        roots = [root, *(one.object_id for one in members[1:] if self.types[one.object_id] in model.root_rank)]
        gone = set().union(*(excluded.get(one, _NOTHING) for one in roots))
        return members if gone == excluded.get(root, _NOTHING) else self._reach(root, gone, model)

    def _reach(self, root: int, gone: Collection[int], model: CompiledModel) -> list[Member]:
        members = [Member(root, None, 0)]
        seen = {root, *gone}
        missing: set[int] = set()
        level = [root]
        depth = 0
        while level:
            depth += 1
            reached: list[tuple[int, int]] = []
            for object_id in level:
                node = self.nodes.get(object_id)
                if node is None:
                    missing.add(object_id)
                    continue
                try:
                    below = self.children(node, model)
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
