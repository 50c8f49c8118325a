"""Odoo's records as they stand: what each is, its keys, its attributes. Pure: rows in, snapshots out."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from hashlib import blake2b
from typing import Any, Final

import msgspec

Row = Mapping[str, Any]
Keys = dict[str, str | list[str]]

_MAX_ATTRIBUTE: Final = 1000


@dataclass(frozen=True, slots=True)
class Names:
    """What other records say that rows refer to by id."""

    partners: Mapping[int, str] = field(default_factory=dict)  # the company that a contact belongs to
    warehouses: Mapping[int, str] = field(default_factory=dict)  # by operation type
    purchases: Mapping[int, str] = field(default_factory=dict)
    orders: Mapping[int, Sequence[str]] = field(default_factory=dict)  # by invoice
    invoices: Mapping[int, str] = field(default_factory=dict)
    packing: Collection[int] = ()  # operation types that pack
    next: Mapping[int, Sequence[str]] = field(default_factory=dict)  # deliveries that a step hands its goods to
    returns: Mapping[str, Sequence[str]] = field(default_factory=dict)  # done returns, by order


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A record as it stands: what it is, its own key and its parents', and what may change."""

    subject: str
    keys: Keys
    more_keys: Keys
    attributes: dict[str, str]
    links: list[Row] = field(default_factory=list)
    open: bool = False
    """Whether Odoo may still delete it, and its deletion would be news."""

    @property
    def key(self) -> str:
        return str(self.keys[self.subject])

    @property
    def company(self) -> dict[str, str]:
        """The attribute that tells keys of several companies apart."""
        return {name: value for name, value in self.attributes.items() if name == "company"}

    def digest(self) -> str:
        """12 hex digits over all that `updated` tells."""
        return blake2b(msgspec.json.encode((self.keys, self.more_keys, self.attributes)), digest_size=6).hexdigest()


@dataclass(frozen=True, slots=True)
class Model:
    """How one model of Odoo is read. Of `fields` those are asked for that the model has and the user may read.

    `module` brings it, and `right` lets a user read it: what the check names when something is missing.
    """

    name: str
    module: str
    right: str
    domain: list[Any]
    fields: tuple[str, ...]
    states: tuple[str, ...]
    snapshot: Callable[[Row, Names], Snapshot | None]


# --- records ----------------------------------------------------------------------------------------------------------


def _order(row: Row, names: Names) -> Snapshot | None:
    origin = text(row, "origin")
    more = {"customer_po": text(row, "client_order_ref"), "channel_order": origin if is_channel_order(origin) else ""}
    attributes = {
        **_money_of(row),
        "partner": names.partners.get(_id(row, "partner_id"), ""),
        "channel": label(row, "team_id"),
        "warehouse": label(row, "warehouse_id"),
        "carrier": label(row, "carrier_id"),
        "promised_date": _time(row, "commitment_date"),
    }
    return _snapshot("order", row, {}, more, attributes, open_in=("draft", "sent"))


_UNDONE: Final = ("draft", "waiting", "confirmed", "assigned")


def _transfer(row: Row, names: Names) -> Snapshot | None:
    kind, order, attributes = row.get("picking_type_code"), label(row, "sale_id"), _transfer_attributes(row, names)
    if kind in ("outgoing", "dropship"):
        return _delivery(row, attributes)
    if kind == "incoming" and _id(row, "return_id") and order:
        links = [_link(("picking", label(row, "return_id")), ("return", text(row, "name")), "return")]
        return _snapshot("return", row, {"order": order}, {}, attributes, [*links, *_rest(row, "return")], _UNDONE)
    if kind == "incoming" and _id(row, "purchase_id"):
        parents = {"purchase_order": names.purchases.get(_id(row, "purchase_id"), "")}
        return _snapshot("receipt", row, parents, {}, attributes, _rest(row, "receipt"), _UNDONE)
    if kind == "internal" and order:  # picking or packing, ahead of the delivery
        return _snapshot("transfer", row, {"order": order}, {}, attributes, _rest(row, "transfer"), _UNDONE)
    return None


def is_step(row: Row) -> bool:
    """Whether a transfer was picking or packing for a delivery, and is done."""
    return row.get("picking_type_code") == "internal" and row.get("state") == "done" and bool(row.get("sale_id"))


