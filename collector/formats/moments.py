"""Dates and times as other systems write them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time
from typing import Final
from zoneinfo import ZoneInfo

from milepost.errors import InvalidEvent

_TIME_CODES: Final = ("%H", "%I", "%z")
_NAMED: Final = {"epoch": 1, "epoch_ms": 1000}
_ISO_DAY: Final = 8


class Moments:
    """Reads the forms that a mapping declares, tried in order.

    `iso`: ISO 8601, a date or a date with time. `epoch`, `epoch_ms`: seconds or milliseconds since 1970. Everything
    else is a form in the codes of `strptime`. What has no offset is in `zone`; a date without a time counts as
    `date_at`: noon lies within its day in any nearby zone.
    """

    def __init__(self, zone: str, forms: Sequence[str], date_at: str) -> None:
        self._zone = ZoneInfo(zone)
        self._forms = forms
        self._at = time.fromisoformat(date_at)

    def read(self, place: str, text: str | None) -> date | datetime | None:
        """A date, or a datetime with or without an offset; None for None. Raises InvalidEvent."""
        if text is None:
            return None
        for form in self._forms:
            try:
                return _parsed(text, form, self._zone)
            except (ValueError, OverflowError, OSError):
                continue
        shown = text[:100]
        raise InvalidEvent(f'{place}: "{shown}" is no date of a known form; add its form to date_forms, or to no_value')

    def instant(self, moment: date | datetime) -> datetime:
        if not isinstance(moment, datetime):
            moment = datetime.combine(moment, self._at)
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=self._zone)

    def day(self, moment: date | datetime) -> date:
        """The day that was written; of seconds since 1970 the day in the zone."""
        return moment.date() if isinstance(moment, datetime) else moment


def _parsed(text: str, form: str, zone: ZoneInfo) -> date | datetime:
    if form in _NAMED:
        return datetime.fromtimestamp(float(text) / _NAMED[form], zone)
    if form == "iso":
        return _iso(text)
    moment = datetime.strptime(text, form)  # noqa: DTZ007 (`instant` sets the zone)
    return moment if any(code in form for code in _TIME_CODES) else moment.date()


def _iso(text: str) -> date | datetime:
    if text.isdigit() and len(text) != _ISO_DAY:
        raise ValueError(text)  # a number of seconds can look like a date
    try:
        return date.fromisoformat(text)
    except ValueError:
        return datetime.fromisoformat(text)
