"""When a message that failed is tried again, and when it is given up. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

FIRST: Final = timedelta(seconds=2)
LONGEST: Final = timedelta(minutes=15)
PATIENCE: Final = timedelta(hours=1)
"""A receiver may ask for a longer wait, but no longer than this."""
ATTEMPTS: Final = 300
AGE: Final = timedelta(days=3)


def next_attempt(
    *, attempt: int, created_at: datetime, now: datetime, retry_after: float | None, jitter: float
) -> datetime | None:
    """When to try again after the failed attempt number `attempt` (from 1); None once the budget is spent.

    The wait doubles from FIRST to LONGEST; `jitter`, from 0 to 1, takes up to half of it away, so that many messages
    don't come back at once. What the receiver asked for is the least.
    """
    wait = min(FIRST * 2 ** min(attempt - 1, 20), LONGEST) * (1 - jitter / 2)
    if retry_after is not None:
        wait = max(wait, timedelta(seconds=min(retry_after, PATIENCE.total_seconds())))
    at = now + wait
    return None if attempt >= ATTEMPTS or at > created_at + AGE else at
