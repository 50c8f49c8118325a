"""EPCIS 2.0 documents in JSON to events: the capture subset. Pure.

https://ref.gs1.org/standards/epcis/: an EPCISDocument or EPCISQueryDocument, or one event, of the five event types.
What an event says of goods, sensors and the like is kept with it under `data.epcis`, and becomes no key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from collector.formats import gs1
from collector.ingest import Rejection
from milepost.catalog.epcis import EpcisSpec
from milepost.catalog.schema import Catalog
from milepost.errors import InvalidEvent, MalformedBody, TooLarge

WAY: Final = "epcis"
"""How the quarantine reads an event again that could not be read."""
_MAX_OBJECTS: Final = 1_000_000
"""Objects in one document: what is parsed takes some 150 bytes each."""
_KEYS_AN_EVENT: Final = 100
"""Logistic units that one event names; more are told by several events."""
_MAX_LINKS: Final = 100

_offset: Final = re.compile(r"([+-])(\d\d):([0-5]\d)")
Uri = Annotated[str, Meta(min_length=1, max_length=2000)]
EventType = Literal["ObjectEvent", "AggregationEvent", "TransactionEvent", "TransformationEvent", "AssociationEvent"]


class _Quantity(Struct, rename="camel"):
    epc_class: Uri


class _Transaction(Struct, rename="camel"):
    biz_transaction: Uri
    type: str = ""


class _Party(Struct):
    """A source or a destination."""

    type: str
    source: Uri | None = None
    destination: Uri | None = None


class _Place(Struct):
    id: Uri


class _Error(Struct, rename="camel"):
    declaration_time: str
    reason: str = ""
    corrective_event_ids: list[Uri] = msgspec.field(name="correctiveEventIDs", default_factory=list)


class _Event(Struct, rename="camel"):
    type: EventType
    event_time: str
    event_time_zone_offset: str
    event_id: Uri | None = msgspec.field(name="eventID", default=None)
    action: Literal["OBSERVE", "ADD", "DELETE"] | None = None
    biz_step: str = ""
    disposition: str = ""
    read_point: _Place | None = None
    biz_location: _Place | None = None
    parent_id: Uri | None = msgspec.field(name="parentID", default=None)
    transformation_id: Uri | None = msgspec.field(name="transformationID", default=None)
    epc_list: list[Uri] = []
    child_epcs: list[Uri] = msgspec.field(name="childEPCs", default_factory=list)
    input_epc_list: list[Uri] = msgspec.field(name="inputEPCList", default_factory=list)
    output_epc_list: list[Uri] = msgspec.field(name="outputEPCList", default_factory=list)
    quantity_list: list[_Quantity] = []
    child_quantity_list: list[_Quantity] = []
    biz_transaction_list: list[_Transaction] = []
    source_list: list[_Party] = []
    destination_list: list[_Party] = []
    error_declaration: _Error | None = None


class _Results(Struct, rename="camel"):
    event_list: list[Raw]


class _QueryResults(Struct, rename="camel"):
    results_body: _Results


class _Body(Struct, rename="camel"):
    event_list: list[Raw] | None = None
    query_results: _QueryResults | None = None


class _Document(Struct, rename="camel"):
    type: Literal["EPCISDocument", "EPCISQueryDocument"]
    schema_version: str
    epcis_body: _Body


_documents: Final = msgspec.json.Decoder(_Document)
_events: Final = msgspec.json.Decoder(_Event)
_fields: Final = msgspec.json.Decoder(dict[str, Raw])


@dataclass(slots=True)
class Reading:
    """What came of a document: structured JSON events, and what is refused already.

    `places` gives for each body the index of its EPCIS event; `ids` the eventID of each EPCIS event that was read.
    """

    bodies: list[bytes] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    refused: list[Rejection] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)


def document(body: bytes, max_events: int) -> list[Raw]:
    """The events of a document, each as it came. Raises MalformedBody, TooLarge."""
    if body.count(b"{") > _MAX_OBJECTS:
        raise TooLarge(f"more than {_MAX_OBJECTS} objects in one document; send several documents")
    try:
        body.decode()
        found = _documents.decode(body)
    except msgspec.ValidationError as error:
        raise MalformedBody(f"no EPCIS document: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedBody(f"not valid JSON: {error}") from error
    if not found.schema_version.startswith("2."):
        raise MalformedBody(f"schemaVersion: {found.schema_version} is not supported; send 2.0")
    results = found.epcis_body.query_results
    events = results.results_body.event_list if results is not None else found.epcis_body.event_list or []
    if len(events) > max_events:
        raise TooLarge(f"{len(events)} events, at most {max_events} are captured at once; send several documents")
    return events


def read(events: Sequence[Raw], source: str, spec: EpcisSpec) -> Reading:
    """`source`: the events'. Nothing is raised: what can't be read is refused."""
    reading = Reading()
    for index, raw in enumerate(events):
        try:
            told = list(_told(raw, source, spec, reading))
        except InvalidEvent as error:
            reading.refused.append(Rejection(index, None, str(error), bytes(raw), source, way=WAY))
            continue
        reading.bodies += told
        reading.places += [index] * len(told)
    return reading


def read_again(catalog: Catalog, source: str, body: bytes) -> list[bytes]:
    """The events of one EPCIS event that was refused. Raises InvalidEvent."""
    registered = catalog.sources.get(source)
    reading = read([Raw(body)], source, registered.epcis if registered is not None else EpcisSpec())
    if reading.refused:
        raise InvalidEvent(reading.refused[0].error)
    return reading.bodies


def _told(raw: Raw, source: str, spec: EpcisSpec, reading: Reading) -> Iterator[bytes]:
    """The events that one EPCIS event gives. Raises InvalidEvent."""
    event = _parsed(raw)
    event_id = event.event_id or _made_up_id(raw)
    at = _time("eventTime", event.event_time, event.event_time_zone_offset)
    step, disposition = gs1.word(event.biz_step), gs1.word(event.disposition)
    keys = _keys(event, step, spec)
    whole: dict[str, Any] = {
        "specversion": "1.0",
        "id": event_id,
        "source": source,
        "type": spec.type_of(step, disposition),
        "time": at,
    }
    reading.ids.append(event_id)
    if event.error_declaration is not None:
        yield msgspec.json.encode(_withdrawn(whole, event, event.error_declaration, keys))
    elif whole["type"] is not None:
        yield from _parts(whole, event, keys, raw)


def _parsed(raw: Raw) -> _Event:
    try:
        event = _events.decode(raw)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$")
        raise InvalidEvent(f"{path.rstrip('`').lstrip('.') or 'event'}: {text}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidEvent(f"not valid JSON: {error}") from error
    if event.action is None and event.type != "TransformationEvent":
        raise InvalidEvent(f"action: {event.type} requires it: OBSERVE, ADD or DELETE")
    return event


def _parts(whole: dict[str, Any], event: _Event, keys: dict[str, list[str]], raw: Raw) -> Iterator[bytes]:
    """One event, or several where it names more logistic units than one may."""
    packages = keys.pop("package", [])
    for number, start in enumerate(range(0, len(packages) or 1, _KEYS_AN_EVENT)):
        some = packages[start : start + _KEYS_AN_EVENT]
        named = keys | ({"package": some} if some else {})
        data: dict[str, Any] = {"keys": named, "attributes": _attributes(event)}
        if number == 0:
            data["epcis"] = raw
        links = _links(event, set(some))
        if links:
            data["links"] = links
        part = {**whole, "data": data}
        if number:
            part["id"] = f"{whole['id']}#{number + 1}"
        if not named:
            part["correlationid"] = whole["id"][:256]
        yield msgspec.json.encode(part)


def _withdrawn(whole: dict[str, Any], event: _Event, error: _Error, keys: dict[str, list[str]]) -> dict[str, Any]:
    """The sender takes an event back. What it said stays; that it was wrong stands beside it, and reaches nothing."""
    packages = keys.pop("package", [])[:_KEYS_AN_EVENT]
    instead = f"; instead: {', '.join(error.corrective_event_ids)}" if error.corrective_event_ids else ""
    named = keys | ({"package": packages} if packages else {})
    return {
        **whole,
        "id": f"{whole['id']}#error",
        "type": "epcis.error_declared",
        "time": _time("errorDeclaration.declarationTime", error.declaration_time, event.event_time_zone_offset),
        "causationid": whole["id"][:256],
        **({} if named else {"correlationid": whole["id"][:256]}),
        "data": {
            "keys": named,
            "outcome": "rejected",
            "code": gs1.word(error.reason)[:128] or None,
            "reason": f"its sender takes {whole['type'] or 'an event'} back{instead}"[:2000],
        },
    }


def _keys(event: _Event, step: str, spec: EpcisSpec) -> dict[str, list[str]]:
    """Documents, shipments and logistic units; where there is none of them, what the event is about at all."""
    keys: dict[str, dict[str, None]] = {}
    for item in event.biz_transaction_list:
        kind = spec.key_of(step, gs1.word(item.type))
        if kind is not None:
            keys.setdefault(kind, {})[gs1.transaction(item.biz_transaction)[0][:256]] = None
    for epc in _epcs(event):
        for kind, number in (("package", gs1.sscc(epc)), ("shipment", gs1.gsin(epc))):
            if number:
                keys.setdefault(kind, {})[number] = None
    if not keys:
        goods = [*_epcs(event), *(item.epc_class for item in (*event.quantity_list, *event.child_quantity_list))]
        return {"item": [uri[:256] for uri in dict.fromkeys(goods)][:_KEYS_AN_EVENT]} if goods else {}
    return {kind: list(some) for kind, some in keys.items()}


def _epcs(event: _Event) -> Iterator[str]:
    if event.parent_id:
        yield event.parent_id
    for some in (event.epc_list, event.child_epcs, event.input_epc_list, event.output_epc_list):
        yield from some


def _links(event: _Event, named: set[str]) -> list[dict[str, Any]]:
    """What is packed into what: a pallet's cartons."""
    parent = gs1.sscc(event.parent_id) if event.parent_id else None
    if parent is None or event.action != "ADD":
        return []
    children = (gs1.sscc(epc) for epc in event.child_epcs)
    return [
        {"parent": {"type": "package", "key": parent}, "child": {"type": "package", "key": child}, "rel": "packed"}
        for child in children
        if child is not None and child in named
    ][:_MAX_LINKS]


