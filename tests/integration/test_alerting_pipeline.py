"""Signals to alerts to outbox rows, on the real database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from alerting import commands, outbox, pipeline
from alerting.signal import Signal
from milepost.catalog.routing import Channel, Route, Routing
from milepost.catalog.schema import Duration
from milepost.db.engine import transaction_lock
from milepost.db.tables import alert_changes, alert_items, alerts, audit, notifications, signals
from milepost.errors import Conflict, NotFound

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
INTERVAL = 5 * MINUTE
URL = "https://milepost.example.org"

ROUTING = Routing(
    channels=[Channel("hook", "webhook", url="https://example.org"), Channel("pager", "webhook", url="https://x.org")],
    routes=[Route(match={"severity": ["critical"]}, channels=["pager"], goes_on=True), Route(channels=["hook"])],
    group_interval=Duration("5m"),
)


def breach(number: int, **fields: Any) -> Signal:
    given = Signal(
        action="raise",
        kind="sla",
        rule="warehouse-acknowledgement",
        group={"warehouse": "north"},
        item=f"breach:{number}",
        at=NOW - timedelta(hours=2) + number * SECOND,
        title="The warehouse acknowledges a picking within 2 h",
        summary=f"S{number:05} is not released",
        labels={"warehouse": "north", "carrier": "dhl" if number % 10 else "ups"},
        amount=Decimal(100),
        currency="EUR" if number % 2 else "USD",
        journey_id=number,
        owner="warehouse lead",
    )
    return replace(given, **fields)


def over(number: int, why: str = "late", **fields: Any) -> Signal:
    return breach(number, action="clear", why=why, **fields)


class Alerting:
    """The commands and the pipeline, with a clock of its own."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.now = NOW
        self.routing = ROUTING

    def send(self, *given: Signal) -> None:
        with self.engine.begin() as connection:
            commands.send(connection, given, now=self.now)

    def step(self) -> bool:
        return pipeline.step(self.engine, self.routing, now=self.now, public_url=URL)

    def run(self, *given: Signal, after: timedelta = timedelta(0)) -> None:
        self.now += after
        self.send(*given)
        while self.step():
            pass

    def act(self, command: Callable[..., None], *args: Any, **given: Any) -> None:
        with self.engine.begin() as connection:
            command(connection, *args, now=self.now, **given)
        self.run()

    def deliver(self) -> None:
        """All that waits has been sent."""
        with self.engine.begin() as connection:
            while claimed := outbox.claim(connection, self.now, MINUTE, 16):
                for each in claimed:
                    outbox.sent(connection, each, self.now)

    def rows(self, table: sa.Table) -> Sequence[sa.RowMapping]:
        with self.engine.connect() as connection:
            return connection.execute(sa.select(table).order_by(*table.primary_key)).mappings().all()

    def alert(self) -> sa.RowMapping:
        (row,) = self.rows(alerts)
        return row

    def events(self, channel: str = "hook") -> list[str]:
        rows = [row for row in self.rows(notifications) if row["channel"] == channel and row["state"] != "dropped"]
        return [row["event"] for row in rows]

    def what(self) -> list[str]:
        return [row["what"] for row in self.changes()]

    def changes(self) -> Sequence[sa.RowMapping]:
        """What happened; not whom it reached."""
        return [row for row in self.rows(alert_changes) if row["what"] != "routed"]


@pytest.fixture
def alerting(engine: sa.Engine) -> Alerting:
    return Alerting(engine)