def _delivery(row: Row, attributes: Mapping[str, str]) -> Snapshot | None:
    order = label(row, "sale_id")
    if _id(row, "return_id") and not order:
        return None  # goods that go back to their supplier
    more, links = {"shipment": _shipments(row)}, _rest(row, "picking")
    return _snapshot("picking", row, {"order": order}, more, attributes, links, _UNDONE)


def _rest(row: Row, kind: str) -> list[Row]:
    """The link from what was handled first to this, the rest of it."""
    first = label(row, "backorder_id")
    return [_link((kind, first), (kind, text(row, "name")), "backorder")] if first else []


def _move(row: Row, names: Names) -> Snapshot | None:
    """An invoice or a credit note. None for a draft that never had a number."""
    orders = list(names.orders.get(row["id"], ()))
    parents: dict[str, str | list[str]] = {"order": orders[0] if len(orders) == 1 else orders}
    refund = row.get("move_type") == "out_refund"
    if refund:
        parents["invoice"] = names.invoices.get(_id(row, "reversed_entry_id"), "")
    attributes = {
        **_money_of(row),
        "partner": label(row, "commercial_partner_id"),
        "due_date": text(row, "invoice_date_due"),
        "payment_state": text(row, "payment_state"),
        "amount_due": money(row.get("amount_residual")),
        "peppol_state": text(row, "peppol_move_state"),
    }
    kind, more = ("credit_note", _credited(orders, names)) if refund else ("invoice", {})
    return _snapshot(kind, row, parents, more, attributes, open_in=("draft",))


def _credited(orders: Sequence[str], names: Names) -> dict[str, str | list[str]]:
    """The return that a credit note pays for: Odoo doesn't say it, so only where there is no other."""
    found = [name for order in orders for name in names.returns.get(order, ())]
    return {"return": found[0]} if len(found) == 1 else {}


def invoices_of(payment: Row) -> set[int]:
    """Ids: those that it was registered for, and those that it was matched with later."""
    return {*(payment.get("invoice_ids") or ()), *(payment.get("reconciled_invoice_ids") or ())}


def _payment(row: Row, names: Names) -> Snapshot | None:
    """What a customer paid. None for a draft that never had a number."""
    invoices = [names.invoices[key] for key in sorted(invoices_of(row)) if names.invoices.get(key)]
    attributes = {
        **_money_of(row, "amount"),
        "partner": names.partners.get(_id(row, "partner_id"), ""),
        "reference": text(row, "memo") or text(row, "ref"),
    }
    parents: dict[str, str | list[str]] = {"invoice": invoices[0] if len(invoices) == 1 else invoices}
    return _snapshot("payment", row, parents, {}, attributes, open_in=("draft",))


def _purchase(row: Row, names: Names) -> Snapshot | None:
    attributes = {
        **_money_of(row),
        "partner": names.partners.get(_id(row, "partner_id"), ""),
        "partner_ref": text(row, "partner_ref"),
        "promised_date": _time(row, "date_planned"),
    }
    return _snapshot("purchase_order", row, {}, {}, attributes)


MODELS: Final[Mapping[str, Model]] = {
    model.name: model
    for model in (
        Model(
            "sale.order",
            "sale_management",
            "Sales: User: All Documents",
            [],
            (
                *("name", "state", "create_date", "write_date", "date_order", "client_order_ref", "origin"),
                *("amount_total", "currency_id", "partner_id", "team_id", "warehouse_id", "carrier_id"),
                *("commitment_date", "company_id"),
            ),
            ("state",),
            _order,
        ),
        Model(
            "stock.picking",
            "stock",
            "Inventory: User",
            [("picking_type_code", "in", ["outgoing", "incoming", "dropship", "internal"])],
            (
                *("name", "state", "create_date", "write_date", "date_done", "date_deadline", "sale_id", "purchase_id"),
                *("picking_type_id", "picking_type_code", "backorder_id", "return_id", "carrier_id"),
                *("carrier_tracking_ref", "company_id"),
            ),
            ("state",),
            _transfer,
        ),
        Model(
            "account.move",
            "account",
            "Invoicing: Read-only",
            [("move_type", "in", ["out_invoice", "out_refund"])],
            (
                *("name", "state", "payment_state", "create_date", "write_date", "move_type", "amount_total"),
                *("amount_residual", "currency_id", "commercial_partner_id", "invoice_date_due", "reversed_entry_id"),
                *("peppol_move_state", "company_id"),
            ),
            ("state", "payment_state"),
            _move,
        ),
        Model(
            "account.payment",
            "account",
            "Invoicing: Read-only",
            [("partner_type", "=", "customer")],
            (
                *("name", "state", "create_date", "write_date", "amount", "currency_id", "partner_id", "memo", "ref"),
                *("invoice_ids", "reconciled_invoice_ids", "company_id"),
            ),
            ("state",),
            _payment,
        ),
        Model(
            "purchase.order",
            "purchase",
            "Purchase: User",
            [],
            (
                *("name", "state", "create_date", "write_date", "partner_id", "partner_ref", "amount_total"),
                *("currency_id", "date_planned", "company_id"),
            ),
            ("state",),
            _purchase,
        ),
    )
}


