"""The facts that X12 and EDIFACT tell alike, once their codes are read. Pure.

Who sends decides what a document means: an order that we send is a purchase order of ours, one that we receive a
customer's. A customer's numbers are its own (namespace partner); so are a supplier's invoices and despatch advices.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from collector.edi.facts import Fact, Keys, Reading, in_parts

Answer = Literal["acknowledged", "confirmed", "changed", "rejected"]


def order_key(*, ours: bool) -> str:
    """The key type of an order number. `ours`: we placed the order."""
    return "purchase_order" if ours else "customer_po"


def order(reading: Reading, number: str, verb: str, attributes: dict[str, Any]) -> Fact:
    """An order was placed, changed or cancelled. `verb`: placed, changed, cancelled."""
    ours = reading.outgoing
    subject = "purchase_order" if ours else "order"
    if verb == "placed":
        verb = "sent" if ours else "received"
        attributes = attributes if ours else {"channel": "edi", **attributes}
    return Fact(f"{subject}.{verb}", {order_key(ours=ours): number}, attributes=attributes)


def response(
    reading: Reading, number: str, answer: Answer, code: str, attributes: dict[str, Any], sellers: str = ""
) -> list[Fact]:
    """The seller's answer to an order. A rejection reaches no milestone: it is told as outcome rejected.

    `sellers`: the order's number at the seller's.
    """
    ours = not reading.outgoing
    subject = "purchase_order" if ours else "order"
    keys: Keys = {order_key(ours=ours): number, **_own_order(reading, [sellers])}
    if answer == "rejected":
        reason = "the order was rejected"
        return [Fact(f"{subject}.acknowledged", keys, None, attributes, "rejected", code or None, reason)]
    facts = [Fact(f"{subject}.acknowledged", keys, None, attributes, code=code or None)]
    if answer in ("confirmed", "changed"):
        changes = "confirmed with changes" if answer == "changed" else None
        facts.append(Fact(f"{subject}.confirmed", keys, None, attributes, code=code or None, reason=changes))
    return facts


def despatch(
    reading: Reading,
    number: str,
    orders: Sequence[str],
    packages: Sequence[str],
    at: datetime | None,
    attributes: dict[str, Any],
    sellers: Sequence[str] = (),
) -> list[Fact]:
    """Goods have left: ours, or a supplier's for us. Packages of several orders are told without the orders.

    Many orders and many packages in one event would relate nothing: who belongs to whom isn't said. A supplier's advice
    happened when it was made, ours when the goods left.
    """
    ours = reading.outgoing
    at = at if ours else None
    kind, subject = ("shipment.dispatched", "shipment") if ours else ("asn.received", "asn")
    name = order_key(ours=not ours)
    own: Keys = {subject: number, **_own_order(reading, sellers)}
    groups, parts = in_parts(orders), in_parts(packages)
    if len(groups) == 1 and len(groups[0]) <= 1:
        own = {**own, **_if_any(name, groups[0])}
        return [Fact(kind, {**own, **_if_any("package", part)}, at, attributes) for part in parts]
    facts = [Fact(kind, {**own, name: group}, at, attributes) for group in groups]
    return facts + [Fact(kind, {subject: number, "package": part}, at, attributes) for part in parts if part]


def _own_order(reading: Reading, numbers: Sequence[str]) -> dict[str, list[str]]:
    """The seller's numbers of the order are keys of ours where we are the seller."""
    return _if_any("order", in_parts([number for number in numbers if number])[0]) if reading.outgoing else {}


def _if_any(kind: str, keys: list[str]) -> dict[str, list[str]]:
    return {kind: keys} if keys else {}


def invoice(
    reading: Reading,
    number: str,
    orders: Sequence[str],
    *,
    credit: bool,
    attributes: dict[str, Any],
    sellers: Sequence[str] = (),
) -> Fact:
    """Our invoice, or a supplier's: that is a bill, whose number is the supplier's own."""
    ours = reading.outgoing
    kind = ("invoice.credited" if credit else "invoice.posted") if ours else "bill.received"
    keys: Keys = {
        "invoice" if ours else "bill": number,
        **_own_order(reading, sellers),
        **_if_any(order_key(ours=not ours), in_parts(orders)[0]),
    }
    if credit and not ours:
        attributes = {**attributes, "credit": "true"}
    return Fact(kind, keys, attributes=attributes)
