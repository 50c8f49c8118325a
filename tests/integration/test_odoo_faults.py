"""One record, clock, company or burst of jobs that is not as it should be costs the rest of Odoo nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from collector.odoo import mapping, reader, watch
from milepost.db.tables import quarantine
from tests.integration.test_odoo_poller import World, confirmed, world

__all__ = ["world"]


def held(world: World) -> list[Any]:
    with world.engine.connect() as connection:
        return list(connection.execute(sa.select(quarantine).order_by(quarantine.c.quarantine_id)))


def received(world: World) -> dict[str, str]:
    """{order: time}"""
    return {
        event["data"]["keys"]["order"]: event["time"] for event in world.events() if event["type"] == "order.received"
    }


def test_records_without_their_stamps_among_history(world: World) -> None:
    """As migrations put them in, by SQL."""
    confirmed(world.odoo, "S1")
    dated, undated = world.odoo.order("S2", date_order="2025-01-02 03:04:05"), world.odoo.order("S3", date_order=False)
    for row in (dated, undated):
        row.update(create_date=False, write_date=False)
    confirmed(world.odoo, "S4")
    world.go(hours=3)
    result = world.poller().step()
    assert (result.error, result.complete) == (None, True)
    times = received(world)
    assert times.keys() == {"S1", "S2", "S4"}
    assert times["S2"] == "2025-01-02T03:04:05Z"
    told = {row.event_id.partition("@")[0] for row in held(world)}
    assert told == {f"sale.order/{undated['id']}/created", f"sale.order/{undated['id']}"}


def test_a_sum_beyond_measure_stands_as_it_is(world: World) -> None:
    world.odoo.order("S1")["amount_total"] = 1e25
    world.odoo.order("S2")
    assert world.poller().step().error is None
    amounts = [event["data"]["attributes"]["amount"] for event in world.events() if event["type"] == "order.updated"]
    assert amounts == ["1e+25", "10.00"]


@pytest.mark.parametrize("old", [True, False], ids=["history", "news"])
def test_a_record_that_nobody_thought_of_costs_itself(world: World, monkeypatch: pytest.MonkeyPatch, old: bool) -> None:
    poller = world.poller()
    if not old:
        poller.step()
    first, bad, last = (confirmed(world.odoo, name) for name in ("S1", "S2", "S3"))
    real = mapping.updated

    def updated(model: str, row: Any, *rest: Any) -> Any:
        return real(model, {**row, "name": row["name"] / 2} if row["name"] == "S2" else row, *rest)

    monkeypatch.setattr(mapping, "updated", updated)
    world.go(hours=3 if old else 0, minutes=1)
    for _ in range(2):
        assert poller.step().error is None
        world.go(minutes=1)
    assert received(world).keys() == {first["name"], last["name"]}
    (row,) = held(world)
    assert (row.event_id, row.reason.partition(":")[0]) == (f"sale.order/{bad['id']}", "sale.order")
    assert b'"S2"' in row.body


def test_what_ends_a_poll_unexpectedly_is_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    poller = world.poller()
    monkeypatch.setattr(type(poller._reader), "names", lambda *_: 1 / 0)
    world.odoo.order("S1")
    with pytest.raises(ZeroDivisionError):
        poller.step()
    row = world.row()
    assert (row.error, row.failing_since) == ("ZeroDivisionError: division by zero", world.clock())


def test_a_clock_that_was_ahead_keeps_nobody_waiting(world: World) -> None:
    now = world.clock()
    world.stop()
    world.odoo.now = now + timedelta(days=400)
    assert world.poller().step().error
    world.odoo.now = now
    world.start()
    result = world.poller().step()
    assert (result.waiting, result.error) == (False, None)
    assert world.row().failing_since is None


def test_many_records_that_may_no_longer_be_read_take_turns(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "HALVINGS", 10)
    rows = [world.odoo.order(f"S{number:02}") for number in range(20)]
    poller = world.poller()
    poller.step()
    gone = rows.pop()
    world.odoo.tables["sale.order"].remove(gone)
    world.odoo.hidden |= {row["id"] for row in rows[:18]}
    calls = []
    for _ in range(30):
        world.go(seconds=15)
        result = poller.step()
        assert result.error is None
        calls.append(result.calls)
    (event,) = (event for event in world.events() if event["type"] == "order.cancelled")
    assert event["data"]["keys"] == {"order": gone["name"]}
    # one more asks which can be seen, and every ten minutes 11 ask what there is to read
    assert max(calls[:20]) <= 4 + 1 + 10
    assert calls[-1] <= 5


def test_more_failed_jobs_than_one_turn_follows(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "REMEMBERED", 4)
    world.odoo.tables["queue.job"] = []
    empty = dict.fromkeys(("date_enqueued", "date_cancelled", "exc_name", "exc_message", "exc_info"), False)
    stamp = world.odoo.stamp()
    jobs = [
        world.odoo.add("queue.job", uuid=f"u{number}", state="failed", date_created=stamp, date_started=stamp, **empty)
        for number in range(10)
    ]
    poller = world.poller()

    def turns(count: int) -> None:
        for _ in range(count):
            assert poller.step().error is None
            world.go(seconds=15)

    turns(1 + 3 * 6)
    assert world.told() == {"message.failed": 10}
    for job in jobs:
        job.update(state="done", date_done=world.odoo.stamp())
    turns(4 * 6)
    assert world.told() == {"message.failed": 10, "message.delivered": 10}
