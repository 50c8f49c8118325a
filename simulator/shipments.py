"""From the warehouse's door to the customer's, and to the money. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor
from random import Random
from typing import Final

from simulator.journal import Journal
from simulator.orders import Order, Picking
from simulator.rhythm import SATURDAY, local, midnight, working_day
from simulator.script import ARRIVE, LEAVE, SCAN, Script
from simulator.world import DAY, HOUR, MIDDLEWARE, MINUTE, ODOO, Carrier, Spread

_MISSED_TRUCK: Final = 0.02
_SCANNED_LATE: Final = 0.012
_DELIVERED_LATE: Final = 0.03
_EXCEPTION: Final = 0.015
_LOADING: Final = 2.5 * MINUTE
_INVOICE: Final = Spread(25 * MINUTE, 0.7)
_WHY: Final = (
    ("ADDRESS", "The address could not be found"),
    ("ABSENT", "Nobody was there to take it"),
    ("DAMAGED", "The parcel is being repacked"),
)


def ship(pickings: Sequence[Picking], carrier: Carrier, script: Script, rng: Random, journal: Journal) -> float:
    """One shipment with these pickings, which share a warehouse. Answers when it was dispatched."""
    first, house = pickings[0], pickings[0].warehouse
    packed = max(picking.packed for picking in pickings)
    number = first.key.replace("/OUT/", "").replace("-", "0")
    key = f"{carrier.label}{number}"
    attributes = {"carrier": carrier.name, "warehouse": house.name}
    shown: str | list[str] = first.key if len(pickings) == 1 else [picking.key for picking in pickings]
    journal.say(
        packed + rng.uniform(30, 240), MIDDLEWARE, "shipment.booked", {"shipment": key, "picking": shown}, attributes
    )
    left = _truck(packed + 5 * MINUTE, carrier, script, rng)
    left = script.calm(rng, packed, packed + LEAVE, left) + rng.uniform(0, _LOADING)
    for picking in pickings:
        journal.say(left - rng.uniform(1, 20), ODOO, "picking.done", {"picking": picking.key})
    journal.say(left, house.source, "shipment.dispatched", {"shipment": key}, attributes)
    _travel(key, [picking.order for picking in pickings], left, carrier, script, rng, journal)
    return left


def _truck(ready: float, carrier: Carrier, script: Script, rng: Random) -> float:
    """When the next truck leaves; some loads are left behind twice."""
    times = [script.now + hours * HOUR for hours in carrier.trucks]
    coming = sorted(at + (floor((ready - at) / DAY) + 1) * DAY for at in times)
    return coming[2 if rng.random() < _MISSED_TRUCK else 0]


def _travel(
    key: str, orders: Sequence[Order], left: float, carrier: Carrier, script: Script, rng: Random, journal: Journal
) -> None:
    mine, source = {"shipment": key}, carrier.source
    scanned = left + carrier.scan.draw(rng)
    if rng.random() < _SCANNED_LATE:
        scanned = left + rng.uniform(24.5, 40) * HOUR
    scanned = script.calm(rng, left, left + SCAN, scanned)
    delivered = _delivered(orders, left, scanned, carrier, script, rng)
    out = max(scanned + HOUR / 2, delivered - rng.uniform(0.6, 6) * HOUR)
    delivered = max(delivered, out + 10 * MINUTE)
    journal.say(scanned, source, "shipment.in_transit", mine)
    if out - scanned > 8 * HOUR:
        journal.say(scanned + (out - scanned) * rng.uniform(0.4, 0.9), source, "shipment.in_transit", mine)
    journal.say(out, source, "shipment.out_for_delivery", mine)
    if rng.random() < _EXCEPTION:
        code, reason = rng.choice(_WHY)
        at = out + rng.uniform(0.2, 0.8) * (delivered - out)
        journal.say(at, source, "shipment.exception", mine, outcome="failed", code=code, reason=reason)
        delivered = _on_day(delivered, 1, rng)
    journal.say(delivered, source, "shipment.delivered", mine)


def _delivered(
    orders: Sequence[Order], left: float, scanned: float, carrier: Carrier, script: Script, rng: Random
) -> float:
    """Between eight and seven, some working days after it left."""
    (days,) = rng.choices((1, 2, 3), carrier.days)
    if local(left).weekday() >= SATURDAY and rng.random() < 0.5:
        days += 1
    if rng.random() < _DELIVERED_LATE:
        days += rng.choice((3, 4))
    at = max(_on_day(left, days, rng), scanned + 2 * HOUR)
    deadline = min(left + ARRIVE, *(order.promised_end for order in orders))
    return script.calm(rng, left, deadline, at)


def _on_day(at: float, days: int, rng: Random) -> float:
    day = working_day(local(at).date(), days)
    return midnight(day) + rng.triangular(8, 19.5, 11.5) * HOUR


def bill(order: Order, dispatched: float, rng: Random, journal: Journal) -> str:
    """An invoice once the goods have left; channels pay after their usual time. Answers its number."""
    invoice = f"INV/{local(dispatched).year}/{order.number:06d}"
    posted = dispatched + _INVOICE.draw(rng)
    money = {"amount": order.amount, "currency": order.currency}
    journal.say(posted, ODOO, "invoice.posted", {"order": order.key, "invoice": invoice}, money)
    days = max(0.5, rng.gauss(order.channel.payment, order.channel.payment / 4))
    paid = posted + days * DAY
    payment = f"PAY/{order.number:06d}"
    journal.say(paid, ODOO, "invoice.paid", {"invoice": invoice, "payment": payment})
    return invoice
