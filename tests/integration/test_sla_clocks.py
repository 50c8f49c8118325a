"""SLA clocks over a journey's life, on a real database and through the real correlator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from alerting import pipeline
from correlator.rebuild import Rebuild
from dashboards.queries import choices
from dashboards.queries import journey as queries
from milepost.catalog.routing import Routing
from milepost.catalog.schema import Catalog
from milepost.clock import to_us
from milepost.db.tables import alerts, breaches, clocks, events, journeys, running_clocks, signals
from milepost.journeystate import JourneyChange, decode_clocks
from sla.job import check_due_once
from sla.store import Clocks
from tests.chain import Chain
from tests.sla_cases import at, catalog

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
T = at("2026-03-20 09:00")  # a Friday, 10:00 in Berlin
CONFIRMED = {
    "name": "confirmed",
    "title": "Orders are confirmed in time",
    "kind": "between",
    "start": "received",
    "end": "confirmed",
    "within": "4h",
    "calendar": "business",
    "group_by": ["channel"],
    "owner": "order desk",
}
DELIVERED = {"name": "delivered", "kind": "between", "start": "received", "end": "delivered", "within": "4h"}
PROMISED = {"name": "promised", "kind": "by", "end": "delivered", "date": "promised_date", "warn_at": None}


class World:
    """The chain with an SLA engine; its present moves only by `now`."""

    def __init__(self, engine: sa.Engine, *policies: Mapping[str, Any]) -> None:
        self.engine = engine
        self.now = T
        self.clocks = Clocks()
        self.numbers = 0
        self.use(catalog(*policies))

    def use(self, made: Catalog) -> None:
        self.catalog = made
        self.chain = Chain(self.engine, changed=self._changed, catalog=made)

    def _changed(
        self, connection: sa.Connection, made: Catalog, changes: Sequence[JourneyChange], now: datetime
    ) -> None:
        self.clocks.on_journeys_changed(connection, made, changes, now=self.now)

    def tell(self, kind: str, when: datetime, received: datetime | None = None, *, id: str = "", **told: Any) -> None:
        """An event at `when`, received at `received` or else at once, and applied."""
        self.numbers += 1
        self.now = max(self.now, received or when)
        more = {name: told.pop(name) for name in ("attributes", "outcome", "code", "reason") if name in told}
        wire: dict[str, Any] = {
            "specversion": "1.0",
            "id": id or f"e{self.numbers}",
            "source": "erp",
            "type": kind,
            "time": when.isoformat(),
            "data": {"keys": {"order": "S1", **told}, **more},
        }
        self.chain.send(wire, received_us=to_us(received or when))
        self.chain.settle()

    def tell_channel_order(self) -> None:
        """A channel's order that no ERP knows yet: a root until then."""
        wire = {
            "specversion": "1.0",
            "id": "channel",
            "source": "shop",
            "type": "order.received",
            "time": T.isoformat(),
            "data": {"keys": {"channel_order": "C1"}},
        }
        self.chain.send(wire, received_us=to_us(T))
        self.chain.settle()

    def check(self, now: datetime, through: datetime | None = None) -> int:
        self.now = now
        return check_due_once(self.engine, self.catalog, now=now, applied_through=through or now)

    def rows(self, table: sa.Table, *columns: str) -> list[tuple[Any, ...]]:
        order = table.c.opened_at if table is breaches else next(iter(table.c))
        with self.engine.connect() as connection:
            query = sa.select(*(table.c[name] for name in columns)).order_by(order, *(table.primary_key.columns))
            return [tuple(row) for row in connection.execute(query)]

    def states(self) -> dict[str, str]:
        return {row[0]: row[1] for row in self.rows(clocks, "policy", "state")}

    def ends(self) -> list[tuple[str, str | None]]:
        return [(row[0], row[1]) for row in self.rows(breaches, "policy", "end")]

    def signals(self) -> list[str]:
        """What alerting was told: raise, a quiet raise, or how it was cleared."""
        told = []
        for action, kind, body in self.rows(signals, "action", "kind", "body"):
            assert kind == "sla"
            told.append(body["why"] if action == "clear" else "raise" if body["notify"] else "quiet raise")
        return told

    def running(self) -> list[str]:
        return [clock.policy for (data,) in self.rows(running_clocks, "clocks") for clock in decode_clocks(data)]

    def flags(self) -> tuple[datetime | None, bool, bool]:
        ((next_at, at_risk, breached),) = self.rows(running_clocks, "next_at", "at_risk", "breached")
        return next_at, at_risk, breached


