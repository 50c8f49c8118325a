"""Promises by the working day: what starts before the cut-off is due the same working day, else the next. Pure.

A working day is a local date on which the calendar has hours. Wall times are reached for good where the clocks repeat
them, and at the end of the gap where the clocks skip them, as the bounds of shifts are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from milepost.calendar import FIRST_YEAR, LAST_YEAR, Calendar, CalendarBoundsError
from milepost.walltime import wall_of

_DAY: Final = timedelta(days=1)
_SEARCHED: Final = 10 * 366


@dataclass(frozen=True, slots=True)
class CutOff:
    """`minutes` after midnight for each day from Monday on (None: no such day counts), so many working `days` later,
    at `due` minutes after midnight or else when the day's last shift closes."""

    calendar: Calendar
    minutes: Sequence[int | None]
    days: int = 0
    due: int | None = None

    def due_us(self, start_us: int) -> int:
        """When what starts at this time is due, in microseconds since 1970. Raises CalendarBoundsError."""
        day = wall_of(start_us, self.calendar.zone).date() - _DAY  # where the clocks go back over midnight
        left = self.days
        for _ in range(_SEARCHED):
            cut = self.minutes[day.weekday()]
            if cut is not None and self._works(day) and start_us < self.calendar.wall_us(day, cut):
                if not left:
                    return self._due(day)
                left -= 1
            day += _DAY
        raise CalendarBoundsError(f"calendar {self.calendar.name} has no such working day up to {day}")

    def _works(self, day: date) -> bool:
        """Whether it has hours, and happens: some zones have skipped days."""
        if not FIRST_YEAR <= day.year <= LAST_YEAR or not self.calendar.shifts_on(day):
            return False
        return self.calendar.wall_us(day, 0) < self.calendar.wall_us(day, 24 * 60)

    def _due(self, day: date) -> int:
        due = self.calendar.shifts_on(day)[-1][1] if self.due is None else self.due
        # a day's last instant: what happens at midnight happens on the next day
        return min(self.calendar.wall_us(day, due), self.calendar.wall_us(day, 24 * 60) - 1)


def minutes_of(text: str) -> int:
    """A time of day, "14:00", as minutes after midnight."""
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)