def test_many_breaches_make_one_alert_that_says_it_all(alerting: Alerting) -> None:
    alerting.run(*[breach(number) for number in range(200)])
    alert = alerting.alert()
    assert (alert["state"], alert["items_open"], alert["items_total"]) == ("firing", 200, 200)
    assert alert["title"] == "The warehouse acknowledges a picking within 2 h (warehouse north)"
    assert alert["money"] == {"EUR": "10000.0000", "USD": "10000.0000"}
    assert alert["summary"] == (
        "200 breaches open. At risk: 10,000.00 EUR, 10,000.00 USD. "
        "Oldest since 20 Nov 2026 08:00 UTC: S00000 is not released."
    )
    assert alert["labels"] == {
        "kind": "sla",
        "rule": "warehouse-acknowledgement",
        "severity": "warning",
        "warehouse": "north",
    }
    (sent,) = alerting.rows(notifications)
    assert (sent["channel"], sent["event"], sent["state"]) == ("hook", "opened", "pending")
    body = sent["body"]
    assert body["url"] == f"{URL}/alerts/{alert['alert_id']}"
    assert (len(body["items"]), body["items_left_out"]) == (20, 180)
    assert body["items"][0]["item"] == "breach:0"
    assert body["alert"]["owner"] == "warehouse lead"
    assert alerting.what() == ["opened"]


def test_nothing_to_do_is_no_work(alerting: Alerting) -> None:
    assert alerting.step() is False


def test_updates_are_limited_and_the_end_is_told_once(alerting: Alerting) -> None:
    for number in range(10):
        alerting.run(breach(number), after=SECOND)
    assert alerting.events() == ["opened"]
    assert alerting.alert()["next_update_at"] == NOW + SECOND + INTERVAL
    alerting.run(after=INTERVAL)
    assert alerting.events() == ["opened", "updated"]
    assert alerting.rows(notifications)[-1]["body"]["alert"]["items_open"] == 10
    alerting.deliver()
    alerting.run(after=INTERVAL)
    assert alerting.events() == ["opened", "updated"]
    for number in range(10):
        alerting.run(over(number), after=SECOND)
        alerting.deliver()
    assert alerting.events() == ["opened", "updated", "updated", "resolved"]
    alert = alerting.alert()
    assert (alert["state"], alert["items_open"], alert["next_update_at"]) == ("resolved", 0, None)
    assert alert["summary"].startswith("All 10 breaches are over after 10 min 19 s: done late. Was at risk: 500.00 EUR")
    resolved = alerting.rows(notifications)[-1]["body"]
    assert resolved["headline"].startswith("[warning] Resolved: ")
    assert {item["cleared_why"] for item in resolved["items"]} == {"late"}


def test_an_update_that_still_waits_is_replaced_by_the_next(alerting: Alerting) -> None:
    alerting.run(breach(1))
    alerting.run(breach(2), after=INTERVAL)
    alerting.run(breach(3), after=INTERVAL)
    rows = [(row["event"], row["state"]) for row in alerting.rows(notifications)]
    assert rows == [("opened", "pending"), ("updated", "dropped"), ("updated", "pending")]


def test_each_group_has_its_own_alert(alerting: Alerting) -> None:
    alerting.run(breach(1), breach(2, group={"warehouse": "south"}))
    assert len(alerting.rows(alerts)) == 2
    assert alerting.events() == ["opened", "opened"]


def test_raised_and_cleared_before_anybody_looked_is_recorded_and_not_told(alerting: Alerting) -> None:
    alerting.run(breach(1), over(1, "retracted"))
    assert alerting.alert()["state"] == "resolved"
    assert alerting.what() == ["retracted", "opened", "resolved"]
    assert alerting.rows(notifications) == []


def test_silent_signals_tell_nobody_not_even_of_the_end(alerting: Alerting) -> None:
    alerting.run(breach(1, notify=False))
    alerting.run(breach(2, notify=False), after=INTERVAL)
    alerting.run(over(1), over(2), after=INTERVAL)
    assert alerting.what() == ["opened", "updated", "resolved"]
    assert alerting.rows(notifications) == []


def test_silent_items_extend_an_alert_without_an_update(alerting: Alerting) -> None:
    alerting.run(breach(1))
    alerting.run(breach(2, notify=False), after=INTERVAL)
    alerting.run(after=INTERVAL)
    assert alerting.events() == ["opened"]
    assert alerting.alert()["items_open"] == 2


def test_a_loud_item_opens_what_was_silent(alerting: Alerting) -> None:
    alerting.run(breach(1, notify=False))
    alerting.run(breach(2), after=MINUTE)
    assert alerting.events() == ["opened"]


