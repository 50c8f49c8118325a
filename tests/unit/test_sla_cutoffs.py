"""Promises by the working day, and calendars that carriers and partners have of their own."""

from typing import Any

import pytest

from milepost.clock import from_us
from milepost.errors import CatalogError
from milepost.journeystate import RunningClock
from sla.breach import why
from sla.evaluate import Clock, evaluate
from sla.policy import Compiled
from tests.sla_cases import CALENDARS, at, catalog, journey, state_of, us

SAME_DAY = {
    "name": "same-day",
    "kind": "by",
    "start": "confirmed",
    "end": "dispatched",
    "cut_off": "14:00",
    "calendar": "business",
}
PICKUPS = {
    "dhl": {"zone": "Europe/Berlin", "cut_offs": {"mon": "16:00", "thu": "11:00"}},
    "ups": {"zone": "America/New_York", "cut_offs": {"fri": "17:30"}},
}
CARRIER = {
    **SAME_DAY,
    "cut_off": "calendar",
    "calendar": {"attribute": "carrier", "calendars": {"DHL": "dhl", "UPS": "ups"}, "else": "daily"},
}


def clock(policy: dict[str, Any], start: str, **told: Any) -> Clock:
    daily = {"zone": "Europe/Berlin", "cut_offs": dict.fromkeys(("mon", "tue", "wed", "thu", "fri"), "12:00")}
    files = {
        "calendars_yaml": {"calendars": {**CALENDARS, **PICKUPS, "daily": daily}},
        "partners_yaml": {"aliases": {"carrier": {"DHL": ["DHL Paket", "Deutsche Post"]}}},
    }
    (found,) = evaluate(Compiled(catalog(policy, **files)), journey({"confirmed": us(start)}, **told)).clocks
    return found


def due(policy: dict[str, Any], start: str, **told: Any) -> str:
    due_us = clock(policy, start, **told).due_us
    assert due_us is not None
    return str(from_us(due_us))[:19]


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("2026-03-20 12:59", "2026-03-20 17:00:00"),  # Friday 13:59 in Berlin: closing at 18:00
        ("2026-03-20 13:00", "2026-03-23 17:00:00"),  # Friday 14:00: Monday
        ("2026-03-21 09:00", "2026-03-23 17:00:00"),  # Saturday
        ("2026-03-27 13:30", "2026-03-30 16:00:00"),  # summer time began in between
        ("2026-04-02 13:30", "2026-04-06 16:00:00"),  # Good Friday is a holiday; Monday isn't in this calendar
    ],
)
def test_before_the_cut_off_the_same_working_day(start: str, expected: str) -> None:
    assert due(SAME_DAY, start) == expected


def test_days_later_at_a_time() -> None:
    assert due({**SAME_DAY, "days": 1}, "2026-03-20 09:00") == "2026-03-23 17:00:00"
    assert due({**SAME_DAY, "days": 2, "due_at": "10:30"}, "2026-03-20 13:30") == "2026-03-25 09:30:00"
    assert due({**SAME_DAY, "due_at": "12:00", "grace": "2h"}, "2026-03-20 09:00") == "2026-03-20 13:00:00"


def test_round_the_clock_a_day_ends_with_its_last_instant() -> None:
    found = clock({**SAME_DAY, "calendar": "always"}, "2026-03-21 09:00")
    assert found.due_us == us("2026-03-22 00:00") - 1
    assert clock({**SAME_DAY, "due_at": "24:00"}, "2026-03-20 09:00").due_us == us("2026-03-20 23:00") - 1


def test_it_warns_and_stops_as_others_do() -> None:
    found = clock({**SAME_DAY, "warn_at": 0.5}, "2026-03-20 09:00")
    assert found.warn_us is not None
    assert from_us(found.warn_us) == at("2026-03-20 13:00")
    change = journey({"confirmed": us("2026-03-20 09:00"), "dispatched": us("2026-03-20 17:00")})
    assert [one.state for one in evaluate(Compiled(catalog(SAME_DAY)), change).clocks] == ["met"]


