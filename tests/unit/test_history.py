"""What became known of a journey when: events in the order of their reception, and what each of them changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from correlator.assess import Occurrence
from correlator.decided import Decided
from correlator.history import History
from correlator.model import Compiled
from correlator.node import MENTION, NAMING
from correlator.replay import Known, Received, World, replay
from milepost.catalog import loader
from milepost.catalog.schema import CORRELATION
from milepost.clock import from_us
from milepost.explanation import Change, Thing

ORDER = next(one for one in Compiled(loader.load(loader.default_texts())).models if one.name == "order")
HOUR = 3_600_000_000
NAMES = {
    1: ("order", "", "S1"), 2: ("picking", "", "P1"), 3: ("picking", "", "P2"), 4: ("shipment", "", "X1"),
    5: (CORRELATION, "", "Z"),
}  # fmt: skip
TYPES = {object_id: name[0] for object_id, name in NAMES.items()} | {9: "order"}


def event(number: int, kind: str, occurred: float, received: float | None = None) -> Occurrence:
    """Hours: when it happened, and when it was received."""
    at, heard = int(occurred * HOUR), int((occurred if received is None else received) * HOUR)
    return Occurrence(number, heard, at, "/odoo", f"e{number}", kind, "ok", None, None, None)


def told(events: Sequence[tuple[Occurrence, int]], relations: Sequence[tuple[int, int, Occurrence]]) -> History:
    """The history of order S1; `relations` give two objects, and the event that was the first to relate them."""
    received = [Received(one, ((about, True),)) for one, about in events]
    known = [
        Known(first, second, NAMING if CORRELATION in (TYPES[first], TYPES[second]) else MENTION, proof)
        for first, second, proof in relations
    ]
    history = History(ORDER, lambda one: Thing(one, *NAMES[one]), {one.event_no: one for one, _ in events})
    history.read(replay(1, ORDER, World(NAMES, TYPES, received, known, frozenset(), Decided(), {})))
    return history


def late(history: History) -> list[str]:
    return [one.text for one in history.changes if one.notable]


def one(history: History, what: str, name: str = "") -> Change:
    (found,) = [item for item in history.changes if item.what == what and item.name == name]
    return found


def test_what_comes_in_order_changes_nothing() -> None:
    received, created = event(1, "order.received", 0), event(2, "picking.created", 1)
    history = told([(received, 1), (created, 2)], [(1, 2, created)])
    assert late(history) == []
    assert [item.text for item in history.changes] == [
        "the journey began", "received reached", "picking P1 joined through order S1", "allocated reached",
    ]  # fmt: skip


def test_a_link_that_comes_late_brings_what_had_been_received() -> None:
    received, sent = event(1, "order.received", 0), event(2, "shipment.dispatched", 2)
    done = event(3, "picking.done", 1, received=8)
    history = told([(received, 1), (sent, 4), (done, 2)], [(1, 2, received), (2, 4, done)])
    joined = next(item for item in history.changes if item.what == "joined" and item.thing == Thing(4, *NAMES[4]))
    assert (joined.brought, joined.at, joined.via) == (1, from_us(8 * HOUR), Thing(2, *NAMES[2]))
    reached = one(history, "reached", "dispatched")
    assert (reached.delay, reached.cause and reached.cause.id, reached.evidence and reached.evidence.id) == (
        timedelta(hours=6), "e3", "e2",
    )  # fmt: skip


def test_a_new_member_opens_what_all_had_reached() -> None:
    created, packed = event(1, "picking.created", 0), event(2, "picking.packed", 1)
    second = event(3, "picking.created", 0.5, received=2)
    history = told([(created, 2), (packed, 2), (second, 3)], [(1, 2, created), (1, 3, second)])
    undone = one(history, "undone", "packed")
    assert (undone.thing, undone.was) == (Thing(3, *NAMES[3]), from_us(1 * HOUR))
    assert "packed is open again: picking P2 joined" in late(history)


def test_earlier_evidence_corrects_a_time() -> None:
    history = told([(event(1, "order.confirmed", 4), 1), (event(2, "order.confirmed", 3, received=9), 1)], [])
    moved = one(history, "moved", "confirmed")
    assert (moved.was, moved.now, moved.at) == (from_us(4 * HOUR), from_us(3 * HOUR), from_us(9 * HOUR))


def test_what_was_missing_from_when_to_when() -> None:
    received, created = event(1, "order.received", 0), event(2, "picking.created", 2)
    checked = event(3, "order.validated", 1, received=7)
    history = told([(received, 1), (created, 2), (checked, 1)], [(1, 2, created)])
    first = {item.name: (item.since, item.until, item.beyond) for item in history.missing}
    assert first["validated"] == (from_us(2 * HOUR), from_us(7 * HOUR), "allocated")
    assert first["confirmed"] == (from_us(2 * HOUR), None, "allocated")
    filled = next(item.filled_by for item in history.missing if item.name == "validated")
    assert filled is not None
    assert filled.id == "e3"


def test_a_cancellation_after_the_fact() -> None:
    history = told([(event(1, "order.received", 0), 1), (event(2, "order.cancelled", 1), 1)], [])
    assert one(history, "state", "cancelled").former == "open"


def test_what_a_correlation_id_joined_leaves_when_another_order_names_it() -> None:
    received, created = event(1, "order.received", 0), event(2, "picking.created", 1)
    other = event(3, "order.received", 2)
    named = [(1, 5, received), (2, 5, created), (9, 5, other)]
    history = told([(received, 1), (created, 2)], named)
    assert [item.text for item in history.changes if item.what == "left"] == ["picking P1 left"]
    assert one(history, "left").cause == history.changes[-1].cause
    assert one(history, "undone", "allocated").at == from_us(2 * HOUR)


def test_history_that_was_brought_in_is_no_news_unless_it_comes_out_of_order() -> None:
    received, confirmed = event(1, "order.received", 0, received=100), event(2, "order.confirmed", 2, received=101)
    history = told([(received, 1), (confirmed, 1)], [])
    assert late(history) == []
    checked = event(3, "order.validated", 1, received=102)
    assert late(told([(received, 1), (confirmed, 1), (checked, 1)], [])) == ["validated reached"]