def test_late_evidence_takes_back_and_both_stay_recorded(alerting: Alerting) -> None:
    alerting.run(breach(1))
    alerting.run(over(1, "retracted"), after=MINUTE)
    assert alerting.what() == ["opened", "retracted", "resolved"]
    assert alerting.changes()[1]["detail"] == {"count": 1, "items": ["breach:1"]}
    assert alerting.alert()["summary"].startswith("It is over after 1 min: taken back by late evidence.")
    (item,) = alerting.rows(alert_items)
    assert (item["raised_at"], item["cleared_at"], item["cleared_why"]) == (NOW, NOW + MINUTE, "retracted")


def test_a_clear_finds_its_item_whatever_its_group_says(alerting: Alerting) -> None:
    alerting.run(breach(1))
    alerting.run(over(1, group={}))
    assert alerting.alert()["state"] == "resolved"


def test_firing_again_reopens_and_tells_so_without_flapping(alerting: Alerting) -> None:
    alerting.run(breach(1))
    alerting.run(over(1), after=MINUTE)
    for number in range(2, 6):
        alerting.run(breach(number), after=SECOND)
        alerting.run(over(number), after=SECOND)
    assert alerting.events() == ["opened", "resolved"]
    alerting.run(breach(9), after=SECOND)
    alerting.run(after=INTERVAL)
    assert alerting.events() == ["opened", "resolved", "reopened"]
    alerting.run(over(9))
    assert alerting.events() == ["opened", "resolved", "reopened", "resolved"]
    assert len(alerting.rows(alerts)) == 1


def test_firing_again_much_later_is_another_alert(alerting: Alerting) -> None:
    alerting.run(breach(1))
    alerting.run(over(1))
    alerting.run(breach(1), after=pipeline.SETTLE + SECOND)
    assert [row["state"] for row in alerting.rows(alerts)] == ["resolved", "firing"]
    assert alerting.events() == ["opened", "resolved", "opened"]
    ids = [row["message_id"] for row in alerting.rows(notifications)]
    assert len(set(ids)) == 3


def test_an_item_that_comes_back_starts_anew(alerting: Alerting) -> None:
    alerting.run(breach(1), breach(2))
    alerting.run(over(1), after=MINUTE)
    alerting.run(breach(1, at=NOW), after=MINUTE)
    item = alerting.rows(alert_items)[0]
    assert (item["at"], item["raised_at"], item["cleared_at"]) == (NOW, NOW + 2 * MINUTE, None)
    alerting.run(breach(1, at=NOW + MINUTE, summary="refreshed"), after=MINUTE)
    item = alerting.rows(alert_items)[0]
    assert (item["at"], item["raised_at"], item["summary"]) == (NOW, NOW + 2 * MINUTE, "refreshed")


def test_money_of_a_journey_counts_once(alerting: Alerting) -> None:
    alerting.run(breach(1), breach(2, journey_id=1, currency="EUR"), breach(3, amount=None, currency=None))
    assert alerting.alert()["money"] == {"EUR": "100.0000"}


def test_worse_trouble_goes_to_more_channels(alerting: Alerting) -> None:
    alerting.run(breach(1))
    alerting.run(breach(2, severity="critical"), after=MINUTE)
    assert (alerting.events("hook"), alerting.events("pager")) == (["opened"], ["opened"])
    assert alerting.alert()["severity"] == "critical"
    alerting.run(over(1), over(2), after=MINUTE)
    assert (alerting.events("hook"), alerting.events("pager")) == (["opened", "resolved"], ["opened", "resolved"])


def test_without_a_route_the_alert_is_there_and_nobody_is_told(alerting: Alerting) -> None:
    alerting.routing = Routing()
    alerting.run(breach(1))
    alerting.run(over(1))
    assert alerting.rows(notifications) == []
    assert alerting.what() == ["opened", "resolved"]


def test_a_channel_that_left_the_catalog_is_told_nothing_more(alerting: Alerting) -> None:
    alerting.run(breach(1))
    alerting.routing = Routing()
    alerting.run(over(1))
    assert alerting.events() == ["opened"]


# --- acts of people ---------------------------------------------------------------------------------------------------


