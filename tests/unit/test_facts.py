"""What one event says by itself: its subjects, what it names, what it relates, what is odd about it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from correlator.facts import Fact, Facts, Name, Names, part, read_fact
from correlator.model import MAX_NAMESPACE, Compiled
from milepost import contract
from milepost.catalog import loader
from milepost.catalog.schema import CORRELATION
from milepost.clock import to_us
from milepost.contract import Entry
from milepost.inbox.objects import Epoch, Ref, shown
from milepost.journeystate import Flag

COMPILED = Compiled(loader.load(loader.default_texts()))
RECEIVED_US = 1_790_000_000_000_000
ORDER, PICKING, SHIPMENT = Ref("order", "", "S1"), Ref("picking", "", "P1"), Ref("shipment", "", "X1")
TICKET, Z = Ref("ticket", "", "T1"), Ref(CORRELATION, "", "Z1")


def fact(kind: str, keys: dict[str, Any], **more: Any) -> Fact:
    data = {"keys": keys} | {name: more.pop(name) for name in ("links", "attributes") if name in more}
    whole = {"specversion": "1.0", "id": "1", "source": "/wms", "type": kind, "time": "2026-09-21T10:00:00Z"}
    body = json.dumps(whole | more | {"data": data}).encode()
    contract.decode(body)
    names: set[Name] = set()
    found = read_fact(Entry(b"", 0, RECEIVED_US, body), COMPILED, Names(), names)
    used = {name for name, _ in found.about} | {end for one, two, _ in found.relations for end in (one, two)}
    assert used <= names, "every name that is used has to get an id"
    return found


def about(found: Fact) -> list[tuple[Ref, bool]]:
    return [(name.ref, subject) for name, subject in found.about]


def pairs(found: Fact) -> set[tuple[str, str, str]]:
    return {(one.ref.key, two.ref.key, rel) for one, two, rel in found.relations}


# --- subjects ---------------------------------------------------------------------------------------------------------


def test_an_event_is_about_the_keys_of_its_own_type() -> None:
    found = fact("picking.packed", {"order": "S1", "picking": ["P1", "P2"]})
    assert about(found) == [(PICKING, True), (Ref("picking", "", "P2"), True)]
    assert pairs(found) == {("S1", "P1", "mention"), ("S1", "P2", "mention")}


def test_it_is_shown_with_what_it_relates_to_nothing() -> None:
    assert about(fact("picking.packed", {"picking": "P1", "ticket": "T1"})) == [(PICKING, True), (TICKET, False)]


def test_lesser_root_types_stand_in_for_the_first() -> None:
    assert about(fact("order.received", {"channel_order": "C1"})) == [(Ref("channel_order", "", "C1"), True)]
    both = fact("order.received", {"customer_po": "1001", "channel_order": "C1"})
    assert [ref.type for ref, subject in about(both) if subject] == ["channel_order"]


def test_without_a_key_of_its_type_the_correlation_is_the_subject() -> None:
    found = fact("shipment.delivered", {"order": "S1"}, correlationid="Z1")
    assert about(found) == [(Z, True), (ORDER, False)]
    assert pairs(found) == {("Z1", "S1", "correlation")}
    assert not found.flags & Flag.NO_SUBJECT


def test_a_message_has_no_subject() -> None:
    found = fact("message.failed", {"order": "S1"})
    assert (about(found), found.flags & Flag.NO_SUBJECT) == ([(ORDER, False)], Flag.NO_SUBJECT)


def test_links_alone_show_the_event_with_their_ends() -> None:
    link = {"parent": {"type": "picking", "key": "P1"}, "child": {"type": "picking", "key": "P2"}, "rel": "backorder"}
    found = fact("note.added", {}, links=[link])
    assert about(found) == [(PICKING, False), (Ref("picking", "", "P2"), False)]
    assert pairs(found) == {("P1", "P2", "link:backorder")}


# --- relations --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("orders", "pickings", "related", "ambiguous"),
    [(1, 1, 1, False), (1, 3, 3, False), (2, 1, 2, False), (2, 2, 0, True)],
)
def test_many_to_many_relates_nothing(orders: int, pickings: int, related: int, ambiguous: bool) -> None:
    keys = {"order": [f"S{n}" for n in range(orders)], "picking": [f"P{n}" for n in range(pickings)]}
    found = fact("picking.packed", keys)
    assert (len(found.relations), bool(found.flags & Flag.AMBIGUOUS)) == (related, ambiguous)


def test_junk_does_not_make_many() -> None:
    """Of three keys only one is any: that is one, and nothing is ambiguous."""
    found = fact("picking.packed", {"order": ["S1", "n/a", "0"], "picking": ["P1", "P2"]})
    assert len(found.relations) == 2
    assert found.flags == Flag.JUNK_KEY


def test_a_link_to_itself_or_to_junk_is_none() -> None:
    ends = [({"type": "picking", "key": "P1"}, {"type": "picking", "key": " P1 "})]
    ends.append(({"type": "picking", "key": "P1"}, {"type": "order", "key": "N/A"}))
    links = [{"parent": parent, "child": child} for parent, child in ends]
    assert fact("picking.packed", {"picking": "P1"}, links=links).relations == []


def test_what_is_odd_about_the_end_of_a_link_is_flagged() -> None:
    order, junk = {"type": "order", "key": "S1"}, {"type": "picking", "key": "N/A"}
    assert fact("order.packed", {"order": "S1"}, links=[{"parent": order, "child": junk}]).flags == Flag.JUNK_KEY
    loose = {"parent": {"type": "customer_po", "key": "1001"}, "child": order}
    assert fact("order.packed", {"order": "S1"}, links=[loose]).flags == Flag.NAMESPACE_MISSING
    assert fact("order.packed", {"order": "S1"}, links=[loose], attributes={"partner": "ACME"}).flags == 0


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("partner", "namespace", "missing"),
    [
        ("ACME", "partner=ACME", False),
        (" ACME ", "partner=ACME", False),
        (4711, "partner=4711", False),
        ("x" * MAX_NAMESPACE, "partner=" + "x" * MAX_NAMESPACE, False),
        ("x" * (MAX_NAMESPACE + 1), "source=/wms", True),
        ("  ", "source=/wms", True),
        ("", "source=/wms", True),
        (None, "source=/wms", True),
    ],
)
def test_a_purchase_order_belongs_to_its_partner(partner: str | int | None, namespace: str, missing: bool) -> None:
    found = fact("order.received", {"customer_po": 1001}, attributes={"partner": partner})
    assert about(found) == [(Ref("customer_po", namespace, "1001"), True)]
    assert bool(found.flags & Flag.NAMESPACE_MISSING) == missing


def test_the_time_that_counts() -> None:
    assert fact("a.b", {"order": "S1"}, time=None).flags & Flag.TIME_MISSING
    early = fact("a.b", {"order": "S1"}, time="2026-09-21T15:00:00Z")
    assert early.claimed_us is not None
    assert early.occurred_us == RECEIVED_US
    assert early.flags & Flag.CLOCK_SKEW


kinds = st.sampled_from(["order", "picking", "shipment", "channel_order", "ticket", "package"])
keys = st.dictionaries(kinds, st.lists(st.sampled_from(["A", "B", " A", "n/a", "7"]), max_size=3), max_size=4)


@given(keys, st.sampled_from(["order.received", "shipment.booked", "message.failed"]), st.sampled_from([None, "Z1"]))
def test_the_order_of_keys_does_not_matter(named: dict[str, list[str]], kind: str, correlation: str | None) -> None:
    if not any(named.values()) and correlation is None:
        return
    more = {"correlationid": correlation} if correlation else {}
    one = fact(kind, named, **more)
    other = fact(kind, {name: group[::-1] for name, group in reversed(named.items())}, **more)
    unordered = {(frozenset((a.ref, b.ref)), rel) for a, b, rel in one.relations}
    assert unordered == {(frozenset((a.ref, b.ref)), rel) for a, b, rel in other.relations}
    assert (set(about(one)), one.flags) == (set(about(other)), other.flags)


# --- split keys -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time", "means"),
    [
        ("2026-09-30T23:59:59Z", 0),
        ("2026-10-01T00:00:00Z", 1),
        ("2026-10-31T12:00:00Z", 1),
        ("2026-11-01T00:00:00Z", 2),
    ],
)
def test_a_split_key_means_the_object_of_the_events_time(time: str, means: int) -> None:
    late = 1_800_000_000_000_000  # nothing of this is from the future
    data = {"keys": {"order": "S1", "picking": "P1"}}
    whole = {"specversion": "1.0", "id": "1", "source": "/wms", "type": "order.packed", "time": time, "data": data}
    known, names = Names(), set[Name]()
    found = read_fact(Entry(b"", 0, late, json.dumps(whole).encode()), COMPILED, known, names)
    october, november = (Epoch("order", "", f"S1 (since 2026-{month}-01)", month) for month in (10, 11))
    begun = [(to_us(datetime(2026, one.object_id, 1, tzinfo=UTC)), one) for one in (october, november)]
    splits = {ORDER: begun, TICKET: [(0, november)]}
    part(Facts([found], names), splits, known)
    named = [ORDER, Ref(*october[:3]), Ref(*november[:3])][means]
    assert about(found) == [(named, True)]
    assert [(one.ref, two.ref, rel) for one, two, rel in found.relations] == [(named, PICKING, "mention")]
    assert {name.object_id for name, _ in found.about} == {[0, 10, 11][means]}


@pytest.mark.parametrize(
    ("kind", "keys", "link", "indirect"),
    [
        ("picking.packed", {"order": "S1", "picking": "P1"}, None, False),
        ("picking.packed", {"order": "S1", "picking": "P1", "customer_po": "1001"}, None, False),
        ("ticket.opened", {"ticket": "T1", "order": "S1"}, None, False),
        ("ticket.opened", {"ticket": "T1", "order": "S1", "picking": "P1"}, None, True),
        ("picking.packed", {"picking": "P1"}, ("P1", "P2"), False),
        ("picking.packed", {"picking": "P1"}, ("P2", "P3"), True),
    ],
)
def test_what_no_object_leads_to_is_marked(
    kind: str, keys: dict[str, Any], link: tuple[str, str] | None, indirect: bool
) -> None:
    ends = [{"type": "picking", "key": key} for key in link or ()]
    links = [{"parent": ends[0], "child": ends[1], "rel": "backorder"}] if ends else []
    assert bool(fact(kind, keys, links=links).flags & Flag.INDIRECT) == indirect


def test_a_later_object_is_shown_with_its_beginning() -> None:
    day, moment = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 10, 1, 8, 5, 9, tzinfo=UTC)
    assert [shown("4711", since) for since in (None, day, moment)] == [
        "4711", "4711 (since 2026-10-01)", "4711 (since 2026-10-01 08:05:09Z)",
    ]  # fmt: skip
