"""Which one value explains a wave: the warehouse that stopped, the carrier that went dark. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


def explain(shares: Sequence[Share], *, total: int, group: Mapping[str, str]) -> list[Share]:
    """The values that most of the items have in common, the commonest first, without what the group says."""
    if total < FEWEST:
        return []
    common = [one for one in shares if one.items >= SHARE * total and group.get(one.label) != one.value]
    return sorted(common, key=lambda one: (-one.items, one.label))[:MOST]
