"""A breach that goes on in another takes its place in the alert: known to people, or hidden, as the first one was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from alerting import commands, stages
from alerting.signal import Signal
from milepost.catalog.schema import Catalog
from milepost.db.tables import alerts, signals
from milepost.journeystate import JourneyChange
from sla.job import check_due_once
from tests.integration.test_alerting_pipeline import MINUTE, breach, over
from tests.integration.test_silences import HOUR, Alerting
from tests.integration.test_silences import alerting as alerting
from tests.integration.test_sla_check import change_all, numbered, write_journeys
from tests.integration.test_sla_clocks import PROMISED, T, World
from tests.sla_cases import at, catalog, us

SOUTH = {"group": {"warehouse": "south"}, "labels": {"warehouse": "south"}}
BY_DATE = {"name": "promised", "kind": "by", "end": "delivered", "date": "promised_date", "group_by": ["carrier"]}


def heir(number: int, former: int, **fields: Any) -> Signal:
    return breach(number, heir_of=f"breach:{former}", notify=False, **fields)


def states(alerting: Alerting) -> list[tuple[str, int]]:
    return [(row["state"], row["items_open"]) for row in alerting.rows(alerts)]


def test_the_heir_of_what_was_told_stays_in_its_alert_and_is_told_with_its_end(alerting: Alerting) -> None:
    alerting.run(breach(1))
    alerting.run(heir(2, 1, **SOUTH), over(1, "absorbed"), after=MINUTE)
    alerting.run(after=HOUR)
    assert (alerting.events(), states(alerting), alerting.hid()) == (["opened"], [("firing", 1)], [])
    alerting.run(over(2), after=HOUR)
    assert (alerting.events(), states(alerting)) == (["opened", "resolved"], [("resolved", 0)])


def test_the_heir_of_what_a_silence_hides_comes_out_at_its_end(alerting: Alerting) -> None:
    alerting.silence("warehouse=north")
    alerting.run(breach(1))
    alerting.run(heir(2, 1, **SOUTH), over(1, "retracted"), after=MINUTE)
    assert (alerting.events(), alerting.open_hidden()) == ([], ["breach:2"])
    alerting.run(after=HOUR)
    assert (alerting.events(), alerting.open_hidden()) == (["opened"], [])


@pytest.mark.parametrize("together", [True, False])
def test_an_heir_of_an_heir_and_both_heirs_of_one_inherit(alerting: Alerting, *, together: bool) -> None:
    alerting.silence("warehouse=north")
    alerting.run(breach(1), breach(2))
    moves = [heir(3, 1), over(1), heir(4, 3), over(3)], [heir(5, 2), heir(6, 2), over(2)]
    for given in [[*moves[0], *moves[1]]] if together else [moves[0][:2], moves[0][2:], moves[1]]:
        alerting.run(*given)
    assert sorted(alerting.open_hidden()) == ["breach:4", "breach:5", "breach:6"]
    alerting.run(after=HOUR)
    assert (alerting.events(), alerting.open_hidden()) == (["opened"], [])


def test_what_moves_there_and_back_at_once_is_hidden_as_before(alerting: Alerting) -> None:
    alerting.silence("warehouse=north")
    alerting.run(breach(1))
    alerting.run(heir(2, 1), over(1), heir(1, 2), over(2))
    assert (states(alerting), alerting.open_hidden()) == ([("firing", 1)], ["breach:1"])
    alerting.run(after=HOUR)
    assert alerting.events() == ["opened"]


@pytest.mark.parametrize("notify", [True, False])
def test_the_heir_of_what_nobody_could_hear_of_yet_is_told_in_its_place(alerting: Alerting, *, notify: bool) -> None:
    alerting.run(breach(1, notify=notify), heir(2, 1), over(1, "retracted"))
    assert (alerting.events(), states(alerting)) == (["opened"] * notify, [("firing", 1)])


def test_the_heir_of_what_somebody_resolved_is_not_told_anew(alerting: Alerting) -> None:
    alerting.run(breach(1))
    alerting.act(commands.resolve, alerting.alert()["alert_id"], actor="anna", reason="known")
    alerting.run(heir(2, 1), over(1))
    assert alerting.events() == ["opened", "resolved"]


# --- from the engine --------------------------------------------------------------------------------------------------


def promised(date: str, **attributes: str) -> JourneyChange:
    given = {"promised_date": date, **attributes}
    return numbered(1, steps={"received": us("2026-03-20 09:00")}, attributes=given)


def at_work(engine: sa.Engine, made: Catalog, when: str, changes: Sequence[JourneyChange] = ()) -> None:
    for change in changes:
        change.new = False
    change_all(engine, made, changes, now=at(when))
    check_due_once(engine, made, now=at(when), applied_through=at(when))


def test_a_breach_whose_date_moves_names_the_one_that_it_goes_on_with(alerting: Alerting) -> None:
    engine, made = alerting.engine, catalog(BY_DATE)
    alerting.stages = stages.of(made)
    first = promised("2026-03-20T12:00:00Z")
    with engine.begin() as connection:
        write_journeys(connection, [first])
    change_all(engine, made, [first], now=at("2026-03-20 09:00"))
    at_work(engine, made, "2026-03-20 12:01")
    alerting.run()
    at_work(engine, made, "2026-03-20 14:00", [promised("2026-03-20T13:00:00Z", carrier="dhl")])
    alerting.run(after=HOUR)
    told = [row["body"]["heir_of"] for row in alerting.rows(signals)]
    assert told == ["", alerting.rows(signals)[0]["item"], ""]
    assert (alerting.events(), states(alerting)) == (["opened"], [("firing", 1)])


def test_what_an_absorbing_order_promises_for_later_is_news_when_it_breaks_that_promise_too(engine: sa.Engine) -> None:
    world = World(engine, {**PROMISED, "group_by": []})
    world.tell("order.received", T, order=[], channel_order="C1", attributes={"promised_date": "2026-03-20"})
    world.check(at("2026-03-21 01:00"))
    world.tell("order.received", at("2026-03-21 02:00"), channel_order="C1", attributes={"promised_date": "2026-03-25"})
    assert world.signals() == ["raise", "absorbed"]
    world.check(at("2026-03-26 01:00"))
    assert world.signals() == ["raise", "absorbed", "raise"]
