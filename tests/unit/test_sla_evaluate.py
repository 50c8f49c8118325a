"""The clocks of a journey, case by case."""

from datetime import datetime
from typing import Any

import pytest

from milepost.clock import from_us
from milepost.journeystate import JourneyChange, RunningClock
from sla.evaluate import Clock, evaluate
from sla.policy import Compiled
from tests.sla_cases import at, catalog, journey, state_of, us

HOUR = 3_600_000_000
T = us("2026-03-20 09:00")  # a Friday, 10:00 in Berlin
BETWEEN = {"name": "p", "kind": "between", "start": "received", "end": "confirmed", "within": "4h"}
DWELL = {"name": "p", "kind": "dwell", "start": "packed", "within": "4h"}
BY = {"name": "p", "kind": "by", "end": "delivered", "date": "promised_date"}


def clocks(policy: dict[str, Any], change: JourneyChange) -> list[Clock]:
    return evaluate(Compiled(catalog(policy)), change).clocks


def clock(policy: dict[str, Any], change: JourneyChange) -> Clock:
    (found,) = clocks(policy, change)
    return found


def due(found: Clock) -> datetime:
    assert found.due_us is not None
    return from_us(found.due_us)


def told(found: Clock) -> tuple[str, float | None]:
    """State, and hours from T to the stop."""
    return found.state, None if found.stopped_us is None else (found.stopped_us - T) / HOUR


# --- between ----------------------------------------------------------------------------------------------------------


def test_a_clock_runs_from_start_to_due() -> None:
    found = clock(BETWEEN, journey({"received": T}))
    assert (found.started_us, found.due_us, found.warn_us) == (T, T + 4 * HOUR, T + int(3.2 * HOUR))
    assert told(found) == ("running", None)
    assert found.key == ("p", 1, 0)


def test_without_its_start_there_is_no_clock() -> None:
    assert clocks(BETWEEN, journey({"confirmed": T})) == []


@pytest.mark.parametrize(("hours", "state"), [(3, "met"), (4, "met"), (5, "missed"), (-1, "met")])
def test_it_stops_at_its_end(hours: int, state: str) -> None:
    found = clock(BETWEEN, journey({"received": T, "confirmed": T + hours * HOUR}))
    assert told(found) == (state, max(hours, 0))


def test_business_time_goes_over_the_weekend() -> None:
    found = clock({**BETWEEN, "calendar": "business", "within": "10h"}, journey({"received": T}))
    assert due(found) == at("2026-03-23 09:00")
    assert found.warn_us is not None
    assert from_us(found.warn_us) == at("2026-03-20 17:00")


@pytest.mark.parametrize(("received", "state"), [(3, "missed"), (4, "late_known"), (30, "late_known")])
def test_one_due_when_its_start_was_received_is_late_known(received: int, state: str) -> None:
    late = {"received": T + received * HOUR}
    found = clock(BETWEEN, journey({"received": T, "confirmed": T + 9 * HOUR}, received=late))
    assert found.state == state


def test_without_a_share_nothing_warns() -> None:
    assert clock({**BETWEEN, "warn_at": None}, journey({"received": T})).warn_us is None


# --- dwell ------------------------------------------------------------------------------------------------------------


def test_any_higher_milestone_ends_a_dwell_at_the_earliest() -> None:
    steps = {"packed": T, "invoiced": T + 2 * HOUR, "dispatched": T + 3 * HOUR}
    assert told(clock(DWELL, journey(steps))) == ("met", 2)
    assert told(clock(DWELL, journey({"packed": T, "received": T - HOUR}))) == ("running", None)


def test_a_higher_milestone_that_came_first_stops_it_at_its_start() -> None:
    assert told(clock(DWELL, journey({"invoiced": T - HOUR, "packed": T}))) == ("met", 0)


# --- by ---------------------------------------------------------------------------------------------------------------


def test_by_runs_from_the_journeys_start_to_the_end_of_the_day() -> None:
    found = clock({**BY, "warn_at": 0.5}, journey({"confirmed": T}, attributes={"promised_date": "2026-03-24"}))
    assert (found.started_us, found.started_received_us) == (T, T)
    assert due(found) == at("2026-03-24 23:59:59.999999")
    assert found.due_us is not None
    assert found.warn_us == T + (found.due_us - T) // 2


