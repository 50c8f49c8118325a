"""Exceptions from event to list: what opens them, what resolves them, what is told of them and of what is at stake."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from dashboards.queries import exceptions as queries
from dashboards.queries.exceptions import Filter, Group, Row
from milepost.catalog import loader
from milepost.clock import to_us, utc_now
from milepost.db import tables as t
from milepost.db.engine import make_engine
from milepost.decisions import correlation
from tests.chain import Chain, entry
from tests.databases import Databases

START = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)


class Story:
    """Tells events to a chain, minutes after START, and reads what became of them.

    Stories share a database: what a story is about has a namespace of its own (`name`), which is cut off again.
    """

    def __init__(self, engine: sa.Engine, name: str) -> None:
        self.chain = Chain(engine)
        self.name = name
        self.told = 0

    def tell(self, minute: int, kind: str, keys: dict[str, str], outcome: str = "ok", **more: Any) -> None:
        self.told += 1
        thread = {"correlationid": self.name + more.pop("thread")} if "thread" in more else {}
        at = START + timedelta(minutes=minute)
        keys = {of: self.name + key for of, key in keys.items()}
        wire = {
            "specversion": "1.0", "id": f"{self.name}{self.told}", "source": self.source(more.pop("source", "/wms")),
            "type": kind, "time": at.isoformat(), **thread, "data": {"keys": keys, "outcome": outcome, **more},
        }  # fmt: skip
        self.chain.append([entry(wire, to_us(at) + self.told)])
        self.chain.settle()

    def source(self, name: str) -> str:
        return f"/{self.name}{name}"

    def all(self, **wanted: Any) -> list[Row]:
        with self.chain.engine.connect() as connection:
            found = queries.list_page(connection, Filter(**wanted), limit=500).items
        own = [replace(row, source=row.source.removeprefix(f"/{self.name}")) for row in found if self.name in row.key]
        return [replace(row, key=row.key.removeprefix(self.name)) for row in own]

    def groups(self) -> list[Group]:
        with self.chain.engine.connect() as connection:
            return [group for group in queries.groups(connection) if self.name in group.source]


@pytest.fixture(scope="module")
def shared(databases: Databases) -> Iterator[sa.Engine]:
    with databases.fresh() as url:
        engine = make_engine(url, application_name="test exceptions")
        yield engine
        engine.dispose()


@pytest.fixture
def story(shared: sa.Engine, request: pytest.FixtureRequest) -> Story:
    return Story(shared, f"{request.node.name[5:20]}.")


def minutes(row: Row) -> tuple[int, int | None]:
    """From when to when."""
    at = [None if one is None else (one - START) // timedelta(minutes=1) for one in (row.opened_at, row.resolved_at)]
    assert at[0] is not None
    return at[0], at[1]


def test_a_failure_is_technical_until_its_own_type_goes_well(story: Story) -> None:
    story.tell(0, "order.received", {"order": "S1"}, attributes={"amount": "120.50", "currency": "EUR"})
    story.tell(1, "order.confirmed", {"order": "S1"}, "failed", code="TIMEOUT", reason="no answer")
    story.tell(3, "order.confirmed", {"order": "S1"}, "retried", code="TIMEOUT")
    (row,) = story.all(open=True)
    assert (row.kind, row.type, row.outcome, row.code, row.count) == (
        "technical",
        "order.confirmed",
        "retried",
        "TIMEOUT",
        2,
    )
    assert (row.object_type, row.key, minutes(row)) == ("order", "S1", (1, None))
    assert [(item.kind, item.key, item.state) for item in row.journeys] == [("order", f"{story.name}S1", "open")]
    story.tell(2, "order.acknowledged", {"order": "S1"})
    assert len(story.all(open=True)) == 1
    story.tell(4, "order.confirmed", {"order": "S1"})
    assert story.all(open=True) == []
    (row,) = story.all()
    assert (minutes(row), row.resolved_by) == ((1, 4), "order.confirmed")


def test_a_rejection_is_business_and_late_evidence_divides_it(story: Story) -> None:
    story.tell(0, "order.validated", {"order": "S1"}, "rejected", code="CREDIT")
    story.tell(9, "order.validated", {"order": "S1"}, "rejected", code="ADDRESS")
    (row,) = story.all()
    assert (row.kind, row.code, row.count, minutes(row)) == ("business", "ADDRESS", 2, (0, None))
    story.tell(5, "order.validated", {"order": "S1"})
    assert [(row.code, minutes(row)) for row in story.all()] == [("ADDRESS", (9, None)), ("CREDIT", (0, 5))]


def test_the_catalog_says_what_opens_and_what_resolves(story: Story) -> None:
    story.tell(0, "order.held", {"order": "S1"}, reason="credit")
    story.tell(1, "order.held", {"order": "S1"}, "failed")
    story.tell(5, "order.released", {"order": "S1"})
    story.tell(6, "picking.short", {"order": "S1", "picking": "P1"}, code="SHORT")
    held, failed, short = sorted(story.all(), key=lambda row: row.opened_at)
    assert (held.kind, minutes(held), held.resolved_by) == ("held", (0, 5), "order.released")
    assert (failed.kind, minutes(failed)) == ("technical", (1, None)), "a hold that failed holds nothing"
    assert (short.kind, short.key, minutes(short)) == ("business", "P1", (6, None))
    story.tell(7, "picking.cancelled", {"picking": "P1"})
    assert [row.resolved_by for row in story.all(type="picking.short")] == ["picking.cancelled"]


def test_what_is_cancelled_is_rid_of_what_others_said_of_it(story: Story) -> None:
    story.tell(0, "picking.created", {"order": "S1", "picking": "P1"})
    story.tell(1, "message.failed", {"picking": "P1"}, "failed", source="/middleware")
    story.tell(2, "stock.reservation_failed", {"picking": "P1"}, "failed")
    story.tell(3, "message.failed", {"order": "S1"}, "failed", source="/middleware")
    story.tell(5, "picking.cancelled", {"picking": "P1"})
    ended = {(row.key, row.type): (minutes(row)[1], row.resolved_by) for row in story.all()}
    assert ended == {
        ("P1", "message.failed"): (5, "picking.cancelled"),
        ("P1", "stock.reservation_failed"): (5, "picking.cancelled"),
        ("S1", "message.failed"): (None, None),
    }


def test_a_message_fails_for_its_thread_or_for_what_it_names(story: Story) -> None:
    story.tell(0, "order.received", {"order": "S1"}, thread="Z1")
    story.tell(1, "message.failed", {"order": "S1"}, "failed", thread="Z1", code="503", source="/middleware")
    story.tell(2, "message.dead_lettered", {"order": "S2"}, code="TTL", source="/middleware")
    dead, failed = story.all(open=True)
    assert (failed.object_type, failed.key, failed.journeys[0].key) == ("correlation", "Z1", f"{story.name}S1")
    assert (dead.kind, dead.object_type, dead.key) == ("technical", "order", "S2")
    story.tell(3, "message.delivered", {"order": "S1"}, thread="Z1")
    story.tell(4, "message.delivered", {"order": "S2"})
    assert story.all(open=True) == []
    of = t.milestones.join(t.journeys, t.journeys.c.journey_id == t.milestones.c.journey_id)
    steps = sa.select(t.milestones.c.name).select_from(of).where(t.journeys.c.key.startswith(story.name))
    with story.chain.engine.connect() as connection:
        assert connection.scalars(steps).all() == ["received"], "messages are no step of an order"


def test_what_ends_with_its_journey_is_no_longer_open(story: Story) -> None:
    story.tell(0, "picking.created", {"order": "S1", "picking": "P1"})
    story.tell(1, "picking.picked", {"picking": "P1"}, "failed")
    assert len(story.all(open=True)) == 1
    story.tell(2, "order.cancelled", {"order": "S1"})
    assert story.all(open=True) == []
    assert story.groups() == []
    assert len(story.all(open=False)) == 1


def test_a_rejected_shipment_waits_until_it_is_booked_again(story: Story) -> None:
    story.tell(0, "shipment.rejected", {"shipment": "T1"})
    assert [(row.kind, row.journeys[0].state) for row in story.all(open=True)] == [("business", "open")]
    story.tell(1, "shipment.booked", {"shipment": "T1"})
    story.tell(2, "shipment.delivered", {"shipment": "T1"})
    (row,) = story.all(open=False)
    assert (row.resolved_by, row.journeys[0].state) == ("shipment.booked", "completed")


def test_groups_count_each_journey_once_and_never_add_currencies(story: Story) -> None:
    for number, (amount, currency) in enumerate((("100", "EUR"), ("50", "EUR"), ("70", "USD"))):
        key = f"S{number}"
        story.tell(0, "order.received", {"order": key}, attributes={"amount": amount, "currency": currency})
        for picking in ("A", "B"):
            keys = {"order": key, "picking": f"{key}{picking}"}
            story.tell(number + 1, "picking.short", keys, code="SHORT", reason="empty shelf")
    story.tell(9, "order.confirmed", {"order": "S0"}, "failed", source="/odoo")
    most, other = story.groups()
    assert (most.type, most.code, most.source, most.reason) == (
        "picking.short",
        "SHORT",
        story.source("/wms"),
        "empty shelf",
    )
    assert (most.count, most.journeys, most.money) == (6, 3, {"EUR": Decimal(150), "USD": Decimal(70)})
    assert most.oldest_at == START + timedelta(minutes=1)
    assert (other.kind, other.code, other.source, other.money) == (
        "technical",
        None,
        story.source("/odoo"),
        {"EUR": Decimal(100)},
    )
    assert (
        len(story.all(open=True, kind="business", code="SHORT", source=story.source("/wms"), type="picking.short")) == 6
    )
    assert [row.type for row in story.all(code="")] == ["order.confirmed"]
    assert len(story.all(since=START + timedelta(minutes=3))) == 3


def test_what_is_at_stake_counts_once_though_its_parts_have_journeys_of_their_own(story: Story) -> None:
    value = {"amount": "100", "currency": "EUR"}
    story.tell(0, "shipment.booked", {"shipment": "T1"}, attributes=value)
    story.tell(1, "order.received", {"order": "S1", "shipment": "T1"}, attributes=value)
    for number, part in enumerate(({"order": "S1"}, {"shipment": "T1"}, {"package": "P1", "shipment": "T1"})):
        keys = {"reconciliation": f"paid/{number}", **part}
        story.tell(2, "reconciliation.missing", keys, source="/milepost", attributes=value)
    story.tell(3, "reconciliation.missing", {"reconciliation": "paid/3"}, source="/milepost", attributes=value)
    (group,) = story.groups()
    assert (group.count, group.journeys, group.money) == (4, 2, {"EUR": Decimal(200)})


def test_of_two_journeys_that_stand_in_each_other_one_counts(databases: Databases) -> None:
    models = {
        name: {
            "roots": [name],
            "tree": {name: [other]},
            "milestones": [{"name": "begun", "events": [f"{name}.begun"]}],
            "complete_when": [],
        }
        for name, other in (("order", "transfer"), ("transfer", "order"))
    }
    journeys = yaml.safe_dump({"keys": {"order": {}, "transfer": {}}, "models": models})
    own = {"journeys.yaml": journeys, "slas.yaml": "policies: []", "reconciliations.yaml": "reconciliations: {}"}
    with databases.fresh() as url:
        engine = make_engine(url, application_name="test exceptions")
        story = Story(engine, "both.")
        story.chain = Chain(engine, catalog=loader.load({**loader.default_texts(), **own}))
        keys = {"order": "S1", "transfer": "T1"}
        story.tell(0, "order.begun", keys, "failed", attributes={"amount": "100", "currency": "EUR"})
        (group,) = story.groups()
        (row,) = story.all()
        engine.dispose()
    assert {item.kind for item in row.journeys} == {"order", "transfer"}
    assert (group.count, group.journeys, group.money) == (1, 1, {"EUR": Decimal(100)})


def test_pages_hold_every_exception_once(story: Story) -> None:
    for number in range(5):
        story.tell(number // 2, "order.confirmed", {"order": f"S{number}"}, "failed")
    wanted, found, cursor = Filter(source=story.source("/wms")), [], None
    with story.chain.engine.connect() as connection:
        while page := queries.list_page(connection, wanted, limit=2, cursor=cursor):
            found += [row.key.removeprefix(story.name) for row in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
    assert sorted(found) == [f"S{number}" for number in range(5)]
    assert found[0] == "S4"


def test_merged_objects_have_theirs_under_the_name_that_stays(story: Story) -> None:
    story.tell(0, "order.confirmed", {"order": "S1"}, "failed")
    story.tell(1, "order.confirmed", {"order": "S2"})
    with story.chain.engine.begin() as connection:
        one, other = (correlation.find(connection, "order", story.name + key) for key in ("S2", "S1"))
        said: Any = {"actor": "test", "reason": "the same", "now": utc_now()}
        number = correlation.decide(connection, "merge", one, other, **said)
    story.chain.settle()
    assert [(row.key, minutes(row)) for row in story.all()] == [("S2", (0, 1))]
    with story.chain.engine.begin() as connection:
        correlation.reverse(connection, number, **said)
    story.chain.settle()
    assert [(row.key, minutes(row)) for row in story.all()] == [("S1", (0, None))]