# --- values -----------------------------------------------------------------------------------------------------------


def _snapshot(
    subject: str,
    row: Row,
    parents: Mapping[str, str | list[str]],
    more: Mapping[str, str | list[str]],
    attributes: Mapping[str, str],
    links: list[Row] | None = None,
    open_in: Sequence[str] = (),
) -> Snapshot | None:
    """`open_in`: the states in which Odoo lets it be deleted without a further state."""
    name = text(row, "name")
    if not name or name == "/":
        return None
    common = {"state": text(row, "state"), "company": label(row, "company_id")}
    return Snapshot(
        subject,
        {subject: name, **_filled(parents)},
        _filled(more),
        {key: value[:_MAX_ATTRIBUTE] for key, value in {**common, **attributes}.items() if value},
        links or [],
        row.get("state") in open_in,
    )


def _filled(keys: Mapping[str, str | list[str]]) -> Keys:
    return {name: key for name, key in keys.items() if key}


def _link(parent: tuple[str, str], child: tuple[str, str], rel: str) -> Row:
    return {
        "parent": {"type": parent[0], "key": parent[1]},
        "child": {"type": child[0], "key": child[1]},
        "rel": rel,
    }


def _transfer_attributes(row: Row, names: Names) -> dict[str, str]:
    return {
        "warehouse": names.warehouses.get(_id(row, "picking_type_id"), ""),
        "carrier": label(row, "carrier_id"),
        "deadline": _time(row, "date_deadline"),
    }


def _money_of(row: Row, name: str = "amount_total") -> dict[str, str]:
    return {"amount": money(row.get(name)), "currency": label(row, "currency_id")}


def money(value: float | bool | None) -> str:
    """JSON's number as decimal text, at least two places: Odoo has already rounded it to its currency.

    What is beyond 28 digits stays as it stands.
    """
    if value is None or isinstance(value, bool):
        return ""
    try:
        exact = Decimal(repr(value)).quantize(Decimal("0.0001")).normalize()
    except InvalidOperation:
        return str(value)
    if not exact.is_finite():
        return str(value)
    return f"{exact:f}" if -int(exact.as_tuple().exponent) > 2 else f"{exact:.2f}"


_NUMBERED: Final = re.compile(r"#?[A-Za-z]{0,8}[-_]?\d[A-Za-z0-9_-]*")
_OUR_DOCUMENT: Final = re.compile(r"(S|SO|P|PO|RFQ)\d{5,}")


def is_channel_order(origin: str) -> bool:
    """Whether a sale order's source document is a shop's order number ("#1042", "AMZ-302-77"), not an Odoo document."""
    return len(origin) >= 4 and bool(_NUMBERED.fullmatch(origin)) and not _OUR_DOCUMENT.fullmatch(origin)


def _shipments(row: Row) -> str | list[str]:
    """Tracking numbers; several packages have theirs in one text."""
    found = [part for part in re.split(r"[\s,;+]+", text(row, "carrier_tracking_ref")) if part]
    return found[0] if len(found) == 1 else found


def text(row: Row, name: str) -> str:
    value = row.get(name)
    return value.strip() if isinstance(value, str) else ""


def _id(row: Row, name: str) -> int:
    """The id that a many2one field refers to, 0 for none."""
    value = row.get(name)
    return int(value[0]) if value else 0


def label(row: Row, name: str) -> str:
    """The display name of a many2one field."""
    value = row.get(name)
    return str(value[1]).strip() if value else ""


def _time(row: Row, name: str) -> str:
    value = text(row, name)
    return iso(value) if value else ""


def iso(text: str) -> str:
    return text.replace(" ", "T") + "Z"
