"""Goods that customers send back, and the money that they get for them. Pure."""

from __future__ import annotations

from random import Random
from typing import Final

from simulator.journal import Journal
from simulator.orders import Order, Picking
from simulator.world import DAY, HOUR, ODOO

_SENT_BACK: Final = 0.04
_REASONS: Final = ("Does not fit", "Damaged on arrival", "Not as described")


def send_back(order: Order, picking: Picking, invoice: str, left: float, rng: Random, journal: Journal) -> None:
    """Now and then a customer sends a picking back that left at `left`."""
    if rng.random() >= _SENT_BACK:
        return
    key = f"RET/{order.number:06d}"
    asked = left + rng.uniform(4, 12) * DAY
    journal.say(
        asked, ODOO, "return.requested", {"order": order.key, "return": key},
        order.of_partner | {"warehouse": picking.warehouse.name}, code="RETURN", reason=rng.choice(_REASONS),
    )  # fmt: skip
    back = asked + rng.uniform(2, 7) * DAY
    journal.say(back, picking.warehouse.source, "return.received", {"return": key})
    credited = back + rng.uniform(2, 50) * HOUR
    note = f"R{invoice}"
    journal.say(
        credited, ODOO, "credit_note.posted", {"return": key, "credit_note": note, "invoice": invoice},
        {"amount": order.amount, "currency": order.currency},
    )  # fmt: skip
    journal.say(credited + rng.uniform(1, 5) * DAY, ODOO, "credit_note.paid", {"credit_note": note})
