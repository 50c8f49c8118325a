"""The life of an order from its channel to the warehouse's door: taken, checked, confirmed, picked, packed. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from simulator.journal import Attributes, Journal, Keys
from simulator.rhythm import end_of, local, working_day
from simulator.script import ACKNOWLEDGE, CONFIRM, Script
from simulator.world import HOUR, MIDDLEWARE, MINUTE, ODOO, PHONE, Channel, Partner, Spread, Warehouse

_CHECK_FAILS: Final = 0.012
_TRANSPORT_FAILS: Final = 0.015
_CONFIRMED_LATE: Final = 0.012
_CANCELLED: Final = 0.012
_SHORT: Final = 0.035
_ALLOCATION: Final = Spread(4 * MINUTE, 0.9)


@dataclass(frozen=True, slots=True)
class Order:
    """An order before anything happens to it. `batch`: when the daily run allocates it, if one does."""

    number: int
    received: float
    channel: Channel
    partner: Partner | None
    po: str
    amount: str
    correlation: str
    batch: float | None = None

    @property
    def key(self) -> str:
        return f"S{self.number:06d}"

    @property
    def front(self) -> Keys:
        """How it is known before Odoo takes it."""
        if self.po:
            return {"customer_po": self.po}
        if self.channel is PHONE:
            return {"order": self.key}
        return {"channel_order": f"{self.channel.name[:2].upper()}-{self.number * 7 % 1_000_000:06d}{self.number % 10}"}

    @property
    def promised(self) -> str:
        return working_day(local(self.received).date(), self.channel.promise).isoformat()

    @property
    def promised_end(self) -> float:
        return end_of(working_day(local(self.received).date(), self.channel.promise))

    @property
    def attributes(self) -> Attributes:
        known = {"channel": self.channel.name, "amount": self.amount, "currency": self.currency}
        return known | self.of_partner | {"promised_date": self.promised}

    @property
    def currency(self) -> str:
        return self.partner.currency if self.partner else "EUR"

    @property
    def of_partner(self) -> dict[str, str]:
        return {"partner": self.partner.name} if self.partner else {}


@dataclass(frozen=True, slots=True)
class Picking:
    """A picking that is packed and waits for its truck."""

    key: str
    order: Order
    warehouse: Warehouse
    packed: float


def intake(order: Order, script: Script, rng: Random, journal: Journal) -> float | None:
    """From the channel into Odoo. Answers when it was confirmed; None for an order that was cancelled."""
    journal.say(
        order.received, order.channel.source, "order.received", order.front, order.attributes,
        correlation=order.correlation,
    )  # fmt: skip
    asked = order.received if order.channel is PHONE else _through_middleware(order, rng, journal)
    taken = _taken(order, asked + rng.uniform(20, 150), script, rng, journal)
    both = {"order": order.key, **order.front}
    journal.say(taken, ODOO, "order.acknowledged", both, order.attributes, correlation=order.correlation)
    refused = script.refuses(order.channel, order.received)
    if rng.random() < _CANCELLED and not refused:
        at = taken + rng.uniform(5, 90) * MINUTE
        journal.say(at, ODOO, "order.cancelled", {"order": order.key}, code="CUSTOMER", reason="Cancelled by customer")
        return None
    # the order desk has long seen to those that were refused
    confirmed = taken + rng.uniform(10, 90) if refused else _confirmed(order, taken, script, rng)
    journal.say(confirmed, ODOO, "order.confirmed", {"order": order.key}, order.of_partner)
    return confirmed


def _through_middleware(order: Order, rng: Random, journal: Journal) -> float:
    """The channel's message on its way; answers when Odoo is asked."""
    at = order.received + rng.uniform(0.5, 5)
    known, partner, same = order.front, order.of_partner, order.correlation
    journal.say(at, MIDDLEWARE, "message.received", known, partner, correlation=same)
    at += rng.uniform(0.3, 3)
    if rng.random() < _CHECK_FAILS:
        journal.say(
            at, MIDDLEWARE, "order.validated", known, partner,
            outcome="rejected", code="ADDRESS", reason="The postcode does not belong to the town", correlation=same,
        )  # fmt: skip
        at += rng.uniform(5, 80) * MINUTE
    journal.say(at, MIDDLEWARE, "order.validated", known, partner, correlation=same)
    if rng.random() < _TRANSPORT_FAILS:
        at += 30
        journal.say(
            at, MIDDLEWARE, "message.failed", known, partner,
            outcome="failed", code="TIMEOUT", reason="odoo did not answer within 30 s", correlation=same,
        )  # fmt: skip
        at += rng.choice((60, 120, 240))
        journal.say(at, MIDDLEWARE, "message.retried", known, partner, outcome="retried", correlation=same)
    at += rng.uniform(0.5, 6)
    journal.say(at, MIDDLEWARE, "message.delivered", known, partner, correlation=same)
    return at


