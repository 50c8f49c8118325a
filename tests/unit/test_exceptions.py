"""What an object remembers of troubles gives the same exceptions in any order, in parts, and beyond its bounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from correlator import assess, merged
from correlator.assess import Occurrence, learn, learn_exceptions
from correlator.merged import unite
from milepost.catalog.schema import ExceptionRule
from milepost.exceptions import Interval, intervals
from milepost.journeystate import ObjectState, decode_object, encode_object

RULES = {
    "order.held": ExceptionRule(["order.released"], "held"),
    "order.short": ExceptionRule(["order.packed", "order.done"]),
}
TYPES = ["order.held", "order.released", "order.short", "order.packed", "order.done", "order.confirmed"]
KEPT = 4


def event(number: int, kind: str, at: int, outcome: str = "ok", **more: Any) -> Occurrence:
    said: dict[str, Any] = {"source": "/wms", "code": None, "reason": None, **more}
    return Occurrence(
        number, 1_000 + number, at, event_id=f"e{number}", type=kind, outcome=outcome, attributes=None, **said
    )


def told(*events: Occurrence, subject: bool = True) -> ObjectState:
    state = ObjectState()
    for one in events:
        learn(state, event=one, subject=subject, ranks={})
        learn_exceptions([state], one, subjects=int(subject), opens=one.type in RULES)
    return decode_object(encode_object(state))


def spans(found: list[Interval]) -> list[tuple[str, int, int, int | None]]:
    """(type, from, events, to) of each."""
    return [(one.type, one.first.at_us, one.count, one.resolved_us) for one in found]


wires = st.lists(
    st.tuples(st.sampled_from(TYPES), st.integers(0, 6), st.sampled_from(["ok", "ok", "failed", "rejected"])),
    max_size=14,
)


@pytest.fixture(scope="module", autouse=True)
def _few() -> Iterator[None]:
    """Objects that keep so little that the bounds are met all the time."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (assess, merged):
            patch.setattr(module, "MAX_TROUBLES", KEPT)
            patch.setattr(module, "MAX_REPEATS", KEPT)
        yield


@given(st.data(), wires, st.booleans())
def test_any_order_gives_the_same(data: st.DataObject, made: list[tuple[str, int, str]], subject: bool) -> None:
    events = [event(number, *wire) for number, wire in enumerate(made)]
    expected = intervals(told(*events, subject=subject), RULES, "order")
    assert intervals(told(*data.draw(st.permutations(events)), subject=subject), RULES, "order") == expected


@given(st.data(), wires)
def test_two_names_of_one_thing_are_one_thing(data: st.DataObject, made: list[tuple[str, int, str]]) -> None:
    events = [event(number, *wire) for number, wire in enumerate(made)]
    mine = data.draw(st.lists(st.sampled_from(["one", "other", "both"]), min_size=len(made), max_size=len(made)))
    parts = [
        told(*(e for e, of in zip(events, mine, strict=True) if of in (name, "both"))) for name in ("one", "other")
    ]
    assert intervals(unite(parts, {}), RULES, "order") == intervals(told(*events), RULES, "order")


def test_of_many_the_first_and_the_last_count() -> None:
    state = told(*(event(number, "order.confirmed", number, "retried") for number in range(9)))
    assert [one.at_us for one in state.trouble["order.confirmed"]] == [0, 6, 7, 8]
    assert spans(intervals(state, RULES, "order")) == [("order.confirmed", 0, KEPT, None)]


def test_what_resolves_may_come_before_in_any_number() -> None:
    went_well = [event(number, "order.packed", number) for number in range(9)]
    state = told(*went_well, event(20, "order.short", 7), event(21, "order.short", 9))
    assert (state.repeats or {})["order.packed"] == [0, 6, 7, 8]
    assert spans(intervals(state, RULES, "order")) == [("order.short", 7, 1, 7), ("order.short", 9, 1, None)]


@pytest.mark.parametrize("subject", [True, False])
def test_the_first_that_resolves_stays_whatever_comes_later(subject: bool) -> None:
    wrong, *well = event(0, "order.short", 0), *(event(number, "order.packed", number) for number in range(1, 20))
    for state in (told(wrong, *well, subject=subject), told(*reversed(well), wrong, subject=subject)):
        assert spans(intervals(state, RULES, "order")) == [("order.short", 0, 1, 1)]
    parts = [told(*well[:9], subject=subject), told(*well[5:], subject=subject)]
    assert unite(parts, {}).repeats == told(*well, subject=subject).repeats == {"order.packed": [1, 17, 18, 19]}


def cancelled(of: str, kind: str, opened: str, *, subject: bool = True) -> int | None:
    """When an exception that `opened` of an object of a type, which was no subject of it, is over by `kind`."""
    state = told(event(1, opened, 1, "failed"), subject=False)
    learn(state, event=event(2, kind, 2), subject=subject, ranks={})
    learn_exceptions([state], event(2, kind, 2), subjects=int(subject), opens=False)
    (one,) = intervals(state, RULES, of)
    return one.resolved_us


def test_its_own_cancellation_resolves_all_of_an_object() -> None:
    assert cancelled("picking", "picking.cancelled", "message.failed") == 2
    assert cancelled("picking", "picking.cancelled", "stock.reservation_failed") == 2
    assert cancelled("channel_order", "order.cancelled", "message.failed") == 2, "it stands in for an order"
    assert cancelled("picking", "order.cancelled", "message.failed", subject=False) is None
    assert cancelled("correlation", "picking.cancelled", "message.failed") is None, "it is no picking"


def test_any_cancellation_resolves_what_its_like_opened() -> None:
    assert cancelled("picking", "order.cancelled", "order.confirmed", subject=False) == 2
    assert cancelled("correlation", "order.cancelled", "order.confirmed") == 2


def test_a_hold_is_no_failure_and_a_failed_hold_no_hold() -> None:
    state = told(event(1, "order.held", 1), event(2, "order.held", 2, "failed"), event(3, "order.released", 4))
    held, failed = intervals(state, RULES, "order")
    assert (held.kind, held.first.at_us, held.resolved_us, held.resolved_by) == ("held", 1, 4, "order.released")
    assert (failed.kind, failed.resolved_us) == ("technical", None)


def test_the_last_word_classifies() -> None:
    state = told(
        event(1, "order.confirmed", 1, "failed", code="TIMEOUT"),
        event(2, "order.confirmed", 2, "rejected", code="CREDIT", source="/odoo"),
    )
    (one,) = intervals(state, RULES, "order")
    assert (one.kind, one.last.code, one.last.source, one.first.code) == ("business", "CREDIT", "/odoo", "TIMEOUT")


def test_only_what_the_catalog_names_opens_when_it_goes_well() -> None:
    assert intervals(told(event(1, "order.confirmed", 1)), RULES, "order") == []
    assert [one.kind for one in intervals(told(event(1, "order.short", 1)), RULES, "order")] == ["business"]
