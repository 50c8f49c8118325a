"""What explains a wave, read from the real database: the contrast, whom it concerns, what changed before, relatives."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from alerting import commands, pipeline, wave
from alerting.message import Message
from alerting.signal import Signal
from dashboards.queries import journeys as listing
from milepost.catalog.policy import Policy
from milepost.db.tables import (
    alerts,
    anomalies,
    event_object,
    events,
    journeys,
    members,
    notifications,
    object_states,
    source_minutes,
    volume_hours,
)
from milepost.decisions import audit as audit_log
from milepost.journeystate import AttributeGroup, ObjectState, encode_object
from tests.integration.test_alerting_pipeline import INTERVAL, MINUTE, NOW, SECOND, URL, breach, over
from tests.integration.test_alerting_pipeline import Alerting as Base

HOUR = timedelta(hours=1)


class Alerting(Base):
    """With journeys that the breaches are of, and a policy that is `limited_to` some."""

    limited_to: Mapping[str, list[str]] = {}

    def step(self) -> bool:
        limited = Policy(name="warehouse-acknowledgement", kind="dwell", model="order", match=dict(self.limited_to))
        return pipeline.step(self.engine, self.routing, policies=[limited], now=self.now, public_url=URL)

    def orders(self, numbers: range, **columns: Any) -> None:
        """Open orders; the values of `columns` may be callables of the number."""
        rows = [
            {name: value(number) if callable(value) else value for name, value in {**ORDER, **columns}.items()}
            | {"journey_id": number, "root_id": number, "key": f"S{number:05}"}
            for number in numbers
        ]
        with self.engine.begin() as connection:
            connection.execute(sa.insert(journeys), rows)

    def write(self, table: sa.Table, *rows: dict[str, Any]) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.insert(table), list(rows))

    def message(self) -> Message:
        """The last one."""
        return msgspec.convert(self.rows(notifications)[-1]["body"], Message)


ORDER = {
    "model": "order", "namespace": "", "root_type": "order", "state": "open", "stage_rank": 1, "started_at": NOW - HOUR,
    "last_at": NOW, "progress_at": NOW, "first_received_at": NOW, "last_received_at": NOW, "facts": b"",
}  # fmt: skip


@pytest.fixture
def alerting(engine: sa.Engine) -> Alerting:
    return Alerting(engine)


def north(number: int) -> str:
    return "north" if number % 5 == 0 else "south"


def late(number: int, **fields: Any) -> Signal:
    """An order of the north that is late; nearly all orders go by dhl."""
    labels = {"warehouse": north(number), "carrier": "dhl", "partner": f"customer {number % 30}"}
    return breach(number, **{"group": {}, "labels": labels, **fields})


@pytest.fixture
def network(alerting: Alerting) -> Alerting:
    """500 open orders, 100 of them of the north, nearly all by dhl; 30 customers."""
    alerting.orders(
        range(500),
        warehouse=north,
        carrier=lambda number: None if number % 7 == 0 else "ups" if number % 50 == 1 else "dhl",
        partner=lambda number: f"customer {number % 30}",
    )
    return alerting


def test_an_alert_tells_what_sets_its_items_apart_and_whom_it_concerns(network: Alerting) -> None:
    items = [*range(0, 240, 5), 1, 2]  # 48 of the north, and two others
    network.run(*[late(number) for number in items])
    alert = network.message().alert
    assert alert.cause == "48 of 50 have warehouse north, as do 12 % of the 450 other open orders."
    assert (alert.model, alert.journeys, alert.customers) == ("order", 50, len({number % 30 for number in items}))
    assert alert.journeys_url == f"{URL}/journeys?alert={alert.id}&kind=any&state=any"
    assert f"50 breaches open. 50 orders of {alert.customers} customers." in alert.summary
    assert alert.summary.endswith(alert.cause)


def test_what_its_rule_is_limited_to_explains_nothing(network: Alerting) -> None:
    network.limited_to = {"warehouse": ["north"]}
    network.run(*[late(number) for number in range(0, 250, 5)])
    assert network.message().alert.cause is None


def test_a_value_of_the_group_is_not_told_again_and_relates_alerts(network: Alerting) -> None:
    group = {"warehouse": "north"}
    network.run(*[late(number, group=group, rule="first") for number in range(0, 100, 5)])
    first = network.message().alert
    assert (first.cause, first.related) == (None, [])
    network.run(*[late(number, rule="second", title="Second") for number in range(0, 240, 5)], after=3 * MINUTE)
    second = network.message().alert
    (other,) = second.related
    assert (other.id, other.shared, other.url) == (first.id, group, f"{URL}/alerts/{first.id}")
    network.run(*[late(number, rule="third") for number in range(0, 240, 5)], after=60 * MINUTE)
    assert network.message().alert.related == []


def test_a_burning_budget_is_related_to_the_breaches_that_burn_it(network: Alerting) -> None:
    network.run(late(0))
    network.run(late(1, kind="objective", item="slow", journey_id=None))
    (other,) = network.message().alert.related
    assert other.shared == {"policy": "warehouse-acknowledgement"}


def test_alerts_that_only_share_the_usual_carrier_are_not_related(network: Alerting) -> None:
    items = [number for number in range(2, 200, 3) if number % 7 and number % 50 != 1]
    for rule in ("first", "second"):
        network.run(*[late(number, group={"carrier": "dhl"}, rule=rule) for number in items])
    assert network.message().alert.related == []


def test_the_page_knows_what_explains_a_wave_before_it_is_told(network: Alerting) -> None:
    network.run(late(0))
    network.run(*[late(number) for number in range(5, 240, 5)], after=MINUTE)
    assert network.events() == ["opened"]
    assert network.alert()["summary"].endswith("All have warehouse north, as do 12 % of the 452 other open orders.")


def test_values_that_no_column_has_are_looked_up_in_the_objects(network: Alerting) -> None:
    """Every third order is for the islands, as each order's root says."""
    network.write(
        object_states, *[_state(number, "islands" if number % 3 == 0 else "mainland") for number in range(500)]
    )
    late_ones = range(3, 240, 3)
    network.run(*[late(number, labels={"region": "islands", "warehouse": north(number)}) for number in late_ones])
    assert network.alert()["findings"]["cause"]["values"] == {"region": "islands"}


