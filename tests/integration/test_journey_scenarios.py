"""The messy cases of a distribution business, one a test: what systems send, and the journeys that come of it.

    say("10:00 shop order.received channel_order=C1")      at ten the shop says that it received its order C1
    journeys() == {"C1": "received"}                        the journeys of orders, and the step that each has reached

Keys come as type=key, several of them with commas. Other words: id=, correlation=, outcome=, received= (when it reached
us, else at once), link=PARENT>CHILD (both type:key), and @name=value for attributes.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import pytest
import sqlalchemy as sa

from milepost.catalog import loader
from milepost.catalog.schema import Catalog
from milepost.clock import to_us
from milepost.db import tables as t
from milepost.journeystate import Flag
from tests.chain import CATALOG, Chain, Wire, entry

DAY: Final = "2026-11-20T"
_SPECIAL: Final = ("id", "correlation", "outcome", "received", "link")


class Business:
    """A day on which systems say what happens."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.chain = Chain(engine)
        self._number = 0

    def say(self, *lines: str) -> None:
        """Each line is an event; afterwards Milepost has worked all of them in."""
        for line in lines:
            wire, received = self._event(line)
            self.chain.append([entry(wire, received)])
        self.chain.settle()

    def _event(self, line: str) -> tuple[Wire, int]:
        clock, source, kind, *words = line.split()
        self._number += 1
        given = dict(word.split("=", 1) for word in words)
        keys = {name: key.split(",") for name, key in given.items() if name not in _SPECIAL and name[0] != "@"}
        data: dict[str, Any] = {"keys": keys, "outcome": given.get("outcome", "ok")}
        data["attributes"] = {name[1:]: value for name, value in given.items() if name[0] == "@"}
        if "link" in given:
            ends = [dict(zip(("type", "key"), end.split(":"), strict=True)) for end in given["link"].split(">")]
            data["links"] = [{"parent": ends[0], "child": ends[1], "rel": "backorder"}]
        event_id = given.get("id", f"{self._number}")
        wire = {"specversion": "1.0", "id": event_id, "source": f"/{source}", "type": kind, "time": _time(clock)}
        if "correlation" in given:
            wire["correlationid"] = given["correlation"]
        return {**wire, "data": data}, _us(given.get("received", clock))

    def rows(self, statement: Any) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(statement))

    def journeys(self, model: str = "order") -> dict[str, str]:
        """By key: the step reached, or that the journey is completed or cancelled."""
        rows = self.rows(sa.select(t.journeys).where(t.journeys.c.model == model))
        return {_root(row): (row.stage or "-") if row.state == "open" else row.state for row in rows}

    def members(self, root: str, model: str = "order") -> set[str]:
        """What belongs to a journey, but for itself."""
        names = sa.union_all(
            sa.select(t.objects.c.object_id, t.objects.c.key),
            sa.select(t.correlations.c.object_id, t.correlations.c.key),
        ).subquery()
        joined = t.members.join(names, names.c.object_id == t.members.c.object_id)
        chosen = (
            sa.select(names.c.key)
            .select_from(joined)
            .where(t.members.c.journey_id == self._journey(root, model).journey_id)
        )
        return {row.key for row in self.rows(chosen.where(t.members.c.depth > 0))}

    def reached(self, root: str, model: str = "order") -> dict[str, str]:
        """The milestones of a journey, each with the time of day at which it was reached."""
        chosen = t.milestones.c.journey_id == self._journey(root, model).journey_id
        return {row.name: f"{row.reached_at:%H:%M}" for row in self.rows(sa.select(t.milestones).where(chosen))}

    def times(self, root: str, milestone: str) -> int:
        """How many events say that a milestone was reached."""
        mine = (t.milestones.c.journey_id == self._journey(root, "order").journey_id) & (
            t.milestones.c.name == milestone
        )
        return int(self.rows(sa.select(t.milestones.c.count).where(mine))[0].count)

    def shown(self, root: str) -> list[str]:
        """The types of the events that a journey shows, as they happened."""
        journey = self._journey(root, "order")
        mine = sa.select(t.members.c.object_id).where(t.members.c.journey_id == journey.journey_id)
        numbers = sa.select(t.event_object.c.event_no).where(t.event_object.c.object_id.in_(mine))
        chosen = t.events.c.event_no.in_(numbers)
        return [row.type for row in self.rows(sa.select(t.events).where(chosen).order_by(t.events.c.occurred_at))]

    def value(self, root: str, column: str) -> Any:
        return getattr(self._journey(root, "order"), column)

    def flagged(self, flag: Flag) -> list[str]:
        return [row.type for row in self.rows(sa.select(t.events).where(t.events.c.flags.bitwise_and(flag.value) != 0))]

    def quarantined(self) -> list[tuple[str, str]]:
        return [(row.kind, row.event_id) for row in self.rows(sa.select(t.quarantine))]

    def use(self, catalog: Catalog) -> None:
        """Put another catalog in force."""
        self.chain = Chain(self.engine, catalog=catalog)
        self.chain.settle()

    def _journey(self, root: str, model: str) -> Any:
        (found,) = (
            row for row in self.rows(sa.select(t.journeys).where(t.journeys.c.model == model)) if _root(row) == root
        )
        return found