def test_by_runs_from_its_start_milestone_when_it_has_one() -> None:
    change = journey({"received": T, "packed": T + HOUR}, attributes={"promised_date": "2026-03-24"})
    assert clock({**BY, "start": "packed"}, change).started_us == T + HOUR
    assert clocks({**BY, "start": "dispatched"}, change) == []


@pytest.mark.parametrize(("stop", "state"), [("2026-03-24 23:59:59", "met"), ("2026-03-25 00:00", "missed")])
def test_midnight_is_the_next_day(stop: str, state: str) -> None:
    change = journey({"received": T, "delivered": us(stop)}, attributes={"promised_date": "2026-03-24"})
    assert clock(BY, change).state == state


@pytest.mark.parametrize("value", [None, ""])
def test_without_a_date_there_is_no_clock(value: str | None) -> None:
    evaluation = evaluate(Compiled(catalog(BY)), journey({"received": T}, attributes={"promised_date": value}))
    assert (evaluation.clocks, evaluation.verdicts) == ([], [])


def test_a_date_that_is_none_has_a_verdict() -> None:
    compiled = Compiled(catalog(BY, {**BETWEEN, "name": "q"}))
    evaluation = evaluate(compiled, journey({"received": T}, attributes={"promised_date": "asap"}))
    assert [found.policy.name for found in evaluation.clocks] == ["q"]
    (verdict,) = evaluation.verdicts
    assert (verdict.policy, verdict.reason) == ("p", "unreadable date")
    assert '"asap"' in verdict.detail
    assert not compiled.disabled


def test_a_date_beyond_the_calendars_has_a_verdict() -> None:
    evaluation = evaluate(Compiled(catalog(BY)), journey({"received": T}, attributes={"promised_date": "9999-12-31"}))
    assert [verdict.reason for verdict in evaluation.verdicts] == ["outside the calendar"]


def test_a_date_before_the_start_never_warns() -> None:
    found = clock(BY, journey({"received": T}, attributes={"promised_date": "2026-03-01"}))
    assert found.warn_us is None


# --- how journeys end -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hours", "state"), [(1, "stopped"), (4, "stopped"), (6, "missed")])
def test_cancelling_stops_the_clock(hours: int, state: str) -> None:
    found = clock(BETWEEN, journey({"received": T}, state="cancelled", ended=T + hours * HOUR))
    assert told(found) == (state, hours)
    assert found.how == "cancelled"


def test_what_happens_after_cancelling_doesnt_count() -> None:
    change = journey({"received": T, "confirmed": T + 3 * HOUR}, state="cancelled", ended=T + 2 * HOUR)
    assert told(clock(BETWEEN, change)) == ("stopped", 2)
    change = journey({"received": T, "confirmed": T + HOUR}, state="cancelled", ended=T + 2 * HOUR)
    assert told(clock(BETWEEN, change)) == ("met", 1)


def test_an_absorbed_journey_has_no_clocks() -> None:
    assert clocks(BETWEEN, journey({"received": T}, state="absorbed")) == []


def test_a_complete_journey_stops_what_was_passed_over() -> None:
    steps = {"received": T, "packed": T + HOUR, "invoiced": T + 2 * HOUR}
    found = clock(BETWEEN, journey(steps, state="completed", ended=T + 2 * HOUR))
    assert (told(found), found.how) == (("stopped", 2), "completed")
    late = clock(BETWEEN, journey(steps, state="completed", ended=T + 5 * HOUR))
    assert told(late) == ("missed", 5)
    assert told(clock(BETWEEN, journey(steps))) == ("running", None)


def test_a_complete_journey_goes_on_to_what_comes_later() -> None:
    policy = {**BETWEEN, "start": "delivered", "end": "invoiced"}
    found = clock(policy, journey({"received": T, "delivered": T}, state="completed", ended=T))
    assert told(found) == ("running", None)


# --- one clock for each object ----------------------------------------------------------------------------------------

