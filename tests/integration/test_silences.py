"""What silences, thresholds and windows keep from people, on the real database and with a real receiver."""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from alerting import commands, hidden, pipeline, send, silences, threshold
from alerting.hiding import Stage
from alerting.silence_preview import preview
from alerting.silences import Wanted
from alerting.stages import silenced
from milepost.catalog.matcher import read
from milepost.catalog.routing import Channel, Route, Routing
from milepost.catalog.schema import After, Duration
from milepost.catalog.window import Every, Window
from milepost.db.tables import alert_changes, alert_hidden, alert_items, alerts, audit, notifications, signals
from milepost.db.tables import silences as table
from milepost.errors import Conflict, NotFound, Permanent
from milepost.settings import Alerting as Settings
from tests.integration.test_alerting_pipeline import INTERVAL, MINUTE, NOW, ROUTING, SECOND, URL, breach, over
from tests.integration.test_alerting_pipeline import Alerting as Base
from tests.receivers import Receiver, http_receiver

HOUR = timedelta(hours=1)
RULES = {"seldom": After(3, Duration("15m"))}
FRIDAY = Window(match={"warehouse": ["east"]}, every=Every("10:30", "12:00", weekday="fri"), title="Stock-taking")
WINDOWS = {"stock-taking": FRIDAY}
SETTINGS = Settings(notify_timeout=5.0, allow_private_receivers=True)


class Alerting(Base):
    """The pipeline with its stages."""

    stages: list[Stage]

    def __init__(self, engine: sa.Engine) -> None:
        super().__init__(engine)
        self.stages = [threshold.stage(RULES), silenced(WINDOWS)]

    def step(self) -> bool:
        return pipeline.step(self.engine, self.routing, stages=self.stages, now=self.now, public_url=URL)

    def silence(self, *matchers: str, lasts: timedelta = HOUR, starts: timedelta = timedelta(0), **more: Any) -> int:
        starts_at = self.now + starts
        wanted = Wanted(tuple(map(read, matchers)), "stock-taking", starts_at, starts_at + lasts, **more)
        with self.engine.begin() as connection:
            return silences.add(connection, wanted, actor="anna", now=self.now, admin=False)

    def end(self, number: int) -> None:
        with self.engine.begin() as connection:
            silences.end(connection, number, actor="bert", now=self.now)

    def remind(self) -> int:
        with self.engine.begin() as connection:
            return silences.remind(connection, self.now)

    def hid(self) -> list[tuple[str, str, str, str | None]]:
        return [(row["item"], row["stage"], row["by_name"], row["end"]) for row in self.rows(alert_hidden)]

    def messages(self) -> list[Any]:
        return [row["body"] for row in self.rows(notifications)]

    def open_hidden(self) -> list[str]:
        return [row["item"] for row in self.rows(alert_hidden) if row["ended_at"] is None]


@pytest.fixture
def alerting(shared: sa.Engine) -> Alerting:
    names = ", ".join(
        str(one) for one in (alerts, alert_items, alert_changes, alert_hidden, notifications, signals, table, audit)
    )
    with shared.begin() as connection:
        connection.execute(sa.text(f"TRUNCATE {names} RESTART IDENTITY"))
    return Alerting(shared)


def test_a_silence_hides_and_what_is_still_open_at_its_end_is_told_as_new(alerting: Alerting) -> None:
    number = alerting.silence("warehouse=north")
    alerting.run(breach(1), breach(2), breach(3, group={"warehouse": "south"}, labels={"warehouse": "south"}))
    assert alerting.events() == ["opened"]
    assert alerting.hid() == [
        ("breach:1", "silence", f"silence {number}", None),
        ("breach:2", "silence", f"silence {number}", None),
    ]
    row = alerting.rows(alert_hidden)[0]
    assert (row["by_id"], row["since"], row["until_at"]) == (number, NOW, NOW + HOUR)
    assert row["reason"] == "silenced by anna: stock-taking"
    alerting.run(over(1), after=MINUTE)
    assert alerting.events() == ["opened"]
    alerting.run(after=HOUR)
    assert [end for *_, end in alerting.hid()] == ["cleared", "told"]
    assert alerting.events() == ["opened", "opened"]
    assert alerting.rows(alert_hidden)[1]["told_at"] == alerting.now


