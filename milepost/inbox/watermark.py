"""Up to when Milepost knows everything: what clocks are judged at.

An event that was received but not yet applied must not cause an alarm. So a clock is judged at the oldest receive time
that still lies in the event log, in the touches or in any collector's spool; when all are empty, at the present less
the time that a commit may take from reception to visibility.

What lies in a spool only its collector knows, and it can't tell while it has no database. So nothing is judged beyond
what each collector has vouched for (`heartbeats.vouched`): after an outage the last report of before holds the
watermark until the next one says what the spool has. A collector that never comes back is waited for only so long as
`PATIENCE`, not counting the time in which the database did not answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import sqlalchemy as sa

from milepost.db.tables import heartbeats, touches
from milepost.inbox import log
from milepost.inbox.heartbeats import SPOOL

SETTLE: Final = timedelta(milliseconds=500)
"""Longer than a healthy group commit takes."""
PATIENCE: Final = 900.0
"""Seconds to wait for the report of a collector that no longer sends any."""
_LONGEST_STEP: Final = 5.0
"""A longer pause between two questions was an outage, or ours: it is no time that the collector had to report."""


class Known(NamedTuple):
    """`through`: the receive time up to which every acknowledged event is in the journeys. `lost`: the collectors that
    it does not count with any more, as they no longer report, and their last words. `silent`: all that have not
    reported since the last question, the lost ones too."""

    through: datetime
    lost: dict[str, datetime]
    silent: set[str]


class _Report(NamedTuple):
    name: str
    vouched: datetime
    oldest: datetime | None

    @property
    def holds(self) -> datetime:
        return self.vouched if self.oldest is None else min(self.vouched, self.oldest)


@dataclass(slots=True)
class _Silence:
    """How long we have seen the same report, in seconds with a database. `heard`: we saw it follow another one."""

    vouched: datetime
    heard: bool
    waited: float = 0.0


@dataclass(slots=True)
class Watermark:
    """Remembers how long it has waited for whom: keep one for a process. `monotonic` counts seconds."""

    patience: float = PATIENCE
    monotonic: Callable[[], float] = time.monotonic
    _silences: dict[str, _Silence] = field(default_factory=dict)
    _asked: float | None = None

    def read(self, connection: sa.Connection, now: datetime) -> Known:
        """The watermark now. In one transaction of its own, or in autocommit."""
        # the spools first, then the log: what moves on in between is then seen in one of them
        reports = _reports(connection)
        self._listen(reports)
        lost = {one.name: one.vouched for one in reports if self._silences[one.name].waited > self.patience}
        held = [report.holds for report in reports if report.name not in lost]
        in_log = log.oldest(connection)
        in_touches = connection.scalar(sa.select(sa.func.min(touches.c.received_at)))
        moments = (now - SETTLE, in_log, in_touches, *held)
        silent = {name for name, silence in self._silences.items() if silence.waited or not silence.heard}
        return Known(min(moment for moment in moments if moment is not None), lost, silent)

    def _listen(self, reports: list[_Report]) -> None:
        at = self.monotonic()
        step = 0.0 if self._asked is None else min(at - self._asked, _LONGEST_STEP)
        self._asked = at
        known, self._silences = self._silences, {}
        for name, vouched, _ in reports:
            silence = known.get(name)
            if silence is None or silence.vouched != vouched:
                silence = _Silence(vouched, heard=silence is not None)
            else:
                silence.waited += step
            self._silences[name] = silence


def _reports(connection: sa.Connection) -> list[_Report]:
    oldest = heartbeats.c.detail["oldest"].astext.cast(sa.TIMESTAMP(timezone=True))
    rows = connection.execute(
        sa.select(heartbeats.c.process, heartbeats.c.at, oldest).where(heartbeats.c.process.startswith(SPOOL))
    )
    return [_Report(process.removeprefix(SPOOL), at, oldest) for process, at, oldest in rows]
