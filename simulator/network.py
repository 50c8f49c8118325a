"""The network at work: an endless stream of messages in the order in which they arrive. Pure and seeded.

The same script, seed, size and start give the same stream. A day of it runs from one anchor to the next: the anchor is
the time of day at which live traffic begins, so that each day has the same batches at the same hours, history too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop
from itertools import count, islice
from random import Random
from typing import Final, TypeVar

from simulator import orders, returns, shipments, supply, wire
from simulator.journal import Journal
from simulator.orders import Order, Picking
from simulator.rhythm import SATURDAY, arrivals, local, poisson
from simulator.script import Script
from simulator.wire import Message
from simulator.world import (
    CARRIERS,
    CHANNELS,
    DAY,
    EDI,
    GLS,
    HOUR,
    MARKETPLACE,
    MINUTE,
    NORTH,
    PARTNERS,
    PHONE,
    WAREHOUSES,
    Carrier,
    Channel,
    Partner,
    Warehouse,
)

FIRST_NUMBER: Final = 20_001
WEEKEND: Final = 0.7
"""How large the daily batches are then."""
_SPLIT: Final = 0.06

Place = TypeVar("Place", Channel, Warehouse, Carrier)


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is: orders a day that come one by one, and those of the two daily batches on weekdays.

    `partners`: sent by EDI, and allocated by one run two hours before the anchor. `marketplace`:
    received within minutes, four hours before.
    """

    singly: float = 210
    partners: float = 150
    marketplace: float = 70


@dataclass(frozen=True, slots=True)
class Drop:
    """Orders that travel together, if their pickings come from one warehouse."""

    orders: Sequence[Order]
    warehouses: list[Warehouse]
    carrier: Carrier


def stream(script: Script, *, seed: int, days: int, size: Size) -> Iterator[Message]:
    """All messages from `days` before the script's now on, for ever, by time of arrival."""
    waiting: list[Message] = []
    numbers = count(FIRST_NUMBER)
    for day in count(-days):
        start = script.now + day * DAY
        waiting += _day(script, start, Random(f"{seed}/{day}"), Random(f"{seed}/{day}/returns"), numbers, size)
        waiting += _supply(script, start, day, Random(f"{seed}/{day}/supply"))
        heapify(waiting)
        while waiting and waiting[0].arrives < script.now + (day + 1) * DAY:
            yield heappop(waiting)


def _day(script: Script, start: float, rng: Random, after: Random, numbers: Iterator[int], size: Size) -> list[Message]:
    """What comes of the orders that are received in the day from `start` on; `after`: of those that come back."""
    made: list[Message] = []
    for drop in _drops(start, rng, numbers, size):
        journal = Journal(f"e{drop.orders[0].number}")
        billed = _live(drop, script, rng, journal)
        for happening in journal.happenings:
            made.extend(wire.messages(happening, script, rng))
        back = Journal(f"e{drop.orders[0].number}-r")
        for order, picking, invoice, left in billed:
            returns.send_back(order, picking, invoice, left, after, back)
        for happening in back.happenings:
            made.extend(wire.messages(happening, script, after))
    return made


def _supply(script: Script, start: float, day: int, rng: Random) -> list[Message]:
    """What comes of the purchase orders that are sent in the day from `start` on."""
    happenings = (happening for journal in supply.journals(start, day, rng) for happening in journal.happenings)
    return [message for happening in happenings for message in wire.messages(happening, script, rng)]


def _live(drop: Drop, script: Script, rng: Random, journal: Journal) -> list[tuple[Order, Picking, str, float]]:
    """All that happens to the orders of a drop; what is billed: order, first picking, invoice, when it left."""
    packed: list[Picking] = []
    billed: list[Order] = []
    for order in drop.orders:
        confirmed = orders.intake(order, script, rng, journal)
        if confirmed is not None:
            packed += orders.fulfil(order, confirmed, drop.warehouses, script, rng, journal)
            billed.append(order)
    if not packed:
        return []
    apart = len(drop.orders) == 1
    loads = [[picking] for picking in packed] if apart else [packed]
    left = [shipments.ship(load, drop.carrier, script, rng, journal) for load in loads]
    first = {picking.order.key: picking for picking in reversed(packed)}
    return [(order, first[order.key], shipments.bill(order, left[0], rng, journal), left[0]) for order in billed]


# --- the orders of a day ----------------------------------------------------------------------------------------------


def _drops(start: float, rng: Random, numbers: Iterator[int], size: Size) -> Iterator[Drop]:
    anchor = start + DAY
    share = WEEKEND if local(anchor).weekday() >= SATURDAY else 1.0
    for at in arrivals(rng, start, 24, size.singly):
        yield _single(_order(next(numbers), at, _one_of(rng, CHANNELS), rng), rng)
    for _ in range(poisson(rng, size.marketplace * share)):
        at = anchor - 4 * HOUR + rng.uniform(40, 360)
        yield _single(_order(next(numbers), at, MARKETPLACE, rng), rng)
    yield from _batch(anchor, poisson(rng, size.partners * share), rng, numbers)


def _batch(anchor: float, size: int, rng: Random, numbers: Iterator[int]) -> Iterator[Drop]:
    """The partners' orders of a day: up to four to the same place travel together."""
    while size > 0:
        together = min(size, rng.choice((1, 1, 2, 3, 4)))
        size -= together
        partner, sent = rng.choice(PARTNERS), anchor - 2 * HOUR - rng.uniform(12, 45) * MINUTE
        allocated = anchor - 2 * HOUR + rng.uniform(0.5, 6) * MINUTE
        sends = [
            _order(number, sent + index * 2, EDI, rng, partner, allocated + index)
            for index, number in enumerate(islice(numbers, together))
        ]
        yield Drop(sends, [NORTH], _one_of(rng, CARRIERS) if rng.random() < 0.5 else GLS)


def _single(order: Order, rng: Random) -> Drop:
    houses = list(WAREHOUSES) if rng.random() < _SPLIT else [_one_of(rng, WAREHOUSES)]
    return Drop([order], houses, _one_of(rng, CARRIERS))


def _order(
    number: int,
    received: float,
    channel: Channel,
    rng: Random,
    partner: Partner | None = None,
    batch: float | None = None,
) -> Order:
    if partner is None and channel in (EDI, PHONE):
        partner = rng.choice(PARTNERS)
    po = str(partner.first_po + number - FIRST_NUMBER) if partner and channel is EDI else ""
    amount = f"{channel.amount.draw(rng):.2f}"
    correlation = f"{rng.getrandbits(64):016x}"
    return Order(number, received, channel, partner, po, amount, correlation, batch)


def _one_of(rng: Random, choices: Sequence[Place]) -> Place:
    return rng.choices(choices, [choice.share for choice in choices])[0]
