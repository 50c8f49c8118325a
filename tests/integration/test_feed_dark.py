"""A warehouse's feed stops under open orders: one notification instead of hundreds, from the event to a receiver."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from alerting import commands, pipeline, send, stages
from alerting.desk import calendars_of
from correlator.assemble import Assembler
from milepost.catalog import loader
from milepost.clock import to_us
from milepost.db import tables as t
from milepost.settings import Alerting
from sla.flow import job as flows
from sla.flow.learn import Learner
from sla.job import check_due_once
from sla.store import Clocks
from tests.chain import Chain, Wire, entry
from tests.receivers import Receiver, http_receiver

NOW = datetime(2026, 11, 18, 10, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
NORTH = "/wms/north"
ORDERS = 300
SLAS = """
policies:
  - name: released
    kind: between
    model: order
    start: allocated
    end: released
    per: picking
    within: 20m
    group_by: [partner]
  - {name: feed-dark, kind: silence, sources: [/wms/*], within: 30m, severity: critical, owner: it desk}
"""
ROUTES = """
channels: [{{name: hook, kind: webhook, url: "http://127.0.0.1:{port}/", secret_env: HOOK_SECRET}}]
routes: [{{channels: [hook]}}]
"""
ENVIRON = {"HOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
SETTINGS = Alerting(notify_timeout=5.0, allow_private_receivers=True)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with http_receiver() as made:
        yield made


class Site:
    """Everything from the log to a receiver, with one clock."""

    def __init__(self, engine: sa.Engine, receiver: Receiver) -> None:
        self.engine, self.receiver, self.now = engine, receiver, NOW
        self.learner = Learner()
        self.use(SLAS)
        self.chain = Chain(engine, changed=Clocks().on_journeys_changed, catalog=self.catalog)
        self.chain.assembler = Assembler(engine, lambda _: self.catalog, lambda: self.now, Clocks().on_journeys_changed)

    def use(self, slas: str, routes: str = ROUTES) -> None:
        own = {"slas.yaml": slas, "routes.yaml": routes.format(port=self.receiver.port)}
        self.catalog = loader.load({**loader.default_texts(), **own})

    def tell(self, *wires: Wire) -> None:
        self.chain.append([entry(wire, to_us(self.now)) for wire in wires])
        self.chain.settle()

    def event(self, kind: str, source: str, number: int, **attributes: Any) -> Wire:
        keys = {"order": f"S{number}", "picking": f"P{number}"}
        data = {"keys": keys, "attributes": {"warehouse": "north", "partner": f"shop {number}", **attributes}}
        event = {"specversion": "1.0", "id": f"{kind}-{number}", "source": source, "type": kind, "data": data}
        return {**event, "time": self.now.isoformat()}

    def allocate(self, first: int, last: int) -> None:
        numbers = range(first, last)
        orders = [self.event("order.received", "odoo", one, amount="10.00", currency="EUR") for one in numbers]
        self.tell(*orders, *(self.event("picking.created", "odoo", one) for one in numbers))

    def release(self, first: int, last: int) -> None:
        self.tell(*(self.event("picking.released", NORTH, one) for one in range(first, last)))

    def tick(self, after: timedelta = timedelta(0), through: datetime | None = None) -> list[tuple[str, str]]:
        """What the scheduler does, and of it what the receiver got: (event, rule). `through`: up to where flows are
        judged."""
        self.now += after
        before = len(self.receiver.got)
        check_due_once(self.engine, self.catalog, now=self.now, applied_through=self.now)
        flows.learn_once(self.engine, self.catalog, self.learner, now=self.now)
        flows.judge_once(self.engine, self.catalog, now=self.now, applied_through=through or self.now)
        routing, keeping = self.catalog.routing, stages.of(self.catalog)
        hours, url = calendars_of(self.catalog), "https://m.example.org"
        while pipeline.step(self.engine, routing, stages=keeping, calendars=hours, now=self.now, public_url=url):
            pass
        while send.step(self.engine, routing, SETTINGS, clock=lambda: self.now, environ=ENVIRON, patience=20.0):
            pass
        bodies = [request.json for request in self.receiver.got[before:]]
        return [(body["type"].removeprefix("alert."), body["data"]["alert"]["rule"]) for body in bodies]

    def summary(self) -> str:
        return str(self.receiver.got[-1].json["data"]["alert"]["summary"])

    def hidden(self) -> list[tuple[Any, ...]]:
        h = t.alert_hidden.c
        query = sa.select(h.by_name, h.by_id.is_not(None), sa.func.count()).where(h.ended_at.is_(None))
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(query.group_by(h.by_name, h.by_id.is_not(None)))]

    def usually_speaks_every_ten_minutes(self) -> None:
        every = sa.func.generate_series(NOW - timedelta(days=20), NOW - MINUTE, 10 * MINUTE).alias("every")
        numbers = {"events": 3, "duplicates": 0, "conflicts": 0, "lag_us_sum": 5, "lag_us_max": 5}
        spoken = sa.select(sa.literal(NORTH), every.column, *(sa.literal(one) for one in numbers.values()))
        with self.engine.begin() as connection:
            connection.execute(sa.insert(t.source_minutes).from_select(["source", "minute", *numbers], spoken))


@pytest.fixture
def site(engine: sa.Engine, receiver: Receiver) -> Site:
    made = Site(engine, receiver)
    made.usually_speaks_every_ten_minutes()
    made.allocate(1000, 1020)
    made.release(1000, 1020)
    assert made.tick() == []  # it learns who tells what
    return made


def test_a_dark_feed_is_one_notification_that_lists_what_is_stuck(site: Site) -> None:
    site.allocate(0, ORDERS)
    assert site.tick(10 * MINUTE) == []
    assert site.tick(10 * MINUTE) == []  # 300 are stuck, and wait for the verdict
    assert site.hidden() == [(NORTH, False, ORDERS)]
    assert site.tick(10 * MINUTE) == [("opened", "feed-dark")]
    assert site.hidden() == [(NORTH, True, ORDERS)]
    assert "Explains 300 stuck, 3,000.00 EUR: S0, S1, S10, S100, S101 and 295 more; told by no alert" in site.summary()
    site.allocate(ORDERS, ORDERS + 1)
    assert site.tick(20 * MINUTE) == [("updated", "feed-dark")]
    assert "Explains 301 stuck, 3,010.00 EUR" in site.summary()
    site.release(2, ORDERS + 1)
    assert site.tick(MINUTE) == [("resolved", "feed-dark")]
    assert "Explained 2 stuck, 20.00 EUR: S0, S1; what is still stuck is told soon." in site.summary()
    site.release(1, 2)
    assert site.tick(4 * MINUTE) == []
    assert site.tick(MINUTE) == [("opened", "released")]
    assert site.hidden() == []
    money = site.receiver.got[-1].json["data"]["alert"]["money"]
    assert {currency: Decimal(amount) for currency, amount in money.items()} == {"EUR": 10}


def test_a_feed_that_is_only_late_lets_what_is_stuck_be_told(site: Site) -> None:
    site.allocate(0, 3)
    site.tick(20 * MINUTE)
    assert site.hidden() == [(NORTH, False, 3)]
    site.release(0, 1)
    assert set(site.tick(MINUTE)) == {("opened", "released")}
    assert site.hidden() == []


def test_nobody_waits_for_a_verdict_for_ever(site: Site) -> None:
    site.allocate(0, 1)
    behind = site.now + MINUTE
    assert site.tick(20 * MINUTE, behind) == []
    assert site.tick(14 * MINUTE, behind) == []
    assert site.tick(MINUTE, behind) == [("opened", "released")]
    assert site.tick() == [("opened", "feed-dark")]
    assert "Explains 1 stuck, 10.00 EUR: S0." in site.summary()  # although it has been told


def test_nobody_waits_for_a_verdict_that_comes_too_late(site: Site) -> None:
    site.use(SLAS.replace("30m", "36m"))
    site.allocate(0, 1)
    assert site.tick(20 * MINUTE) == [("opened", "released")]


def test_a_silence_that_no_route_takes_keeps_nothing_from_people(site: Site) -> None:
    site.use(SLAS, ROUTES.replace("channels: [hook]", "match: {{rule: [released]}}, channels: [hook]"))
    site.allocate(0, 1)
    assert site.tick(20 * MINUTE) == []
    assert site.tick(10 * MINUTE) == []
    assert site.tick(5 * MINUTE) == [("opened", "released")]


def test_a_silence_that_waits_for_its_hours_keeps_nothing_from_people(site: Site) -> None:
    waits = "{{match: {{rule: [feed-dark]}}, outside: business, channels: [hook]}}, {{match: {{rule: [released]}}, "
    site.use(SLAS, ROUTES.replace("{{channels", waits + "channels"))
    site.allocate(0, 1)
    assert [site.tick(10 * MINUTE) for _ in range(3)] == [[], [], []]
    assert site.tick(5 * MINUTE) == [("opened", "released")]
    assert site.tick(12 * HOUR) == [("opened", "feed-dark")]


def test_what_a_silence_explains_is_told_once_somebody_resolves_its_alert(site: Site) -> None:
    site.allocate(0, 3)
    site.tick(30 * MINUTE)
    assert site.hidden() == [(NORTH, True, 3)]
    with site.engine.begin() as connection:
        number = connection.scalar(sa.select(t.alerts.c.alert_id).where(t.alerts.c.rule == "feed-dark"))
        commands.resolve(connection, number or 0, actor="anna", now=site.now, reason="known")
    assert site.tick(MINUTE) == [("resolved", "feed-dark")]
    assert site.hidden() == [(NORTH, False, 3)]
    site.allocate(10, 11)
    assert set(site.tick(20 * MINUTE)) == {("opened", "released")}
    assert site.tick(15 * MINUTE) == [("opened", "released")]
    assert site.hidden() == []
