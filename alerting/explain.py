"""Which value explains a wave: what its items have in common that others have not. Pure.

The items of an alert are held against the other journeys that could be in it. A value that 95 % of all orders have is
no cause, however many items have it: what counts is the share among the items against the share among the others. Both
shares are over those whose value is known, so that a carrier that is chosen late is not rare for that. The alert's own
group is given: a further value is looked for among the others of that group. Two values are named only where each says
more than the other alone.

That a difference is no chance is judged by the likelihood ratio (G) of the two-by-two table, 10.83 being the 0.1 %
point of the chi-square distribution with one degree of freedom (Sokal and Rohlf, Biometry, on G tests of independence).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import combinations
from math import log
from typing import Final, Literal

from msgspec import Struct

SHARE: Final = 0.8
"""A value explains a wave when at least this share of the items have it …"""
FEWEST: Final = 3
"""… and there are at least so many items, …"""
LIFT: Final = 1.25
"""… it is so many times as common among them as among the others, …"""
NO_CHANCE: Final = 10.83
"""… and the difference is no chance."""
GROWN: Final = 1.5

Tally = Mapping[tuple[bool | None, ...], int]
"""How many have which of some values, in their order: yes, no, or not known."""


@dataclass(frozen=True, slots=True)
class Totals:
    """An alert's items summed up: those that are open, or all of them once none is.

    `money` by currency (never summed across; a journey counts once); `ended`: how many were cleared, by why.
    """

    items_open: int
    items_total: int
    oldest_at: datetime | None = None
    oldest: str = ""
    money: Mapping[str, Decimal] = field(default_factory=dict)
    ended: Mapping[str, int] = field(default_factory=dict)

    @property
    def items(self) -> int:
        """How many items the sums are over."""
        return self.items_open or self.items_total


class Cause(Struct, frozen=True):
    """What explains a wave: `having` of `items` have all of `values`, as have `others_having` of `others`."""

    values: dict[str, str]
    having: int
    items: int
    others_having: int
    others: int


class Change(Struct, frozen=True):
    """Something that changed before the trouble began."""

    at: datetime
    what: Literal["catalog", "decision", "source", "anomaly", "deployment", "last_event"]
    text: str


class Findings(Struct, frozen=True):
    """What is known of an alert besides its figures, as it was `at` that time, with so many `items`.

    `journeys` of kind `model` are in it, of so many `customers` (partners). `cause` explains it within its group;
    `values` are those that set it apart, of its group too: alerts that share one are related.
    """

    at: datetime | None = None
    items: int = 0
    model: str = ""
    journeys: int = 0
    customers: int = 0
    cause: Cause | None = None
    values: dict[str, str] = {}
    before: list[Change] = []


def outdated(findings: Findings, totals: Totals, before: datetime) -> bool:
    """Whether an alert was never looked into, or before that time, or has since grown so much that what explains it may
    be another."""
    return findings.at is None or findings.at <= before or totals.items >= GROWN * findings.items


@dataclass(frozen=True, slots=True)
class Wave:
    """Items and others, tallied by the same values. `values`: (label, value), of each label one at most."""

    values: Sequence[tuple[str, str]]
    items: Tally
    others: Tally

    def cause(self, group: Collection[str] = ()) -> Cause | None:
        """What explains the items best, besides their group, given by its labels. The smallest set that says it."""
        given = [index for index, (label, _) in enumerate(self.values) if label in group]
        free = [index for index, (label, _) in enumerate(self.values) if label not in group]
        singles = [(index,) for index in free if self._explains((index,), given)]
        pairs = [pair for pair in combinations(free, 2) if self._both_count(pair, given)]
        best = max([*singles, *pairs], key=lambda chosen: self._gain(chosen, given), default=None)
        return None if best is None else self._cause(best, given)

    def group_values(self, group: Collection[str]) -> dict[str, str]:
        """Those values of the group that set the items apart by themselves."""
        own = [index for index, (label, _) in enumerate(self.values) if label in group]
        return dict(self.values[index] for index in own if self._explains((index,), []))

    def _both_count(self, pair: tuple[int, int], given: Sequence[int]) -> bool:
        """Whether both values together explain, and each does so among those that have the other."""
        one, other = pair
        return (
            self._explains(pair, given)
            and _differ(*self._counts((one,), [*given, other]))
            and _differ(*self._counts((other,), [*given, one]))
        )

    def _explains(self, chosen: Sequence[int], given: Sequence[int]) -> bool:
        items, others = self._counts(chosen, given)
        total = sum(self.items.values())
        return total >= FEWEST and items.having >= SHARE * total and _differ(items, others)

    def _counts(self, chosen: Sequence[int], given: Sequence[int]) -> tuple[_Count, _Count]:
        return _count(self.items, chosen, given), _count(self.others, chosen, given)

    def _gain(self, chosen: Sequence[int], given: Sequence[int]) -> float:
        """How much it tells of an item that it is one, in nats. Of two that tell the same the first is taken."""
        items, others = self._counts(chosen, given)
        return _divergence(items.share, (others.having + 0.5) / (others.known + 1))

    def _cause(self, chosen: Sequence[int], given: Sequence[int]) -> Cause:
        items, others = self._counts(chosen, given)
        values = dict(self.values[index] for index in chosen)
        return Cause(values, items.having, sum(self.items.values()), others.having, others.known)


@dataclass(frozen=True, slots=True)
class _Count:
    """`having` have all of some values, of `known` for which it is known."""

    having: int
    known: int

    @property
    def share(self) -> float:
        return self.having / self.known if self.known else 0.0


def _count(tally: Tally, chosen: Iterable[int], given: Sequence[int]) -> _Count:
    """Among those that have all that is given."""
    having = known = 0
    for row, number in tally.items():
        if all(row[index] for index in given):
            told = [row[index] for index in chosen]
            having += number * all(told)
            known += number * (all(told) or False in told)
    return _Count(having, known)


def _differ(items: _Count, others: _Count) -> bool:
    """Whether the items have it far more often than the others, and not by chance."""
    if items.share < LIFT * others.share or not others.known:
        return False
    pooled = (items.having + others.having) / (items.known + others.known)
    g = 2 * (items.known * _divergence(items.share, pooled) + others.known * _divergence(others.share, pooled))
    return items.share > others.share and g >= NO_CHANCE


def _divergence(share: float, expected: float) -> float:
    """Kullback and Leibler's, between two shares, in nats; `expected` is 0 or 1 only where `share` is the same."""
    return sum(
        part * log(part / base)
        for part, base in ((share, expected), (1 - share, 1 - expected))
        if part > 0 and base > 0
    )
