"""A collector with a spool while its database is away, and afterwards."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import msgspec
import pytest
import sqlalchemy as sa

from collector import drain
from collector.app import make_app
from collector.spool import Record, Spool
from collector.store import DatabaseStore
from milepost import settings
from milepost.clock import to_us, utc_now
from milepost.db.engine import make_engine
from milepost.db.tables import heartbeats
from milepost.decisions import access
from milepost.inbox import log
from tests.chain import entry
from tests.integration.faults.proxy import Proxy
from tests.integration.test_collector import Hands, body, metric
from tests.integration.test_watermark import vouch
from tests.served import BATCH, SOURCE, Served, make_keys, running, wait_until

LIMITS = settings.Ingest(spool_bytes=20_000)


@dataclass
class Outage:
    """A collector whose every way to the database leads through `proxy`."""

    served: Served
    proxy: Proxy
    clock: Hands

    def begin(self) -> None:
        self.proxy.cut()
        wait_until(lambda: self.status() == "spooling")

    def end(self) -> None:
        self.proxy.mend()
        wait_until(lambda: self.status() == "ready")

    def status(self) -> str:
        return str(self.served.client.get("/readyz").json()["status"])


@contextmanager
def collecting(database: str, folder: Path, status: str = "ready") -> Iterator[Outage]:
    clock = Hands()
    direct = make_engine(database, application_name="test")
    with Proxy(database) as proxy:
        lookups = make_engine(proxy.url, application_name="test collector")
        store = DatabaseStore(lookups)
        app = make_app(database_url=proxy.url, store=store, limits=LIMITS, clock=clock, spool_dir=folder)
        with running(app) as url, httpx.Client(base_url=url, timeout=30) as client:
            made = Outage(Served(url, direct, client, make_keys(direct)), proxy, clock)
            wait_until(lambda: made.served.send(body("first"), BATCH).status_code == 202)
            wait_until(lambda: made.status() == status)
            yield made
        lookups.dispose()
    direct.dispose()


@pytest.fixture
def outage(database: str, tmp_path: Path) -> Iterator[Outage]:
    with collecting(database, tmp_path / "spool") as made:
        yield made


def test_events_and_refusals_outlive_it_with_their_first_receive_time(outage: Outage) -> None:
    served = outage.served
    outage.begin()
    at = outage.clock.now
    answer = served.send(b'[{"type": "a.b", "id": "7", "data": {"keys": {"order": "S1"}}}, {"type": ""}]')
    assert (answer.status_code, answer.json()["accepted"]) == (202, 1)
    assert metric(served, "spool_events") == 2
    outage.clock.now += timedelta(minutes=5)
    outage.end()
    first, spooled = served.taken()
    assert (first.received_us, spooled.received_us) == (to_us(at), to_us(at))
    (refused,) = served.quarantined()
    assert (refused["received_at"], refused["body"]) == (at, b'{"type": ""}')
    assert (metric(served, "spooled_total"), metric(served, "drained_total")) == (2, 2)


def test_known_keys_are_believed_for_a_day_and_strangers_are_not(outage: Outage) -> None:
    served, clock = outage.served, outage.clock
    outage.begin()
    with served.engine.begin() as connection:
        access.revoke_key(connection, served.keys["north"].split("_")[1], actor="test", now=utc_now())
    clock.now += timedelta(hours=23)
    assert served.send(body(1), BATCH).status_code == 202
    assert served.send(body(2), BATCH, key="several").status_code == 503
    wrong = served.keys["north"][:-1] + ("0" if served.keys["north"][-1] != "0" else "1")
    assert served.send(body(3), BATCH, key="", headers={"x-api-key": wrong}).status_code == 401
    clock.now += timedelta(hours=2)
    assert served.send(body(4), BATCH).status_code == 503
    outage.end()
    clock.now += timedelta(seconds=6)
    wait_until(lambda: served.send(body(5), BATCH).status_code == 401)
    assert len(served.taken()) == 2


def test_a_full_spool_answers_503_until_there_is_room(outage: Outage) -> None:
    served = outage.served
    outage.begin()
    statuses = set()
    for number in range(200):
        answer = served.send(large(number), BATCH)
        statuses.add(answer.status_code)
        if answer.status_code == 503:
            break
    assert statuses == {202, 503}
    assert answer.headers["retry-after"] == "10"
    outage.end()
    wait_until(lambda: served.send(large(number), BATCH).status_code == 202)
    assert len({one.identity for one in served.taken()}) == number + 2


def large(number: int) -> bytes:
    noise = "".join(f"{(number * 7919 + place * 104729) % 999983:06d}" for place in range(150))
    return body(number).replace(b'"keys"', f'"attributes": {{"noise": "{noise}"}}, "keys"'.encode())


def test_what_can_not_be_stored_holds_up_nothing(database: str, tmp_path: Path) -> None:
    root = tmp_path / "spool"
    left = Spool(root, 10**6)
    left.open()
    left.append([batch("before"), Record(b"R", 1, 0, poison()), batch("behind")])
    left.append([batch("damaged")])
    folder = left.folder
    left.close()
    (segment,) = folder.glob("*.spool")
    data = segment.read_bytes()
    segment.write_bytes(data[:-40] + bytes([data[-40] ^ 1]) + data[-39:])
    with collecting(database, root) as outage:
        wait_until(lambda: outage.status() == "ready")
        assert {json.loads(one.body)["id"] for one in outage.served.taken()} == {"before", "behind", "first"}
        assert metric(outage.served, "spool_damaged_total") == 2
    assert len(list(folder.glob("*.aside"))) == 2


def test_a_spool_that_can_not_be_deleted_is_stored_once_and_stops_nobody(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    left = Spool(tmp_path, 10**6)
    left.open()
    left.append([batch("before")])
    left.close()
    with monkeypatch.context() as patched:
        patched.setattr(Spool, "done", refuse)
        with collecting(database, tmp_path, "draining") as outage:
            assert outage.served.send(body("new"), BATCH).status_code == 202
            stored: list[str] = []

            def all_there() -> bool:
                stored.extend(json.loads(one.body)["id"] for one in outage.served.taken())
                return len(stored) >= 3

            wait_until(all_there)
            assert sorted(stored) == ["before", "first", "new"]
            patched.undo()
            wait_until(lambda: outage.status() == "ready")
            assert outage.served.taken() == []


def test_the_spool_of_a_collector_that_died_is_adopted(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain, "ADOPT_SECONDS", 0.1)
    with collecting(database, tmp_path) as outage:
        dead = Spool(tmp_path, 10**6)
        dead.open()
        dead.append([batch("left behind")])
        vouch(outage.served.engine, dead.name, utc_now())
        dead.close()
        wait_until(lambda: metric(outage.served, "drained_total") == 1)
        assert {json.loads(one.body)["id"] for one in outage.served.taken()} == {"first", "left behind"}
        wait_until(lambda: reports(outage.served.engine) == 1)


def reports(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(heartbeats)) or 0


def batch(number: str) -> Record:
    event = {"specversion": "1.0", "id": number, "source": SOURCE, "type": "a.b", "data": {"keys": {"order": "S1"}}}
    oldest, events, payload = log.row([entry(event, to_us(utc_now() - timedelta(hours=1)))])
    return Record(b"E", events, to_us(oldest), payload)


def poison() -> bytes:
    """A refusal that nobody can read."""
    return msgspec.msgpack.encode(
        [{"received_at": datetime(2026, 1, 1).astimezone(), "source": "", "kind": None, "reason": "x"}]
    )