@pytest.fixture
def world(engine: sa.Engine) -> World:
    return World(engine, CONFIRMED)


def test_met_in_time(world: World) -> None:
    world.tell("order.received", T)
    assert world.flags() == (T + 3.2 * HOUR, False, False)
    assert world.states() == {}
    world.tell("order.confirmed", T + HOUR)
    assert world.flags() == (None, False, False)
    assert world.states() == {"confirmed": "met"}
    assert world.rows(clocks, "started_at", "due_at", "stopped_at") == [(T, T + 4 * HOUR, T + HOUR)]
    assert world.check(T + 100 * HOUR) == 0
    assert (world.ends(), world.signals()) == ([], [])


def test_it_warns_then_breaches_then_ends_late(world: World) -> None:
    world.tell("order.received", T, attributes={"channel": "edi", "amount": "120.50", "currency": "EUR"})
    assert world.check(T + 3 * HOUR) == 0
    assert world.check(T + 3.5 * HOUR) == 1
    assert world.flags() == (T + 4 * HOUR, True, False)
    assert world.states() == {"confirmed": "warned"}
    assert world.signals() == []
    assert world.check(T + 4 * HOUR) == 1
    assert world.check(T + 5 * HOUR) == 0
    assert world.flags() == (None, False, True)
    assert world.states() == {"confirmed": "breached"}
    assert world.ends() == [("confirmed", None)]
    world.tell("order.confirmed", T + 5 * HOUR)
    assert world.flags() == (None, False, False)
    assert world.states() == {"confirmed": "missed"}
    assert world.ends() == [("confirmed", "late")]
    assert world.signals() == ["raise", "late"]
    assert world.rows(breaches, "stopped_at", "ended_at") == [(T + 5 * HOUR, T + 5 * HOUR)]


def test_a_breach_says_why_and_proves_it(world: World) -> None:
    world.tell("order.received", T, attributes={"channel": "edi", "amount": "120.50", "currency": "EUR"})
    world.check(T + 4 * HOUR + MINUTE, through=T + 4 * HOUR)
    with world.engine.connect() as connection:
        row = connection.execute(sa.select(breaches)).mappings().one()
        signal = connection.execute(sa.select(signals)).mappings().one()
    why = (
        "not confirmed: received Fri 20 Mar 2026 10:00, due Fri 20 Mar 2026 14:00"
        " (4h of business time, calendar business, Europe/Berlin)"
    )
    assert row["evidence"] == {
        "why": why,
        "calendar": "business",
        "zone": "Europe/Berlin",
        "events": [{"source": "erp", "id": "e1", "says": "received"}],
    }
    assert (row["judged_at"], row["opened_at"]) == (T + 4 * HOUR, T + 4 * HOUR + MINUTE)
    assert row["policy_version"] == world.catalog.policy_versions["confirmed"]
    assert (row["severity"], row["late_known"], row["dimensions"]) == ("warning", False, {"channel": "edi"})
    assert (str(row["amount"]), row["currency"]) == ("120.5000", "EUR")
    assert (signal["rule"], signal["group"], signal["at"]) == ("confirmed", {"channel": "edi"}, T + 4 * HOUR)
    assert signal["item"] == f"breach:{row['breach_id']}"
    body = signal["body"]
    assert body["summary"] == f"S1 {why}"
    assert (body["title"], body["owner"], body["amount"]) == ("Orders are confirmed in time", "order desk", "120.5000")
    assert body["journey_id"] == row["journey_id"]


def test_a_breach_says_why_this_policy_judged_it(engine: sa.Engine) -> None:
    big = {"name": "big", "match": {"channel": "edi", "amount": ">= 100"}, "within": "1h"}
    world = World(engine, CONFIRMED, {**CONFIRMED, **big}, {**CONFIRMED, "name": "web", "match": {"channel": ["web"]}})
    world.tell("order.received", T, attributes={"channel": "EDI", "amount": "120.50", "currency": "EUR"})
    world.check(T + HOUR)
    ((policy, evidence),) = world.rows(breaches, "policy", "evidence")
    assert policy == "big"
    assert evidence["choice"] == {
        "matched": {"channel": "EDI", "amount": "120.50"},
        "others": {
            "web": "it is for others (channel is EDI)",
            "confirmed": "it asks for fewer attributes",
        },
    }
    with engine.connect() as connection:
        head = queries.candidates(connection, world.catalog, "order", "S1")[0]
        running = queries.clock_list(connection, head.journey_id)
        attributes = queries.attributes(connection, head, queries.member_list(connection, head.journey_id))
        told = choices.chosen(connection, world.catalog, running, attributes)
    assert told == {
        ("big", head.root_id): "channel is EDI and amount is 120.50;"
        " not web: it is for others (channel is EDI); not confirmed: it asks for fewer attributes"
    }