def test_a_silence_that_is_ended_lets_go_at_once(alerting: Alerting) -> None:
    number = alerting.silence("rule=warehouse-*", "carrier!=ups")
    alerting.run(breach(1), breach(10))
    assert (alerting.events(), alerting.open_hidden()) == (["opened"], ["breach:1"])
    alerting.now += MINUTE
    alerting.end(number)
    alerting.run()
    assert alerting.open_hidden() == []
    alerting.run(after=INTERVAL)
    assert alerting.events() == ["opened", "updated"]
    with pytest.raises(Conflict):
        alerting.end(number)
    with pytest.raises(NotFound):
        alerting.end(number + 1)
    assert [(row["action"], row["actor"]) for row in alerting.rows(audit)] == [
        ("silence.added", "anna"), ("silence.ended", "bert"),
    ]  # fmt: skip


def test_the_next_silence_takes_over_and_both_have_what_they_hid(alerting: Alerting) -> None:
    first = alerting.silence("warehouse=north")
    alerting.run(breach(1))
    second = alerting.silence("kind=sla", lasts=2 * HOUR)
    alerting.run(after=HOUR)
    assert alerting.events() == []
    assert alerting.hid() == [
        ("breach:1", "silence", f"silence {first}", "handed on"),
        ("breach:1", "silence", f"silence {second}", None),
    ]
    alerting.run(after=HOUR)
    assert alerting.events() == ["opened"]


def test_what_people_know_gets_no_updates_while_silenced_but_its_end(alerting: Alerting) -> None:
    alerting.run(breach(1), breach(2))
    alerting.silence("warehouse=north")
    alerting.run(over(1), breach(3), after=INTERVAL + SECOND)
    alerting.run(after=INTERVAL)
    assert alerting.events() == ["opened"]
    assert alerting.open_hidden() == ["breach:3"]
    alerting.run(after=HOUR)
    assert alerting.events() == ["opened", "updated"]
    alerting.silence("warehouse=north")
    alerting.deliver()
    alerting.run(over(2), over(3), after=MINUTE)
    assert alerting.events() == ["opened", "updated", "resolved"]


def test_what_comes_out_worse_is_told_although_somebody_acknowledged_the_rest(alerting: Alerting) -> None:
    alerting.run(breach(1))
    alerting.act(commands.acknowledge, alerting.alert()["alert_id"], actor="anna")
    alerting.silence("severity=critical")
    alerting.run(breach(2, severity="critical"), after=MINUTE)
    assert alerting.events("pager") == []
    alerting.run(after=HOUR)
    assert (alerting.events("hook"), alerting.events("pager")) == (["opened", "acknowledged", "updated"], ["opened"])


def test_recorded_and_never_told_stands_with_its_reason(alerting: Alerting) -> None:
    alerting.routing = Routing(
        channels=ROUTING.channels,
        routes=[Route(match={"carrier": ["ups"]}, channels=[], name="quiet"), *ROUTING.routes[:1]],
    )
    alerting.run(breach(1, notify=False), breach(10), breach(2))
    assert alerting.hid() == [
        ("breach:1", "record_only", "warehouse-acknowledgement", None),
        ("breach:10", "record_only", "route quiet", None),
        ("breach:2", "record_only", "routes", None),
    ]
    alerting.routing = ROUTING
    alerting.run(after=2 * HOUR)
    assert [end for *_, end in alerting.hid()] == [None, None, "told"]
    assert alerting.events() == ["opened"]


def seldom(number: int, **fields: Any) -> Any:
    return breach(number, rule="seldom", **fields)


def test_only_after_three_in_fifteen_minutes_all_are_told(alerting: Alerting) -> None:
    alerting.run(seldom(1), seldom(7, notify=False))
    alerting.run(seldom(2), after=16 * MINUTE)
    alerting.run(seldom(3), after=MINUTE)
    assert alerting.events() == []
    assert alerting.rows(alert_hidden)[-1]["reason"] == "told only after 3 within 15m; 2 so far"
    alerting.run(over(3, rule="seldom"), seldom(4), after=MINUTE)
    assert (alerting.events(), alerting.open_hidden()) == (["opened"], ["breach:7"])
    alerting.run(seldom(5), after=2 * HOUR)
    assert (alerting.events(), alerting.open_hidden()) == (["opened", "updated"], ["breach:7"])
    alerting.deliver()
    alerting.run(*[over(number, rule="seldom") for number in (1, 2, 4, 5, 7)], after=MINUTE)
    alerting.run(seldom(6), after=MINUTE)
    assert alerting.events() == ["opened", "updated", "resolved"]
    assert alerting.open_hidden() == ["breach:6"]


def test_a_threshold_that_was_reached_under_a_silence_counts_when_it_is_over(alerting: Alerting) -> None:
    alerting.silence("warehouse=north")
    alerting.run(seldom(1), seldom(2), seldom(3))
    assert {stage for _, stage, _, end in alerting.hid() if end is None} == {"silence"}
    alerting.run(after=HOUR)
    assert (alerting.events(), alerting.open_hidden()) == (["opened"], [])