PER = {"name": "p", "kind": "between", "start": "dispatched", "end": "delivered", "within": "4h", "per": "shipment"}


def test_per_object_clocks_run_on_the_objects_own_events() -> None:
    objects = {
        5: ("shipment", state_of({"shipment.dispatched": T, "shipment.delivered": T + HOUR})),
        6: ("shipment", state_of({"shipment.dispatched": T + HOUR})),
        7: ("shipment", state_of({"shipment.booked": T})),
        8: ("picking", state_of({"shipment.dispatched": T})),
    }
    found = clocks(PER, journey({"dispatched": T + HOUR}, objects=objects))
    assert [(item.subject_id, *told(item)) for item in found] == [(5, "met", 1), (6, "running", None)]


def test_a_cancelled_object_stops_its_clock() -> None:
    state = state_of({"shipment.dispatched": T, "shipment.cancelled": T + 2 * HOUR})
    assert told(clock(PER, journey({"received": T}, objects={5: ("shipment", state)}))) == ("stopped", 2)


def test_per_object_policies_match_the_objects_own_attributes() -> None:
    compiled = Compiled(catalog(PER, {**PER, "name": "express", "match": {"carrier": ["dhl"]}, "within": "1h"}))
    objects = {
        5: ("shipment", state_of({"shipment.dispatched": T}, {"carrier": "DHL"})),
        6: ("shipment", state_of({"shipment.dispatched": T}, {"carrier": "ups"})),
    }
    found = evaluate(compiled, journey({"received": T}, objects=objects, attributes={"carrier": "dhl"})).clocks
    assert [(item.subject_id, item.policy.name) for item in found] == [(5, "express"), (6, "p")]


def test_per_object_dwell_and_date() -> None:
    dwell = {"name": "p", "kind": "dwell", "start": "dispatched", "within": "4h", "per": "shipment"}
    done = state_of({"shipment.dispatched": T, "shipment.delivered": T + 5 * HOUR})
    assert told(clock(dwell, journey({}, objects={5: ("shipment", done)}))) == ("missed", 5)
    state = state_of({"shipment.dispatched": T}, {"promised_date": "2026-03-20"})
    found = clock({**BY, "per": "shipment"}, journey({}, objects={5: ("shipment", state)}))
    assert (found.started_us, due(found)) == (T, at("2026-03-20 23:59:59.999999"))


# --- faults, and what is known already --------------------------------------------------------------------------------


class Broken:
    """A calendar that fails in a way nobody thought of."""

    hours = object()

    def add_us(self, *_: object) -> None:
        raise ZeroDivisionError("no such thing")


def test_a_policy_that_fails_is_disabled_and_the_others_go_on() -> None:
    compiled = Compiled(catalog({**BETWEEN, "calendar": "business"}, {**DWELL, "name": "q", "start": "received"}))
    object.__setattr__(compiled.policies["p"], "calendar", Broken())
    evaluation = evaluate(compiled, journey({"received": T}))
    assert [found.policy.name for found in evaluation.clocks] == ["q"]
    assert [(verdict.policy, verdict.reason) for verdict in evaluation.verdicts] == [("p", "faulty policy")]
    assert compiled.disabled == {"p": "ZeroDivisionError: no such thing"}
    assert evaluate(compiled, journey({"received": T})).verdicts == []


def test_a_known_deadline_is_not_computed_again() -> None:
    compiled = Compiled(catalog({**BETWEEN, "calendar": "business"}))
    policy = compiled.policies["p"]
    known = {("p", 1, 0): RunningClock("p", 1, 0, policy.version, T, T, T + 7, T + 5)}
    found = evaluate(compiled, journey({"received": T}), known).clocks[0]
    assert (found.due_us, found.warn_us) == (T + 7, T + 5)
    moved = evaluate(compiled, journey({"received": T + HOUR}), known).clocks[0]
    assert moved.due_us == T + 5 * HOUR
    other = {("p", 1, 0): RunningClock("p", 1, 0, "former version", T, T, T + 7, T + 5)}
    assert evaluate(compiled, journey({"received": T}), other).clocks[0].due_us == T + 4 * HOUR