def test_an_attribute_that_is_missing_groups_as_unknown(world: World) -> None:
    world.tell("order.received", T)
    world.check(T + 4 * HOUR)
    assert world.rows(signals, "group") == [({"channel": "unknown"},)]


def test_late_evidence_takes_the_breach_back_and_both_stay_recorded(world: World) -> None:
    world.tell("order.received", T)
    world.check(T + 5 * HOUR)
    world.tell("order.confirmed", T + HOUR, T + 6 * HOUR)
    assert world.states() == {"confirmed": "retracted"}
    assert world.signals() == ["raise", "retracted"]
    ((opened, ended, end, stopped, evidence),) = world.rows(
        breaches, "opened_at", "ended_at", "end", "stopped_at", "evidence"
    )
    assert (opened, ended, end, stopped) == (T + 5 * HOUR, T + 6 * HOUR, "retracted", T + HOUR)
    assert evidence["end"]["events"] == [{"source": "erp", "id": "e2", "says": "confirmed"}]
    world.tell("order.confirmed", T + 2 * HOUR, T + 7 * HOUR)
    assert (world.states(), world.signals()) == ({"confirmed": "retracted"}, ["raise", "retracted"])


def test_earlier_evidence_takes_back_a_breach_that_had_ended_late(world: World) -> None:
    world.tell("order.received", T)
    world.check(T + 5 * HOUR)
    world.tell("order.confirmed", T + 6 * HOUR)
    world.tell("order.confirmed", T + HOUR, T + 7 * HOUR)
    assert world.states() == {"confirmed": "retracted"}
    assert world.ends() == [("confirmed", "retracted")]
    assert world.signals() == ["raise", "late"]
    ((evidence,),) = world.rows(breaches, "evidence")
    assert [past["end"] for past in evidence["history"]] == ["late"]


def test_nothing_breaches_beyond_the_watermark(world: World) -> None:
    world.tell("order.received", T)
    assert world.check(T + 9 * HOUR, through=T + 3 * HOUR) == 0
    assert (world.ends(), world.states()) == ([], {})
    ((rule, action),) = [row[:2] for row in world.rows(signals, "rule", "action")]
    assert (rule, action) == ("sla-behind", "raise")
    # the confirmation lay in the queue all the time
    world.tell("order.confirmed", T + HOUR, T + HOUR)
    assert world.check(T + 9 * HOUR) == 0
    assert (world.ends(), world.states()) == ([], {"confirmed": "met"})


def test_a_lagging_watermark_is_told_once_and_taken_back(world: World) -> None:
    def behind() -> list[str]:
        return [action for action, rule in world.rows(signals, "action", "rule") if rule == "sla-behind"]

    world.check(T, through=T - MINUTE)
    assert behind() == []
    world.check(T, through=T - 3 * MINUTE)
    assert behind() == ["raise"]
    open_alert(world.engine)
    world.check(T + MINUTE, through=T - 3 * MINUTE)
    assert behind() == ["raise"]
    world.check(T + MINUTE, through=T + MINUTE)
    assert behind() == ["raise", "clear"]


def open_alert(engine: sa.Engine) -> None:
    """What alerting makes of the signal."""
    with engine.begin() as connection:
        connection.execute(
            sa.insert(alerts).values(
                key="platform sla-behind", kind="platform", rule="sla-behind", group={}, state="firing",
                severity="critical", title="", summary="", opened_at=T, updated_at=T, items_open=1, items_total=1,
                money={}, labels={},
            )
        )  # fmt: skip


# --- ends of journeys -------------------------------------------------------------------------------------------------


def test_cancelling_stops_a_clock(world: World) -> None:
    world.tell("order.received", T)
    world.tell("order.cancelled", T + HOUR)
    assert (world.states(), world.running()) == ({"confirmed": "stopped"}, [])
    assert world.check(T + 9 * HOUR) == 0


def test_cancelling_ends_a_breach(world: World) -> None:
    world.tell("order.received", T)
    world.check(T + 5 * HOUR)
    world.tell("order.cancelled", T + 6 * HOUR)
    assert (world.ends(), world.signals()) == ([("confirmed", "cancelled")], ["raise", "cancelled"])


