"""How a source's EPCIS events are read: which business step is which event type, which document is which key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

from msgspec import Meta, Struct

from milepost.contract import KeyType, Name

Term = Annotated[str, Meta(min_length=1)]

TYPES: Final[Mapping[str, str | None]] = {
    "reserving": "stock.reserved",
    "picking": "picking.picked",
    "packing": "picking.packed",
    "staging_outbound": "picking.done",
    "shipping": "shipment.dispatched",
    "void_shipping": "shipment.cancelled",
    "departing": "shipment.in_transit",
    "transporting": "shipment.in_transit",
    "receiving": "receipt.done",
    "receiving/returned": "return.received",
    "stock_taking": "stock.adjusted",
    "cycle_counting": "stock.adjusted",
}
"""By business step, or step and disposition."""

TRANSACTIONS: Final[Mapping[str, str | None]] = {
    "po": "customer_po",
    "receiving/po": "purchase_order",
    "poc": "order",
    "desadv": "shipment",
    "bol": "shipment",
    "recadv": "receipt",
    "inv": "invoice",
    "rma": "return",
    "prodorder": "production_order",
}
"""By type of business transaction, or step and type."""


class EpcisSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """What differs from the built-in tables.

    `types`: {business step, or step/disposition: event type}. `transactions`: {type of a business transaction, or
    step/type: key type}. Null: nothing. Words are those of the Core Business Vocabulary, or whole URIs.
    """

    types: dict[Term, Name | None] = {}
    transactions: dict[Term, KeyType | None] = {}

    def type_of(self, step: str, disposition: str) -> str | None:
        """The event type; None where there is to be no event."""
        found = _found((f"{step}/{disposition}", step), self.types, TYPES)
        return f"epcis.{step or 'event'}" if found is _UNKNOWN else found

    def key_of(self, step: str, kind: str) -> str | None:
        """The key type of a business transaction."""
        found = _found((f"{step}/{kind}", kind), self.transactions, TRANSACTIONS)
        return None if found is _UNKNOWN else found


_UNKNOWN: Final = "?"


def _found(names: tuple[str, str], *tables: Mapping[str, str | None]) -> str | None:
    """What a source says comes before what is built in, even where that says it more exactly."""
    for table in tables:
        for name in names:
            if name in table:
                return table[name]
    return _UNKNOWN