def _attributes(event: _Event) -> dict[str, str]:
    issuers = (gs1.transaction(item.biz_transaction)[1] for item in event.biz_transaction_list if _is_order(item))
    found = {
        "disposition": gs1.word(event.disposition),
        "read_point": gs1.place(event.read_point.id) if event.read_point else "",
        "location": gs1.place(event.biz_location.id) if event.biz_location else "",
        "partner": next((gln for gln in issuers if gln), ""),
    }
    for side, some in (("from", event.source_list), ("to", event.destination_list)):
        for item in some:
            kind = gs1.word(item.type).rpartition("/")[2]
            found[f"{side}_{kind}"[:64]] = gs1.place(item.source or item.destination or "")
    return {name: value[:1000] for name, value in found.items() if value}


def _is_order(item: _Transaction) -> bool:
    return gs1.word(item.type) == "po"


def _time(name: str, text: str, offset: str) -> datetime:
    """A time in the offset of the place where it happened, which EPCIS gives beside it."""
    found = _offset.fullmatch(offset)
    if not found or int(found[2]) * 60 + int(found[3]) > 14 * 60:
        raise InvalidEvent("eventTimeZoneOffset: write it like +02:00")
    minutes = int(found[1] + "1") * (int(found[2]) * 60 + int(found[3]))
    zone = timezone(timedelta(minutes=minutes))
    try:
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=zone) if at.tzinfo is None else at.astimezone(zone)
    except (ValueError, OverflowError) as error:
        raise InvalidEvent(f"{name}: not a date and time: {error}") from error


def _made_up_id(raw: Raw) -> str:
    """A hash of the event without what a repeat may differ in, so that it is known again."""
    try:
        fields = msgspec.json.decode(raw)
    except msgspec.ValidationError as error:
        raise InvalidEvent("a number in it is too large; send it as text") from error
    fields.pop("recordTime", None)
    return f"urn:milepost:sha256:{sha256(msgspec.json.encode(fields, order='sorted')).hexdigest()[:32]}"


def with_id(raw: Raw, event_id: str) -> bytes:
    """The event as it was captured."""
    return msgspec.json.encode({"eventID": event_id, **_fields.decode(raw)})
