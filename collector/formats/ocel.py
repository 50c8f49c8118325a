"""OCEL 1.0 and 2.0 logs to events. Pure. Specification: https://www.ocel-standard.org/

Every event becomes one event whose keys are the objects that it relates to. Objects with attributes or with relations
of their own get an event `<type>.described` that carries them, at the time of the first event that names the object.

What Milepost exported itself becomes again what was sent to it, with its source and receive time: see `milepost.ocel`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from milepost import ocel
from milepost.clock import to_us
from milepost.errors import MalformedBody

_NOT_WORD: Final = re.compile(r"[^a-z0-9]+")
_NEVER: Final = datetime.max.replace(tzinfo=UTC)
_WHOLE: Final = 2**63
MAX_TEXT: Final = 1000


@dataclass(frozen=True, slots=True)
class LogEvent:
    id: str
    activity: str
    time: str
    related: tuple[tuple[str, str], ...]  # (object id, qualifier)
    attributes: Mapping[str, Any]

    @property
    def objects(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(object_id for object_id, _ in self.related))


@dataclass(frozen=True, slots=True)
class LogObject:
    id: str
    type: str
    attributes: Mapping[str, Any]
    related: tuple[tuple[str, str], ...]  # (object id, qualifier)


@dataclass(frozen=True, slots=True)
class Past:
    """An event that Milepost had once: as it was sent, with the time when it was received, in microseconds."""

    wire: dict[str, Any]
    received_us: int


@dataclass(frozen=True, slots=True)
class Log:
    """A parsed log, of any version and form."""

    events: list[LogEvent]
    objects: dict[str, LogObject]

    @property
    def relations(self) -> int:
        """How many (event, object) pairs it has."""
        return sum(len(event.objects) for event in self.events)

    def idle(self) -> list[LogObject]:
        """Objects that no event names: they have no date, and so no event."""
        named = {object_id for event in self.events for object_id in event.objects}
        return [item for item in self.objects.values() if item.id not in named]


def parse(doc: Any) -> Log:
    """Read a JSON document. Raises MalformedBody naming what is missing."""
    try:
        return _version_1(doc) if "ocel:events" in doc else _version_2(doc)
    except (KeyError, TypeError, AttributeError) as error:
        raise MalformedBody(
            f"this is no OCEL 1.0 or 2.0 JSON log: {error!r} is missing or of the wrong type"
        ) from error


def _version_1(doc: Any) -> Log:
    events = [
        LogEvent(
            key,
            item["ocel:activity"],
            str(item["ocel:timestamp"]),
            tuple((object_id, "") for object_id in item["ocel:omap"]),
            item.get("ocel:vmap", {}),
        )
        for key, item in doc["ocel:events"].items()
    ]
    objects = {
        key: LogObject(key, item["ocel:type"], item.get("ocel:ovmap", {}), ())
        for key, item in doc["ocel:objects"].items()
    }
    return Log(events, objects)


def _version_2(doc: Any) -> Log:
    event_types, object_types = _declared(doc.get("eventTypes", ())), _declared(doc.get("objectTypes", ()))
    events = [
        LogEvent(item["id"], item["type"], str(item["time"]), _related(item), _values(item, event_types))
        for item in doc["events"]
    ]
    # the last value stands; its own time is kept by the order of the list, which is by time
    objects = {
        item["id"]: LogObject(item["id"], item["type"], _values(item, object_types), _related(item))
        for item in doc["objects"]
    }
    return Log(events, objects)


def _declared(types: Any) -> dict[str, dict[str, str]]:
    return {each["name"]: {item["name"]: item["type"] for item in each.get("attributes", ())} for each in types}


def _values(item: Any, types: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    kinds = types.get(item["type"], {})
    return {each["name"]: typed(each["value"], kinds.get(each["name"], "")) for each in item.get("attributes", ())}


def _related(item: Any) -> tuple[tuple[str, str], ...]:
    return tuple((each["objectId"], each.get("qualifier", "related")) for each in item.get("relationships", ()))


def typed(value: Any, kind: str) -> Any:
    """A value as its declared type has it: files write times without a zone, and numbers as text."""
    moment = _instant(value) if kind == "time" and isinstance(value, str) else None
    return ocel.value_of(value, kind) if moment is None else ocel.stamp(moment)


def wire_events(log: Log, source: str, types: Mapping[str, str]) -> Iterator[dict[str, Any] | Past]:
    """All events of a log. `types` maps activities to event types; others become `ocel.<activity>`.

    Raises MalformedBody for an event that Milepost exported and somebody changed beyond recognition.
    """
    first: dict[str, str] = {}
    for event in sorted(log.events, key=lambda item: _instant(item.time) or _NEVER):
        if ocel.is_own(event.attributes):
            yield _past(event)
            continue
        if _instant(event.time) is not None:
            for object_id in event.objects:
                first.setdefault(object_id, event.time)
        yield _wire(
            source,
            event.id,
            types.get(event.activity, f"ocel.{word(event.activity)}"),
            event.time,
            {"keys": _keys(log, event.objects), "attributes": _scalars(event.attributes)},
        )
    for item in log.objects.values():
        if item.id in first and (item.attributes or item.related):
            yield _described(log, item, source, first[item.id])


def _past(event: LogEvent) -> Past:
    received = _instant(str(event.attributes["milepost_received"]))
    try:
        sent = ocel.wire(event.activity, event.attributes, event.related)
    except (ValueError, AttributeError, TypeError) as error:
        raise MalformedBody(f"event {event.id}: not as Milepost exported it: {error}") from error
    if received is None:
        raise MalformedBody(f"event {event.id}: milepost_received is no time")
    return Past(sent, to_us(received))


def _described(log: Log, item: LogObject, source: str, at: str) -> dict[str, Any]:
    links = [
        {"parent": _ref(item), "child": _ref(log.objects[other]), "rel": word(qualifier)}
        for other, qualifier in item.related
        if other in log.objects
    ]
    data = {"keys": {word(item.type): item.id}, "attributes": _scalars(item.attributes), "links": links}
    return _wire(source, f"object/{item.id}", f"{word(item.type)}.described", at, data)


def _wire(source: str, event_id: str, event_type: str, at: str, data: dict[str, Any]) -> dict[str, Any]:
    moment = _instant(at)
    time = at if moment is None else moment.isoformat()  # what is no time is refused with the contract's reason
    return {"specversion": "1.0", "id": event_id, "source": source, "type": event_type, "time": time, "data": data}


def _keys(log: Log, ids: tuple[str, ...]) -> dict[str, list[str]]:
    keys: dict[str, list[str]] = {}
    for object_id in ids:
        kind = log.objects[object_id].type if object_id in log.objects else "object"
        keys.setdefault(word(kind), []).append(object_id)
    return keys


def _ref(item: LogObject) -> dict[str, str]:
    return {"type": word(item.type), "key": item.id}


def word(name: str) -> str:
    """A name as an identifier: "Place Order" → place_order."""
    return _NOT_WORD.sub("_", name.lower()).strip("_") or "unnamed"


def _instant(text: str) -> datetime | None:
    """OCEL times without a zone are UTC; None for what is no time."""
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _scalars(values: Mapping[str, Any]) -> dict[str, Any]:
    return {word(name): _scalar(value) for name, value in values.items()}


def _scalar(value: Any) -> Any:
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and -_WHOLE <= value < _WHOLE):
        return value
    return str(value)[:MAX_TEXT]
