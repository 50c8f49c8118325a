"""Clocks that run on exceptions, case by case, and against an oracle."""

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.catalog import loader
from milepost.catalog.findings import findings
from milepost.errors import CatalogError
from milepost.exceptions import intervals
from milepost.journeystate import JourneyChange, ObjectState
from sla.evaluate import Clock, evaluate
from sla.policy import Compiled
from tests.sla_cases import catalog, held, journey, trouble, us, went_well

HOUR = 3_600_000_000
T = us("2026-03-20 09:00")
ANY = {"name": "p", "kind": "exception", "within": "4h"}


def world(**objects: ObjectState) -> JourneyChange:
    """An order (1) and a shipment (5) with these states."""
    change = journey({"received": T})
    change.states = {{"order": 1, "shipment": 5}[kind]: state for kind, state in objects.items()}
    change.types = {1: "order", 5: "shipment"}
    return change


def clocks(change: JourneyChange, *policies: dict[str, Any]) -> list[Clock]:
    return evaluate(Compiled(catalog(*policies)), change).clocks


def failing(*times: int, outcome: str = "failed", code: str | None = None, well: tuple[int, ...] = ()) -> ObjectState:
    state = ObjectState(trouble={"order.confirmed": [trouble(when, outcome, code) for when in times]})
    went_well(state, "order.confirmed", well)
    return state


def test_each_exception_has_a_clock_of_its_own() -> None:
    root = failing(T, T + HOUR, T + 10 * HOUR, well=(T + 2 * HOUR,))
    first, again = clocks(world(order=root), ANY)
    assert (first.started_us, first.due_us, first.stopped_us, first.state) == (T, T + 4 * HOUR, T + 2 * HOUR, "met")
    assert (again.started_us, again.due_us, again.state) == (T + 10 * HOUR, T + 14 * HOUR, "running")
    assert (first.subject_id, first.key != again.key) == (1, True)
    # what comes to be known later leaves the number of an exception as it was
    more = failing(T - 9 * HOUR, T, T + 10 * HOUR, well=(T - 8 * HOUR, T + 2 * HOUR))
    assert {first.key, again.key} <= {clock.key for clock in clocks(world(order=more), ANY)}


def test_resolved_too_late_is_missed() -> None:
    (found,) = clocks(world(order=failing(T, well=(T + 5 * HOUR,))), ANY)
    assert found.state == "missed"


def test_a_hold_is_an_exception_that_never_pauses_itself() -> None:
    (found,) = clocks(world(order=held([T])), ANY)
    assert found.due_us == T + 4 * HOUR
    (found,) = clocks(world(order=held([T])), {**ANY, "pause": "root"})
    assert found.due_us == T + 4 * HOUR
    both = failing(T)
    both.trouble |= held([T + HOUR]).trouble
    due = {clock.started_us: clock.due_us for clock in clocks(world(order=both), {**ANY, "pause": "root"})}
    assert due == {T: None, T + HOUR: T + 5 * HOUR}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, ["order.confirmed", "order.held", "shipment.exception"]),
        ({"kind": ["technical"]}, ["order.confirmed"]),
        ({"kind": ["held", "business"]}, ["order.held", "shipment.exception"]),
        ({"type": ["shipment.exception"]}, ["shipment.exception"]),
        ({"code": ["E7"]}, ["order.confirmed"]),
        ({"code": ["e7"], "kind": ["held"]}, []),
    ],
)
def test_which_exceptions(wanted: dict[str, Any], expected: list[str]) -> None:
    root = failing(T, code="E7")
    root.trouble |= held([T]).trouble
    shipment = ObjectState(trouble={"shipment.exception": [trouble(T)]})
    change = world(order=root, shipment=shipment)
    compiled = Compiled(catalog({**ANY, "exception": wanted}))
    found = evaluate(compiled, change).clocks
    told = {(1, "order.confirmed"), (1, "order.held"), (5, "shipment.exception")}
    types = {
        (number, item.type)
        for number, kind in change.types.items()
        for item in intervals(change.states[number], compiled.rules, kind)
    }
    assert told == types
    assert len(found) == len(expected)
    assert {clock.subject_id for clock in found} == {5 if name.startswith("shipment") else 1 for name in expected}


