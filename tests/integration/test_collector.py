"""The collector when things go wrong, and what it promises: an answer of 202 means stored."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from collector import intake, server
from collector.app import make_app
from collector.store import DatabaseStore
from milepost import settings
from milepost.auth import ApiKey
from milepost.catalog.schema import Catalog
from milepost.clock import utc_now
from milepost.db.embedded import EmbeddedPostgres
from milepost.db.schema import run_migrations
from milepost.db.tables import api_keys, event_log
from milepost.decisions import access
from milepost.errors import Unavailable
from tests.conftest import FAST
from tests.served import BATCH, SOURCE, Served, collector, make_keys, running, wait_until


def body(*ids: Any) -> bytes:
    events = [
        {"specversion": "1.0", "id": str(one), "source": SOURCE, "type": "a.b", "data": {"keys": {"order": "S1"}}}
        for one in ids
    ]
    return json.dumps(events).encode()


@pytest.fixture
def served(database: str) -> Iterator[Served]:
    with collector(database) as running_collector:
        yield running_collector


def metric(served: Served, name: str, **labels: str) -> float:
    text = served.client.get("/metrics").text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == f"milepost_collector_{name}" and labels.items() <= sample.labels.items():
                return sample.value
    raise AssertionError(f"no metric {name} {labels}")


@contextmanager
def locked(served: Served) -> Iterator[Callable[[], None]]:
    """Nobody can write to the log until the yielded function is called."""
    with served.engine.connect() as connection:
        connection.execute(sa.text("LOCK TABLE input.event_log IN ACCESS EXCLUSIVE MODE"))
        yield connection.rollback


class Sending:
    """Requests in the background, each in a thread."""

    def __init__(self, served: Served, bodies: list[bytes]) -> None:
        self._pool = ThreadPoolExecutor(len(bodies))
        self._answers = [self._pool.submit(served.send, one, BATCH) for one in bodies]

    def answers(self) -> list[httpx.Response]:
        return [answer.result(30) for answer in self._answers]


def waiting(served: Served, events: int) -> Callable[[], bool]:
    return lambda: metric(served, "queue_events") >= events


# --- group commit -----------------------------------------------------------------------------------------------------


def test_many_requests_share_a_commit(served: Served) -> None:
    with locked(served) as unlock:
        first = Sending(served, [body("first")])
        wait_until(lambda: blocked(served))
        others = Sending(served, [body(f"{number}-1", f"{number}-2") for number in range(20)])
        wait_until(waiting(served, 40))
        unlock()
    assert {answer.status_code for answer in (*first.answers(), *others.answers())} == {202}
    with served.engine.connect() as connection:
        sizes = connection.scalars(sa.select(event_log.c.events).order_by(event_log.c.seq)).all()
    assert list(sizes) == [1, 40]
    assert metric(served, "commit_events_count") == 2
    assert metric(served, "events_total", outcome="accepted") == 41


def blocked(served: Served) -> bool:
    """Whether a writer waits for a lock in this database."""
    with served.engine.connect() as connection:
        waits = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = 'milepost collector' AND wait_event_type = 'Lock'"
        )
        return bool(connection.scalar(sa.text(waits)))


def test_what_was_acknowledged_is_there(served: Served) -> None:
    for number in range(20):
        assert served.send(body(number), BATCH).status_code == 202
        with served.engine.connect() as connection:
            assert connection.scalar(sa.select(sa.func.sum(event_log.c.events))) == number + 1


def test_a_full_queue_answers_503_and_loses_nothing(database: str) -> None:
    with collector(database, limits=settings.Ingest(queue_events=10)) as served, locked(served) as unlock:
        first = Sending(served, [body("first")])
        wait_until(lambda: blocked(served))
        held = Sending(served, [body(*range(10))])
        wait_until(waiting(served, 10))
        refused = served.send(body("one too many"), BATCH)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        unlock()
        assert {answer.status_code for answer in (*first.answers(), *held.answers())} == {202}
        assert len(served.taken()) == 11


def test_a_batch_larger_than_a_group_is_one_group(database: str) -> None:
    with collector(database, limits=settings.Ingest(commit_events=3, queue_events=5)) as served:
        assert served.send(body(*range(10)), BATCH).json() == {"accepted": 10, "rejected": []}
        assert len(served.taken()) == 10


# --- the database goes away -------------------------------------------------------------------------------------------


def test_a_cut_connection_is_opened_again(served: Served) -> None:
    assert served.send(body(1), BATCH).status_code == 202
    with locked(served) as unlock:
        sending = Sending(served, [body(2)])
        wait_until(lambda: blocked(served))
        cut(served)
        answer = sending.answers()[0]
        unlock()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert answer.headers["content-type"] == "application/problem+json"
    wait_until(lambda: served.send(body(2), BATCH).status_code == 202)
    assert len(served.taken()) == 2


def cut(served: Served) -> None:
    with served.engine.connect() as connection:
        connection.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'milepost collector'"
            )
        )


def test_a_killed_server_costs_a_503_and_no_acknowledged_event(tmp_path: Path) -> None:
    settings_of_server = {**FAST, "fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
    with EmbeddedPostgres(tmp_path / "postgres", settings=settings_of_server) as postgres:
        run_migrations(postgres.url())
        with collector(postgres.url()) as served:
            assert served.send(body("before"), BATCH).status_code == 202
            crash(postgres)
            assert served.send(body("meanwhile"), BATCH).status_code == 503
            assert served.client.get("/readyz").status_code == 503
            assert served.client.get("/healthz").status_code == 200
            postgres.start()
            wait_until(lambda: served.send(body("after"), BATCH).status_code == 202)
            wait_until(lambda: served.client.get("/readyz").status_code == 200)
            assert [json.loads(entry.body)["id"] for entry in served.taken()] == ["before", "after"]


def crash(postgres: EmbeddedPostgres) -> None:
    """kill -9 of the postmaster, and wait until its processes are gone."""
    pid = postgres.server_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not postgres.running())


def test_it_starts_without_a_database_and_answers_503(database: str) -> None:
    nowhere = "postgresql://nobody@127.0.0.1:1/nothing"
    with collector(database, writes_to=nowhere) as served:
        answer = served.send(body(1), BATCH)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert metric(served, "database_up") == 0


def test_keys_that_cannot_be_looked_up_are_a_503() -> None:
    class Away:
        def find_key(self, key_id: str) -> ApiKey | None:
            raise Unavailable("database: gone")

        def key_ids(self) -> list[str]:
            raise Unavailable("database: gone")

        def touch_keys(self, used: Any) -> None:
            raise Unavailable("database: gone")

        def catalog(self) -> Catalog:
            raise Unavailable("database: gone")

        def count_refusals(self, tallies: Any) -> None:
            raise Unavailable("database: gone")

        def check_ready(self) -> None:
            raise Unavailable("database: gone")

    app = make_app(database_url="postgresql://nobody@127.0.0.1:1/nothing", store=Away())
    with running(app) as url:
        answer = httpx.post(f"{url}/v1/events", headers={"authorization": "Bearer mp_aa_bb"})
        assert (answer.status_code, answer.json()["detail"]) == (503, "database: gone")
        assert httpx.get(f"{url}/readyz").status_code == 503
        assert httpx.get(f"{url}/healthz").json() == {"status": "alive"}


def test_stopping_under_load_keeps_every_promise(database: str, engine: sa.Engine) -> None:
    app = make_app(database_url=database, store=DatabaseStore(engine))
    key = make_keys(engine)["north"]
    acknowledged: list[int] = []

    def send_until_it_stops(url: str) -> None:
        headers = {"authorization": f"Bearer {key}", "content-type": BATCH}
        with httpx.Client(base_url=url, headers=headers, timeout=30) as client:
            while True:
                try:
                    answer = client.post("/v1/events", content=body(len(acknowledged)))
                except httpx.TransportError:
                    return
                if answer.status_code != 202:
                    return
                acknowledged.append(1)

    with running(app) as url:
        sender = threading.Thread(target=send_until_it_stops, args=(url,))
        sender.start()
        wait_until(lambda: len(acknowledged) > 20)
    sender.join(30)
    with engine.connect() as connection:
        assert (connection.scalar(sa.select(sa.func.sum(event_log.c.events))) or 0) >= len(acknowledged)


# --- keys and rates ---------------------------------------------------------------------------------------------------


class Hands:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = utc_now()

    def __call__(self) -> datetime:
        return self.now


def test_a_revoked_key_stops_working_within_seconds(database: str) -> None:
    clock = Hands()
    with collector(database, clock=clock) as served:
        assert served.send(body(1), BATCH).status_code == 202
        with served.engine.begin() as connection:
            access.revoke_key(connection, served.keys["north"].split("_")[1], actor="test", now=clock())
        assert served.send(body(2), BATCH).status_code == 202, "remembered"
        clock.now += timedelta(seconds=6)
        assert served.send(body(3), BATCH).status_code == 401


def test_a_wrong_secret_is_refused_whatever_is_remembered(served: Served) -> None:
    assert served.send(body(1), BATCH).status_code == 202
    wrong = served.keys["north"][:-1] + ("0" if served.keys["north"][-1] != "0" else "1")
    assert served.send(body(2), BATCH, key="", headers={"x-api-key": wrong}).status_code == 401


def test_the_last_use_of_a_key_is_noted_at_the_latest_when_it_stops(database: str, engine: sa.Engine) -> None:
    clock = Hands()
    with collector(database, clock=clock) as served:
        served.send(body(1), BATCH)
    with engine.connect() as connection:
        rows = connection.execute(sa.select(api_keys.c.name, api_keys.c.last_used_at)).all()
    used = {row.name: row.last_used_at for row in rows}
    assert used["north"] == clock.now
    assert used["several"] is None


def test_one_key_sends_too_fast_and_the_others_are_not_affected(database: str) -> None:
    clock = Hands()
    with collector(database, clock=clock, limits=settings.Ingest(rate_per_key=10)) as served:
        assert served.send(body(*range(30)), BATCH).status_code == 202, "a request may overdraw once"
        answer = served.send(body(31), BATCH)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")
        assert answer.headers["content-type"] == "application/problem+json"
        assert served.send(body(32), BATCH, key="several").status_code == 202
        clock.now += timedelta(seconds=3)
        assert served.send(body(33), BATCH).status_code == 202


# --- slow senders -----------------------------------------------------------------------------------------------------


def connected(served: Served) -> socket.socket:
    address = urlsplit(served.url)
    return socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=10)


def said(served: Served, text: bytes) -> bytes:
    """What the server says to this and nothing more, until it closes the connection or has answered."""
    with connected(served) as connection:
        connection.sendall(text)
        return connection.recv(65536)


@pytest.mark.parametrize("head", [b"", b"POST /v1/events HTTP/1.1\r\nx: y"])
def test_a_head_that_never_ends_is_hung_up_on(served: Served, monkeypatch: pytest.MonkeyPatch, head: bytes) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.2)
    assert said(served, head) == b""


def test_a_body_that_never_ends_is_a_408(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "BODY_SECONDS", 0.2)
    head = (
        f"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: {BATCH}\r\nContent-Length: 9\r\n"
        f"Authorization: Bearer {served.keys['north']}\r\n\r\n["
    )
    assert said(served, head.encode()).startswith(b"HTTP/1.1 408 ")
    assert metric(served, "held_bytes") == 0


def test_a_sender_that_leaves_leaves_nothing_behind(served: Served) -> None:
    head = (
        f"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: {BATCH}\r\nContent-Length: 99\r\n"
        f"Authorization: Bearer {served.keys['north']}\r\n\r\n"
    )
    with connected(served) as connection:
        connection.sendall(head.encode() + b"[" * 50)
        wait_until(lambda: metric(served, "held_bytes") == 50)
    wait_until(lambda: metric(served, "held_bytes") == 0)


# --- operating --------------------------------------------------------------------------------------------------------


def test_ready_only_with_the_right_schema(databases: Any) -> None:
    with databases.fresh() as url, collector(url) as served:
        assert served.client.get("/readyz").json() == {"status": "ready"}
        with served.engine.begin() as connection:
            connection.execute(sa.text("UPDATE input.schema_version SET version_num = 'older'"))
        wait_until(lambda: served.client.get("/readyz").status_code == 503)


def test_metrics_count_events_by_outcome(served: Served) -> None:
    served.send(body(1, 2), BATCH)
    served.send(b'[{"type": ""}]')
    served.send(b'[{"type": "a.b", "source": "/x", "data": {"keys": {"order": "1"}}}]')
    assert metric(served, "events_total", outcome="accepted") == 2
    assert metric(served, "events_total", outcome="refused") == 1
    assert metric(served, "events_total", outcome="forbidden") == 1
    assert metric(served, "requests_total", status="202") == 1
    assert metric(served, "queue_events") == 0
    assert metric(served, "held_bytes") == 0
    assert metric(served, "database_up") == 1


def test_answers_tell_what_may_still_be_sent(database: str) -> None:
    clock = Hands()
    limits = settings.Ingest(rate_per_key=10, rates_of_keys="several=3")
    with collector(database, clock=clock, limits=limits) as served:
        answer = served.send(body(*range(30)), BATCH)
        assert answer.headers["ratelimit-policy"] == '"events";q=10;w=1;milepost-unit="event"'
        assert answer.headers["ratelimit"] == '"events";r=0;t=3'
        refused = served.send(body(31), BATCH)
        assert (refused.status_code, refused.headers["ratelimit"]) == (429, '"events";r=0;t=3')
        assert served.send(body(32), BATCH, key="several").headers["ratelimit"] == '"events";r=2;t=1'


def test_a_connection_too_many_is_turned_away(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    served.client.get("/healthz")
    monkeypatch.setattr(server.Protocol, "max_connections", 1)
    with connected(served) as connection:
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1\r\n" in answer
    assert served.client.get("/healthz").status_code == 200