def _state(number: int, region: str) -> dict[str, Any]:
    told = AttributeGroup(0, "shop", "x", {"region": region})
    return {"object_id": number, "state": encode_object(ObjectState(attributes=[told], events=1))}


def listed(alerting: Alerting, number: int) -> set[int]:
    """The journeys that the alert's link leads to."""
    with alerting.engine.connect() as connection:
        page = listing.list_page(connection, listing.Filter(alert=number), kinds=["order"], limit=500)
        assert {*connection.scalars(listing.select_ids(listing.Filter(alert=number)))} == {
            row.journey_id for row in page.items
        }
    return {row.journey_id for row in page.items}


def test_the_link_lists_exactly_the_journeys_that_the_alert_counts(network: Alerting) -> None:
    items = range(0, 240, 5)
    network.run(*[late(number) for number in items], *[late(number, item="again:3") for number in (0, 5)])
    network.run(*[over(number, group={}) for number in range(0, 50, 5)], after=INTERVAL + MINUTE)
    alert = network.message().alert
    assert listed(network, alert.id) == {*range(50, 240, 5), 5}
    assert alert.journeys == len(listed(network, alert.id))
    network.run(*[over(number, group={}) for number in items], over(5, item="again:3"), after=MINUTE)
    assert network.alert()["items_open"] == 0
    assert listed(network, alert.id) == {*items}
    assert network.message().alert.journeys == len(items)


def test_a_wave_that_the_planner_does_not_know_of_is_not_joined_row_by_row(network: Alerting) -> None:
    """Ten thousand items that came a moment ago are one row to it; joining them took twelve seconds."""
    network.run(*[late(number) for number in range(0, 250, 5)])
    peers = wave.Peers(network.alert()["alert_id"], "order", {}, NOW)
    with network.engine.connect() as connection:
        text = wave.others_query(peers, wave.LOOKED_AT).compile(connection, compile_kwargs={"literal_binds": True})
        plan = "\n".join(connection.scalars(sa.text(f"EXPLAIN {text}")))
    assert plan.count("hashed SubPlan") == 2, plan


# --- many groups at once ----------------------------------------------------------------------------------------------


def by_carrier(numbers: range) -> list[Signal]:
    """Late orders over 40 carriers."""
    return [late(number, group={"carrier": f"c{number % 40}"}) for number in numbers]


def test_a_wave_over_many_groups_is_at_most_three_alerts(network: Alerting) -> None:
    """Two groups open alerts before anybody can know; all the others are one alert with those that follow."""
    network.run(*by_carrier(range(2)))
    network.run(*by_carrier(range(100)), after=SECOND)
    network.run(*by_carrier(range(100, 500)), after=SECOND)
    assert network.events() == ["opened"] * 3
    assert [row["items_open"] for row in network.rows(alerts)] == [13, 13, 474]
    last = network.rows(alerts)[-1]
    assert (last["group"], len(last["folded"])) == ({}, 38)
    assert last["summary"].startswith("474 breaches open in 38 groups.")


