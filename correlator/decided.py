"""What people decided about who belongs to whom, for look-up (rule 8). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Protocol


class Decision(Protocol):
    """As in milepost.decisions.correlation."""

    @property
    def act(self) -> str: ...

    @property
    def first_id(self) -> int: ...

    @property
    def second_id(self) -> int | None: ...


class Decided:
    """The decisions that count. What was merged is one thing: what is decided about one of its names holds for all.

    `cuts` and `mates` are by object, both ways; `excluded` is by root, and `outcast` is what any root excludes; `into`
    gives for a merged object the one whose name stays; `lifted` are no hubs.
    """

    def __init__(self, decisions: Iterable[Decision] = ()) -> None:
        self.cuts: dict[int, set[int]] = {}
        self.excluded: dict[int, set[int]] = {}
        self.into: dict[int, int] = {}
        self.mates: dict[int, set[int]] = {}
        self.lifted: set[int] = set()
        for item in sorted(decisions, key=lambda one: one.act != "merge"):
            self._add(item.act, item.first_id, item.second_id)
        self.outcast: set[int] = set().union(*self.excluded.values())

    def _add(self, act: str, first: int, second: int | None) -> None:
        if act == "lift":
            self.lifted.add(first)
        elif second is None:  # a split: correlator.split carries it out on what is stored
            return
        elif act == "cut":
            for one, other in product(self._names(first), self._names(second)):
                self.cuts.setdefault(one, set()).add(other)
                self.cuts.setdefault(other, set()).add(one)
        elif act == "exclude":
            for root in self._names(first):
                self.excluded.setdefault(root, set()).update(self._names(second))
        elif act == "merge":
            self.into[second] = first
            group = {first, second, *self.mates.get(first, ())}
            for one in group:
                self.mates[one] = group - {one}

    def _names(self, object_id: int) -> set[int]:
        """The object with all that it was merged with."""
        return {object_id, *self.mates.get(object_id, ())}

    def apart(self, one: int, other: int) -> bool:
        """Whether the relation between two objects was cut."""
        return one in self.cuts and other in self.cuts[one]

    def standing(self, object_id: int) -> int:
        """The object whose name stays for this one."""
        return self.into.get(object_id, object_id)
