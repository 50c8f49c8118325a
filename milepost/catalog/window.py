"""Maintenance windows: times, once or again and again, in which what matches is kept from being told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Meta, Struct, field

from milepost.catalog import matcher
from milepost.catalog.matcher import Label, Matcher, Value
from milepost.errors import CatalogError

FILE: Final = "windows.yaml"
LONGEST_OF_ALL: Final = timedelta(hours=4)
"""What matches everything lasts no longer, a window as well as a silence."""
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Nth = Literal[1, 2, 3, 4, 5, -1]
DayOfMonth = Annotated[int, Meta(ge=-31, le=31)]
Values = Annotated[list[Value], Meta(min_length=1, max_length=matcher.MOST)]

_NAME: Final = re.compile(r"[a-z][a-z0-9_\-]{0,63}", re.ASCII)
_WALL: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00", re.ASCII)
_LOCAL: Final = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}", re.ASCII)


class Every(Struct, frozen=True, forbid_unknown_fields=True):
    """Some days, from one wall time until another; one that is no later than the first is on the next day.

    `weekday`: on these days of each week; with `nth`, on those of a month only: 1 its first, -1 its last. `day`: on
    these days of each month, -1 its last. Without any: each day.
    """

    from_: str = field(name="from")
    until: str
    weekday: Weekday | list[Weekday] = []
    nth: Nth | list[Nth] = []
    day: DayOfMonth | list[DayOfMonth] = []

    @property
    def weekdays(self) -> list[Weekday]:
        return self.weekday if isinstance(self.weekday, list) else [self.weekday]

    @property
    def nths(self) -> list[Nth]:
        return self.nth if isinstance(self.nth, list) else [self.nth]

    @property
    def days(self) -> list[int]:
        return self.day if isinstance(self.day, list) else [self.day]

    @property
    def opens(self) -> timedelta:
        """After midnight of its day, by the clock on the wall."""
        return wall(self.from_)

    @property
    def closes(self) -> timedelta:
        """After midnight of the day on which it opens."""
        until = wall(self.until)
        return until if until > self.opens else until + timedelta(days=1)


class Once(Struct, frozen=True, forbid_unknown_fields=True):
    """From one local time until another, like 2026-12-24T12:00."""

    from_: str = field(name="from")
    until: str

    @property
    def opens(self) -> datetime:
        return datetime.fromisoformat(self.from_)

    @property
    def closes(self) -> datetime:
        return datetime.fromisoformat(self.until)


class Window(Struct, frozen=True, forbid_unknown_fields=True):
    """What matches is recorded, and told once the window is over, if it is still wrong.

    `match`: labels with values, all of which must match; a value that ends in `*` stands for all that begin so.
    `unless`: labels with values that must not match. Times are of the clock in `zone`. `everything`: it is meant to
    match whatever happens; it lasts 4 hours at most then.
    """

    match: dict[Label, Values] = {}
    unless: dict[Label, Values] = {}
    every: Every | None = None
    once: Once | None = None
    zone: str = "UTC"
    title: str = ""
    owner: str | None = None
    everything: bool = False

    @property
    def matchers(self) -> tuple[Matcher, ...]:
        return matcher.of_mappings(self.match, self.unless)

    @property
    def lasts(self) -> timedelta:
        """By the clock on the wall."""
        if self.every is not None:
            return self.every.closes - self.every.opens
        return self.once.closes - self.once.opens if self.once is not None else timedelta(0)


def wall(text: str) -> timedelta:
    """A wall time after midnight."""
    hours, minutes = text.split(":")
    return timedelta(hours=int(hours), minutes=int(minutes))


def check(windows: Mapping[str, Window]) -> None:
    """What types can't say. Raises CatalogError."""
    for name, one in windows.items():
        where = f"{FILE}: {name}"
        if not _NAME.fullmatch(name):
            raise CatalogError(f"{where}: a name is lower case letters, digits, - and _")
        try:
            ZoneInfo(one.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise CatalogError(f'{where}: zone: "{one.zone}" is not a known time zone') from error
        if (one.every is None) == (one.once is None):
            raise CatalogError(f"{where}: it needs every or once, and not both")
        if one.every is not None:
            _check_every(f"{where}: every", one.every)
        if one.once is not None:
            _check_once(f"{where}: once", one.once)
        _check_breadth(where, one)


def _check_every(where: str, every: Every) -> None:
    for name, text in (("from", every.from_), ("until", every.until)):
        if not _WALL.fullmatch(text) or (name, text) == ("from", "24:00"):
            raise CatalogError(f'{where}: {name}: "{text}" is not a time of day, like 02:00')
    if every.days and every.weekdays:
        raise CatalogError(f"{where}: weekday or day, not both")
    if every.nths and not every.weekdays:
        raise CatalogError(f"{where}: nth: the first or last of what? name a weekday")
    if 0 in every.days:
        raise CatalogError(f"{where}: day: a month has no day 0; its last is -1")


def _check_once(where: str, once: Once) -> None:
    for name, text in (("from", once.from_), ("until", once.until)):
        try:
            if not _LOCAL.fullmatch(text):
                raise ValueError(text)
            datetime.fromisoformat(text)
        except ValueError as error:
            raise CatalogError(f'{where}: {name}: "{text}" is not a local time, like 2026-12-24T12:00') from error
    if once.closes <= once.opens:
        raise CatalogError(f"{where}: it ends before it begins")


def _check_breadth(where: str, one: Window) -> None:
    if not matcher.everything(one.matchers):
        return
    if not one.everything:
        raise CatalogError(
            f"{where}: match: nothing says what it is about, so it would keep everything from everybody; if it is meant"
            " to, say everything: true"
        )
    if one.lasts > LONGEST_OF_ALL:
        raise CatalogError(f"{where}: a window for everything lasts 4 h at most")
