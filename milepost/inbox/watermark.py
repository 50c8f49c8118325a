"""Up to when Milepost knows everything: what clocks are judged at.

An event that was received but not yet applied must not cause an alarm. So a clock is judged at the oldest receive time
that still lies in the event log or in the touches, or, when both are empty, at the present less the time that a commit
may take from reception to visibility.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from milepost.db.tables import touches
from milepost.inbox import log

SETTLE: Final = timedelta(milliseconds=500)
"""Longer than a healthy group commit takes."""


def applied_through(connection: sa.Connection, now: datetime) -> datetime:
    """The receive time up to which every acknowledged event is in the journeys."""
    # the log first: what moves from the log to the touches in between is then seen in one of them
    in_log = log.oldest(connection)
    in_touches = connection.scalar(sa.select(sa.func.min(touches.c.received_at)))
    return min(moment for moment in (now - SETTLE, in_log, in_touches) if moment is not None)