def test_the_most_specific_runs() -> None:
    exact = {**ANY, "name": "exact", "exception": {"kind": ["technical"], "code": ["E7"]}, "within": "1h"}
    edi = {**ANY, "name": "edi", "match": {"channel": ["edi"]}}
    change = world(order=failing(T, code="E7"))
    assert [clock.policy.name for clock in clocks(change, ANY, exact, edi)] == ["exact"]
    change.attributes = {"channel": "edi"}
    assert [clock.policy.name for clock in clocks(change, ANY, edi)] == ["edi"]


def test_per_takes_those_of_a_type() -> None:
    shipment = ObjectState(trouble={"shipment.exception": [trouble(T)]})
    found = clocks(world(order=failing(T), shipment=shipment), {**ANY, "per": "shipment"})
    assert [clock.subject_id for clock in found] == [5]


def test_cancelling_the_object_or_the_journey_stops_it() -> None:
    shipment = ObjectState(trouble={"shipment.exception": [trouble(T)]})
    went_well(shipment, "shipment.cancelled", [T + HOUR])
    (found,) = clocks(world(shipment=shipment), ANY)
    assert (found.state, found.stopped_us, found.how) == ("stopped", T + HOUR, "cancelled")
    shipment.trouble = {"message.failed": [trouble(T, "failed")]}
    (found,) = clocks(world(shipment=shipment), ANY)
    assert (found.state, found.stopped_us, found.how) == ("stopped", T + HOUR, "cancelled")
    change = world(order=failing(T))
    change.state, change.ended_us = "cancelled", T + 2 * HOUR
    assert [(clock.state, clock.stopped_us) for clock in clocks(change, ANY)] == [("stopped", T + 2 * HOUR)]


def test_a_complete_journey_ends_what_was_open() -> None:
    change = world(order=failing(T, T + 20 * HOUR, well=(T + 10 * HOUR,)))
    change.state, change.ended_us = "completed", T + 5 * HOUR
    states = {clock.started_us: clock.state for clock in clocks(change, {**ANY, "within": "12h"})}
    assert states == {T: "met", T + 20 * HOUR: "running"}
    change = world(order=failing(T))
    change.state, change.ended_us = "completed", T + 2 * HOUR
    assert [clock.state for clock in clocks(change, ANY)] == ["stopped"]


def test_journeys_without_trouble_have_none() -> None:
    assert clocks(world(order=ObjectState()), ANY) == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"start": "received"}, "has no start"),
        ({"within": None}, "needs within"),
        ({"exception": {"kind": ["odd"]}}, "exception"),
        ({"kind": "dwell", "start": "received", "exception": {"code": ["E"]}}, "only a policy of kind exception"),
    ],
)
def test_what_makes_no_policy(more: dict[str, Any], message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        catalog({**ANY, **more})


hours = st.integers(0, 200)


@settings(max_examples=60, deadline=None)
@given(st.lists(hours, max_size=5, unique=True), st.lists(hours, max_size=5, unique=True), st.integers(1, 40))
def test_clocks_are_those_of_the_oracle(opened: list[int], well: list[int], within: int) -> None:
    """Hour by hour: an exception begins where there is none, and ends when something goes well."""
    expected: set[tuple[int, int | None, bool]] = set()
    since: int | None = None
    for hour in range(201):
        if hour in opened and since is None:
            since = hour
        if hour in well and since is not None:
            expected.add((since, hour, hour - since > within))
            since = None
    if since is not None:
        expected.add((since, None, False))
    root = failing(*(T + hour * HOUR for hour in sorted(opened)), well=tuple(T + hour * HOUR for hour in well))
    found = clocks(world(order=root), {**ANY, "within": f"{within}h"})
    assert {
        ((one.started_us - T) // HOUR, None if one.stopped_us is None else (one.stopped_us - T) // HOUR, one.late)
        for one in found
    } == expected
    assert len({one.key for one in found}) == len(found)


def test_types_that_nothing_tells_are_doubted() -> None:
    policy = {**ANY, "model": "order", "exception": {"type": ["shipment.reject"]}, "pause": ["order.heldd:customer"]}
    texts = loader.default_texts() | {"slas.yaml": yaml.safe_dump({"policies": [policy]})}
    told = [one for one in findings(texts, loader.load(texts)) if one.file == "slas.yaml"]
    assert [(one.level, one.place.split(": ")[-1]) for one in told] == [("warning", "exception"), ("warning", "pause")]
    assert "did you mean shipment.rejected?" in told[0].text
    assert "did you mean order.held?" in told[1].text