def _root(row: Any) -> str:
    """The key of a root, with its namespace where it has one: 1001 (partner=ACME)."""
    return f"{row.key} ({row.namespace})" if row.namespace else str(row.key)


def _time(clock: str) -> str:
    return f"{DAY}{clock}:00Z"


def _us(clock: str) -> int:
    return to_us(datetime.fromisoformat(_time(clock)))


@pytest.fixture
def day(engine: sa.Engine) -> Business:
    return Business(engine)


# --- roots ------------------------------------------------------------------------------------------------------------


def test_an_order_that_never_reaches_the_erp_is_a_journey_of_its_own(day: Business) -> None:
    day.say("10:00 shop order.received channel_order=C1")
    assert day.journeys() == {"C1": "received"}


def test_the_order_absorbs_what_the_channel_knew_before(day: Business) -> None:
    day.say("10:00 shop order.received channel_order=C1", "10:01 edi order.received channel_order=C2")
    day.say("10:05 odoo order.confirmed order=S1 channel_order=C1")
    assert day.journeys() == {"S1": "confirmed", "C2": "received"}
    assert day.reached("S1") == {"received": "10:00", "confirmed": "10:05"}
    assert day.members("S1") == {"C1"}


def test_two_customers_may_use_the_same_purchase_order_number(day: Business) -> None:
    day.say(
        "10:00 edi order.received customer_po=1001 @partner=ACME",
        "10:01 edi order.received customer_po=1001 @partner=Globex",
    )
    assert day.journeys() == {"1001 (partner=ACME)": "received", "1001 (partner=Globex)": "received"}
    day.say("10:05 odoo order.confirmed order=S1 customer_po=1001 @partner=ACME")
    assert day.journeys() == {"S1": "confirmed", "1001 (partner=Globex)": "received"}


def test_a_purchase_order_that_became_two_orders_makes_neither_contain_the_other(day: Business) -> None:
    day.say("10:00 edi order.received customer_po=1001 @partner=ACME")
    day.say("10:05 odoo order.confirmed order=S1 customer_po=1001 @partner=ACME")
    day.say("10:06 odoo order.confirmed order=S2 customer_po=1001 @partner=ACME")
    day.say("11:00 wms picking.released order=S1 picking=P1", "11:30 wms picking.released order=S2 picking=P2")
    assert day.journeys() == {"S1": "released", "S2": "released"}
    assert (day.members("S1"), day.members("S2")) == ({"1001", "P1"}, {"1001", "P2"})
    assert day.reached("S1")["received"] == day.reached("S2")["received"] == "10:00"


# --- shipments --------------------------------------------------------------------------------------------------------


def test_a_consolidated_shipment_belongs_to_all_of_its_orders(day: Business) -> None:
    day.say("10:00 odoo order.confirmed order=S1", "10:01 odoo order.confirmed order=S2")
    day.say("12:00 carrier shipment.booked shipment=X1 order=S1,S2", "15:00 carrier shipment.delivered shipment=X1")
    assert day.journeys() == {"S1": "delivered", "S2": "delivered"}
    assert (day.members("S1"), day.members("S2")) == ({"X1"}, {"X1"})
    assert day.journeys("shipment") == {"X1": "completed"}