def test_absorbing_goes_on_in_the_journey_that_contains_it_without_a_new_notification(engine: sa.Engine) -> None:
    world = World(engine, {**CONFIRMED, "group_by": []})
    world.tell_channel_order()
    world.check(T + 5 * HOUR)
    assert world.signals() == ["raise"]
    first = world.rows(running_clocks, "journey_id")
    # the order comes to be known: it contains the channel's order, and its clock starts from the same evidence
    world.tell("order.received", T, T + 6 * HOUR, channel_order="C1")
    assert world.rows(running_clocks, "journey_id") != first
    assert world.ends() == [("confirmed", "absorbed"), ("confirmed", None)]
    assert world.signals() == ["raise", "quiet raise", "absorbed"]
    assert world.check(T + 7 * HOUR) == 0
    world.tell("order.confirmed", T + 7 * HOUR)
    assert world.ends() == [("confirmed", "absorbed"), ("confirmed", "late")]


def test_an_exception_that_was_told_is_told_no_more_when_its_journey_is_absorbed_but_others_are(
    engine: sa.Engine,
) -> None:
    world = World(engine, {**RESOLVED, "group_by": []})
    world.tell_channel_order()
    world.tell("order.confirmed", T, order=[], channel_order="C1", outcome="failed")
    world.check(T + 2 * HOUR)
    world.tell("order.received", T, T + 3 * HOUR, channel_order="C1")
    assert world.signals() == ["raise", "quiet raise", "absorbed"]
    # what goes wrong afterwards is news
    world.tell("order.confirmed", T + 4 * HOUR, outcome="failed")
    assert world.check(T + 6 * HOUR) == 1
    assert world.signals() == ["raise", "quiet raise", "absorbed", "raise"]


def test_absorbing_before_due_just_moves_the_clock(engine: sa.Engine) -> None:
    world = World(engine, CONFIRMED)
    world.tell_channel_order()
    world.tell("order.received", T, T + HOUR, channel_order="C1")
    assert world.running() == ["confirmed"]
    assert world.states() == {"confirmed": "absorbed"}
    assert world.check(T + 5 * HOUR) == 1
    assert world.signals() == ["raise"]


def test_a_milestone_that_opens_again_lets_the_clock_run_again(engine: sa.Engine) -> None:
    world = World(engine, {**DELIVERED, "warn_at": None})
    world.tell("order.received", T)
    world.tell("shipment.dispatched", T + HOUR, shipment="P1")
    world.check(T + 5 * HOUR)
    world.tell("shipment.delivered", T + 2 * HOUR, T + 6 * HOUR, shipment="P1")
    assert world.ends() == [("delivered", "retracted")]
    # a second parcel: the order is not delivered after all
    world.tell("shipment.dispatched", T + 3 * HOUR, T + 7 * HOUR, shipment="P2")
    assert (world.states(), world.running()) == ({}, ["delivered"])
    assert world.check(T + 7 * HOUR) == 1
    assert world.ends() == [("delivered", None)]
    ((evidence,),) = world.rows(breaches, "evidence")
    assert [past["end"] for past in evidence["history"]] == ["retracted"]
    assert world.signals() == ["raise", "retracted", "raise"]
    world.tell("shipment.delivered", T + 8 * HOUR, shipment="P2")
    assert (world.ends(), world.states()) == ([("delivered", "late")], {"delivered": "missed"})


def test_a_met_clock_that_opens_again_is_no_row(engine: sa.Engine) -> None:
    world = World(engine, DELIVERED)
    world.tell("order.received", T)
    world.tell("shipment.delivered", T + HOUR, shipment="P1")
    assert world.states() == {"delivered": "met"}
    world.tell("shipment.dispatched", T + HOUR, shipment="P2")
    assert (world.states(), world.running()) == ({}, ["delivered"])
    assert world.flags()[0] == T + 3.2 * HOUR


# --- pauses -----------------------------------------------------------------------------------------------------------


def test_a_held_order_pauses_and_goes_on(world: World) -> None:
    world.tell("order.received", T)
    world.check(T + 3.5 * HOUR)
    assert world.states() == {"confirmed": "warned"}
    world.tell("order.held", T + 3.5 * HOUR)
    assert (world.flags(), world.states()) == ((None, False, False), {})
    with world.engine.connect() as connection:
        (shown,) = queries.clock_list(connection, world.rows(journeys, "journey_id")[0][0])
    assert (shown.state, shown.due_at, shown.stopped_at) == ("paused", None, None)
    assert (shown.paused_at, shown.paused_by) == (T + 3.5 * HOUR, "order.held (erp)")
    assert world.check(T + 5 * HOUR) == 0
    world.tell("order.released", T + 5 * HOUR)
    assert world.flags() == (T + 3.2 * HOUR, False, False)  # it was at risk before
    assert world.check(T + 5 * HOUR) == 1
    assert world.states() == {"confirmed": "warned"}
    assert world.check(T + 5.5 * HOUR) == 1
    assert world.rows(breaches, "due_at", "end") == [(T + 5.5 * HOUR, None)]
    ((evidence,),) = world.rows(breaches, "evidence")
    assert "due Fri 20 Mar 2026 15:30 after 1:30:00 of standing still (order.held)" in evidence["why"]


