"""What events make of an object and of a journey: always the same, whatever the order in which they come."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from correlator.assess import Journey, Occurrence, assess, learn, money
from correlator.model import Compiled
from correlator.node import Node
from milepost.catalog import loader
from milepost.journeystate import ObjectState, Scalar, decode_object, encode_object

COMPILED = Compiled(loader.load(loader.default_texts()))
ORDER = next(model for model in COMPILED.models if model.name == "order")


def happened(number: int, kind: str, at: int, **more: Any) -> Occurrence:
    fields: dict[str, Any] = {"outcome": "ok", "code": None, "reason": None, "attributes": None, "source": "/odoo"}
    fields |= more
    return Occurrence(number, 1_000 + number, at, event_id=f"e{number}", type=kind, **fields)


def node(object_id: int, kind: str, *events: Occurrence, subject: bool = True) -> Node:
    made = Node(object_id, kind, "", f"{kind}{object_id}", ObjectState())
    for event in events:
        learn(made.state, event=event, subject=subject, ranks={})
    return made


# --- learning ---------------------------------------------------------------------------------------------------------

values = st.sampled_from(["dhl", "ups", 1, 1.0, True, False, 0, None, ""])
occurrences: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    kind=st.sampled_from(["order.received", "order.confirmed"]),
    at=st.integers(0, 3),
    source=st.sampled_from(["/odoo", "/wms"]),
    outcome=st.sampled_from(["ok", "ok", "failed", "retried"]),
    code=st.sampled_from([None, "", "E1"]),
    reason=st.sampled_from([None, "", "no stock"]),
    attributes=st.none() | st.dictionaries(st.sampled_from(["carrier", "channel", "vip"]), values, max_size=3),
)


def bytes_of(state: ObjectState) -> bytes:
    """A state as it is stored, whatever the order of its parts."""
    state.attributes.sort(key=lambda group: (group.at_us, group.source, group.id))
    return msgspec.msgpack.Encoder(order="sorted").encode(state)


@given(st.data(), st.lists(occurrences, max_size=7), st.sampled_from([{}, {"/odoo": 5}, {"/odoo": 1, "/wms": 2}]))
def test_the_order_of_learning_does_not_matter(
    data: st.DataObject, wires: list[dict[str, Any]], ranks: dict[str, int]
) -> None:
    events = [(happened(number, **wire), data.draw(st.booleans())) for number, wire in enumerate(wires)]
    one, other = ObjectState(), ObjectState()
    for event, subject in events:
        learn(one, event=event, subject=subject, ranks=ranks)
    for event, subject in data.draw(st.permutations(events)):
        learn(other, event=event, subject=subject, ranks=ranks)
        other = decode_object(encode_object(other))  # as after a restart
    assert bytes_of(one) == bytes_of(other)


def test_each_attribute_keeps_its_own_last_word() -> None:
    told = node(
        1,
        "order",
        happened(2, "order.confirmed", 20, attributes={"carrier": "ups"}),
        happened(1, "order.received", 10, attributes={"carrier": "dhl", "channel": "shop"}),
        happened(3, "order.held", 30, attributes={"carrier": None}),
    )
    assert told.state.values() == {"carrier": None, "channel": "shop"}


def test_a_source_of_higher_rank_has_the_word_even_if_it_spoke_first() -> None:
    state = ObjectState()
    for event in (
        happened(1, "order.received", 10, source="/odoo", attributes={"carrier": "dhl"}),
        happened(2, "order.confirmed", 20, source="/shop", attributes={"carrier": "ups", "channel": "shop"}),
    ):
        learn(state, event=event, subject=True, ranks={"/odoo": 1})
    assert state.values() == {"carrier": "dhl", "channel": "shop"}


def test_only_what_went_well_about_a_subject_is_progress() -> None:
    told = node(1, "order", happened(1, "order.confirmed", 10, outcome="failed", code="E7"))
    shown = node(2, "order", happened(2, "order.confirmed", 10, attributes={"amount": "5"}), subject=False)
    assert not told.state.reached
    assert [trouble.code for trouble in told.state.trouble["order.confirmed"]] == ["E7"]
    assert (shown.state.reached, shown.state.values(), shown.state.events) == ({}, {}, 1)


# --- journeys ---------------------------------------------------------------------------------------------------------


def journey(*nodes: Node) -> Journey:
    found = assess(nodes[0], list(nodes), ORDER)
    assert found is not None
    return found


def test_nothing_told_is_no_journey() -> None:
    assert assess(node(1, "order"), [node(1, "order")], ORDER) is None


def test_delivered_waits_for_the_last_shipment_that_is_not_cancelled() -> None:
    root = node(1, "order", happened(1, "order.received", 1))
    one = node(2, "shipment", happened(2, "shipment.delivered", 20), happened(3, "shipment.delivered", 25))
    two = node(3, "shipment", happened(4, "shipment.delivered", 40))
    gone = node(4, "shipment", happened(5, "shipment.cancelled", 5))
    reached = {item.name: item for item in journey(root, one, two, gone).milestones}
    assert (reached["delivered"].reached_us, reached["delivered"].count) == (40, 3)
    assert "delivered" not in {item.name for item in journey(root, one, two, node(5, "shipment")).milestones}
    assert "delivered" not in {item.name for item in journey(root, gone).milestones}


@given(st.lists(values, min_size=1, max_size=4), st.data())
def test_a_value_of_members_counts_only_if_it_is_the_only_one(given_values: list[Scalar], data: st.DataObject) -> None:
    def merged(order: list[Scalar]) -> list[tuple[type, Scalar]]:
        members = [
            node(number, "picking", happened(number, "picking.packed", 1, attributes={"carrier": value}))
            for number, value in enumerate(order, start=2)
        ]
        found = journey(node(1, "order", happened(1, "order.received", 1)), *members).attributes
        return [(type(value), value) for value in found.values() if value is not None]

    said = {(type(value), value) for value in given_values if value is not None}
    assert merged(given_values) == (list(said) if len(said) == 1 else [])
    assert merged(data.draw(st.permutations(given_values))) == merged(given_values)


def test_null_is_no_value() -> None:
    """Systems send null for what they don't know: it takes back their own word, and hides nobody else's."""
    root = node(1, "order", happened(1, "order.received", 1, attributes={"carrier": None, "channel": "shop"}))
    one = node(2, "picking", happened(2, "picking.packed", 1, attributes={"carrier": "dhl", "channel": "edi"}))
    two = node(3, "picking", happened(3, "picking.packed", 1, attributes={"carrier": None}))
    assert journey(root, one, two).attributes == {"carrier": "dhl", "channel": "shop"}


# --- money ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        ("123.40", "123.4"),
        (" 12 ", "12"),
        (7, "7"),
        (0.1, "0.1"),
        ("-5", "-5"),
        ("1E-30", "0"),
        ("0.00005", "0"),
        ("99999999999999.9999", "99999999999999.9999"),
    ],
)
def test_amounts_are_exact_to_four_places(value: Scalar, amount: str) -> None:
    assert money(value) == Decimal(amount)


@pytest.mark.parametrize(
    "value",
    [None, True, False, "", "12,5", "0x10", "NaN", "sNaN", "Infinity", "-inf", "1e400", 1e308, "1e99999999999999999999",
     10**14, "99999999999999.99996", "-99999999999999.99999"],
)  # fmt: skip
def test_what_is_no_amount_or_does_not_fit_is_none(value: Scalar) -> None:
    assert money(value) is None


@given(st.text() | st.floats() | st.integers() | st.decimals().map(str) | st.booleans())
def test_every_amount_fits_its_column(value: Scalar) -> None:
    amount = money(value)
    assert amount is None or (abs(amount) < 10**14 and amount.as_tuple().exponent == -4)