def test_a_maintenance_window_keeps_what_it_is_about_until_it_closes(alerting: Alerting) -> None:
    east = {"group": {"warehouse": "east"}, "labels": {"warehouse": "east"}}
    alerting.run(breach(1, **east), breach(2), after=HOUR)
    assert alerting.events() == ["opened"]
    assert alerting.hid() == [("breach:1", "silence", "window stock-taking", None)]
    alerting.run(after=59 * MINUTE)
    assert alerting.events() == ["opened"]
    alerting.run(after=MINUTE)
    assert alerting.events() == ["opened", "opened"]


def test_what_cannot_be_a_silence_is_refused(alerting: Alerting) -> None:
    refused: list[dict[str, Any]] = [
        {"matchers": []},
        {"matchers": ["carrier!=dhl"]},
        {"matchers": ["severity=info,warning,critical", "kind=*"]},
        {"matchers": [], "everything": True, "lasts": 5 * HOUR},
        {"matchers": ["warehouse=north"], "lasts": timedelta(days=31)},
        {"matchers": ["warehouse=north"], "lasts": timedelta(0)},
        {"matchers": ["warehouse=north"], "starts": -HOUR, "lasts": 2 * HOUR},
    ]
    for given in refused:
        with pytest.raises(Permanent):
            alerting.silence(*given.pop("matchers"), **given)
    assert alerting.rows(table) == []
    alerting.silence(everything=True)
    alerting.run(breach(1))
    assert alerting.events() == []


def test_the_owner_is_reminded_before_the_end_of_a_silence_that_hides_something(alerting: Alerting) -> None:
    alerting.silence("warehouse=north", owner="on-call", lasts=2 * HOUR)
    alerting.silence("warehouse=east", lasts=2 * HOUR)
    alerting.run(breach(1))
    alerting.now += HOUR
    assert alerting.remind() == 0
    alerting.now += 31 * MINUTE
    assert (alerting.remind(), alerting.remind()) == (1, 0)
    alerting.run()
    (told,) = [row for row in alerting.messages() if row["alert"]["kind"] == "platform"]
    assert told["alert"]["owner"] == "on-call"
    assert told["items"][0]["summary"].startswith("silence 1 (warehouse=north; stock-taking) ends at 20 Nov 2026 12:00")
    alerting.now += HOUR
    assert alerting.remind() == 1
    alerting.run()
    assert alerting.remind() == 0


def test_a_preview_counts_what_is_open_and_what_was(alerting: Alerting) -> None:
    alerting.run(*[breach(number) for number in range(20)])
    alerting.run(*[over(number) for number in range(5)], after=HOUR)
    alerting.run(breach(30, group={"warehouse": "south"}, labels={"warehouse": "south"}), after=HOUR)
    with alerting.engine.connect() as connection:
        seen = preview(connection, [read("warehouse=north"), read("carrier!=ups")], since=NOW - HOUR)
        none = preview(connection, [read("warehouse=no*"), read("owner=nobody")], since=NOW - HOUR)
        spans = preview(connection, [read("kind=sla")], since=NOW, spans=[(NOW + HOUR, NOW + 3 * HOUR)])
    assert (seen.now.items, seen.now.alerts, seen.past.items) == (14, 1, 18)
    assert {currency: int(amount) for currency, amount in seen.now.money.items()} == {"EUR": 800, "USD": 600}
    assert seen.now.found[0].title.endswith("(warehouse north)")
    assert (none.now.items, none.past.items, none.now.money) == (0, 0, {})
    assert (spans.now.items, spans.past.items) == (16, 1)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with http_receiver() as made:
        yield made