def test_a_group_stays_where_it_was_taken_in_and_later_ones_open_their_own(network: Alerting) -> None:
    network.run(*by_carrier(range(38)))
    network.run(*by_carrier(range(38, 80)), after=60 * MINUTE)
    assert [row["items_open"] for row in network.rows(alerts)] == [76, 2, 2]


def test_an_acknowledged_wave_that_widens_fires_again(network: Alerting) -> None:
    network.run(*by_carrier(range(20)))
    network.act(commands.acknowledge, network.alert()["alert_id"], actor="anna")
    network.run(*by_carrier(range(20, 40)), after=20 * MINUTE)
    assert (network.alert()["state"], network.events()) == ("firing", ["opened", "acknowledged", "updated"])


# --- what changed before ----------------------------------------------------------------------------------------------


def before(alerting: Alerting) -> list[tuple[str, str]]:
    return [(change.what, change.text) for change in alerting.message().alert.before]


def test_acts_volumes_and_deployments_before_an_alert_are_told_the_latest_first(alerting: Alerting) -> None:
    began = NOW - 2 * HOUR  # when the breach was due
    with alerting.engine.begin() as connection:
        for action, at in (
            ("catalog.applied", began - HOUR),
            ("login.passed", began),
            ("key.revoked", began - 20 * HOUR),
        ):
            audit_log.record(connection, actor="anna", action=action, target="4711", now=at)
    alerting.write(
        volume_hours,
        {"source": "/ci", "type": "deployment.done", "dimension": "", "hour": began, "events": 1, "bad": 0},
        {"source": "/ci", "type": "order.received", "dimension": "", "hour": began, "events": 9, "bad": 0},
    )
    odd = {"detector": "volume", "series": "x", "found_at": NOW, "score": 9.0, "severity": "warning", "labels": {}}
    alerting.write(anomalies, {**odd, "at": began - 2 * HOUR, "reason": "3 orders, usually 50"})
    alerting.run(breach(0))
    assert before(alerting) == [
        ("deployment", "/ci told of deployment.done in the hour from 20 Nov 2026 08:00 UTC"),
        ("catalog", "catalog applied: 4711, by anna"),
        ("anomaly", "3 orders, usually 50"),
    ]


def spoke(source: str, *spans: tuple[timedelta, timedelta]) -> list[dict[str, Any]]:
    """A source that said something in each minute of some spans before NOW."""
    zero = {"duplicates": 0, "conflicts": 0, "lag_us_sum": 0, "lag_us_max": 0}
    return [
        {"source": source, "minute": NOW - begin + number * MINUTE, "events": 2, **zero}
        for begin, end in spans
        for number in range(int((begin - end) / MINUTE))
    ]


def test_sources_that_fell_silent_or_came_back_are_told_but_not_their_usual_nights(alerting: Alerting) -> None:
    week = timedelta(days=7)
    alerting.write(
        source_minutes,
        *spoke("/wms", (6 * HOUR, HOUR)),
        *spoke("/edi", (6 * HOUR, 4 * HOUR), (3 * HOUR, timedelta(0))),
        *spoke("/shop", (6 * HOUR, timedelta(0))),
        *spoke("/bank", (week + 9 * HOUR, week + 4 * HOUR), (9 * HOUR, 4 * HOUR)),
    )
    alerting.run(breach(0))
    assert before(alerting) == [
        ("source", "/wms is quiet since 20 Nov 2026 08:59 UTC"),
        ("source", "/edi came back after 1 h 1 min"),
    ]


def test_the_last_event_of_the_oldest_item_is_told(alerting: Alerting) -> None:
    alerting.orders(range(2), first_received_at=NOW - HOUR, last_received_at=NOW + 5 * MINUTE)
    alerting.write(
        members, {"journey_id": 0, "object_id": 10, "depth": 0}, {"journey_id": 0, "object_id": 11, "depth": 1}
    )
    told = {"outcome": "ok", "flags": 0, "body": {}, "source": "/wms"}
    heard = [
        (10, "order.received", 30, 30),
        (11, "picking.created", 28, 40),  # heard of last, though it happened before
        (12, "other", 27, 27),
        (10, "order.confirmed", -5, 5),  # heard of when the alert was there
    ]
    for number, (object_id, kind, received, occurred) in enumerate(heard):
        place = {"event_no": number, "received_at": NOW - received * MINUTE}
        occurred_at = NOW - occurred * MINUTE
        alerting.write(events, {**told, **place, "occurred_at": occurred_at, "event_id": str(number), "type": kind})
        alerting.write(event_object, {**place, "object_id": object_id, "subject": True})
    alerting.run(breach(0), breach(1))
    assert before(alerting) == [("last_event", "S00000, the oldest: last heard of by picking.created from /wms")]