def test_a_hold_known_late_takes_the_breach_back(world: World) -> None:
    world.tell("order.received", T)
    world.check(T + 4 * HOUR)
    world.tell("order.held", T + 2 * HOUR, T + 5 * HOUR)
    assert (world.ends(), world.signals()) == ([("confirmed", "retracted")], ["raise", "retracted"])
    assert (world.flags(), world.states()) == ((None, False, False), {})
    # it had been released before: the clock is due later, and past due all the same
    world.tell("order.released", T + 2.5 * HOUR, T + 6 * HOUR)
    assert world.check(T + 6 * HOUR) == 1
    assert world.rows(breaches, "due_at", "end") == [(T + 4 * HOUR, "retracted"), (T + 4.5 * HOUR, None)]
    assert world.signals() == ["raise", "retracted", "raise"]


def test_a_hold_after_the_due_time_takes_nothing_back(world: World) -> None:
    world.tell("order.received", T)
    world.check(T + 4 * HOUR)
    world.tell("order.held", T + 4.5 * HOUR)
    assert (world.ends(), world.flags()) == ([("confirmed", None)], (None, False, True))


def test_what_is_held_ends_as_everything_else(world: World) -> None:
    world.tell("order.received", T)
    world.tell("order.held", T + HOUR)
    world.tell("order.confirmed", T + 30 * HOUR)
    assert world.states() == {"confirmed": "met"}
    ((due,),) = world.rows(clocks, "due_at")
    assert due is not None
    assert due > T + 30 * HOUR
    assert world.ends() == []


# --- exceptions -------------------------------------------------------------------------------------------------------

RESOLVED = {
    "name": "resolved",
    "kind": "exception",
    "within": "2h",
    "warn_at": None,
    "group_by": ["carrier", "exception_code"],
}


def test_an_exception_breaches_ends_and_opens_again(engine: sa.Engine) -> None:
    world = World(engine, RESOLVED)
    world.tell("order.received", T)
    failed: dict[str, Any] = {"outcome": "failed", "code": "E7", "reason": "no such street", "shipment": "P1"}
    world.tell("shipment.booked", T, id="f1", attributes={"carrier": "dhl"}, **failed)
    assert world.flags() == (T + 2 * HOUR, False, False)
    assert world.check(T + 2 * HOUR) == 1
    ((evidence, dimensions),) = world.rows(breaches, "evidence", "dimensions")
    assert evidence["why"] == (
        "shipment P1 shipment.booked (E7: no such street) not resolved:"
        " opened Fri 20 Mar 2026 09:00, due Fri 20 Mar 2026 11:00 (2h, UTC)"
    )
    assert evidence["events"] == [
        {"source": "erp", "id": "f1", "says": "shipment.booked", "code": "E7", "reason": "no such street"}
    ]
    assert dimensions == {"carrier": "dhl", "exception_code": "E7"}
    world.tell("shipment.booked", T + 3 * HOUR, id="ok", shipment="P1")
    assert (world.ends(), world.states()) == ([("resolved", "late")], {"resolved": "missed"})
    ((evidence,),) = world.rows(breaches, "evidence")
    assert evidence["end"]["events"] == [{"source": "erp", "id": "ok", "says": "shipment.booked"}]
    # it fails again: another exception, with a clock of its own
    world.tell("shipment.booked", T + 5 * HOUR, id="f2", **failed)
    assert world.flags() == (T + 7 * HOUR, False, False)
    assert world.check(T + 7 * HOUR) == 1
    assert world.ends() == [("resolved", "late"), ("resolved", None)]
    assert world.signals() == ["raise", "late", "raise"]


