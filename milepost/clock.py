"""Time, injected. A step reads its clock once and hands the reading on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import overload

Clock = Callable[[], datetime]
"""Returns the present as an aware datetime in UTC."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def utc_now() -> datetime:
    """The system's clock."""
    return datetime.now(UTC)


class Steady:
    """A clock whose readings don't go back.

    When the clock below is set back a little, it stands still until that has caught up. After a larger step it follows:
    then the former time was the wrong one.
    """

    def __init__(self, below: Clock = utc_now, *, follow: timedelta = timedelta(minutes=1)) -> None:
        self._below = below
        self._follow = follow
        self._last = below()

    def __call__(self) -> datetime:
        now = self._below()
        if now > self._last or self._last - now > self._follow:
            self._last = now
        return self._last


@overload
def aware(moment: datetime) -> datetime: ...
@overload
def aware(moment: datetime | None) -> datetime | None: ...
def aware(moment: datetime | None) -> datetime | None:
    """A time that somebody wrote: without an offset it is UTC."""
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


def to_us(at: datetime) -> int:
    """Microseconds since 1970-01-01 UTC of an aware datetime, exact."""
    return (at - EPOCH) // _MICROSECOND


def from_us(us: int) -> datetime:
    """The aware UTC datetime of microseconds since 1970, exact."""
    return EPOCH + timedelta(microseconds=us)
