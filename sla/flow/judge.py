"""Whether a flow keeps its promise. Pure: what was measured in, verdicts out.

Silence is judged by one time, a rate and a backlog by a value that may not stay above a limit. All are judged at the
watermark, so that nobody is called silent for what Milepost itself has not read yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from milepost.calendar import Calendar
from milepost.quiet import due_at

ENDS_AT: Final = 0.8
"""Without `until` a breach ends at this share of the limit."""
FEW: Final = 0.5
"""A rate that is a breach is judged on with this share of the events that it takes to become one."""


def silent_since(
    heard: datetime, within: timedelta | None, usual: timedelta | None, calendar: Calendar, at: datetime
) -> datetime | None:
    """From when on the source is too quiet; None while it isn't. `within` None: as usual, where that is known; then the
    calendar says when it is looked at."""
    due = due_at(heard, within, usual, calendar)
    looked = within is not None or calendar.is_open(at)
    return due if due is not None and due <= at and looked else None


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
