"""What Odoo's rows say, as events. Pure: rows in, CloudEvents out.

Two kinds. Facts never change, and neither do their ids: a record was made (`sale.order/24/created`), its state changed
(`mail.tracking.value/226`). What may change (customer, amount, promised date, tracking number) goes in an event of its
own, `order.updated` and the like, whose id names record, write date and content; it reaches no milestone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import msgspec

from collector.odoo.cursor import odoo_time
from collector.odoo.snapshots import MODELS, Keys, Names, Row, Snapshot, iso, text

Event = dict[str, Any]

TRACKING_ADDED_WITHIN: Final = timedelta(days=20)
"""A tracking number that comes later than this after the transfer dispatches nothing: it may be known for long."""
_SHIPPED_WITH: Final = ("company", "warehouse", "carrier")
MANY: Final = 150
"""Parents that one event names; a collective invoice may have more."""


@dataclass(frozen=True, slots=True)
class Change:
    """A state change: a tracking value with the states' technical names and the time of its message."""

    id: int
    field: str
    old: str | None
    new: str
    at: str


# what a state is called as the verb of an event; states that aren't here tell nothing
_VERBS: Final[Mapping[tuple[str, str], Mapping[str, str]]] = {
    ("order", "state"): {"sent": "quoted", "sale": "confirmed", "cancel": "cancelled"},
    ("picking", "state"): {"assigned": "released", "done": "done", "cancel": "cancelled"},
    ("return", "state"): {"done": "received", "cancel": "cancelled"},
    ("receipt", "state"): {"done": "done", "cancel": "cancelled"},
    ("invoice", "state"): {"posted": "posted", "cancel": "cancelled"},
    ("invoice", "payment_state"): {
        "paid": "paid",
        "in_payment": "payment_registered",
        "partial": "partially_paid",
        "reversed": "reversed",
    },
    ("transfer", "state"): {"assigned": "released", "done": "done", "cancel": "cancelled"},
    ("credit_note", "state"): {"posted": "posted", "cancel": "cancelled"},
    ("credit_note", "payment_state"): {"paid": "paid", "in_payment": "payment_registered", "partial": "partially_paid"},
    ("payment", "state"): {
        "posted": "posted",
        "in_process": "posted",
        "paid": "paid",  # the first up to Odoo 17
        "canceled": "cancelled",
        "cancel": "cancelled",
        "rejected": "rejected",
    },
    ("purchase_order", "state"): {"sent": "sent", "purchase": "confirmed", "cancel": "cancelled"},
}
_MADE: Final = {"order": "received", "return": "requested"}
_NUMBERED: Final = ("invoice", "credit_note", "payment")  # a draft has no number yet, and so no key
_DATED: Final = ("picking", "return", "receipt", "transfer")  # Odoo keeps the date when they were done
_LOCKED: Final = "done"  # of orders, up to Odoo 16: unlocking one isn't a new confirmation


# --- events -----------------------------------------------------------------------------------------------------------


def made(model: str, row: Row, states: Mapping[str, str | None], names: Names, source: str) -> list[Event]:
    """The record was made, in `states` ({field: state}): Odoo doesn't track what its first transaction does.

    A draft invoice tells nothing yet: that it was made is told with its number, by `changed`.
    """
    found = MODELS[model].snapshot(row, names)
    if found is None or (found.subject in _NUMBERED and states.get("state") == "draft"):
        return []
    events = [_made(model, row, found, source)]
    for name, state in states.items():
        for verb in _verbs(found.subject, name, None, state):
            event_id = f"{model}/{row['id']}/created/{verb}"
            events.append(
                _fact(event_id, verb, _reached_at(found.subject, state, row, _made_at(row, verb)), found, source)
            )
    return [*events, *_handed_over(model, row, states.get("state"), row["create_date"], found, names, source)]


def changed(model: str, row: Row, change: Change, names: Names, source: str) -> list[Event]:
    """The record's state changed."""
    found = MODELS[model].snapshot(row, names)
    if found is None:
        return []
    numbered = found.subject in _NUMBERED and (change.field, change.old) == ("state", "draft")
    events = [_made(model, row, found, source)] if numbered else []
    own, at = f"mail.tracking.value/{change.id}", _reached_at(found.subject, change.new, row, change.at)
    *passed, last = _verbs(found.subject, change.field, change.old, change.new) or [""]
    events += [_fact(f"{own}/{verb}", verb, at, found, source) for verb in passed]
    if last:
        events.append(_fact(own, last, at, found, source))
    return [*events, *_handed_over(model, row, change.new, change.at, found, names, source)]


def updated(model: str, row: Row, told: str, first: bool, names: Names, source: str) -> tuple[list[Event], str]:
    """What may change, as it is now, unless its digest is `told`; and the digest, "" for a record that isn't ours.

    `first`: the record was never seen before.
    """
    found = MODELS[model].snapshot(row, names)
    if found is None:
        return [], ""
    digest = found.digest()
    if digest == told:
        return [], digest
    own, at = f"{model}/{row['id']}@{row['write_date']}#{digest}", row["write_date"]
    events = [
        {
            **_envelope(f"{own}/{part}" if part else own, found.subject, "updated", at, source),
            "data": _data({**keys, **found.more_keys}, found.links, found.attributes),
        }
        for part, keys in enumerate(_parts(found))
    ]
    return [*events, *_dispatched(model, row, found, digest, first, source)], digest