def test_a_split_shipment_is_delivered_with_its_last_parcel(day: Business) -> None:
    day.say("10:00 odoo order.confirmed order=S1", "12:00 carrier shipment.booked order=S1 shipment=X1,X2")
    day.say("15:00 carrier shipment.delivered shipment=X1")
    assert "delivered" not in day.reached("S1")
    day.say("17:00 carrier shipment.delivered shipment=X2")
    assert day.reached("S1")["delivered"] == "17:00"
    day.say("17:30 carrier shipment.booked order=S1 shipment=X3")  # one more parcel opens it again
    assert "delivered" not in day.reached("S1")
    day.say("18:00 carrier shipment.cancelled shipment=X3")  # one that never goes doesn't count
    assert day.reached("S1")["delivered"] == "17:00"


def test_a_backorder_of_a_backorder_is_part_of_the_order(day: Business) -> None:
    day.say("10:00 odoo order.confirmed order=S1", "10:05 wms picking.created order=S1 picking=P1")
    day.say("13:00 wms picking.created picking=P3 link=picking:P2>picking:P3")  # the younger one first
    assert day.members("S1") == {"P1"}
    day.say("12:00 wms picking.created picking=P2 link=picking:P1>picking:P2")
    assert day.members("S1") == {"P1", "P2", "P3"}
    day.say("12:30 wms picking.done picking=P1,P2")
    assert "fulfilled" not in day.reached("S1")
    day.say("16:00 wms picking.done picking=P3")
    assert day.reached("S1")["fulfilled"] == "16:00"


# --- correlation ids --------------------------------------------------------------------------------------------------


def test_a_correlation_id_ties_what_names_no_order(day: Business) -> None:
    day.say("10:00 odoo order.confirmed order=S1 correlation=Z1", "10:01 bus message.delivered correlation=Z1")
    day.say("10:02 wms picking.created picking=P1 correlation=Z1")
    assert day.members("S1") == {"Z1", "P1"}
    assert day.shown("S1") == ["order.confirmed", "message.delivered", "picking.created"]
    assert day.journeys() == {"S1": "allocated"}


def test_the_id_of_a_batch_job_joins_nothing(day: Business) -> None:
    orders = [f"S{number}" for number in range(500)]
    day.chain.append(
        [entry(*day._event(f"10:00 odoo order.confirmed order={order} correlation=JOB")) for order in orders]
    )
    day.say(
        "10:05 wms picking.created picking=P1 correlation=JOB",
        "10:06 bus message.failed correlation=JOB outcome=failed",
    )
    assert day.journeys() == dict.fromkeys(orders, "confirmed")
    assert day.members("S7") == {"JOB"}
    assert day.shown("S7") == ["order.confirmed", "message.failed"]


# --- what counts ------------------------------------------------------------------------------------------------------


def test_cancelling_an_order_leaves_the_other_one_of_its_shipment_alone(day: Business) -> None:
    day.say("10:00 carrier shipment.booked shipment=X1 order=S1,S2", "11:00 odoo order.cancelled order=S1 shipment=X1")
    day.say("12:00 odoo order.confirmed order=S2")
    assert day.journeys() == {"S1": "cancelled", "S2": "confirmed"}


def test_what_failed_or_is_tried_again_is_no_progress(day: Business) -> None:
    day.say("10:00 shop order.received order=S1", "10:01 odoo order.confirmed order=S1 outcome=failed")
    day.say(
        "10:02 odoo order.confirmed order=S1 outcome=retried", "10:03 odoo order.confirmed order=S1 outcome=rejected"
    )
    assert day.journeys() == {"S1": "received"}
    assert len(day.shown("S1")) == 4
    day.say("10:04 odoo order.confirmed order=S1")
    assert day.reached("S1") == {"received": "10:00", "confirmed": "10:04"}


def test_a_late_event_corrects_what_was_known(day: Business) -> None:
    day.say("12:00 odoo order.confirmed order=S1")
    day.say("10:00 shop order.received order=S1 received=18:00", "11:00 bus order.confirmed order=S1 received=18:01")
    assert day.reached("S1") == {"received": "10:00", "confirmed": "11:00"}
    assert f"{day.value('S1', 'started_at'):%H:%M}" == "10:00"


