"""The poller against a small Odoo that can be stopped, raced and forbidden: nothing is lost, nothing told twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
import sqlalchemy as sa

from collector.odoo.poll import Poller, PollResult
from milepost import settings
from milepost.clock import utc_now
from milepost.db.tables import event_log, pollers
from milepost.errors import ConfigurationError
from milepost.inbox import log
from milepost.inbox.log import decode_batch
from tests.integration.fake_odoo import PASSWORD, FakeOdoo, serving


class World:
    """An Odoo, Milepost's database, and a clock that both share."""

    def __init__(self, engine: sa.Engine, stack: ExitStack) -> None:
        self.engine, self.odoo = engine, FakeOdoo()
        self._stack = stack
        self.url = ""
        self.start()

    def start(self) -> None:
        port = int(self.url.rpartition(":")[2]) if self.url else 0
        self._serving = ExitStack()
        self._stack.push(self._serving)
        self.url = self._serving.enter_context(serving(self.odoo, port))

    def stop(self) -> None:
        self._serving.close()

    def clock(self) -> datetime:
        return self.odoo.now

    def options(self, **changes: Any) -> settings.Odoo:
        plain = {"odoo_database": "shop", "odoo_user": "milepost", "odoo_password": PASSWORD, "odoo_page": 3}
        plain |= {"odoo_rate": 1e6}
        return settings.Odoo(**{"odoo_url": self.url, **plain, **changes})

    def poller(self, **changes: Any) -> Poller:
        return Poller(self.engine, self.options(**changes), self.clock)

    def go(self, **span: float) -> None:
        self.odoo.now += timedelta(**span)

    def events(self) -> list[dict[str, Any]]:
        with self.engine.connect() as connection:
            payloads = connection.scalars(sa.select(event_log.c.payload).order_by(event_log.c.seq)).all()
        return [json.loads(entry.body) for payload in payloads for entry in decode_batch(payload)]

    def told(self) -> Counter[str]:
        """How often each type was told; every id only once."""
        events = self.events()
        assert len({event["id"] for event in events}) == len(events)
        return Counter(event["type"] for event in events)

    def row(self) -> Any:
        with self.engine.connect() as connection:
            return connection.execute(sa.select(pollers)).one()


@pytest.fixture
def world(engine: sa.Engine) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(engine, stack)


def confirmed(odoo: FakeOdoo, name: str) -> dict[str, Any]:
    """An order that is made and, a minute later, confirmed."""
    row = odoo.order(name)
    odoo.now += timedelta(minutes=1)
    odoo.track("sale.order", row, "state", "draft", "sale")
    return row


def test_history_and_news(world: World) -> None:
    for number in range(8):
        confirmed(world.odoo, f"S{number:05}")
    poller = world.poller()
    assert poller.step().complete
    assert world.told() == {"order.received": 8, "order.confirmed": 8, "order.updated": 8}
    world.go(seconds=15)
    row = confirmed(world.odoo, "S00100")
    result = poller.step()
    assert (result.events, result.rejected, result.error) == (3, 0, None)
    times = {event["type"]: event["time"] for event in world.events() if event["data"]["keys"]["order"] == "S00100"}
    assert times["order.received"] == row["create_date"].replace(" ", "T") + "Z"
    assert times["order.confirmed"] == row["write_date"].replace(" ", "T") + "Z"


def test_an_idle_poll_costs_four_calls_and_writes_no_event(world: World) -> None:
    """With everything there is: open records to look after, a queue, exchanges."""
    confirmed(world.odoo, "S00001")
    world.odoo.order("S00002")
    world.odoo.tables |= {"queue.job": [], "edi.exchange.record": [], "account.edi.document": []}
    poller = world.poller()
    for _ in range(4):
        poller.step()
        world.go(seconds=15)
    before = len(world.events())
    results = []
    for _ in range(14):  # everything has had two turns
        results.append(poller.step())
        world.go(seconds=15)
    assert [result.calls for result in results] == [4] * 14
    assert len(world.events()) == before