def test_no_exception_breaches_of_what_is_cancelled_or_went_well_again_and_again(engine: sa.Engine) -> None:
    world = World(engine, {"name": "resolved", "kind": "exception", "within": "30m", "calendar": "always"})
    world.tell("order.received", T)
    for kind, key in (("picking.created", "P1"), ("shipment.cleared", "X1")):
        world.tell(kind, T, **{kind.split(".")[0]: key})
    world.tell("message.failed", T + MINUTE, outcome="failed", order="n/a", picking="P1")
    world.tell("shipment.cleared", T + MINUTE, outcome="failed", shipment="X1")
    for number in range(40):
        world.tell("shipment.cleared", T + (10 + 10 * number) * MINUTE, shipment="X1")
    world.tell("picking.cancelled", T + 9 * MINUTE, picking="P1")
    world.check(T + 9 * HOUR)
    assert sorted(world.rows(clocks, "state")) == [("met",), ("stopped",)]
    assert world.ends() == []


def test_an_exception_that_began_earlier_than_was_known_goes_on_without_a_word(engine: sa.Engine) -> None:
    world = World(engine, RESOLVED)
    world.tell("order.received", T - HOUR)
    world.tell("order.confirmed", T, outcome="failed")
    world.check(T + 2 * HOUR)
    world.tell("order.confirmed", T - 0.5 * HOUR, T + 3 * HOUR, outcome="failed")
    assert world.rows(breaches, "due_at", "end") == [(T + 2 * HOUR, "withdrawn"), (T + 1.5 * HOUR, None)]
    assert world.signals() == ["raise", "quiet raise", "withdrawn"]
    assert (world.check(T + 4 * HOUR), world.states()) == (0, {"resolved": "late_known"})


def test_a_resolution_known_late_takes_the_breach_back(engine: sa.Engine) -> None:
    world = World(engine, RESOLVED)
    world.tell("order.received", T)
    world.tell("order.confirmed", T, outcome="rejected", code="C1")
    world.check(T + 3 * HOUR)
    world.tell("order.confirmed", T + HOUR, T + 4 * HOUR)
    assert (world.ends(), world.states()) == ([("resolved", "retracted")], {"resolved": "retracted"})
    rebuild(world)
    assert (world.ends(), world.signals()) == ([("resolved", "retracted")], ["raise", "retracted"])


# --- late attributes and late starts ----------------------------------------------------------------------------------


def test_late_attributes_select_again_and_withdraw(engine: sa.Engine) -> None:
    world = World(engine, CONFIRMED, {**CONFIRMED, "name": "edi", "match": {"channel": ["EDI"]}, "within": "8h"})
    world.tell("order.received", T)
    world.check(T + 5 * HOUR)
    assert (world.running(), world.ends()) == (["confirmed"], [("confirmed", None)])
    world.tell("order.changed", T + HOUR, T + 6 * HOUR, attributes={"channel": "edi"})
    assert (world.running(), world.states()) == (["edi"], {})
    assert world.ends() == [("confirmed", "withdrawn")]
    assert world.signals() == ["raise", "withdrawn"]


def test_a_breach_whose_clock_moves_stays_open_without_a_word(world: World) -> None:
    world.tell("order.received", T, id="b")
    world.check(T + 5 * HOUR)
    # an earlier reception comes to be known: due earlier, and past due all the same
    world.tell("order.received", T - HOUR, T + 5.5 * HOUR, id="a")
    assert world.ends() == [("confirmed", "retracted"), ("confirmed", None)]
    assert world.rows(breaches, "due_at") == [(T + 4 * HOUR,), (T + 3 * HOUR,)]
    assert world.signals() == ["raise", "quiet raise", "retracted"]
    assert world.check(T + 6 * HOUR) == 0


def test_a_date_that_moves_on_takes_the_breach_back(engine: sa.Engine) -> None:
    world = World(engine, PROMISED)
    world.tell("order.received", T, attributes={"promised_date": "2026-03-20"})
    world.check(at("2026-03-21 01:00"))
    assert world.ends() == [("promised", None)]
    world.tell("order.changed", at("2026-03-21 02:00"), attributes={"promised_date": "2026-03-25"})
    assert world.ends() == [("promised", "retracted")]
    assert world.flags() == (at("2026-03-25 23:59:59.999999"), False, False)
    assert world.states() == {}


def test_a_start_known_late_is_recorded_and_told_only_while_young(world: World) -> None:
    world.tell("order.received", T, T + 10 * HOUR)
    assert world.check(T + 10 * HOUR) == 1
    assert world.rows(breaches, "late_known", "end") == [(True, None)]
    assert (world.states(), world.signals()) == ({"confirmed": "late_known"}, ["raise"])
    world.tell("order.confirmed", T + 11 * HOUR)
    assert (world.states(), world.ends()) == ({"confirmed": "late_known"}, [("confirmed", "late")])