def test_acknowledging_is_told_and_quiets_the_alert_until_its_end(alerting: Alerting) -> None:
    alerting.run(breach(1))
    alert_id = alerting.alert()["alert_id"]
    alerting.act(commands.acknowledge, alert_id, actor="anna")
    alert = alerting.alert()
    assert (alert["state"], alert["acknowledged_by"], alert["acknowledged_at"]) == ("acknowledged", "anna", NOW)
    alerting.run(breach(2), after=INTERVAL)
    assert alerting.events() == ["opened", "acknowledged"]
    assert alerting.alert()["state"] == "acknowledged"
    alerting.run(over(1), over(2), after=INTERVAL)
    assert alerting.events() == ["opened", "acknowledged", "resolved"]
    assert [(row["what"], row["actor"]) for row in alerting.changes()] == [
        ("opened", "milepost"),
        ("acknowledged", "anna"),
        ("updated", "milepost"),
        ("resolved", "milepost"),
    ]


def test_resolving_by_hand_ends_all_items_and_later_clears_do_nothing(alerting: Alerting) -> None:
    alerting.run(breach(1), breach(2))
    alert_id = alerting.alert()["alert_id"]
    alerting.act(commands.resolve, alert_id, actor="anna", reason="a drill")
    alert = alerting.alert()
    assert (alert["state"], alert["resolved_by"], alert["items_open"]) == ("resolved", "anna", 0)
    assert alert["summary"].startswith("All 2 breaches are over after 0 s: resolved by anna (a drill).")
    assert alerting.rows(alert_changes)[-1]["detail"] == {"reason": "a drill"}
    (audited,) = alerting.rows(audit)
    assert (audited["actor"], audited["action"], audited["detail"]) == ("anna", "alert.resolved", {"reason": "a drill"})
    alerting.run(over(1))
    assert alerting.events() == ["opened", "resolved"]
    alerting.run(breach(3), after=INTERVAL)
    assert alerting.alert()["state"] == "firing"


def test_acts_on_what_is_not_there_or_over_are_refused(alerting: Alerting) -> None:
    alerting.run(breach(1), over(1))
    with pytest.raises(NotFound):
        alerting.act(commands.acknowledge, 99, actor="anna")
    with pytest.raises(Conflict):
        alerting.act(commands.acknowledge, alerting.alert()["alert_id"], actor="anna")


def test_acts_and_signals_take_effect_in_their_order(alerting: Alerting) -> None:
    alerting.run(breach(1))
    alert_id = alerting.alert()["alert_id"]
    alerting.send(breach(2))
    with alerting.engine.begin() as connection:
        commands.acknowledge(connection, alert_id, actor="anna", now=NOW)
    alerting.run(over(1), over(2))
    assert alerting.what() == ["opened", "updated", "acknowledged", "resolved"]


# --- one at a time, all or nothing ------------------------------------------------------------------------------------


def test_only_one_process_works_at_a_time(alerting: Alerting) -> None:
    alerting.send(breach(1))
    with alerting.engine.begin() as other:
        assert transaction_lock(other, pipeline.LOCK)
        assert alerting.step() is False
    assert alerting.step() is True


def test_a_step_that_dies_leaves_nothing_behind(alerting: Alerting, monkeypatch: pytest.MonkeyPatch) -> None:
    alerting.send(*[breach(number) for number in range(3)])

    def die(*args: Any, **given: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(commands, "handled", die)
        with pytest.raises(KeyboardInterrupt):
            alerting.step()
    assert (alerting.rows(alerts), alerting.rows(notifications)) == ([], [])
    alerting.run()
    assert alerting.events() == ["opened"]


def test_signals_are_kept_with_the_time_they_were_handled(alerting: Alerting) -> None:
    alerting.run(breach(1), breach(2))
    assert [row["handled_at"] for row in alerting.rows(signals)] == [NOW, NOW]


def test_ten_thousand_breaches_of_one_cause_are_one_opening_and_one_update(alerting: Alerting) -> None:
    alerting.run(*[breach(number) for number in range(10_000)])
    alerting.run(after=INTERVAL)
    assert alerting.events() == ["opened", "updated"]
    assert alerting.alert()["items_open"] == 10_000