def test_a_real_receiver_hears_nothing_until_the_silence_is_over(alerting: Alerting, receiver: Receiver) -> None:
    channel = Channel("hook", "webhook", url=f"http://127.0.0.1:{receiver.port}/", secret_env="HOOK")
    alerting.routing = Routing(channels=[channel], routes=[Route(channels=["hook"])])

    def deliver() -> list[str]:
        environ = {"HOOK": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
        while send.step(
            alerting.engine, alerting.routing, SETTINGS, clock=lambda: alerting.now, environ=environ, patience=20.0
        ):
            pass
        return [request.json["type"] for request in receiver.got]

    number = alerting.silence("warehouse=north")
    alerting.run(*[breach(each) for each in range(50)])
    assert deliver() == []
    with alerting.engine.connect() as connection:
        assert (
            len(hidden.still_hidden(connection, {(alerting.alert()["alert_id"], f"breach:{n}") for n in range(50)}))
            == 50
        )
    alerting.now += MINUTE
    alerting.end(number)
    alerting.run()
    assert deliver() == ["alert.opened"]
    assert receiver.got[0].json["data"]["alert"]["items_open"] == 50
    alerting.run(*[over(each) for each in range(50)], after=MINUTE)
    assert deliver() == ["alert.opened", "alert.resolved"]


# --- nothing is lost --------------------------------------------------------------------------------------------------


class Chance:
    """Somebody who raises, clears, silences, reroutes and acknowledges at random."""

    def __init__(self, alerting: Alerting, seed: int) -> None:
        self.alerting, self.dice = alerting, random.Random(seed)
        self.silences: list[int] = []
        self.numbers = itertools.count(1)
        self.open: list[Any] = []

    def act(self) -> None:
        self.dice.choice(
            [self.raise_, self.raise_, self.raise_, self.clear, self.silence, self.end, self.route, self.ack]
        )()
        self.alerting.run(after=self.dice.choice([SECOND, MINUTE, 7 * MINUTE, 50 * MINUTE]))

    def raise_(self) -> None:
        place = {"warehouse": self.dice.choice(["north", "south", "east"])}
        new = [
            breach(
                next(self.numbers), group=place, labels=place, notify=self.dice.random() < 0.8,
                rule=self.dice.choice(["often", "seldom"]), severity=self.dice.choice(["info", "critical"]),
            )
            for _ in range(self.dice.choice([1, 1, 4]))
        ]  # fmt: skip
        self.open += new
        self.alerting.run(*new, *self.dice.sample(self.open, 1))

    def clear(self) -> None:
        gone = self.dice.sample(self.open, len(self.open) // 2)
        self.open = [one for one in self.open if one not in gone]
        self.alerting.run(*[replace(one, action="clear", why="late") for one in gone])

    def silence(self) -> None:
        what = self.dice.choice(
            ["warehouse=north", "severity=critical", "rule=seldom", "warehouse=*h,south", "kind=sla"]
        )
        self.silences.append(self.alerting.silence(what, lasts=self.dice.choice([5 * MINUTE, HOUR, 24 * HOUR])))

    def end(self) -> None:
        for number in self.silences:
            with contextlib.suppress(Conflict):
                self.alerting.end(number)
        self.silences.clear()

    def route(self) -> None:
        quiet = [Route(match={"warehouse": ["south"]}, channels=[])]
        routes = self.dice.choice([ROUTING.routes, [*quiet, *ROUTING.routes], ROUTING.routes[:1]])
        self.alerting.routing = Routing(ROUTING.channels, routes, ROUTING.group_interval)

    def ack(self) -> None:
        for row in self.alerting.rows(alerts):
            if row["state"] == "firing" and self.dice.random() < 0.3:
                self.alerting.act(commands.acknowledge, row["alert_id"], actor="anna")


@pytest.mark.parametrize("seed", range(3))
def test_every_item_is_told_or_over_or_hidden_with_a_reason(alerting: Alerting, seed: int) -> None:
    chance = Chance(alerting, seed)
    for _ in range(10):
        chance.act()
        check_nothing_is_lost(alerting, settled=False)
    chance.end()
    alerting.routing = ROUTING
    for _ in range(3):
        alerting.run(after=25 * HOUR)
    check_nothing_is_lost(alerting, settled=True)


def check_nothing_is_lost(alerting: Alerting, *, settled: bool) -> None:
    hidden_now = {(row["alert_id"], row["item"]): row for row in alerting.rows(alert_hidden) if row["ended_at"] is None}
    shown = {(row["alert_id"], row["item"]): row["told_at"] for row in alerting.rows(alert_hidden) if row["told_at"]}
    state = {row["alert_id"]: row for row in alerting.rows(alerts)}
    told = {row["alert_id"]: row["created_at"] for row in alerting.rows(notifications) if row["state"] != "dropped"}
    is_open = {(row["alert_id"], row["item"]): row for row in alerting.rows(alert_items) if row["cleared_at"] is None}
    assert hidden_now.keys() <= is_open.keys()
    assert all(row["reason"] for row in hidden_now.values())
    for place in is_open.keys() - hidden_now.keys():
        alert = state[place[0]]
        known_at = shown.get(place, is_open[place]["raised_at"])
        assert place[0] in told, "nobody was told of it, and nothing says why"
        waits = alert["next_update_at"] is not None
        assert told[place[0]] >= known_at or waits or alert["state"] == "acknowledged"
        assert not (settled and waits)
    if settled:
        assert {row["stage"] for row in hidden_now.values()} <= {"record_only", "threshold"}
