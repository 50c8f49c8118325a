"""What the simulated network sends becomes the journeys that it has in mind."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from itertools import takewhile
from random import Random

import pytest
import sqlalchemy as sa

from milepost.clock import to_us
from milepost.contract import Entry, Event, content_of, decode, identity_of
from milepost.db import tables as t
from simulator import network, script
from simulator.network import Size
from simulator.wire import Message
from simulator.world import DAY
from tests.chain import Chain

NOW = datetime(2026, 11, 21, 2, 30, tzinfo=UTC).timestamp()
RECEIVED_US = to_us(datetime.fromtimestamp(NOW, UTC))
BATCH = 500


@pytest.fixture(scope="module")
def messages() -> list[Message]:
    """Three days of orders, with all that comes of them, in no order."""
    stream = network.stream(script.uneventful(NOW), seed=5, days=3, size=Size(25, 12, 6))
    sent = list(takewhile(lambda message: message.arrives <= NOW + 30 * DAY, stream))
    orders = {number for number, at in _received(sent).items() if at < NOW}
    mine = [message for message in sent if _number(decode(message.body)) in orders]
    Random(3).shuffle(mine)
    return mine


def _number(event: Event) -> str:
    return event.id.partition("-")[0]


def _received(sent: list[Message]) -> dict[str, float]:
    """When the first order of each drop was received, and each purchase order sent."""
    events = (decode(message.body) for message in sent)
    first = ("order.received", "purchase_order.sent")
    return {_number(event): event.time.timestamp() for event in events if event.type in first and event.time}


def _entry(message: Message) -> Entry:
    event = decode(message.body)
    return Entry(identity_of(event.source, event.id), content_of(event), RECEIVED_US, message.body)


def test_orders_become_journeys(engine: sa.Engine, messages: list[Message]) -> None:
    chain = Chain(engine)
    for first in range(0, len(messages), BATCH):
        chain.append([_entry(message) for message in messages[first : first + BATCH]])
    chain.settle()
    events = {(event.source, event.id): event for event in (decode(message.body) for message in messages)}
    kinds = Counter(event.type for event in events.values())
    taken = {str(event.data.keys["order"]) for event in events.values() if event.type == "order.acknowledged"}
    cancelled = {str(event.data.keys["order"]) for event in events.values() if event.type == "order.cancelled"}
    with engine.connect() as connection:
        states = dict(connection.execute(_states("order")).all())
        assert states == {key: "cancelled" if key in cancelled else "completed" for key in taken}
        shipments = dict(connection.execute(_states("shipment")).all())
        assert set(shipments.values()) == {"completed"}
        assert len(shipments) == kinds["shipment.dispatched"]
        reached = dict(connection.execute(_milestones()).all())
        assert reached["paid"] == reached["delivered"] == reached["fulfilled"] == len(taken - cancelled)
        assert reached["received"] == reached["acknowledged"] == len(taken)
        for model, last in (
            ("return", "credit_note.paid"),
            ("purchase_order", "purchase_order.sent"),
            ("inventory_update", "inventory.update_sent"),
        ):
            found = dict(connection.execute(_states(model)).all())
            assert set(found.values()) == {"completed"}, model
            assert len(found) == kinds[last], model
        _has_pickings(connection, list(events.values()))
        _has_company(connection, list(events.values()))


def _states(model: str) -> sa.Select[tuple[str, str]]:
    return sa.select(t.journeys.c.key, t.journeys.c.state).where(t.journeys.c.model == model)


def _milestones() -> sa.Select[tuple[str, int]]:
    m, j = t.milestones, t.journeys
    joined = m.join(j, j.c.journey_id == m.c.journey_id)
    return sa.select(m.c.name, sa.func.count()).select_from(joined).where(j.c.model == "order").group_by(m.c.name)


def _members(kind: str) -> sa.Select[tuple[str, str]]:
    """The order and the key of each member of a kind."""
    j, m, o = t.journeys, t.members, t.objects
    joined = j.join(m, m.c.journey_id == j.c.journey_id).join(o, o.c.object_id == m.c.object_id)
    return sa.select(j.c.key, o.c.key).select_from(joined).where(j.c.model == "order", o.c.type == kind)


def _has_pickings(connection: sa.Connection, events: list[Event]) -> None:
    """Each order has its pickings, the split and the short ones several, and nobody else's."""
    made = {
        (str(event.data.keys["order"]), str(event.data.keys["picking"]))
        for event in events
        if event.type == "picking.created"
    }
    assert set(connection.execute(_members("picking"))) == made
    assert max(Counter(order for order, _ in made).values()) > 1


def _has_company(connection: sa.Connection, events: list[Event]) -> None:
    """A shipment of several orders is in the journey of each of them."""
    of_picking = {picking: order for order, picking in connection.execute(_members("picking"))}
    booked = {
        (of_picking[picking], str(event.data.keys["shipment"]))
        for event in events
        if event.type == "shipment.booked"
        for picking in _several(event.data.keys["picking"])
    }
    assert set(connection.execute(_members("shipment"))) == booked
    assert max(Counter(shipment for _, shipment in booked).values()) > 1


def _several(keys: object) -> list[str]:
    return [str(key) for key in keys] if isinstance(keys, list) else [str(keys)]