@pytest.mark.parametrize(
    ("carrier", "expected"),
    [
        ("DHL", "2026-03-23 22:59:59"),  # Friday morning: the next pick-up is on Monday
        ("deutsche post", "2026-03-23 22:59:59"),
        ("UPS", "2026-03-21 03:59:59"),  # on this very day, which ends at midnight in New York
        ("GLS", "2026-03-20 22:59:59"),
        (None, "2026-03-20 22:59:59"),
    ],
)
def test_each_carrier_has_its_own_pick_ups(carrier: str | None, expected: str) -> None:
    assert due(CARRIER, "2026-03-20 10:00", attributes={"carrier": carrier}) == expected


def test_a_carrier_known_late_changes_the_calendar() -> None:
    policy = {**CARRIER, "cut_off": "10:00", "calendar": {"attribute": "carrier", "calendars": {"DHL": "business"}}}
    compiled = Compiled(catalog(policy))
    before = evaluate(compiled, journey({"confirmed": us("2026-03-21 09:00")})).clocks[0]
    known = {before.key: running(before)}
    change = journey({"confirmed": us("2026-03-21 09:00")}, attributes={"carrier": "dhl"})
    after = evaluate(compiled, change, known).clocks[0]
    assert before.due_us == us("2026-03-22 00:00") - 1
    assert after.due_us == us("2026-03-23 17:00")
    assert why(after.policy, catalog(policy), running(after), change) == (
        "not dispatched: confirmed Sat 21 Mar 2026 10:00, due Mon 23 Mar 2026 18:00"
        " (before 10:00 the same working day, else the next, calendar business, Europe/Berlin)"
    )


def running(clock: Clock) -> RunningClock:
    name, subject, occurrence = clock.key
    version, received = clock.policy.version, clock.started_received_us
    return RunningClock(name, subject, occurrence, version, clock.started_us, received, clock.due_us, clock.warn_us)


def test_each_shipment_has_its_own_carrier() -> None:
    policy = {
        **CARRIER,
        "kind": "between",
        "start": "dispatched",
        "end": "delivered",
        "within": "1h",
        "per": "shipment",
        "calendar": {"attribute": "carrier", "calendars": {"DHL": "business"}},
    }
    del policy["cut_off"]
    when = us("2026-03-21 09:00")
    objects = {
        5: ("shipment", state_of({"shipment.dispatched": when}, {"carrier": "DHL"})),
        6: ("shipment", state_of({"shipment.dispatched": when}, {"carrier": "UPS"})),
    }
    found = evaluate(Compiled(catalog(policy)), journey({"received": when}, objects=objects)).clocks
    assert [from_us(one.due_us or 0) for one in found] == [at("2026-03-23 08:00"), at("2026-03-21 10:00")]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"date": "promised_date"}, "date or cut_off, and not both"),
        ({"cut_off": None}, "date or cut_off"),
        ({"cut_off": None, "date": "promised_date", "days": 1}, "days and due_at say when"),
        ({"cut_off": "25:00"}, "cut_off"),
        ({"cut_off": "calendar"}, "calendar business has no cut_offs"),
        ({"kind": "between", "within": "4h"}, "only a policy of kind by"),
        ({"calendar": {"attribute": "carrier", "calendars": {"DHL": "nobody"}}}, "there is no calendar nobody"),
    ],
)
def test_what_makes_no_policy(more: dict[str, Any], message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        catalog({**SAME_DAY, **more})


def test_a_calendar_that_never_opens_is_outside_all_years() -> None:
    never = {"zone": "UTC", "weekly": {"mon": [["08:00", "12:00"]]}, "cut_offs": {"tue": "10:00"}}
    made = catalog({**SAME_DAY, "cut_off": "calendar", "calendar": "n"}, calendars_yaml={"calendars": {"n": never}})
    evaluation = evaluate(Compiled(made), journey({"confirmed": us("2026-03-20 09:00")}))
    assert [verdict.reason for verdict in evaluation.verdicts] == ["outside the calendar"]
