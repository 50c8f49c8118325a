"""What a document says of the business, before it is an event. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta, timezone
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from collector.edi.envelope import Document
from collector.edi.header import wall_time
from collector.edi.parties import Roles
from collector.edi.syntax import Segment
from milepost.errors import MalformedBody

Keys = Mapping[str, str | list[str]]
MANY: Final = 150
"""Keys of one type that one event names."""
_NOON: Final = time(12)


@dataclass(frozen=True, slots=True)
class Fact:
    """One event to be. `at`: when it happened, aware; None for when the document was made."""

    type: str
    keys: Keys
    at: datetime | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    outcome: str = "ok"
    code: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Reading:
    """A document with its segments, as those who read it need it. `made` is when it was made, aware."""

    document: Document
    segments: Sequence[Segment]
    roles: Roles
    made: datetime | None
    decimal: str = "."

    @property
    def outgoing(self) -> bool:
        return self.roles.outgoing

    def one(self, tag: str) -> Segment:
        """The first segment with this tag. Raises MalformedBody when there is none."""
        for segment in self.segments:
            if segment.tag == tag:
                return segment
        raise MalformedBody(f"{self.segments[0].place()}: {self.document.type} without {tag}")

    def all(self, tag: str, qualifier: str | None = None, element: int = 1) -> Iterator[Segment]:
        """The segments with this tag, and with this code in `element`."""
        for segment in self.segments:
            if segment.tag == tag and (qualifier is None or segment.get(element) == qualifier):
                yield segment

    def value(self, tag: str, qualifier: str, element: int = 2, component: int = 1) -> str:
        """What the first segment with this tag and first code says; empty when there is none."""
        found = next(self.all(tag, qualifier), None)
        return "" if found is None else found.get(element, component)

    def moment(self, date: str, clock: str = "", zone: str = "") -> datetime | None:
        """A date, or a date with a time, aware. A date alone is noon, or on its own day when the document was made.

        `zone` is a code of X12 element 623; without one the sender's zone counts. None when it is no date.
        """
        tz = zone_of(zone) or self.roles.zone
        exact = wall_time(date, clock) if clock else None
        if exact is not None:
            return exact.replace(tzinfo=tz)
        day = wall_time(date, "0000")
        if day is None:
            return None
        if self.made is not None and self.made.astimezone(tz).date() == day.date():
            return self.made
        return datetime.combine(day, _NOON, tz)


_HOURS: Final = {
    "UT": 0, "GM": 0, "Z": 0,
    "ES": -5, "ED": -4, "CS": -6, "CD": -5, "MS": -7, "MD": -6, "PS": -8, "PD": -7,
    "AS": -9, "AD": -8, "HS": -10, "HD": -9, "TS": -4, "TD": -3, "NS": -3.5, "ND": -2.5,
}  # fmt: skip
"""Time codes with a fixed offset: X12 element 623, in hours. ET, CT … stand for both, so the partner's zone counts."""


def zone_of(code: str) -> timezone | None:
    """The offset of a time code: a letter code, or 01 to 12 for UTC+1 to +12 and 13 to 24 for UTC-12 to -1."""
    if code in _HOURS:
        return timezone(timedelta(hours=_HOURS[code]))
    if re.fullmatch("0[1-9]|1[0-9]|2[0-4]", code):
        hours = int(code)
        return timezone(timedelta(hours=hours if hours <= 12 else hours - 25))
    return None


def money(text: str, implied: int = 0) -> str | None:
    """An amount as Milepost writes it; `implied` decimals are not written. None when it is no number."""
    try:
        amount = Decimal(text.replace(",", "."))
    except InvalidOperation:
        return None
    if not amount.is_finite() or abs(amount) >= Decimal(10) ** 14:
        return None
    return str((amount.scaleb(-implied)).quantize(Decimal("0.01")) if implied else amount)


def total(parts: Sequence[tuple[str, str]]) -> str | None:
    """The sum of quantity times price; None unless every line has both."""
    amounts = [(money(quantity), money(price)) for quantity, price in parts]
    if not amounts or any(quantity is None or price is None for quantity, price in amounts):
        return None
    return money(str(sum(Decimal(quantity or 0) * Decimal(price or 0) for quantity, price in amounts)))


def iso_date(text: str) -> str | None:
    """CCYYMMDD as YYYY-MM-DD."""
    day = wall_time(text[:8], "0000")
    return None if day is None else day.date().isoformat()


def known(**attributes: str | int | None) -> dict[str, str | int]:
    """The attributes that have a value."""
    return {name: value for name, value in attributes.items() if value not in (None, "")}


def in_parts(keys: Sequence[str]) -> list[list[str]]:
    """At most MANY at a time, without repeats; one empty part for none."""
    distinct = list(dict.fromkeys(keys))
    return [distinct[first : first + MANY] for first in range(0, len(distinct), MANY)] or [[]]
