"""OCEL 2.0 as JSON. Every value is a text, as the standard's schema says; its type is declared beside.

Specification: https://www.ocel-standard.org/specification/formats/json/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from exports.snapshot import Snapshot
from exports.things import Thing, object_columns, things
from exports.told import Columns, Reader, Teller, Told, event_columns
from milepost import ocel

_encode: Final = msgspec.json.Encoder().encode


def chunks(snapshot: Snapshot, read: Reader) -> Iterator[bytes]:
    """The file, some of it at a time."""
    event_types, object_types = event_columns(snapshot), object_columns(snapshot)
    yield b'{"objectTypes":' + _types(object_types, ocel.OBJECT_FIELDS)
    yield b',"eventTypes":' + _types(event_types, ocel.EVENT_FIELDS)
    yield b',"objects":['
    yield from _items(map(_object, some, [object_types] * len(some)) for some in things(snapshot))
    yield b'],"events":['
    yield from _items(map(_event, some) for some in Teller(snapshot, read, event_types).pieces())
    yield b"]}\n"


def _types(columns: Columns, fields: Mapping[str, str]) -> bytes:
    return _encode(
        [
            {"name": kind, "attributes": [{"name": name, "type": of} for name, of in {**own, **fields}.items()]}
            for kind, own in columns.items()
        ]
    )


def _items(pieces: Iterable[Iterable[dict[str, Any]]]) -> Iterator[bytes]:
    """The members of an array, a line each."""
    between = b"\n"
    for some in pieces:
        lines = b",\n".join(_encode(item) for item in some)
        if lines:
            yield between + lines
            between = b",\n"


def _object(item: Thing, columns: Columns) -> dict[str, Any]:
    written = columns[item.type]
    return {
        "id": item.id,
        "type": item.type,
        "attributes": [
            {"name": name, "time": since, "value": ocel.text_of(value)}
            for name, value, since in item.attributes
            if name in written or name in ocel.OBJECT_FIELDS
        ],
        "relationships": [{"objectId": other, "qualifier": rel} for other, rel in item.related],
    }


def _event(item: Told) -> dict[str, Any]:
    values = {name: ocel.text_of(value) for name, value in item.attributes.items()} | item.fields
    return {
        "id": item.id,
        "type": item.type,
        "time": item.time,
        "attributes": [{"name": name, "value": value} for name, value in values.items()],
        "relationships": [{"objectId": other, "qualifier": qualifier} for other, qualifier in item.related],
    }
