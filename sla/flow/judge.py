"""Whether a flow keeps its promise. Pure: what was measured in, verdicts out.

Silence is judged by one time, a rate and a backlog by a value that may not stay above a limit. All are judged at the
watermark, so that nobody is called silent for what Milepost itself has not read yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from milepost.calendar import Calendar

FLOOR: Final = timedelta(minutes=15)
"""`within: auto` is never shorter than this …"""
MARGIN: Final = 3.0
"""… and so many times the usual gap. At once and a half of it, a source that speaks every five minutes by chance would
be called silent every third day; so, once in years."""
ENDS_AT: Final = 0.8
"""Without `until` a breach ends at this share of the limit."""
FEW: Final = 0.5
"""A rate that is a breach is judged on with this share of the events that it takes to become one."""


def longest(usual: timedelta) -> timedelta:
    """For how long a source may be quiet whose quiet usually lasts `usual` at most."""
    return max(FLOOR, usual * MARGIN)


def due_at(heard: datetime, within: timedelta, calendar: Calendar) -> datetime:
    """When a source that was heard last at `heard` must have spoken again, at the latest."""
    return calendar.add(heard, within)


def silent_since(
    heard: datetime, within: timedelta | None, usual: timedelta | None, calendar: Calendar, at: datetime
) -> datetime | None:
    """From when on the source is too quiet; None while it isn't. `within` None: as usual, where that is known.

    A usual gap is measured by the clock on the wall: nights and weekends are in it. Then the calendar says when it is
    looked at.
    """
    if within is not None:
        due = due_at(heard, within, calendar)
    elif usual is not None and calendar.is_open(at):
        due = heard + longest(usual)
    else:
        return None
    return due if due <= at else None


@dataclass(frozen=True, slots=True)
class Level:
    """How a value stands to its limit: since when it is above, and whether that is a breach."""

    since: datetime | None = None
    breached: bool = False


def level(
    before: Level, value: float | None, limit: float, until: float | None, patience: timedelta, at: datetime
) -> Level:
    """The next one. `value` None: there is too little to tell, which ends what there was.

    What is a breach stays one until the value has come down to `until`: so nothing flaps that moves about its limit.
    """
    if value is None:
        return Level()
    if before.breached:
        ends = limit * ENDS_AT if until is None else until
        return Level() if value <= ends else before
    if value <= limit:
        return Level()
    since = before.since or at
    return Level(since, at - since >= patience)


def share(events: int, bad: int, at_least: int, *, breached: bool) -> float | None:
    """The share of what failed; None while there are too few events to tell."""
    enough = at_least * FEW if breached else at_least
    return bad / events if events and events >= enough else None
