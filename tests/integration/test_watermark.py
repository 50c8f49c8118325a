"""No clock is judged beyond what every collector has vouched for."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from collector.app import make_app
from collector.store import DatabaseStore
from milepost.clock import Steady, to_us, utc_now
from milepost.db.engine import make_engine
from milepost.db.tables import breaches, clocks, heartbeats, journeys, signals
from milepost.inbox import heartbeats as reports
from milepost.inbox.watermark import PATIENCE, SETTLE, Watermark
from milepost.wiring.collectors import LostCollectors
from tests.chain import Chain, entry
from tests.integration.faults.proxy import Proxy
from tests.integration.test_sla_clocks import World
from tests.served import SOURCE, Served, make_keys, running, wait_until

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Hands:
    """Clocks that are moved by hand, together."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.seconds = 0.0

    def __call__(self) -> datetime:
        return self.now

    def monotonic(self) -> float:
        return self.seconds

    def move(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.seconds += seconds


def vouch(engine: sa.Engine, name: str, through: datetime, oldest: datetime | None = None) -> None:
    with engine.begin() as connection:
        process, at, detail = reports.vouched(name, through, oldest, {})
        connection.exec_driver_sql(reports.VOUCH_SQL, (process, at, detail))


def read(engine: sa.Engine, watermark: Watermark, now: datetime) -> datetime:
    with engine.connect() as connection:
        return watermark.read(connection, now).through


def test_the_oldest_of_log_reports_and_spools_holds_it(engine: sa.Engine) -> None:
    watermark = Watermark()
    assert read(engine, watermark, NOW) == NOW - SETTLE
    vouch(engine, "a", NOW - MINUTE)
    assert read(engine, watermark, NOW) == NOW - MINUTE
    vouch(engine, "a", NOW)
    assert read(engine, watermark, NOW) == NOW - SETTLE
    vouch(engine, "b", NOW, oldest=NOW - 5 * MINUTE)
    assert read(engine, watermark, NOW) == NOW - 5 * MINUTE
    chain = Chain(engine)
    wire = {"specversion": "1.0", "id": "1", "source": "erp", "type": "a.b", "data": {"keys": {"order": "1"}}}
    chain.append([entry(wire, to_us(NOW - 9 * MINUTE))])
    assert read(engine, watermark, NOW) == NOW - 9 * MINUTE


def test_a_clock_that_runs_ahead_vouches_for_nothing_to_come(engine: sa.Engine) -> None:
    vouch(engine, "a", utc_now() + timedelta(days=1))
    assert read(engine, Watermark(), utc_now() + timedelta(days=2)) <= utc_now()


def test_a_collector_that_is_gone_is_waited_for_but_not_for_ever(engine: sa.Engine) -> None:
    hands = Hands(NOW)
    watermark, told = Watermark(patience=20, monotonic=hands.monotonic), LostCollectors()

    def ask() -> datetime:
        with engine.begin() as connection:
            known = watermark.read(connection, hands.now)
            told.tell(connection, known, hands.now)
        return known.through

    def said() -> list[str]:
        with engine.connect() as connection:
            return list(connection.scalars(sa.select(signals.c.action).order_by(signals.c.signal_id)))

    vouch(engine, "a", NOW)
    ask()
    hands.move(3600)  # nobody could ask: the database was away
    assert ask() == NOW
    for _ in range(3):
        hands.move(4)
        assert ask() == NOW
    assert said() == []
    for _ in range(2):
        hands.move(4)
        ask()
    assert ask() == hands.now - SETTLE
    assert said() == ["raise"]
    vouch(engine, "a", hands.now - MINUTE)
    assert ask() == hands.now - MINUTE, "it is back, and counts again"


def test_ten_minutes_without_a_database_raise_no_false_alarm(database: str, engine: sa.Engine, tmp_path: Path) -> None:
    """The worst case: only the collector has lost the database, orders go on coming in, and whoever judges goes on.

    Every order is confirmed in time, by an event that waits in the spool; but for one, which nobody confirms.
    """
    assert PATIENCE > 600
    hands = Hands(utc_now() - timedelta(hours=2))
    policy = {"name": "confirmed", "kind": "between", "start": "received", "end": "confirmed", "within": "5m"}
    world, watermark = World(engine, {**policy, "warn_at": None}), Watermark(monotonic=hands.monotonic)

    def judge() -> int:
        world.chain.settle()
        return world.check(hands.now, read(engine, watermark, hands.now))

    lookups = make_engine(database, application_name="test collector")
    with Proxy(database) as proxy:
        app = make_app(database_url=proxy.url, store=DatabaseStore(lookups), clock=hands, spool_dir=tmp_path / "spool")
        with running(app) as url, httpx.Client(base_url=url, timeout=30) as client:
            served = Served(url, engine, client, make_keys(engine))
            wait_until(lambda: reported(engine))
            assert send(served, "order.received", [f"A{number}" for number in range(100)], hands.now) == 202
            assert judge() == 0
            hands.move(1)
            proxy.cut()
            wait_until(lambda: client.get("/readyz").json()["status"] == "spooling")
            for step in range(20):
                hands.move(30)
                first = step * 12
                done = [f"A{number}" for number in range(first, min(first + 12, 100)) if number != 13]
                new = [f"N{step}-{number}" for number in range(8)] if step < 19 else []
                done += [f"N{step - 1}-{number}" for number in range(8)] if step else []
                assert send(served, "order.confirmed", done, hands.now) == 202
                assert not new or send(served, "order.received", new, hands.now) == 202
                assert judge() == 0
            proxy.mend()
            wait_until(lambda: client.get("/readyz").json()["status"] == "ready")
            found = judge()
            wait_until(lambda: read(engine, watermark, hands.now) >= hands.now - SETTLE)
            hands.move(3600)
            wait_until(lambda: read(engine, watermark, hands.now) >= hands.now - SETTLE)
            assert found + judge() == 1
    lookups.dispose()
    with engine.connect() as connection:
        assert connection.execute(
            sa.select(journeys.c.key).join(breaches, journeys.c.journey_id == breaches.c.journey_id)
        ).all() == [("A13",)]
        assert connection.scalar(sa.select(sa.func.count()).select_from(clocks)) == 100 + 19 * 8


def reported(engine: sa.Engine) -> bool:
    with engine.connect() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(heartbeats)) == 1


def send(served: Served, kind: str, orders: list[str], at: datetime) -> int:
    event = {"specversion": "1.0", "source": SOURCE, "type": kind, "time": at.isoformat()}
    batch = [{**event, "id": f"{kind} {order}", "data": {"keys": {"order": order}}} for order in orders]
    return served.send(json.dumps(batch).encode()).status_code


@pytest.mark.parametrize("back", [1, 59])
def test_receive_times_do_not_go_back_a_little(back: int) -> None:
    hands = Hands(NOW)
    clock = Steady(hands)
    hands.now = NOW + MINUTE
    assert clock() == NOW + MINUTE
    hands.now -= timedelta(seconds=back)
    assert clock() == NOW + MINUTE
    hands.now += timedelta(seconds=back + 1)
    assert clock() == NOW + MINUTE + timedelta(seconds=1)


def test_a_clock_that_was_far_ahead_is_set_right() -> None:
    hands = Hands(NOW + timedelta(days=1))
    clock = Steady(hands)
    hands.now = NOW
    assert clock() == NOW
