"""kill -9 of anything at any moment under load: every acknowledged event counts, and counts once.

MILEPOST_TEST_KILLS and MILEPOST_TEST_SEED make it longer and other.
"""

from __future__ import annotations

import itertools
import os
import random
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import sqlalchemy as sa

from milepost.clock import to_us, utc_now
from milepost.db import tables as t
from tests.chain import Wire
from tests.e2e.service import PATIENCE, Service, service
from tests.integration.test_correlation_property import BASE_US, JOURNEYS, expected, scenario, stored
from tests.oracle import Oracle, us
from tests.processes import alive
from tests.served import BATCH, wait_until
from tests.threads import Senders

KILLS = int(os.environ.get("MILEPOST_TEST_KILLS", "11"))
SEED = os.environ.get("MILEPOST_TEST_SEED", "kill")
SENDERS = 3
PAUSE = 0.08
"""Seconds between two requests of a sender."""
CHILDREN = ("web", "record", "assemble", "scheduler")
ROUND = (*CHILDREN[:3], "postmaster", "scheduler", "record", "backend", "web", "assemble", "server", "run")

Identity = tuple[str, str]


def worlds(rng: random.Random) -> Iterator[Wire]:
    """The events of many small worlds, mixed up, some of them again and again, without an end."""
    numbers = itertools.count()
    start = utc_now() - timedelta(minutes=30)
    pending: list[Wire] = []
    while True:
        if len(pending) < 200:
            pending += [_moved(wire, start) for wire, _ in scenario(rng, f"w{next(numbers)}_")]
            continue
        index = rng.randrange(len(pending))
        yield pending[index]
        if rng.random() > 0.2:
            pending[index] = pending[-1]
            pending.pop()


def _moved(wire: Wire, start: datetime) -> Wire:
    """With times around now: those ahead of us are taken for wrong clocks."""
    if "time" in wire:
        at = start + timedelta(microseconds=us(wire["time"]) - BASE_US)
        return {**wire, "time": at.isoformat().replace("+00:00", "Z")}
    return wire


class Load(Senders):
    """Senders that repeat a batch until it is acknowledged, and remember what was."""

    def __init__(self, url: str, key: dict[str, str], rng: random.Random) -> None:
        super().__init__(SENDERS)
        self._url = url
        self._headers = {**key, "content-type": BATCH}
        self._events = worlds(rng)
        self._rng = rng
        self._lock = threading.Lock()
        self.acknowledged: Counter[Identity] = Counter()
        self.sent: dict[Identity, Wire] = {}
        self.troubles: Counter[str] = Counter()
        self.wrong: list[str] = []

    def send(self, _: int) -> None:
        with httpx.Client(base_url=self._url, headers=self._headers, timeout=15) as client:
            while not self.stopped.is_set():
                with self._lock:
                    batch = list(itertools.islice(self._events, self._rng.choice([1, 1, 5, 20, 40])))
                    self.sent.update({(wire["source"], wire["id"]): wire for wire in batch})
                body = msgspec.json.encode(batch)
                while not self._taken(client, body, len(batch)):
                    time.sleep(0.1)
                with self._lock:
                    self.acknowledged.update((wire["source"], wire["id"]) for wire in batch)
                self.stopped.wait(PAUSE)

    def _taken(self, client: httpx.Client, body: bytes, size: int) -> bool:
        """Whether it was acknowledged. What may pass is counted, all else is wrong."""
        try:
            answer = client.post("/v1/events", content=body)
        except httpx.TransportError as error:
            self.troubles[type(error).__name__] += 1
            return False
        if answer.status_code in (429, 503):
            self.troubles[str(answer.status_code)] += 1
            return False
        if answer.status_code != 202 or answer.json() != {"accepted": size, "rejected": []}:
            self.wrong.append(f"{answer.status_code}: {answer.text[:500]}")
        return True


def kill(running: Service, victim: str) -> bool:
    """kill -9. False when there is just nobody to kill."""
    if victim in CHILDREN:
        return running.kill(victim)
    if victim == "run":
        running.kill("run")
        running.start()
        return True
    postmaster = running.server.server_pid()
    if postmaster is None or not alive(postmaster) or not running.ready():
        return False
    children = [int(pid) for pid in Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()]
    victims = {"postmaster": [postmaster], "backend": children[-1:], "server": [*children, postmaster]}[victim]
    if victim == "server":
        os.kill(postmaster, signal.SIGSTOP)  # a power cut: it must not see its children die
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    return True


@pytest.fixture
def running(server_dir: Path) -> Iterator[Service]:
    with service(server_dir) as made:
        yield made


