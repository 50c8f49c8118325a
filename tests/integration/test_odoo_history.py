"""History beside following, deletions and missing rights, against a small Odoo: everything once, whatever the order."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner, Result

from collector.odoo.backfill import Backfill, Hours, parse_since
from collector.odoo.check import findings
from collector.odoo.client import Client
from collector.odoo.source import Source
from milepost.cli import app
from milepost.db.tables import polled_records
from milepost.errors import ConfigurationError, Conflict
from tests.integration.test_odoo_poller import World, confirmed, world

__all__ = ["world"]
NIGHT = "20:00-06:00"  # the small Odoo's day begins at ten in the morning


def source(world: World, **changes: Any) -> Source:
    return Source(world.engine, world.options(**changes), world.clock, pause=lambda _: None)


def read_all(world: World, since: str | None = None, models: list[str] | None = None) -> int:
    return Backfill(source(world)).run(lambda *_: None, since=since, models=models or [])


def old_orders(world: World, count: int) -> list[dict[str, Any]]:
    """Confirmed an hour after each other; the last one yesterday."""
    made = []
    world.go(hours=-24 - count)
    for number in range(count):
        made.append(confirmed(world.odoo, f"S{number:05}"))
        world.go(hours=1)
    world.go(hours=24)
    return made


def names(world: World, event_type: str) -> list[str]:
    return [event["data"]["keys"]["order"] for event in world.events() if event["type"] == event_type]


def test_what_is_new_does_not_wait_for_history(world: World) -> None:
    old_orders(world, 7)
    row = confirmed(world.odoo, "S00100")
    world.odoo.order("S00101")
    poller = world.poller(odoo_backfill_hours=NIGHT)
    assert poller.step().complete
    assert names(world, "order.received") == ["S00100", "S00101"]
    assert names(world, "order.confirmed") == [row["name"]]
    world.go(hours=11)
    poller.step()
    assert names(world, "order.received")[2:] == [f"S{number:05}" for number in reversed(range(7))]
    assert world.told() == {"order.received": 9, "order.confirmed": 8, "order.updated": 9}


def test_an_old_record_that_changes_before_its_history_is_read(world: World) -> None:
    """The poller tells the change and how it is now, the history what was before; nothing twice."""
    first, *_ = old_orders(world, 4)
    poller = world.poller(odoo_backfill_hours=NIGHT)
    poller.step()
    world.odoo.track("sale.order", first, "state", "sale", "cancel")
    world.go(seconds=15)
    poller.step()
    assert world.told() == {"order.cancelled": 1, "order.updated": 1}
    read_all(world)
    expected = {"order.received": 4, "order.confirmed": 4, "order.cancelled": 1, "order.updated": 4}
    assert world.told() == expected
    assert read_all(world) == 0


def test_history_since_a_day_and_then_further_back(world: World) -> None:
    old_orders(world, 40)
    since = parse_since((world.clock() - timedelta(days=2)).date().isoformat())
    recent = [row for row in world.odoo.tables["sale.order"] if row["write_date"] >= since]
    assert 0 < len(recent) < 40
    read_all(world, since)
    assert world.told()["order.received"] == len(recent)
    assert read_all(world, since) == 0
    read_all(world, "")
    assert world.told() == {"order.received": 40, "order.confirmed": 40, "order.updated": 40}
    assert read_all(world, since) == read_all(world, "") == 0


def test_history_of_one_model(world: World) -> None:
    old_orders(world, 2)
    assert read_all(world, models=["stock.picking"]) == 0
    read_all(world, models=["sale.order"])
    assert world.told()["order.received"] == 2


def test_a_run_by_hand_and_the_poller_keep_out_of_each_others_way(world: World) -> None:
    old_orders(world, 4)
    mine = Backfill(source(world))
    with mine.alone() as alone:
        assert alone
        poller = world.poller()
        assert not poller.step().complete
        with pytest.raises(Conflict, match="another process"):
            read_all(world)
        assert world.told() == {}
    assert poller.step().complete
    assert world.told() == {"order.received": 4, "order.confirmed": 4, "order.updated": 4}


def test_progress_counts_what_an_earlier_run_did(world: World) -> None:
    old_orders(world, 7)
    seen: list[tuple[int, int]] = []

    def dying(_: str, done: int, total: int) -> None:
        seen.append((done, total))
        if done == 6:
            raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        Backfill(source(world)).run(dying)
    Backfill(source(world)).run(lambda _, done, total: seen.append((done, total)), models=["sale.order"])
    assert seen == [(3, 7), (6, 7), (6, 7), (7, 7)]
    assert world.told() == {"order.received": 7, "order.confirmed": 7, "order.updated": 7}


@pytest.mark.parametrize("text", ["2026-13-01", "yesterday", "1"])
def test_a_day_that_is_none(text: str) -> None:
    with pytest.raises(ConfigurationError, match="since"):
        parse_since(text)


@pytest.mark.parametrize("text", ["8pm", "20:00", "20:00-26:00", "20:00-06:00 Europe/Atlantis"])
def test_hours_that_are_none(text: str) -> None:
    with pytest.raises(ConfigurationError, match="MILEPOST_ODOO_BACKFILL_HOURS"):
        Hours(text)


@pytest.mark.parametrize(
    ("text", "at", "held"),
    [
        ("", "2026-11-20T10:00+00:00", True),
        ("20:00-06:00", "2026-11-20T20:00+00:00", True),
        ("20:00-06:00", "2026-11-20T05:59+00:00", True),
        ("20:00-06:00", "2026-11-20T06:00+00:00", False),
        ("01:00-05:00", "2026-11-20T00:30+00:00", False),
        ("01:00-05:00 Europe/Berlin", "2026-11-20T00:30+00:00", True),
    ],
)
def test_hours_of_a_day(text: str, at: str, held: bool) -> None:
    assert Hours(text).hold(datetime.fromisoformat(at)) is held


# --- deletions --------------------------------------------------------------------------------------------------------


def remembered(world: World) -> int:
    with world.engine.connect() as connection:
        return int(connection.scalar(sa.select(sa.func.count()).select_from(polled_records)) or 0)


def test_a_deleted_quotation_is_cancelled_once(world: World) -> None:
    kept, gone, sold = (world.odoo.order(f"S{number:05}") for number in range(3))
    world.odoo.track("sale.order", sold, "state", "draft", "sale")
    poller = world.poller()
    poller.step()
    assert remembered(world) == 2
    world.odoo.tables["sale.order"].remove(gone)
    for _ in range(8):
        world.go(seconds=15)
        poller.step()
    (event,) = (event for event in world.events() if event["type"] == "order.cancelled")
    assert (event["id"], event["data"]["reason"]) == (f"sale.order/{gone['id']}/deleted", "deleted in Odoo")
    assert event["data"]["keys"] == {"order": "S00001"}
    assert remembered(world) == 1
    assert kept["state"] == "draft"


def test_what_may_no_longer_be_read_is_not_deleted(world: World) -> None:
    hidden, gone = world.odoo.order("S00001"), world.odoo.order("S00002")
    for number in range(3, 9):
        world.odoo.order(f"S{number:05}")
    poller = world.poller()
    poller.step()
    world.odoo.hidden.add(hidden["id"])
    world.odoo.tables["sale.order"].remove(gone)
    for _ in range(8):
        world.go(seconds=15)
        poller.step()
    assert names(world, "order.cancelled") == ["S00002"]


# --- rights -----------------------------------------------------------------------------------------------------------


def test_what_was_missed_for_want_of_a_right_is_made_up_for(world: World) -> None:
    old = old_orders(world, 2)
    world.odoo.denied.add("sale.order")
    poller = world.poller(odoo_backfill_hours=NIGHT)
    assert "sale.order" in poller.step().problems[0]
    new = confirmed(world.odoo, "S00100")
    world.odoo.track("sale.order", old[0], "state", "sale", "cancel")
    world.go(minutes=11)
    poller.step()
    assert world.told() == {}
    world.odoo.denied.clear()
    world.go(hours=3)
    assert poller.step().problems == ()
    assert names(world, "order.confirmed") == [new["name"]]
    assert names(world, "order.cancelled") == [old[0]["name"]]
    read_all(world)
    expected = {"order.received": 3, "order.confirmed": 3, "order.cancelled": 1, "order.updated": 3}
    assert world.told() == expected


def test_history_of_a_model_that_could_not_be_read_is_read_later(world: World) -> None:
    old_orders(world, 2)
    world.odoo.denied.add("sale.order")
    poller = world.poller()
    poller.step()
    world.odoo.denied.clear()
    world.go(minutes=11)
    poller.step()
    assert world.told() == {"order.received": 2, "order.confirmed": 2, "order.updated": 2}


def test_the_check_names_what_is_missing_and_the_mend(world: World) -> None:
    world.odoo.denied.add("account.move")
    del world.odoo.tables["purchase.order"]
    found = {finding.model: finding for finding in findings(Client(world.options(), world.clock))}
    assert found["sale.order"].verdict == "ok"
    assert (found["account.move"].verdict, found["account.move"].wrong) == ("no right", True)
    assert found["account.move"].mend == "give the user the right Invoicing: Read-only"
    assert (found["purchase.order"].verdict, found["purchase.order"].wrong) == ("not there", False)
    assert "module purchase" in found["purchase.order"].mend
    assert found["queue.job"].optional


def command(world: World, database: str, *arguments: str) -> Result:
    """`milepost odoo …`, in this process."""
    options = msgspec.to_builtins(world.options())
    variables = {f"MILEPOST_{name.upper()}": str(value) for name, value in options.items()}
    variables |= {"MILEPOST_DATABASE_URL": database, "MILEPOST_SECRET": "a secret for tests only"}
    return CliRunner().invoke(app, ["odoo", *arguments], env=variables)


def test_the_commands(world: World, database: str) -> None:
    old_orders(world, 4)
    world.odoo.denied.add("account.payment")
    checked = command(world, database, "check")
    assert checked.exit_code == 1
    assert "companies: My Company" in checked.output
    assert "give the user the right Invoicing: Read-only" in checked.output
    done = command(world, database, "backfill", "--models", "sale.order")
    assert done.exit_code == 0, done.output
    assert "12 events taken in" in done.output
    assert world.told() == {"order.received": 4, "order.confirmed": 4, "order.updated": 4}
    assert "sale.order" in command(world, database, "backfill", "--models", "sale").output
    world.odoo.denied.clear()
    assert command(world, database, "check").exit_code == 0


# --- load -------------------------------------------------------------------------------------------------------------


def test_calls_are_spaced(world: World) -> None:
    """However fast Odoo answers: after a second's worth at once, one call each tenth of a second."""
    waits: list[float] = []
    client = Client(world.options(odoo_rate=10.0), world.clock, waits.append)
    for _ in range(25):
        client.count("sale.order", [])
    # nobody really waits here, so each wait ends a tenth of a second after the one before
    assert len(waits) >= 10
    assert all(later - former <= 0.1 + 1e-6 for former, later in pairwise(waits))
    assert max(waits) > 1.0


def test_no_call_asks_for_more_than_a_page(world: World) -> None:
    for number in range(9):
        confirmed(world.odoo, f"S{number:05}")
    limits: list[int] = []
    search = world.odoo._search_read

    def seen(model: str, domain: list[Any], options: dict[str, Any]) -> list[dict[str, Any]]:
        if model == "sale.order" and options["fields"] != ["write_date"]:
            limits.append(len(search(model, domain, options)))
        return search(model, domain, options)

    world.odoo._search_read = seen  # type: ignore[method-assign]
    world.poller().step()
    assert Counter(limits)[3] >= 3
    assert max(limits, default=0) == 3
