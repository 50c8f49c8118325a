"""How an objective stands at a time: its budget, how fast it burns at each level, and what fires. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from milepost.catalog.objective import Objective
from sla.objective import budget, burn
from sla.objective.budget import NONE, Budget, Count, Span, Window
from sla.objective.burn import Level, Pair

Place = tuple[str, str]
"""Policy and group, as JSON text; WHOLE for all clocks of the policy."""
Counts = Mapping[Span, Count]
WHOLE: Final = "{}"
SHOWN: Final = 50
"""Groups of a policy that are kept at most: those with the most misses."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One objective of a policy or of one of its groups."""

    place: Place
    at: datetime
    window: Window
    budget: Budget
    burn: float | None
    exhausted_at: datetime | None
    levels: tuple[tuple[Level, Pair], ...]
    firing: Mapping[str, datetime]


def spans(objective: Objective, window: Window, at: datetime) -> list[Span]:
    """All that must be counted to judge an objective at a time."""
    wanted = [window.counted, *([window.before] if window.before is not None else [])]
    for level in burn.levels(objective):
        wanted += [span_of(level.long, at), span_of(level.short, at)]
    return wanted


def span_of(length: timedelta, at: datetime) -> Span:
    return Span(at - length, at)


def stand(
    place: Place, objective: Objective, window: Window, counts: Counts, before: Mapping[str, datetime], at: datetime
) -> Standing:
    """`counts`: what fell due in the spans; `before`: what fired when it was judged last."""
    counted = counts.get(window.counted, NONE)
    former = counts.get(window.before, NONE) if window.before is not None else NONE

    def in_hand(length: timedelta) -> Count:
        return counts.get(span_of(length, at), NONE).in_hand

    scaled = burn.levels(objective)
    pairs = tuple((level, (in_hand(level.long), in_hand(level.short))) for level in scaled)
    longs = [counts.get(span_of(level.long, at), NONE) for level in scaled]
    found = budget.budget(objective, counted, former)
    rate = budget.present([*longs, counted], objective)
    firing = burn.judge(objective, {level.name: pair for level, pair in pairs}, before, at)
    end = budget.exhausted_at(found, rate, window, at)
    return Standing(place, at, window, found, rate, end, pairs, firing)


def worth_keeping(found: Iterable[Standing]) -> list[Standing]:
    """Of a policy's: the whole, what fires, and the groups with the most misses."""
    listed = sorted(found, key=lambda one: (one.place[1] != WHOLE, not one.firing, -one.budget.counted.misses))
    kept = [one for one in listed if one.place[1] == WHOLE or one.firing or one.budget.counted.misses]
    return kept[: SHOWN + 1]


def explained(found: Sequence[Standing], told: Collection[Place]) -> list[Standing]:
    """The same, but a policy as a whole doesn't fire where a group of its own fires as gravely: that one is told.

    `told`: places that people were told of already; those go on until they are over.
    """
    groups: dict[str, int] = {}
    for one in found:
        if one.place[1] != WHOLE and one.firing:
            policy = one.place[0]
            groups[policy] = min(gravity(one.firing), groups.get(policy, len(burn.LEVELS)))
    return [
        replace(one, firing={})
        if one.place[1] == WHOLE
        and one.place not in told
        and one.firing
        and groups.get(one.place[0], len(burn.LEVELS)) <= gravity(one.firing)
        else one
        for one in found
    ]


def gravity(firing: Mapping[str, datetime]) -> int:
    """The place of the gravest level that fires, 0 being the gravest of all; their number for none."""
    names = [level.name for level in burn.LEVELS]
    return min((names.index(name) for name in firing if name in names), default=len(names))
