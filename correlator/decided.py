"""What people decided about who belongs to whom, for look-up (rule 8). Pure."""

from __future__ import annotations

from collections.abc import Iterable
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
    """The decisions that count.

    `cuts` and `mates` are by object, both ways; `excluded` is by root; `into` gives for a merged object the one whose
    name stays; `lifted` are no hubs.
    """

    def __init__(self, decisions: Iterable[Decision] = ()) -> None:
        self.cuts: dict[int, set[int]] = {}
        self.excluded: dict[int, set[int]] = {}
        self.into: dict[int, int] = {}
        self.mates: dict[int, set[int]] = {}
        self.lifted: set[int] = set()
        for item in decisions:
            self._add(item.act, item.first_id, item.second_id)

    def _add(self, act: str, first: int, second: int | None) -> None:
        if act == "lift":
            self.lifted.add(first)
        elif second is None:  # a split: correlator.split carries it out on what is stored
            return
        elif act == "cut":
            self.cuts.setdefault(first, set()).add(second)
            self.cuts.setdefault(second, set()).add(first)
        elif act == "exclude":
            self.excluded.setdefault(first, set()).add(second)
        elif act == "merge":
            self.into[second] = first
            group = {first, second, *self.mates.get(first, ())}
            for one in group:
                self.mates[one] = group - {one}

    def apart(self, one: int, other: int) -> bool:
        """Whether the relation between two objects was cut."""
        return one in self.cuts and other in self.cuts[one]

    def standing(self, object_id: int) -> int:
        """The object whose name stays for this one."""
        return self.into.get(object_id, object_id)
