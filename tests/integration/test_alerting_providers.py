"""Alerts on their way through providers: what is remembered, the pace, again and again, and back by link."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest
import sqlalchemy as sa
from fastapi import FastAPI

from alerting import acklink, commands, outbox, rehearsal, resend, send
from alerting.acklink import Links
from alerting.notifiers.alertmanager import LASTS
from dashboards.acknowledge import make_acknowledge
from dashboards.context import Context
from dashboards.gate import Gate
from dashboards.session import Sessions
from milepost.catalog import loader
from milepost.catalog.routing import Channel, Route, Routing
from milepost.db.tables import alerts, channel_pace, notifications
from milepost.decisions import audit
from milepost.settings import Settings
from tests.integration.test_alerting_pipeline import INTERVAL, MINUTE, NOW, SECOND, breach, over
from tests.integration.test_alerting_send import SECRET, Service, emptied, hook
from tests.providers import AlertmanagerApi, PagerDutyEvents, SlackApi
from tests.receivers import RETRY_AFTER, Receiver, http_receiver
from tests.served import running

SETTINGS = Settings.load(
    {
        "MILEPOST_SECRET": "s" * 32,
        "MILEPOST_PUBLIC_URL": "https://milepost.example",
        "MILEPOST_ALLOW_PRIVATE_RECEIVERS": "true",
        "MILEPOST_NOTIFY_TIMEOUT": "10",
    }
)
LINKS = Links.of(SETTINGS)
VARIABLES = {"SLACK_TOKEN": "xoxb-1-secret", "PAGERDUTY_KEY": "0123456789abcdef0123456789abcdef", "HOOK_SECRET": SECRET}


class Desk(Service):
    settings = SETTINGS.alerting

    def send_once(self, **given: Any) -> bool:
        return send.step(
            self.engine, self.routing, self.settings, clock=lambda: self.now, environ=VARIABLES, links=LINKS,
            patience=20.0, **given,
        )  # fmt: skip

    def resend(self, after: timedelta = timedelta(0)) -> None:
        self.now += after
        resend.step(self.engine, self.routing, self.settings, clock=lambda: self.now, environ=VARIABLES)


@pytest.fixture
def desk(shared: sa.Engine) -> Desk:
    return Desk(emptied(shared))


@pytest.fixture
def slack(desk: Desk) -> Iterator[tuple[SlackApi, Receiver]]:
    api = SlackApi()
    with http_receiver(answer=api) as receiver:
        url = f"http://127.0.0.1:{receiver.port}/api"
        desk.use(Channel("chat", "slack", url=url, to=["#ops"], secret_env="SLACK_TOKEN"))
        yield api, receiver
    assert api.complaints == []


# --- what is remembered -----------------------------------------------------------------------------------------------


def test_slack_keeps_one_message_an_alert_through_restarts(desk: Desk, slack: tuple[SlackApi, Receiver]) -> None:
    api, receiver = slack
    desk.run(breach(1))
    desk.send_all()
    desk.run(breach(2), after=INTERVAL)
    receiver.troubles = ["server error"]
    desk.send_all()
    desk.now += MINUTE
    desk.send_all()
    desk.act(commands.acknowledge, 1, actor="ann")
    desk.now += MINUTE
    desk.send_all()
    desk.run(over(1), over(2), after=MINUTE)
    desk.send_all()
    assert [row["receipt"]["ts"] for row in desk.rows(notifications)] == ["1800000000.000100"] * 4
    assert (len(api.messages), api.updates, len(api.replies)) == (1, 3, 2)
    assert "Resolved" in api.replies[1]["text"]


def test_two_alerts_are_two_messages_and_two_incidents(desk: Desk, slack: tuple[SlackApi, Receiver]) -> None:
    api, _ = slack
    events = PagerDutyEvents()
    with http_receiver(answer=events) as other:
        url = f"http://127.0.0.1:{other.port}/v2/enqueue"
        chat = desk.routing.channels[0]
        desk.use(chat, Channel("duty", "pagerduty", url=url, secret_env="PAGERDUTY_KEY"))
        for name in ("north", "south"):
            desk.run(breach(1 if name == "north" else 2, group={"warehouse": name}))
        desk.send_all()
        desk.run(over(1), after=MINUTE)
        desk.send_all()
    assert len(api.messages) == 2
    assert sorted(events.incidents.values()) == ["resolve", "trigger"]


# --- pace -------------------------------------------------------------------------------------------------------------


def test_a_channel_is_sent_to_at_its_providers_pace(desk: Desk, slack: tuple[SlackApi, Receiver]) -> None:
    api, _ = slack
    desk.run(*[breach(number, rule=f"rule-{number}") for number in range(6)])
    shown = []
    for _ in range(4):
        desk.send_all()
        shown.append(len(api.messages))
        desk.now += 1.25 * SECOND
    assert shown == [2, 3, 4, 5]


def test_what_is_written_during_a_wait_waits_too(desk: Desk) -> None:
    with http_receiver() as receiver:
        desk.use(hook("hook", receiver.port))
        receiver.troubles = ["rate limited"]
        desk.run(breach(1))
        desk.send_all()
        desk.run(breach(2, group={"warehouse": "south"}), after=SECOND)
        desk.send_all()
        assert len(receiver.seen) == 1
        (row,) = desk.rows(channel_pace)
        assert row["free_at"] >= desk.now + (RETRY_AFTER - 1) * SECOND
        desk.now += (RETRY_AFTER + 1) * SECOND
        desk.send_all()
        assert len(receiver.got) == 2


# --- Alertmanager, again and again ------------------------------------------------------------------------------------


def test_alertmanager_hears_of_what_fires_every_minute_and_of_the_end_for_five(desk: Desk) -> None:
    api = AlertmanagerApi()
    with http_receiver(answer=api) as receiver:
        desk.use(Channel("prom", "alertmanager", url=f"http://127.0.0.1:{receiver.port}"))
        desk.resend()
        assert receiver.seen == []
        desk.run(breach(1), breach(2, group={"warehouse": "south"}))
        desk.resend()
        assert receiver.seen == []  # nobody was told yet
        desk.send_all()
        for _ in range(20):
            desk.resend(after=MINUTE)
            assert len(api.firing(desk.now)) == 2
        assert len(receiver.got) == 22
        desk.run(over(1), after=SECOND)
        desk.send_all()
        assert len(api.firing(desk.now)) == 1
        desk.resend(after=LASTS - SECOND)
        assert len(receiver.got[-1].json) == 2
        desk.resend(after=2 * SECOND)
        assert len(receiver.got[-1].json) == 1
        receiver.trouble = "server error"
        desk.resend(after=MINUTE)  # it is left for the next minute
        desk.run()
        assert "delivery" not in {row["rule"] for row in desk.rows(alerts)}
        receiver.trouble = "client error"
        desk.resend(after=MINUTE)
        desk.run()
        assert [row["state"] for row in desk.rows(alerts) if row["rule"] == "delivery"] == ["firing"]
        receiver.trouble = ""
        desk.resend(after=MINUTE)
        desk.run()
        assert [row["state"] for row in desk.rows(alerts) if row["rule"] == "delivery"] == ["resolved"]
    assert api.complaints == []


# --- parked, and tried again ------------------------------------------------------------------------------------------


def test_what_was_given_up_is_listed_and_sent_again_by_hand(desk: Desk) -> None:
    with http_receiver() as receiver:
        desk.use(hook("hook", receiver.port))
        receiver.troubles = ["client error", "client error"]
        desk.run(breach(1), breach(2, group={"warehouse": "south"}))
        desk.send_all()
        with desk.engine.begin() as connection:
            found = outbox.parked(connection, limit=10)
        assert {(one.channel, one.event, one.attempts) for one in found} == {("hook", "opened", 1)}
        assert found[0].error == "HTTP 400: done"
        desk.run(over(2), after=MINUTE)
        with desk.engine.begin() as connection:
            assert outbox.requeue(connection, None, "hook", actor="cli:ann", now=desk.now) == 1
        desk.send_all()
        told = [request.json["data"]["alert"]["group"] for request in receiver.got]
        assert told.count({"warehouse": "north"}) == 1
        assert {"warehouse": "south"} not in told  # it is over
        with desk.engine.connect() as connection:
            (line,) = audit.lines(connection, action="notification.retried")
        assert (line.actor, line.target) == ("cli:ann", "channel hook")


def test_an_end_that_was_given_up_is_not_told_once_it_fires_again(desk: Desk) -> None:
    with http_receiver() as receiver:
        desk.use(hook("hook", receiver.port))
        desk.run(breach(1))
        desk.send_all()
        receiver.troubles = ["client error"]
        desk.run(over(1), after=MINUTE)
        desk.send_all()
        desk.run(breach(1), after=2 * INTERVAL)
        desk.send_all()
        with desk.engine.begin() as connection:
            (given_up,) = outbox.parked(connection, limit=10, channel="hook")
            assert given_up.event == "resolved"
            assert outbox.requeue(connection, None, "hook", actor="cli:ann", now=desk.now) == 0


# --- acknowledged by link ---------------------------------------------------------------------------------------------


@pytest.fixture
def browser(desk: Desk) -> Iterator[httpx.Client]:
    """Somebody who is not logged in, at the gate."""
    sessions = Sessions(desk.engine, SETTINGS.web, lambda: desk.now)
    unused: Any = None
    context = Context(
        desk.engine, SETTINGS, unused, lambda: desk.now, sessions, unused, unused, unused
    )  # the page needs none of these
    app = FastAPI()
    app.include_router(make_acknowledge(context))
    app.add_middleware(Gate, sessions=sessions, public_url=SETTINGS.public_url, scripts=())
    with running(app) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield client


def told_link(desk: Desk) -> str:
    """The link in the notification of an alert that has just opened, as a path."""
    with http_receiver() as receiver:
        desk.use(hook("hook", receiver.port))
        desk.run(breach(1, summary="<b>late</b>"))
        desk.send_all()
        link: str = receiver.got[0].json["data"]["acknowledge_url"]
    return link.removeprefix(SETTINGS.public_url)


def state(desk: Desk) -> str:
    desk.run()
    return str(desk.rows(alerts)[0]["state"])


def test_a_link_shows_a_button_and_only_the_button_acknowledges(desk: Desk, browser: httpx.Client) -> None:
    path = told_link(desk)
    for method in ("GET", "HEAD", "GET"):  # as scanners do
        assert browser.request(method, path).status_code == 200
    assert state(desk) == "firing"
    page = browser.get(path).text
    assert '<form method="post">' in page
    assert "&lt;b&gt;late&lt;/b&gt;" in page
    done = browser.post(path)
    assert "somebody by link on channel hook" in done.text
    assert done.headers["cache-control"] == "no-store"
    assert state(desk) == "acknowledged"
    again = browser.post(path).text
    assert "Acknowledged already: somebody by link on channel hook" in again
    assert "<form" not in again
    with desk.engine.connect() as connection:
        (line,) = audit.lines(connection, action="alert.acknowledged")
    assert (line.actor, line.target) == ("somebody by link on channel hook", "alert 1")


def test_a_link_for_one_reader_names_them(desk: Desk, browser: httpx.Client) -> None:
    told_link(desk)
    url = LINKS.make(1, "mail", ["ann@example.org"], at=desk.now)
    browser.post(url.removeprefix(SETTINGS.public_url))
    assert state(desk) == "acknowledged"
    assert desk.rows(alerts)[0]["acknowledged_by"] == "ann@example.org by link on channel mail"


def test_links_that_are_none(desk: Desk, browser: httpx.Client) -> None:
    path = told_link(desk)
    other = replace(LINKS, secret="t" * 32).make(1, "hook", [], at=desk.now).removeprefix(SETTINGS.public_url)
    for bad in (
        path[:-1] + ("A" if path[-1] != "A" else "B"),
        acklink.PATH + "x.y",
        other,
        path.replace("/ack", "/v1/ack"),
    ):
        assert browser.post(bad).status_code in (403, 404), bad
    desk.now += timedelta(days=7, seconds=1)
    expired = browser.post(path)
    assert expired.status_code == 403
    assert "expired" in expired.text
    assert state(desk) == "firing"


def test_a_link_to_what_is_over_or_forgotten(desk: Desk, browser: httpx.Client) -> None:
    path = told_link(desk)
    desk.run(over(1), after=MINUTE)
    assert "It is over." in browser.post(path).text
    gone = LINKS.make(99, "hook", [], at=desk.now).removeprefix(SETTINGS.public_url)
    assert browser.get(gone).status_code == 404


def test_no_link_where_there_is_nothing_to_acknowledge_or_none_are_wanted(desk: Desk) -> None:
    assert replace(LINKS, lifetime=timedelta(0)).make(1, "hook", [], at=NOW) == ""
    with http_receiver() as receiver:
        desk.use(hook("hook", receiver.port))
        desk.run(breach(1))
        desk.send_all()
        desk.run(over(1), after=MINUTE)
        desk.send_all()
    first, last = (request.json["data"]["acknowledge_url"] for request in receiver.got)
    assert first.startswith("https://milepost.example/acknowledge/")
    assert last is None


# --- a rehearsal ------------------------------------------------------------------------------------------------------


def test_a_sample_takes_the_route_of_its_labels_and_leaves_nothing_open(desk: Desk) -> None:
    events, plain = PagerDutyEvents(), loader.load(loader.default_texts())
    with http_receiver(answer=events) as receiver, http_receiver() as other:
        url = f"http://127.0.0.1:{receiver.port}/v2/enqueue"
        routing = Routing(
            channels=[
                Channel("duty", "pagerduty", url=url, secret_env="PAGERDUTY_KEY"),
                hook("hook", other.port),
                hook("broken", other.port),
            ],
            routes=[
                Route(channels=["duty"], match={"warehouse": ["north"]}, goes_on=True, name="pager"),
                Route(channels=["hook"], match={"severity": ["critical"]}),
                Route(channels=["broken"]),
            ],
        )
        catalog = msgspec.structs.replace(plain, routing=routing)
        with desk.engine.begin() as connection:
            plan = rehearsal.plan(connection, catalog, {"warehouse": "north", "severity": "critical"}, now=NOW)
        assert (plan.routes, plan.channels) == (["pager", "2"], ["duty", "hook"])
        other.troubles = ["", "", "client error"]
        outcomes = rehearsal.send(
            [*plan.channels, "broken", "nowhere"], plan.labels, routing=routing, settings=SETTINGS,
            environ=VARIABLES, now=NOW,
        )  # fmt: skip
        with desk.engine.begin() as connection:
            rehearsal.note(connection, outcomes, actor="cli:ann", now=NOW)
            (line,) = audit.lines(connection, action="route.tested")
    assert [(one.channel, one.arrived) for one in outcomes] == [
        ("duty", True), ("hook", True), ("broken", False), ("nowhere", False),
    ]  # fmt: skip
    assert list(events.incidents.values()) == ["resolve"]
    assert events.events[0]["payload"]["summary"].startswith("[critical] TEST, nothing is wrong")
    assert [request.json["type"] for request in other.got] == ["alert.opened", "alert.resolved"]
    assert line.detail["broken"] == "HTTP 400: done"
    assert desk.rows(notifications) == []
