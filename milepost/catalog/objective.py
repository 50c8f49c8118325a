"""Objectives: which share of a policy's clocks is to be met, over what window."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Annotated, Final
from zoneinfo import ZoneInfo

from msgspec import Meta, Struct

from milepost.catalog.schema import Catalog, Duration
from milepost.errors import CatalogError

if TYPE_CHECKING:
    from milepost.catalog.policy import Policy

MONTH: Final = "month"
IN_TIME: Final = ("met", "retracted")
"""States of clocks that count as met. A breach that late evidence took back was none."""
NOT_IN_TIME: Final = ("missed", "breached", "late_known")
"""States that count as missed; a clock in any other state has no outcome, or none that counts."""
_SHORTEST, _LONGEST = timedelta(days=1), timedelta(days=92)


class Window(Duration):
    """A length such as 30d, up to the present; or `month`, the calendar month in the zone of the policy's calendar."""

    __slots__ = ()

    def __init__(self, text: str) -> None:
        if text == MONTH:
            self.text, self.us = text, 0
        else:
            super().__init__(text)

    @property
    def length(self) -> timedelta | None:
        """None for a month: its length depends on which."""
        return None if self.text == MONTH else timedelta(microseconds=self.us)


class Objective(Struct, frozen=True, forbid_unknown_fields=True):
    """A share of clocks that must be met over a window.

    `alert`: whether people are told when the error budget burns too fast; without it, as they are of breaches
    (`notify`), and not twice of the same. In a window with fewer clocks than `min_clocks`, or fewer missed ones than
    `min_misses`, nothing burns.
    """

    target: Annotated[float, Meta(gt=0, le=1)] = 0.99
    window: Window = Window("30d")
    alert: bool | None = None
    min_clocks: Annotated[int, Meta(ge=1)] = 10
    min_misses: Annotated[int, Meta(ge=1)] = 5


def check(where: str, objective: Objective) -> None:
    """What types can't say. Raises CatalogError."""
    length = objective.window.length
    if length is not None and not _SHORTEST <= length <= _LONGEST:
        raise CatalogError(f"{where}: objective: window: it is month, or from 1d to {_LONGEST.days}d")


def zone_of(policy: Policy, catalog: Catalog) -> ZoneInfo:
    """Where a policy's months begin: in its calendar's zone; of several, by an attribute, in that of `else`."""
    named = policy.calendar
    return ZoneInfo(catalog.calendars[named if isinstance(named, str) else named.otherwise].zone)


def month_of(at: datetime, zone: tzinfo) -> tuple[datetime, datetime]:
    """The first instant of the calendar month there, and that of the next one, in UTC."""
    first = at.astimezone(zone).replace(day=1, hour=0, minute=0, second=0, microsecond=0, fold=0)
    after = (first + timedelta(days=31)).replace(day=1)
    return first.astimezone(UTC), after.astimezone(UTC)