def opened(model: str, row: Row, names: Names) -> Event | None:
    """What to remember of a record that Odoo may still delete."""
    found = MODELS[model].snapshot(row, names)
    if found is None or not found.open:
        return None
    return {"subject": found.subject, "key": found.key, **found.company}


def deleted(model: str, record_id: int, told: Mapping[str, str], at: str, source: str) -> Event:
    """A record that was open is gone; `told` is what `opened` gave, `at` when that was seen."""
    data: Event = {"keys": {told["subject"]: told["key"]}, "code": "deleted", "reason": "deleted in Odoo"}
    if "company" in told:
        data["attributes"] = {"company": told["company"]}
    return {**_envelope(f"{model}/{record_id}/deleted", told["subject"], "cancelled", at, source), "data": data}


def encode(events: Iterable[Event]) -> list[bytes]:
    """Each event as structured JSON, one of each id."""
    return list({event["id"]: msgspec.json.encode(event) for event in events}.values())


def _made(model: str, row: Row, found: Snapshot, source: str) -> Event:
    event_id, verb = f"{model}/{row['id']}/created", _MADE.get(found.subject, "created")
    event = _fact(event_id, verb, row["create_date"], found, source)
    if found.subject in _NUMBERED:  # it may go back to draft, and be posted again with other parents
        event["data"]["keys"] = {found.subject: found.key}
    return event


def _fact(event_id: str, verb: str, at: str, found: Snapshot, source: str) -> Event:
    keys = next(_parts(found))
    return {**_envelope(event_id, found.subject, verb, at, source), "data": _data(keys, found.links, found.company)}


def _parts(found: Snapshot) -> Iterator[Keys]:
    """The own key with the parents, or with MANY of them at a time."""
    several = [(name, keys) for name, keys in found.keys.items() if isinstance(keys, list) and len(keys) > MANY]
    if not several:
        yield found.keys
    for name, keys in several:
        for first in range(0, len(keys), MANY):
            yield {**found.keys, name: keys[first : first + MANY]}


def _dispatched(model: str, row: Row, found: Snapshot, digest: str, first: bool, source: str) -> list[Event]:
    """A done delivery with a tracking number has left with the carrier: the fact, and what may change of it."""
    shipments, done = found.more_keys.get("shipment"), row.get("date_done")
    if found.subject != "picking" or row["state"] != "done" or not shipments or not done:
        return []
    if not first and odoo_time(row["write_date"]) - odoo_time(done) > TRACKING_ADDED_WITHIN:
        return []
    own, keys, at = f"{model}/{row['id']}/shipment", {"shipment": shipments}, row["write_date"]
    attributes = {name: value for name, value in found.attributes.items() if name in _SHIPPED_WITH}
    number = text(row, "carrier_tracking_ref")[:200]
    fact = _envelope(f"{own}/{number}", "shipment", "dispatched", done, source)
    update = _envelope(f"{own}@{at}#{digest}", "shipment", "updated", at, source)
    return [
        {**fact, "data": _data({**found.keys, **keys}, [], found.company)},
        {**update, "data": _data(keys, [], attributes)},
    ]


def _handed_over(
    model: str, row: Row, state: str | None, at: str, found: Snapshot, names: Names, source: str
) -> list[Event]:
    """A step before the delivery is done: the delivery's goods are picked, or packed."""
    deliveries = names.next.get(row["id"], ())
    if found.subject != "transfer" or state != "done" or not deliveries:
        return []
    verb = "packed" if row.get("picking_type_id") and row["picking_type_id"][0] in names.packing else "picked"
    keys: Keys = {**found.keys, "picking": list(deliveries)}
    reached = _reached_at("transfer", state, row, at)
    envelope = _envelope(f"{model}/{row['id']}/{verb}", "picking", verb, reached, source)
    return [{**envelope, "data": _data(keys, (), found.company)}]


def _verbs(subject: str, name: str, old: str | None, new: str | None) -> list[str]:
    """What a change of a state means, the state itself last."""
    verb = _VERBS.get((subject, name), {}).get(new or "")
    if verb is None or (subject != "picking" and old == _LOCKED and new != "cancel"):
        return []
    if subject == "picking" and new == "done" and old != "assigned":
        return ["released", verb]  # forced through, or made and done in one go
    return [verb]


def _made_at(row: Row, verb: str) -> str:
    """When a record was in a state from the start. An order confirmed without tracking keeps the time as its date."""
    ordered = text(row, "date_order") if verb == "confirmed" else ""
    return max(str(row["create_date"]), ordered)


def _reached_at(subject: str, state: str | None, row: Row, at: str) -> str:
    """Odoo's own time of the fact where it keeps one."""
    if state == "done" and row["state"] == "done" and subject in _DATED:
        return text(row, "date_done") or at
    return at


def _envelope(event_id: str, subject: str, verb: str, at: str, source: str) -> Event:
    head = {"specversion": "1.0", "id": event_id, "source": source}
    return {**head, "type": f"{subject}.{verb}", "time": iso(at)}


def _data(keys: Keys, links: Sequence[Row] = (), attributes: Mapping[str, str] | None = None) -> Event:
    parts = {"keys": keys, "links": links, "attributes": attributes}
    return {name: part for name, part in parts.items() if part}