def test_nothing_is_told_again_hours_later(world: World) -> None:
    row = confirmed(world.odoo, "S00001")
    poller = world.poller()
    poller.step()
    world.go(hours=5)
    poller.step()
    world.go(hours=5)
    world.odoo.write(row, amount_total=20.0)
    poller.step()
    world.go(seconds=15)
    poller.step()
    assert world.told() == {"order.received": 1, "order.confirmed": 1, "order.updated": 2}


def test_a_write_that_changes_nothing_told_is_silent(world: World) -> None:
    row = confirmed(world.odoo, "S00001")
    poller = world.poller()
    poller.step()
    world.go(seconds=15)
    world.odoo.write(row, note="called the customer")
    assert poller.step().events == 0


def test_two_writes_within_the_same_second(world: World) -> None:
    row = confirmed(world.odoo, "S00001")
    poller = world.poller()
    poller.step()
    world.odoo.write(row, amount_total=30.0)
    world.go(seconds=15)
    poller.step()
    amounts = [event["data"]["attributes"]["amount"] for event in world.events() if event["type"] == "order.updated"]
    assert amounts == ["10.00", "30.00"]


def test_a_thousand_rows_of_one_second_are_paged_through(world: World) -> None:
    world.poller().step()
    for number in range(1, 100):
        world.odoo.order(f"S{number:05}")
    world.poller().step()
    assert world.told() == {"order.received": 99, "order.updated": 99}


def test_a_slow_transaction_that_commits_behind_the_cursor(world: World) -> None:
    """Its rows carry older ids and times than rows that were read before."""
    slow = world.odoo.order("S00001")
    slow_change = world.odoo.track("sale.order", slow, "state", "draft", "sale")
    for model, row in (("sale.order", slow), ("mail.tracking.value", slow_change)):
        world.odoo.tables[model].remove(row)
    world.go(minutes=5)
    confirmed(world.odoo, "S00002")
    poller = world.poller()
    poller.step()
    world.go(minutes=5)
    poller.step()
    world.odoo.tables["sale.order"].append(slow)
    world.odoo.tables["mail.tracking.value"].append(slow_change)
    world.go(seconds=15)
    poller.step()
    poller.step()
    assert world.told() == {"order.received": 2, "order.confirmed": 2, "order.updated": 2}


def test_odoo_stopped_and_started_again(world: World) -> None:
    row = confirmed(world.odoo, "S00001")
    poller = world.poller()
    poller.step()
    world.stop()
    world.go(seconds=15)
    assert "refused" in (poller.step().error or "")
    failing_since = world.row().failing_since
    assert failing_since == world.clock()
    world.go(seconds=15)
    poller.step()
    assert (world.row().failing_since, "refused" in world.row().error) == (failing_since, True)
    world.odoo.track("sale.order", row, "state", "sale", "cancel")
    world.start()
    world.go(seconds=60)
    assert poller.step().error is None
    assert (world.row().failing_since, world.row().error) == (None, None)
    assert world.told() == {"order.received": 1, "order.confirmed": 1, "order.cancelled": 1, "order.updated": 2}


def test_attempts_grow_rarer_while_odoo_is_away(world: World) -> None:
    poller = world.poller()
    world.stop()
    attempts = []
    for second in range(0, 600, 15):
        if not poller.step().waiting:
            attempts.append(second)
        world.go(seconds=15)
    gaps = [later - former for former, later in pairwise(attempts)]
    assert gaps[0] == 15
    assert max(gaps) == gaps[-1] == 60


