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
    ("purchase_order", "state"): {"sent": "sent", "purchase": "confirmed", "cancel": "cancelled"},
}
_MADE: Final = {"order": "received", "return": "requested"}
_LOCKED: Final = "done"  # of orders, up to Odoo 16: unlocking one isn't a new confirmation


# --- events -----------------------------------------------------------------------------------------------------------


def made(model: str, row: Row, states: Mapping[str, str | None], names: Names, source: str) -> list[Event]:
    """The record was made, in `states` ({field: state}): Odoo doesn't track what its first transaction does.

    A draft invoice tells nothing yet: that it was made is told with its number, by `changed`.
    """
    found = MODELS[model].snapshot(row, names)
    if found is None or (found.subject == "invoice" and states.get("state") == "draft"):
        return []
    events = [_made(model, row, found, source)]
    for name, state in states.items():
        for verb in _verbs(found.subject, name, None, state):
            event_id = f"{model}/{row['id']}/created/{verb}"
            events.append(
                _fact(event_id, verb, _reached_at(found.subject, state, row, _made_at(row, verb)), found, source)
            )
    return events


def changed(model: str, row: Row, change: Change, names: Names, source: str) -> list[Event]:
    """The record's state changed."""
    found = MODELS[model].snapshot(row, names)
    if found is None:
        return []
    numbered = found.subject == "invoice" and (change.field, change.old, change.new) == ("state", "draft", "posted")
    events = [_made(model, row, found, source)] if numbered else []
    own, at = f"mail.tracking.value/{change.id}", _reached_at(found.subject, change.new, row, change.at)
    *passed, last = _verbs(found.subject, change.field, change.old, change.new) or [""]
    events += [_fact(f"{own}/{verb}", verb, at, found, source) for verb in passed]
    return [*events, _fact(own, last, at, found, source)] if last else events


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
    return [*events, *_dispatched(model, row, found, first, source)], digest


def encode(events: Iterable[Event]) -> list[bytes]:
    """Each event as structured JSON, one of each id."""
    return list({event["id"]: msgspec.json.encode(event) for event in events}.values())


def _made(model: str, row: Row, found: Snapshot, source: str) -> Event:
    return _fact(f"{model}/{row['id']}/created", _MADE.get(found.subject, "created"), row["create_date"], found, source)


def _fact(event_id: str, verb: str, at: str, found: Snapshot, source: str) -> Event:
    keys = next(_parts(found))
    return {**_envelope(event_id, found.subject, verb, at, source), "data": _data(keys, found.links)}


def _parts(found: Snapshot) -> Iterator[Keys]:
    """The own key with the parents, or with MANY of them at a time."""
    several = [(name, keys) for name, keys in found.keys.items() if isinstance(keys, list) and len(keys) > MANY]
    if not several:
        yield found.keys
    for name, keys in several:
        for first in range(0, len(keys), MANY):
            yield {**found.keys, name: keys[first : first + MANY]}


def _dispatched(model: str, row: Row, found: Snapshot, first: bool, source: str) -> list[Event]:
    """A done delivery with a tracking number has left with the carrier."""
    shipments, done = found.more_keys.get("shipment"), row.get("date_done")
    if found.subject != "picking" or row["state"] != "done" or not shipments or not done:
        return []
    if not first and odoo_time(row["write_date"]) - odoo_time(done) > TRACKING_ADDED_WITHIN:
        return []
    event_id = f"{model}/{row['id']}/shipment/{text(row, 'carrier_tracking_ref')[:200]}"
    attributes = {name: value for name, value in found.attributes.items() if name in ("carrier", "warehouse")}
    data = _data({**found.keys, "shipment": shipments}, [], attributes)
    return [{**_envelope(event_id, "shipment", "dispatched", done, source), "data": data}]


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
    if state == "done" and row["state"] == "done" and subject in ("picking", "return", "receipt"):
        return text(row, "date_done") or at
    return at


def _envelope(event_id: str, subject: str, verb: str, at: str, source: str) -> Event:
    head = {"specversion": "1.0", "id": event_id, "source": source}
    return {**head, "type": f"{subject}.{verb}", "time": iso(at)}


def _data(keys: Keys, links: Sequence[Row] = (), attributes: Mapping[str, str] | None = None) -> Event:
    parts = {"keys": keys, "links": links, "attributes": attributes}
    return {name: part for name, part in parts.items() if part}