def test_history_notifies_nobody(world: World) -> None:
    world.tell("order.received", T, T + 100 * 24 * HOUR)
    assert world.check(T + 100 * 24 * HOUR) == 1
    assert world.signals() == ["quiet raise"]


def test_what_is_known_late_and_over_is_recorded_at_once(world: World) -> None:
    world.chain.send(
        *(
            {
                "specversion": "1.0", "id": f"h{hours}", "source": "erp", "type": kind,
                "time": (T + hours * HOUR).isoformat(), "data": {"keys": {"order": "S1"}},
            }
            for kind, hours in (("order.received", 0), ("order.confirmed", 6))
        ),
        received_us=to_us(T + 100 * HOUR),
    )  # fmt: skip
    world.chain.settle()
    assert world.states() == {"confirmed": "late_known"}
    assert world.rows(breaches, "late_known", "end", "stopped_at") == [(True, "late", T + 6 * HOUR)]
    assert (world.signals(), world.check(T + 101 * HOUR)) == ([], 0)


def test_a_date_nobody_can_read_is_told_once(engine: sa.Engine) -> None:
    world = World(engine, PROMISED, CONFIRMED)
    world.tell("order.received", T, attributes={"promised_date": "asap"})
    world.tell("order.changed", T, attributes={"promised_date": "soon"})
    ((kind, rule, item),) = world.rows(signals, "kind", "rule", "item")
    assert (kind, rule, item) == ("platform", "sla-policy", "promised: unreadable date")
    assert world.running() == ["confirmed"]


def test_a_faulty_policy_is_told_once_and_the_others_go_on(engine: sa.Engine) -> None:
    broken = {"zone": "UTC", "weekly": {"mon": [["09:00", "08:00"]]}}
    world = World(engine)
    world.use(catalog({**DELIVERED, "calendar": "broken"}, PROMISED, calendars_yaml={"calendars": {"broken": broken}}))
    world.tell("order.received", T, attributes={"promised_date": "2026-03-25"})
    world.tell("order.confirmed", T)
    ((rule, item, body),) = world.rows(signals, "rule", "item", "body")
    assert (rule, item) == ("sla-policy", "delivered: faulty policy")
    assert (body["severity"], body["notify"]) == ("critical", True)
    assert "runs over midnight" in body["summary"]
    assert world.running() == ["promised"]


def test_what_was_wrong_with_a_policy_is_over_once_it_is_mended(engine: sa.Engine) -> None:
    broken = {"calendars_yaml": {"calendars": {"broken": {"zone": "UTC", "weekly": {"mon": [["09:00", "08:00"]]}}}}}
    world = World(engine, PROMISED)
    world.use(catalog({**DELIVERED, "calendar": "broken"}, **broken))
    world.tell("order.received", T)
    world.use(catalog({**DELIVERED, "calendar": "broken"}, PROMISED, **broken))
    for fixed in ((), (DELIVERED,), (DELIVERED, PROMISED)):
        pipeline.step(engine, Routing(), now=T, public_url="https://milepost.example.org")
        if fixed:
            world.use(catalog(*fixed))
        world.tell("order.changed", T)
    told = [(action, item) for action, item in world.rows(signals, "action", "item")]
    item = "delivered: faulty policy"
    assert told == [("raise", item), ("raise", item), ("clear", item)]


# --- which objects a breach concerns ----------------------------------------------------------------------------------


def test_a_breach_names_the_warehouse_that_lacks_the_milestone(engine: sa.Engine) -> None:
    policy = {"name": "ack", "kind": "between", "start": "allocated", "end": "released", "within": "2h"}
    world = World(engine, {**policy, "group_by": ["warehouse"]})
    world.tell("picking.created", T, picking="K1", attributes={"warehouse": "north"})
    world.tell("picking.created", T, picking="K2", attributes={"warehouse": "south"})
    world.tell("picking.released", T + HOUR, picking="K1")
    world.check(T + 3 * HOUR)
    assert world.rows(breaches, "dimensions") == [({"warehouse": "south"},)]
    assert world.rows(signals, "group") == [({"warehouse": "south"},)]


