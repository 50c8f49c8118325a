"""Time, injected. A step reads its clock once and hands the reading on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]
"""Returns the present as an aware datetime in UTC."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def utc_now() -> datetime:
    """The system's clock."""
    return datetime.now(UTC)


def to_us(at: datetime) -> int:
    """Microseconds since 1970-01-01 UTC of an aware datetime, exact."""
    return (at - EPOCH) // _MICROSECOND


def from_us(us: int) -> datetime:
    """The aware UTC datetime of microseconds since 1970, exact."""
    return EPOCH + timedelta(microseconds=us)