def test_what_is_sent_twice_counts_once(day: Business) -> None:
    for _ in range(3):
        day.say("10:00 shop order.received order=S1 id=a")
    day.say("10:01 edi order.received order=S1 id=a")  # the same id of another source is another event
    assert day.times("S1", "received") == 2
    assert not day.quarantined()


def test_the_first_of_two_that_contradict_each_other_stands(day: Business) -> None:
    day.say("10:00 shop order.received order=S1 id=a @amount=10", "10:00 shop order.received order=S1 id=a @amount=99")
    assert day.quarantined() == [("conflict", "a")]
    assert str(day.value("S1", "amount")) == "10.0000"


def test_a_key_that_is_none_ties_nothing_together(day: Business) -> None:
    day.say("10:00 odoo order.confirmed order=S1 picking=N/A", "10:01 odoo order.confirmed order=S2 picking=n/a,0")
    day.say("10:02 shop order.received order=TBD")
    assert day.journeys() == {"S1": "confirmed", "S2": "confirmed"}
    assert day.members("S1") == day.members("S2") == set()
    assert sorted(day.flagged(Flag.JUNK_KEY)) == ["order.confirmed", "order.confirmed", "order.received"]


def test_the_last_word_on_an_attribute_is_the_last_by_time(day: Business) -> None:
    day.say(
        "12:00 odoo order.confirmed order=S1 @carrier=ups @amount=20",
        "10:00 shop order.received order=S1 @carrier=dhl @channel=shop",
    )
    assert (day.value("S1", "carrier"), day.value("S1", "channel")) == ("ups", "shop")
    day.say("13:00 wms picking.packed order=S1 picking=P1 @warehouse=north @amount=5")
    day.say("13:05 wms picking.packed order=S1 picking=P2 @warehouse=north")
    assert (day.value("S1", "warehouse"), str(day.value("S1", "amount"))) == ("north", "20.0000")
    day.say("13:10 wms picking.packed order=S1 picking=P2 @warehouse=south")
    assert day.value("S1", "warehouse") is None  # two warehouses are not one


def test_many_orders_and_many_pickings_in_one_event_are_not_guessed(day: Business) -> None:
    day.say("10:00 odoo order.confirmed order=S1,S2 picking=P1,P2")
    assert day.flagged(Flag.AMBIGUOUS) == ["order.confirmed"]
    assert day.members("S1") == day.members("S2") == set()


# --- the catalog ------------------------------------------------------------------------------------------------------


def test_a_new_milestone_appears_in_the_journeys_that_are_there(day: Business) -> None:
    day.say("10:00 odoo order.confirmed order=S1", "11:00 bank payment.announced order=S1 payment=B1")
    assert day.reached("S1") == {"confirmed": "10:00"}
    texts = loader.default_texts()
    before = "      - {name: confirmed, events: [order.confirmed]}\n"
    after = "      - {name: announced, events: [payment.announced]}\n"
    assert before in texts["journeys.yaml"]
    day.use(loader.load(texts | {"journeys.yaml": texts["journeys.yaml"].replace(before, before + after, 1)}))
    assert day.reached("S1") == {"confirmed": "10:00", "announced": "11:00"}
    day.use(CATALOG)
    assert day.reached("S1") == {"confirmed": "10:00"}


def test_a_model_that_the_catalog_no_longer_has_takes_its_journeys_along(day: Business) -> None:
    day.say("10:00 shop order.received channel_order=C1", "12:00 carrier shipment.booked shipment=X1 order=S1")
    assert day.journeys("shipment") == {"X1": "booked"}
    texts = loader.default_texts()
    whole = texts["journeys.yaml"]
    fewer = whole[: whole.index("  shipment:\n    title")].replace(
        "roots: [order, channel_order, customer_po]", "roots: [order]"
    )
    slas = "policies: []\n"
    day.use(loader.load(texts | {"journeys.yaml": fewer, "slas.yaml": slas}))
    assert day.journeys("shipment") == {}
    assert day.journeys() == {"S1": "-"}
