"""For how long a source may be quiet: by a fixed length of a calendar's time, or as it usually is. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from milepost.calendar import Calendar

FLOOR: Final = timedelta(minutes=15)
"""What goes by the usual gap is never shorter than this …"""
MARGIN: Final = 3.0
"""… and so many times the gap. At once and a half of it, a source that speaks every five minutes by chance would be
called silent every third day; so, once in years."""
WEEKEND: Final = 24


def slot_of(at: datetime) -> int:
    """The hour class of a time (UTC): 0–23 on Monday to Friday, 24–47 on Saturday and Sunday."""
    return at.hour + (WEEKEND if at.weekday() >= 5 else 0)


def longest(usual: timedelta) -> timedelta:
    """For how long a source may be quiet whose quiet usually lasts `usual` at most."""
    return max(FLOOR, usual * MARGIN)


def due_at(heard: datetime, within: timedelta | None, usual: timedelta | None, calendar: Calendar) -> datetime | None:
    """When a source that was heard last at `heard` must have spoken again, at the latest. `within` None: as usual;
    None where that is not known, or where the calendar never opens for so long again.

    A usual gap is measured by the clock on the wall: nights and weekends are in it.
    """
    if within is not None:
        return calendar.run_out(heard, within)
    return heard + longest(usual) if usual is not None else None
