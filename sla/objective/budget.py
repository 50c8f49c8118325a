"""Error budgets: how many clocks may be missed, how many were, how fast it goes, and when none is left. Pure.

The terms and the arithmetic are those of Google's Site Reliability Workbook, chapters 2 and 5: the budget is what the
objective leaves, and a burn rate of 1 spends exactly the whole budget in exactly one window.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Final

from milepost.catalog.objective import Objective, month_of

USUAL: Final = timedelta(days=30)
"""The window that the workbook's alerts are made for; those of others are scaled by their length."""


@dataclass(frozen=True, slots=True)
class Count:
    """Clocks that fell due in a span and have an outcome, and how many of them were not met in time.

    `late_known`: of these, those heard of when it was too late already, as after an import.
    """

    clocks: int = 0
    misses: int = 0
    late_known: int = 0

    def __add__(self, other: Count) -> Count:
        mine, others = (self.clocks, self.misses, self.late_known), (other.clocks, other.misses, other.late_known)
        return Count(*(one + more for one, more in zip(mine, others, strict=True)))

    @property
    def in_hand(self) -> Count:
        """Without what was lost before anybody could know."""
        return Count(self.clocks - self.late_known, self.misses - self.late_known)


NONE: Final = Count()


@dataclass(frozen=True, slots=True)
class Span:
    """From `since` to before `until`."""

    since: datetime
    until: datetime

    @property
    def length(self) -> timedelta:
        return self.until - self.since


@dataclass(frozen=True, slots=True)
class Window:
    """What an objective counts at a time: `counted`, up to the present; `whole`, the window with what is still to come;
    `before`, for a calendar month the one before, which tells how many clocks to expect."""

    counted: Span
    whole: Span
    before: Span | None = None


def window(objective: Objective, at: datetime, zone: tzinfo) -> Window:
    """The window at a time; `zone` tells where a calendar month begins."""
    length = objective.window.length
    if length is not None:
        return Window(Span(at - length, at), Span(at, at + length))
    first, after = month_of(at, zone)
    former, _ = month_of(first - timedelta(days=1), zone)
    return Window(Span(first, at), Span(first, after), Span(former, first))


@dataclass(frozen=True, slots=True)
class Budget:
    """What an objective leaves, and what has been made of it.

    `expected`: clocks that the allowance is reckoned from, at least those that fell due. For a month under way it is
    those of the month before, until there are more: one miss on the first morning doesn't spend a month's budget.
    """

    target: float
    counted: Count
    expected: int

    @property
    def attained(self) -> float | None:
        """The share that was met; None while nothing fell due."""
        return 1 - self.counted.misses / self.counted.clocks if self.counted.clocks else None

    @property
    def allowed(self) -> float:
        """How many may be missed."""
        return tolerated(self.target) * self.expected

    @property
    def remaining(self) -> float:
        """The share of the budget that is left, from 1 (nothing was missed) to 0 (spent, or overspent)."""
        misses = self.counted.misses
        if not misses:
            return 1.0
        return max(0.0, 1 - misses / self.allowed) if self.allowed else 0.0


def tolerated(target: float) -> float:
    """The share of clocks that may be missed; without the dust of binary fractions."""
    return round(1 - target, 12)


def budget(objective: Objective, counted: Count, before: Count = NONE) -> Budget:
    """The budget of a window with so many clocks; `before`: those of the window before, where that counts."""
    return Budget(objective.target, counted, max(counted.clocks, before.clocks))


def burn(count: Count, target: float) -> float | None:
    """How many times faster than allowed the budget is spent; None where nothing fell due, or nothing is allowed."""
    allowed = tolerated(target) * count.clocks
    return count.misses / allowed if allowed else None


def present(counts: Iterable[Count], objective: Objective) -> float | None:
    """The burn rate now: of the shortest span that tells, `counts` beginning with the shortest, else of the longest.

    A span tells once it has so many clocks that a single miss among them is a rate of 1 at most: a miss in a quiet
    night is no fire.
    """
    found = None
    for count in counts:
        rate = burn(count, objective.target)
        found = rate if rate is not None else found
        if count.clocks >= objective.min_clocks and count.clocks * tolerated(objective.target) >= 1:
            return rate
    return found


def exhausted_at(found: Budget, rate: float | None, window: Window, at: datetime) -> datetime | None:
    """When nothing is left if it goes on at this rate; `at` if that is so already. None: not before the window ends."""
    if found.remaining <= 0:
        return at
    if not rate:
        return None
    left = window.whole.length * (found.remaining / rate) if rate > found.remaining / 1e6 else timedelta.max
    return at + left if left < window.whole.until - at else None
