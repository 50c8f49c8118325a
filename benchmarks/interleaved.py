"""A stream of order events for benchmarks: many orders open at once, each order's twelve events far apart."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from heapq import merge
from typing import Any, Final

import msgspec

STEPS: Final = (
    ("order.received", "/shop"),
    ("order.validated", "/mw"),
    ("order.confirmed", "odoo"),
    ("picking.created", "odoo"),
    ("picking.released", "/wms/north"),
    ("picking.picked", "/wms/north"),
    ("picking.packed", "/wms/north"),
    ("picking.done", "/wms/north"),
    ("shipment.booked", "/carrier/dhl"),
    ("shipment.dispatched", "/carrier/dhl"),
    ("shipment.delivered", "/carrier/dhl"),
    ("invoice.posted", "odoo"),
)
PER_ORDER: Final = len(STEPS)
ORDERS_PER_SHIPMENT: Final = round(20 / 19, 3)
START: Final = datetime(2026, 11, 1, tzinfo=UTC)


def bodies(events: int, *, open_orders: int = 20_000, seed: int = 1, first: int = 0) -> Iterator[bytes]:
    """About `events` distinct events as CloudEvents JSON, 5 % twice, 5 % late, one order in twenty ships with another.

    About `open_orders` orders are under way at any time, numbered from `first`. The first eight events of an order
    share a correlation id.
    """
    chance = random.Random(seed + 1)
    for position, order, step in steps(events, open_orders=open_orders, seed=seed):
        body = msgspec.json.encode(event(first + order, step, position))
        yield body
        if chance.random() < 0.05:
            yield body


def steps(events: int, *, open_orders: int = 20_000, seed: int = 1) -> Iterator[tuple[float, int, int]]:
    """The stream without its repeats as (position, order, step), in the order in which it is sent."""
    chance = random.Random(seed)
    orders = max(1, events // PER_ORDER)
    gap = min(open_orders, orders) / PER_ORDER
    return merge(*(_lane(orders, step, gap, chance.random()) for step in range(PER_ORDER)))


def _lane(orders: int, step: int, gap: float, seed: float) -> Iterator[tuple[float, int, int]]:
    """One step of all orders by position in the stream; a late one comes up to a gap and a half later."""
    chance = random.Random(seed)
    late: list[tuple[float, int, int]] = []
    for order in range(orders):
        at = order + step * gap
        late.sort()
        while late and late[0][0] <= at:
            yield late.pop(0)
        if chance.random() < 0.05:
            late.append((at + gap * 1.5 * chance.random(), order, step))
        else:
            yield at, order, step
    yield from sorted(late)


def shipment_of(order: int) -> int:
    """The number of the shipment that an order goes with: one in twenty goes with the one before it."""
    return order - 1 if order % 20 == 1 else order


def event(order: int, step: int, position: float, at: datetime | None = None) -> dict[str, Any]:
    """One step of one order as a wire event; `at` is its time, else it comes from its position."""
    kind, source = STEPS[step]
    names = {
        "order": f"S{order:07d}",
        "channel_order": f"C{order:07d}",
        "picking": f"WH/OUT/{order:07d}",
        "shipment": f"1Z{shipment_of(order):08d}",
        "invoice": f"INV/{order:07d}",
    }
    wanted: dict[int, tuple[str, ...]] = {
        0: ("order", "channel_order"),
        8: ("order", "picking", "shipment"),
        9: ("shipment",),
        10: ("shipment",),
        11: ("order", "invoice"),
    }
    keys = wanted.get(step, ("order", "picking") if 3 <= step <= 7 else ("order",))
    attributes: dict[int, dict[str, str]] = {
        0: {"channel": "shopify", "partner": "ACME", "amount": "123.40", "currency": "EUR"},
        3: {"warehouse": "north"},
        8: {"carrier": "dhl"},
    }
    made: dict[str, Any] = {
        "specversion": "1.0",
        "id": f"{kind}-{order}",
        "source": source,
        "type": kind,
        "time": (at or START + timedelta(milliseconds=position * 100)).isoformat().replace("+00:00", "Z"),
        "data": {"keys": {name: names[name] for name in keys}, "attributes": attributes.get(step, {})},
    }
    if step < 8:
        made["correlationid"] = f"c{order:08d}"
    return made
