"""Which objectives burn their budget so fast that somebody must hear of it. Pure.

Multi-window, multi-burn-rate alerts as in Google's Site Reliability Workbook, chapter 5, table 5-8: over a long window
the budget burns that fast, and over a short one it still does. The lengths are for an objective over 30 days and are
scaled with the objective's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from milepost.catalog.objective import Objective
from milepost.catalog.schema import Severity
from sla.objective.budget import NONE, USUAL, Count, burn, tolerated

CLEAR: Final = 0.8
"""What burns is over once the rate is below this share of what it began at: nothing flaps about one figure."""


@dataclass(frozen=True, slots=True)
class Level:
    """One of the three alerts. `spent`: the share of the budget that is gone when the long window has filled."""

    name: str
    factor: float
    long: timedelta
    short: timedelta
    severity: Severity


LEVELS: Final = (
    Level("fast", 14.4, timedelta(hours=1), timedelta(minutes=5), "critical"),
    Level("medium", 6.0, timedelta(hours=6), timedelta(minutes=30), "critical"),
    Level("slow", 1.0, timedelta(days=3), timedelta(hours=6), "warning"),
)
"""The gravest first. The first two are for the pager, the last for the ticket queue."""
Pair = tuple[Count, Count]
"""What the long and the short window of a level count."""


def levels(objective: Objective) -> tuple[Level, ...]:
    """The levels of an objective: lengths scaled to its window, a month counting as 30 days.

    With a target below 93 % nothing can burn 14.4 times as fast as allowed. There, everything missed is the fastest.
    """
    scale = (objective.window.length or USUAL) / USUAL
    allowed = tolerated(objective.target)
    most = 1 / allowed if allowed else 0.0
    return tuple(
        Level(one.name, min(one.factor, most), one.long * scale, one.short * scale, one.severity) for one in LEVELS
    )


def judge(
    objective: Objective,
    counts: Mapping[str, Pair],
    before: Mapping[str, datetime],
    at: datetime,
) -> dict[str, datetime]:
    """Which levels fire, and when each was last seen to burn. `counts`: by level; `before`: the last answer.

    What fires goes on until one of the windows has been below CLEAR for as long as the short one is. With a target of
    1 there is no budget, and nothing burns: each breach is told by itself.
    """
    firing = {}
    for level in levels(objective):
        pair = counts.get(level.name, (NONE, NONE))
        last = before.get(level.name)
        if last is None:
            if _burns(level, pair, objective, 1.0) and _enough(pair[0], objective):
                firing[level.name] = at
        elif _burns(level, pair, objective, CLEAR):
            firing[level.name] = at
        elif at - last < level.short:
            firing[level.name] = last
    return firing


def _burns(level: Level, pair: Pair, objective: Objective, share: float) -> bool:
    rates = [burn(count, objective.target) for count in pair]
    return all(rate is not None and rate >= share * level.factor * (1 - 1e-9) for rate in rates)


def _enough(count: Count, objective: Objective) -> bool:
    """Whether the long window has enough of everything to tell."""
    return count.clocks >= objective.min_clocks and count.misses >= objective.min_misses