def _taken(order: Order, at: float, script: Script, rng: Random, journal: Journal) -> float:
    """When Odoo takes the order; while it refuses the channel it says so, and again at each try."""
    if not script.refuses(order.channel, at):
        return at
    taken, over = script.taken(at), script.refused_until(at)
    for attempt in range(3):
        if at >= over:
            break
        journal.say(
            at, ODOO, "order.confirmed", order.front, order.of_partner,
            outcome="rejected", code="PRICELIST",
            reason=f"No price list in force for channel {order.channel.name} (attempt {attempt + 1})",
            correlation=order.correlation,
        )  # fmt: skip
        at += rng.uniform(50, 70) * MINUTE
    return taken


def _confirmed(order: Order, taken: float, script: Script, rng: Random) -> float:
    length = order.channel.confirm.draw(rng)
    if rng.random() < _CONFIRMED_LATE:
        length = rng.uniform(4.1, 7) * HOUR
    if order.batch is not None:
        return max(taken, min(taken + length, order.batch - _ALLOCATION.draw(rng)))
    return script.at_desk(script.calm(rng, taken, order.received + CONFIRM, taken + length))


def fulfil(
    order: Order, confirmed: float, warehouses: list[Warehouse], script: Script, rng: Random, journal: Journal
) -> list[Picking]:
    """One picking for each warehouse, and a backorder where one comes up short."""
    allocated = order.batch if order.batch is not None else confirmed + _ALLOCATION.draw(rng)
    packed = []
    for index, warehouse in enumerate(warehouses):
        key = f"{warehouse.name[0].upper()}/OUT/{order.number:06d}" + ("" if not index else f"-{index + 1}")
        journal.say(
            allocated + index, ODOO, "picking.created", {"order": order.key, "picking": key},
            {"warehouse": warehouse.name},
        )  # fmt: skip
        packed.append(_picked(Picking(key, order, warehouse, allocated + index), script, rng, journal))
    if rng.random() < _SHORT:
        packed.append(_backorder(packed[0], script, rng, journal))
    return packed


def _picked(created: Picking, script: Script, rng: Random, journal: Journal) -> Picking:
    """`created.packed` is when it was created; that of the answer is when it was packed."""
    house, mine = created.warehouse, {"picking": created.key}
    released = created.packed + house.release.draw(rng)
    released = script.calm(rng, created.packed, created.packed + ACKNOWLEDGE, released)
    released = script.released(house, released)
    picked = released + house.pick.draw(rng)
    packed = picked + house.pack.draw(rng)
    journal.say(released, house.source, "picking.released", mine | {"order": created.order.key})
    journal.say(picked, house.source, "picking.picked", mine)
    journal.say(packed, house.source, "picking.packed", mine)
    return Picking(created.key, created.order, house, packed)


def _backorder(short: Picking, script: Script, rng: Random, journal: Journal) -> Picking:
    """What was missing gets a picking of its own, which Odoo names a child of the first one."""
    at = short.packed - rng.uniform(2, 8) * MINUTE
    journal.say(
        at, short.warehouse.source, "picking.short", {"picking": short.key},
        code="STOCK", reason="Fewer pieces in the bin than booked",
    )  # fmt: skip
    key = f"{short.key}-B"
    created = short.packed + rng.uniform(1, 5) * MINUTE
    journal.say(
        created, ODOO, "picking.created", {"order": short.order.key, "picking": key},
        {"warehouse": short.warehouse.name}, links=[("picking", short.key, key, "backorder")],
    )  # fmt: skip
    return _picked(Picking(key, short.order, short.warehouse, created), script, rng, journal)
