"""The event types that Milepost's own ways in can tell, and those that a catalog adds. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from milepost.catalog.epcis import TYPES
from milepost.catalog.mapping import Choice
from milepost.catalog.schema import Catalog

VERBS: Final[Mapping[str, str]] = {
    "order": "received validated acknowledged confirmed held released cancelled quoted updated",
    "stock": "reserved reservation_failed adjusted",
    "picking": "created released picked packed short done cancelled updated",
    "transfer": "created released done cancelled updated",
    "shipment": "booked rejected dispatched in_transit out_for_delivery ready_for_pickup delivered exception returned"
    " cancelled estimated updated",
    "invoice": "created posted paid partially_paid payment_registered reversed credited cancelled updated",
    "credit_note": "created posted paid partially_paid payment_registered cancelled updated",
    "payment": "created posted paid rejected cancelled updated",
    "purchase_order": "created sent acknowledged confirmed held cancelled updated",
    "asn": "received",
    "receipt": "created done cancelled updated",
    "bill": "received",
    "return": "requested received credited cancelled updated",
    "inventory": "update_sent update_applied cancelled",
    "document": "sent received delivered acknowledged rejected closed",
    "envelope": "delivered acknowledged rejected",
    "reply": "received",
    "message": "received transformed delivered retried failed dead_lettered",
}
"""By object: what happens to it. The types of the built-in models, of Odoo, EDI and the OpenTelemetry conventions."""


def event_types(catalog: Catalog) -> set[str]:
    """All event types that something known to this catalog can tell. Over HTTP a sender may tell any other."""
    found = {f"{kind}.{verb}" for kind, verbs in VERBS.items() for verb in verbs.split()}
    found |= {kind for kind in TYPES.values() if kind}
    return found | set(_of_mappings(catalog)) | set(_of_sources(catalog))


def _of_mappings(catalog: Catalog) -> Iterator[str]:
    for mapping in catalog.mappings.values():
        for rule in mapping.events:
            if not isinstance(rule.type, Choice):
                yield rule.type
                continue
            yield from (kind for kind in rule.type.table.values() if kind)
            if rule.type.otherwise:
                yield rule.type.otherwise


def _of_sources(catalog: Catalog) -> Iterator[str]:
    for source in catalog.sources.values():
        yield from (rule.type for rule in source.signals if rule.type)
        yield from (kind for kind in source.epcis.types.values() if kind)
