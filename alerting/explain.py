"""What an alert's items have in common: how many, how much money, and which value explains the wave. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Final

SHARE: Final = 0.8
"""A value explains a wave when at least this share of the items have it …"""
FEWEST: Final = 3
"""… and there are at least so many items."""
MOST: Final = 2
"""So many values are named at most."""


@dataclass(frozen=True, slots=True)
class Share:
    """So many items have this value of this label."""

    label: str
    value: str
    items: int


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
    shares: Sequence[Share] = ()
    ended: Mapping[str, int] = field(default_factory=dict)

    @property
    def items(self) -> int:
        """How many items the sums are over."""
        return self.items_open or self.items_total


def explain(totals: Totals, group: Mapping[str, str]) -> list[Share]:
    """The values that most of the items have in common, the commonest first, without what the group says."""
    if totals.items < FEWEST:
        return []
    enough = SHARE * totals.items
    common = [one for one in totals.shares if one.items >= enough and group.get(one.label) != one.value]
    return sorted(common, key=lambda one: (-one.items, one.label))[:MOST]
