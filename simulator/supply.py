"""Goods that come in: purchase orders, their deliveries, and what the channels are told of the stock. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Final

from simulator.journal import Journal
from simulator.rhythm import local, midnight, poisson, working_day
from simulator.world import DAY, EDI_GATEWAY, HOUR, MARKETPLACE, MINUTE, ODOO, SHOPIFY, SOUTH, Channel

SUPPLIERS: Final = ("Möbelwerk Ost", "Tischler & Söhne", "Nordic Lamps")
_PER_DAY: Final = 8.0
_TWO_LOTS: Final = 0.2
_TOLD: Final = (SHOPIFY, MARKETPLACE)
_REFUSED: Final = 0.04


def journals(start: float, day: int, rng: Random) -> Iterator[Journal]:
    """One journal for each purchase order that is sent in the day from `start` on."""
    for index in range(poisson(rng, _PER_DAY)):
        journal = Journal(f"p{day}.{index}")
        _order(f"P{start // DAY:.0f}{index:02d}", start + rng.uniform(0, DAY), rng, journal)
        yield journal


def _order(key: str, sent: float, rng: Random, journal: Journal) -> None:
    """A purchase order, from being sent to the stock of its last lot."""
    mine, supplier = {"purchase_order": key}, {"partner": rng.choice(SUPPLIERS)}
    journal.say(sent, ODOO, "purchase_order.sent", mine, supplier | {"warehouse": SOUTH.name})
    acknowledged = sent + rng.uniform(5, 50) * MINUTE
    journal.say(acknowledged, EDI_GATEWAY, "purchase_order.acknowledged", mine, supplier)
    confirmed = acknowledged + rng.uniform(1, 20) * HOUR
    journal.say(confirmed, EDI_GATEWAY, "purchase_order.confirmed", mine, supplier)
    lots = [f"{key}/IN/{number}" for number in range(1, 3 if rng.random() < _TWO_LOTS else 2)]
    announced = _at_work(confirmed, rng.randint(1, 3), rng)
    journal.say(announced, EDI_GATEWAY, "asn.received", mine | {"asn": f"A{key[1:]}"}, supplier)
    for lot in lots:
        journal.say(announced + 30, ODOO, "receipt.created", mine | {"receipt": lot}, supplier)
    arrived = announced
    for lot in lots:
        arrived = _at_work(arrived, rng.randint(1, 2), rng)
        journal.say(arrived, SOUTH.source, "receipt.done", {"receipt": lot}, {"warehouse": SOUTH.name})
        _stock(lot, arrived, rng, journal)


def _stock(lot: str, arrived: float, rng: Random, journal: Journal) -> None:
    """What came in is counted, and the channels that sell it are told."""
    updates = {channel.name: f"{lot}@{channel.name}" for channel in _TOLD}
    journal.say(
        arrived + 40, SOUTH.source, "stock.adjusted", {"stock": lot, "inventory": list(updates.values())},
        {"warehouse": SOUTH.name},
    )  # fmt: skip
    for channel in _TOLD:
        _update(updates[channel.name], channel, arrived + MINUTE + rng.uniform(0, 5) * MINUTE, rng, journal)


def _update(key: str, channel: Channel, sent: float, rng: Random, journal: Journal) -> None:
    mine = {"inventory": key}
    journal.say(sent, ODOO, "inventory.update_sent", mine, {"channel": channel.name})
    applied = sent + rng.uniform(2, 90)
    if rng.random() < _REFUSED:
        journal.say(
            applied, channel.source, "inventory.update_applied", mine,
            outcome="rejected", code="LISTING", reason="The article is not listed",
        )  # fmt: skip
        applied += rng.uniform(20, 200) * MINUTE
    journal.say(applied, channel.source, "inventory.update_applied", mine)


def _at_work(at: float, days: int, rng: Random) -> float:
    """In the morning, some working days later."""
    return midnight(working_day(local(at).date(), days)) + rng.uniform(7, 12) * HOUR
