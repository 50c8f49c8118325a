"""Ends what a frozen process left open: its transaction holds locks that all others of its kind wait for.

A process is frozen when it was stopped, swapped out, or sits on a machine that is; one that was killed leaves nothing
open. PostgreSQL itself would wait for it forever where it is amid a COPY.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import sqlalchemy as sa

AFTER: Final = timedelta(seconds=60)
"""So long nobody thinks between two statements: a recorder's or assembler's longest thoughts take some six seconds."""

# Seen amid a statement and waiting for its client: COPY, whose rows come or don't.
_END: Final = sa.text(
    "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND usename = current_user AND application_name = ANY(:applications)"
    " AND xact_start IS NOT NULL AND wait_event_type = 'Client' AND state_change < clock_timestamp() - :after"
)

_log = logging.getLogger(__name__)


def end(
    engine: sa.Engine,
    applications: Sequence[str] = ("milepost record", "milepost assemble"),
    after: timedelta = AFTER,
) -> int:
    """End the sessions whose transaction has waited for its process for longer than `after`; how many. All is undone
    that they did in it, and a process that is thawed begins it anew.
    """
    with engine.begin() as connection:
        ended = connection.execute(_END, {"applications": list(applications), "after": after}).all()
    for row in ended:
        _log.warning("a process is frozen amid a transaction: ended its session (backend %s)", row.pid)
    return len(ended)