def test_acknowledged_events_count_once_whatever_is_killed(running: Service) -> None:
    rng = random.Random(SEED)
    with Load(running.url, running.key(["/odoo", "/wms"]), rng) as load:
        for number in range(KILLS):
            time.sleep(rng.uniform(0.2, 1.5))  # how long the victim may work, not a wait for something
            victim = ROUND[number % len(ROUND)]
            wait_until(lambda victim=victim: kill(running, victim), PATIENCE)
        wait_until(running.ready, PATIENCE)
    print(f"{len(load.sent)} events in {load.acknowledged.total()} sent; on the way {dict(load.troubles)}")  # noqa: T201
    assert not re.findall(r".*(?:killed by SIG(?!KILL)|ended with code|Traceback).*", running.log.read_text())
    with running.engine() as engine:
        wait_until(lambda: drained(engine), PATIENCE)
        assert not load.wrong
        assert load.troubles, "nobody noticed"
        received = check_events(engine, load)
        check_journeys(engine, load, received)
        check_counts(engine, load)


def drained(engine: sa.Engine) -> bool:
    """Whether all that was acknowledged is applied."""
    left = [sa.select(sa.func.count()).select_from(table).scalar_subquery() for table in (t.event_log, t.touches)]
    with engine.connect() as connection:
        return sum(connection.execute(sa.select(*left)).one()) == 0


def check_events(engine: sa.Engine, load: Load) -> dict[Identity, int]:
    """Each event is stored once, whole. Answers when they were received."""
    with engine.connect() as connection:
        rows = connection.execute(sa.select(t.events)).all()
        quarantined = connection.scalar(sa.select(sa.func.count()).select_from(t.quarantine))
    assert quarantined == 0
    found = Counter((row.source, row.event_id) for row in rows)
    assert load.acknowledged.keys() - found.keys() == set(), "acknowledged, and lost"
    assert found.keys() - load.sent.keys() == set(), "never sent"
    assert found.keys() == load.sent.keys(), "all was sent until it was acknowledged"
    assert set(found.values()) == {1}, "counted twice"
    assert len({row.event_no for row in rows}) == len(rows)
    assert all(row.body == load.sent[row.source, row.event_id] for row in rows)
    return {(row.source, row.event_id): to_us(row.received_at) for row in rows}


def check_journeys(engine: sa.Engine, load: Load, received: dict[Identity, int]) -> None:
    """The journeys, and what each event is about, are the oracle's for exactly the stored events."""
    by_world: dict[str, list[tuple[Wire, int]]] = {}
    for identity, wire in load.sent.items():
        by_world.setdefault(wire["id"].partition("_")[0], []).append((wire, received[identity]))
    wanted: dict[Any, Any] = {}
    about: Counter[Any] = Counter()
    for events in by_world.values():
        wanted |= expected(events)
        for event in Oracle(JOURNEYS, events).events:
            about.update((event["order"][1:], obj, obj in event["subjects"]) for obj in event["about"])
    assert len(by_world) > 50
    found = stored(engine, "")
    assert found.keys() == wanted.keys()
    assert {root: (found[root], journey) for root, journey in wanted.items() if found[root] != journey} == {}
    assert stored_about(engine) == about


def stored_about(engine: sa.Engine) -> Counter[Any]:
    """(source and id of the event, object, whether it is a subject), counted."""
    with engine.connect() as connection:
        names = {row.object_id: (row.type, row.namespace, row.key) for row in connection.execute(sa.select(t.objects))}
        names |= {row.object_id: ("correlation", "", row.key) for row in connection.execute(sa.select(t.correlations))}
        join = t.event_object.join(
            t.events,
            (t.events.c.event_no == t.event_object.c.event_no)
            & (t.events.c.received_at == t.event_object.c.received_at),
            isouter=True,
        )
        columns = (t.events.c.source, t.events.c.event_id, t.event_object.c.object_id, t.event_object.c.subject)
        rows = connection.execute(sa.select(*columns).select_from(join)).all()
    return Counter(((row.source, row.event_id), names[row.object_id], row.subject) for row in rows)


def check_counts(engine: sa.Engine, load: Load) -> None:
    """What was counted while recording is what is stored."""
    stats, minutes, hours = t.source_stats, t.source_minutes, t.volume_hours
    with engine.connect() as connection:
        totals = {row.source: row for row in connection.execute(sa.select(stats))}
        counted = (minutes.c.source, sa.func.sum(minutes.c.events), sa.func.sum(minutes.c.duplicates))
        by_minute = connection.execute(sa.select(*counted).group_by(minutes.c.source)).all()
        everything = sa.select(hours.c.source, sa.func.sum(hours.c.events)).where(hours.c.dimension == "")
        by_hour = connection.execute(everything.group_by(hours.c.source)).all()
    sent = Counter(source for source, _ in load.sent)
    assert {source: row.events for source, row in totals.items()} == sent
    assert {source: events for source, events, _ in by_minute} == sent
    assert dict(by_hour) == sent
    assert {source: row.duplicates for source, row in totals.items()} == {row[0]: row[2] for row in by_minute}
    assert all(row.conflicts == 0 for row in totals.values())
    for source, row in totals.items():  # a lost answer to a COMMIT makes one more
        repeated = sum(count for (name, _), count in load.acknowledged.items() if name == source)
        assert row.events + row.duplicates >= repeated