def test_per_object_breaches_name_the_object(engine: sa.Engine) -> None:
    policy = {"name": "p", "kind": "between", "start": "dispatched", "end": "delivered", "within": "2h"}
    world = World(engine, {**policy, "per": "shipment", "group_by": ["carrier"]})
    world.tell("order.received", T, attributes={"channel": "web"})
    world.tell("shipment.dispatched", T, shipment="P1", attributes={"carrier": "dhl"})
    world.tell("shipment.dispatched", T, shipment="P2", attributes={"carrier": "ups"})
    world.tell("shipment.delivered", T + HOUR, shipment="P1")
    assert world.check(T + 3 * HOUR) == 1
    assert world.rows(breaches, "dimensions") == [({"channel": "web", "carrier": "ups"},)]
    ((evidence,),) = world.rows(breaches, "evidence")
    assert evidence["why"].startswith("shipment P2 not delivered: dispatched Fri 20 Mar 2026 09:00, due ")
    assert evidence["events"] == [{"source": "erp", "id": "e3", "says": "dispatched"}]
    assert world.states() == {"p": "breached"} or len(world.rows(clocks, "state")) == 2


def test_a_date_names_the_event_that_told_it(engine: sa.Engine) -> None:
    world = World(engine, PROMISED)
    world.tell("order.received", T)
    world.tell("order.changed", T + HOUR, id="promise", attributes={"promised_date": "2026-03-20"})
    world.check(at("2026-03-21 01:00"))
    ((evidence,),) = world.rows(breaches, "evidence")
    assert evidence["events"] == [{"source": "erp", "id": "promise", "says": "promised_date"}]
    assert evidence["why"] == "not delivered: promised date is 2026-03-20, due Fri 20 Mar 2026 23:59 (UTC)"


# --- a new catalog ----------------------------------------------------------------------------------------------------


def test_a_new_version_judges_running_clocks_anew_and_leaves_ended_ones(engine: sa.Engine) -> None:
    world = World(engine, CONFIRMED, {**DELIVERED, "within": "20h", "warn_at": None})
    world.tell("order.received", T)
    world.tell("order.confirmed", T + HOUR)
    former = world.catalog.policy_versions["confirmed"]
    world.use(catalog({**CONFIRMED, "within": "30m"}, {**DELIVERED, "within": "40h", "warn_at": None}))
    world.chain.settle()
    assert world.rows(clocks, "policy", "state", "policy_version") == [("confirmed", "met", former)]
    assert world.flags()[0] == T + 40 * HOUR
    world.use(catalog({**PROMISED}))
    world.chain.settle()
    assert world.running() == []
    assert world.states() == {"confirmed": "met"}


def test_a_clock_whose_policy_is_gone_never_blocks_the_check(world: World) -> None:
    world.tell("order.received", T)
    world.catalog = catalog(DELIVERED)
    assert world.check(T + 9 * HOUR) == 0
    assert world.running() == []
    assert world.ends() == []


def test_a_clock_without_a_journey_never_blocks_the_check(world: World) -> None:
    world.tell("order.received", T)
    with world.engine.begin() as connection:
        connection.execute(sa.delete(journeys))
    assert world.check(T + 9 * HOUR) == 0
    assert world.rows(running_clocks, "journey_id") == []


# --- rebuild ----------------------------------------------------------------------------------------------------------


def rebuild(world: World) -> None:
    Rebuild(world.engine, lambda _: world.catalog, lambda: world.now, world._changed).run()
    world.chain.settle()


def test_a_rebuild_leaves_clocks_and_breaches_as_they_are(world: World) -> None:
    world.tell("order.received", T)
    world.check(T + 5 * HOUR)
    before = (world.flags(), world.states(), world.ends(), world.signals())
    rebuild(world)
    assert (world.flags(), world.states(), world.ends(), world.signals()) == before
    world.tell("order.confirmed", T + 3 * HOUR, T + 6 * HOUR)
    assert world.states() == {"confirmed": "retracted"}
    rebuild(world)
    assert (world.states(), world.ends()) == ({"confirmed": "retracted"}, [("confirmed", "retracted")])


def test_what_a_rebuild_brings_to_light_is_recorded_and_told_to_nobody(world: World) -> None:
    world.tell("order.received", T)
    with world.engine.begin() as connection:
        connection.execute(sa.delete(journeys))
        connection.execute(sa.delete(running_clocks))
    world.now = T + 5 * HOUR
    rebuild(world)
    assert (world.states(), world.signals()) == ({"confirmed": "breached"}, ["quiet raise"])
    assert world.check(T + 6 * HOUR) == 0


def test_a_breach_of_a_journey_that_a_rebuild_does_not_find_is_ended(world: World) -> None:
    world.tell("order.received", T)
    world.check(T + 5 * HOUR)
    with world.engine.begin() as connection:
        connection.execute(sa.delete(events))
    rebuild(world)
    assert (world.ends(), world.rows(journeys, "key")) == ([("confirmed", "absorbed")], [])
