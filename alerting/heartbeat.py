"""The dead-man's switch: a sign of life to somebody outside, so that people learn when Milepost itself is down.

A request a minute to an address that expects them (healthchecks.io and the like). While the chain from events to
messages works it goes to the address itself; when it doesn't, to `/fail` below it, with what is wrong in the body. When
Milepost, its scheduler or its network is down nothing comes at all, and whoever expects it raises the alarm.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import sqlalchemy as sa

from alerting import outbox
from alerting.notifiers import http
from alerting.text import length
from milepost.clock import Clock
from milepost.db.tables import heartbeats
from milepost.errors import ConfigurationError, Permanent, Transient

EVERY: Final = 60.0
TIMEOUT: Final = 10.0
LAG: Final = timedelta(minutes=2)
"""Events that are not applied for longer than this are no passing load."""
TICK: Final = timedelta(minutes=1)
"""The pipeline and the sender step four times a second."""
STUCK: Final = timedelta(minutes=10)
"""No message leaves for so long, though one could."""
SILENT: Final = timedelta(minutes=1)
"""Processes say every ten seconds that they live."""
PARTS: Final = ("record", "assemble")
"""Without these processes nothing is judged; with an empty log the watermark does not show it."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Signs:
    """When the parts of the chain did their work last, as the scheduler saw it; None: not since it started.

    `through`: up to when every event is in the journeys.
    """

    through: datetime | None = None
    judged: datetime | None = None
    alerted: datetime | None = None
    delivered: datetime | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """What the database says: since when a message is due that nobody takes, and which processes live."""

    stuck_since: datetime | None
    alive: frozenset[str]


def troubles(signs: Signs, stored: Stored | None, now: datetime) -> list[str]:
    """What of the chain doesn't work, in words; nothing when all of it does. `stored` None: there is no database."""
    if stored is None:
        return ["the database does not answer"]
    found = []
    if signs.through is None or now - signs.through > LAG:
        found.append(_since("events are not processed", signs.through, now))
    ticking = {"clocks are not judged": signs.judged, "alerts are not made": signs.alerted}
    ticking["messages are not sent"] = signs.delivered
    found += [_since(what, at, now) for what, at in ticking.items() if at is None or now - at > TICK]
    if stored.stuck_since is not None:
        found.append(_since("a message waits that could go", stored.stuck_since, now))
    missing = [part for part in PARTS if part not in stored.alive]
    return found + [f"no process {part} runs" for part in missing]


def _since(what: str, at: datetime | None, now: datetime) -> str:
    return f"{what} since the start" if at is None else f"{what} for {length(now - at)}"


def read(engine: sa.Engine, now: datetime) -> Stored:
    """What the database says. Raises Transient, or what SQLAlchemy raises, while it is away."""
    with engine.connect() as connection:
        beating = connection.scalars(sa.select(heartbeats.c.process).where(heartbeats.c.at > now - SILENT))
        alive = frozenset(name.partition("@")[0] for name in beating)
        return Stored(outbox.stuck_since(connection, now, STUCK), alive)


@dataclass(slots=True)
class Heartbeat:
    """Beats at `url`."""

    engine: sa.Engine
    url: str
    signs: Signs
    clock: Clock
    _told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        try:
            http.parse(self.url)
        except ConfigurationError as error:
            raise ConfigurationError(f"MILEPOST_HEARTBEAT_URL: {error}") from error

    def beat(self) -> None:
        """Say how it goes. A receiver that doesn't take it is told of in the log."""
        now = self.clock()
        wrong = troubles(self.signs, self._stored(now), now)
        self._log(wrong)
        try:
            send(self.url, wrong, now=now)
        except (Transient, Permanent) as error:
            _log.warning("the heartbeat did not arrive: %s", error)

    def _stored(self, now: datetime) -> Stored | None:
        try:
            return read(self.engine, now)
        except (Transient, sa.exc.SQLAlchemyError):
            return None

    def _log(self, wrong: list[str]) -> None:
        kinds = [text.partition(" for ")[0] for text in wrong]
        if wrong and kinds != self._told:
            _log.error("the heartbeat tells that Milepost does not work: %s", "; ".join(wrong))
        elif self._told and not wrong:
            _log.info("the heartbeat tells that Milepost works again")
        self._told = kinds


def send(url: str, wrong: Sequence[str], *, now: datetime, timeout: float = TIMEOUT) -> None:
    """One request. Raises Transient or Permanent when it isn't taken.

    The address is the operator's own, so it may lie inside their network.
    """
    target = http.parse(failing(url) if wrong else url)
    headers = {"User-Agent": "Milepost", "Content-Type": "text/plain; charset=utf-8"}
    body = "\n".join(wrong or ["ok"]).encode()
    http.check(http.post(target, headers, body, timeout=timeout, allow_private=True), now=now)


def failing(url: str) -> str:
    """Where trouble is told: "/fail" below the address."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/fail"))