@pytest.mark.parametrize("crash_at", range(1, 9))
def test_a_crash_in_the_middle_loses_and_doubles_nothing(
    world: World, crash_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies while it stores its n-th batch; the next one goes on from the stored cursor."""
    for number in range(7):
        confirmed(world.odoo, f"S{number:05}")
    append, calls = log.append, iter(range(1, 1000))

    def dying(connection: sa.Connection, entries: Any) -> None:
        append(connection, entries)
        if next(calls) == crash_at:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(log, "append", dying)
        with suppress(KeyboardInterrupt):
            world.poller().step()
    for _ in range(3):
        world.poller().step()
    assert world.told() == {"order.received": 7, "order.confirmed": 7, "order.updated": 7}


def test_two_pollers_at_once_store_everything_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(7):
        confirmed(world.odoo, f"S{number:05}")
    first, second = world.poller(), world.poller()
    original = Poller._write

    def overtaken(self: Poller, *args: Any) -> Any:
        if self is first:
            monkeypatch.setattr(Poller, "_write", original)
            second.step()
        return original(self, *args)

    monkeypatch.setattr(Poller, "_write", overtaken)
    assert "another process" in (first.step().error or "")
    assert first.step() is not None
    assert world.told() == {"order.received": 7, "order.confirmed": 7, "order.updated": 7}


def test_a_poll_ends_after_an_interval_and_the_next_goes_on(world: World) -> None:
    for number in range(20):
        confirmed(world.odoo, f"S{number:05}")
    world.go(days=1)
    readings = iter(range(10_000))

    def running() -> datetime:
        return world.clock() + timedelta(seconds=next(readings))

    poller = Poller(world.engine, world.options(), running)
    results: list[PollResult] = []
    while not results or not results[-1].complete:
        results.append(poller.step())
    assert len(results) > 2
    assert world.told() == {"order.received": 20, "order.confirmed": 20, "order.updated": 20}


def test_what_may_not_be_read_is_said_and_the_rest_goes_on(world: World) -> None:
    confirmed(world.odoo, "S00001")
    world.odoo.denied.add("account.move")
    del world.odoo.tables["purchase.order"]
    result = world.poller().step()
    assert set(result.problems) == {
        "account.move: You are not allowed to access 'account.move' records.",
        "purchase.order: Object purchase.order doesn't exist",
    }
    assert "account.move" in world.row().error
    assert world.row().failing_since is None
    assert world.told()["order.confirmed"] == 1


@pytest.mark.parametrize("model", ["mail.tracking.value", "ir.model.fields"])
def test_without_the_state_history_it_waits_and_loses_nothing(world: World, model: str) -> None:
    confirmed(world.odoo, "S00001")
    world.odoo.denied.add(model)
    poller = world.poller()
    assert "state history" in (poller.step().error or "")
    world.odoo.denied.clear()
    poller.step()
    assert world.told() == {"order.received": 1, "order.confirmed": 1, "order.updated": 1}


def test_a_wrong_password_is_said(world: World) -> None:
    result = world.poller(odoo_password="guess").step()
    assert "wrong user or password" in (result.error or "")
    assert "guess" not in (result.error or "")


def test_another_database_needs_another_source(world: World) -> None:
    confirmed(world.odoo, "S00001")
    world.poller().step()
    assert "MILEPOST_ODOO_SOURCE" in (world.poller(odoo_database="other").step().error or "")


@pytest.mark.parametrize("url", ["odoo.example.org", "ftp://odoo", "http://odoo:port", "https://odoo/path", ""])
def test_an_address_that_cant_be_used(world: World, url: str) -> None:
    with pytest.raises(ConfigurationError, match="MILEPOST_ODOO_URL"):
        world.poller(odoo_url=url)


def test_states_are_known_in_any_active_language(world: World) -> None:
    world.odoo.languages["de_DE"] = {"Sales Order": "Verkaufsauftrag", "Quotation": "Angebot"}
    world.odoo.tables["res.lang"].append({"id": 2, "code": "de_DE", "active": True})
    row = world.odoo.order("S00001")
    value = world.odoo.track("sale.order", row, "state", "draft", "sale")
    value |= {"old_value_char": "Angebot", "new_value_char": "Verkaufsauftrag"}
    world.poller().step()
    assert world.told()["order.confirmed"] == 1


def test_a_state_that_nobody_knows_is_said(world: World) -> None:
    row = world.odoo.order("S00001")
    world.odoo.track("sale.order", row, "state", "draft", "Waiting for the moon")
    result = world.poller().step()
    assert '"Waiting for the moon" is no state' in result.problems[0]
    assert world.told()["order.received"] == 1


def test_something_that_is_no_odoo(engine: sa.Engine) -> None:
    odoo = FakeOdoo()
    odoo.answer = lambda path, params: "hello"  # type: ignore[method-assign]
    with serving(odoo) as url:
        options = settings.Odoo(odoo_url=url, odoo_database="shop", odoo_user="m", odoo_password="p")
        assert "not an answer of Odoo" in (Poller(engine, options, utc_now).step().error or "")
