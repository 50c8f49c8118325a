"""OCEL 1.0 and 2.0 logs to events. Pure. Specification: https://www.ocel-standard.org/

Every event becomes one event whose keys are the objects that it relates to. Objects with attributes or with relations
of their own get an event `<type>.described` that carries them, at the time of the first event that names the object.

What Milepost exported itself becomes again what was sent to it, with its source and receive time: see `milepost.ocel`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct, field

from milepost import ocel
from milepost.clock import aware, to_us
from milepost.errors import MalformedBody

_NOT_WORD: Final = re.compile(r"[^a-z0-9]+")
_NEVER: Final = datetime.max.replace(tzinfo=UTC)
_WHOLE: Final = 2**63
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError)
MAX_TEXT: Final = 1000
Kinds = Mapping[str, Mapping[str, str]]
"""For each event or object type its attributes with their declared types."""


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
    """A log of any version and form. `events` can be gone through again and again, each made when it is asked for."""

    events: Iterable[LogEvent]
    objects: Mapping[str, LogObject]


@dataclass(frozen=True, slots=True)
class Survey:
    """What a log has: events, (event, object) pairs, and for each object that is named its first time, None without.

    `activities`: those of events that are not Milepost's own.
    """

    events: int
    relations: int
    first: Mapping[str, str | None]
    activities: frozenset[str]


def survey(log: Log) -> Survey:
    """Go through a log. Raises MalformedBody for one that can't be read to its end."""
    count, relations = 0, 0
    first: dict[str, tuple[datetime, str | None]] = {}
    activities: set[str] = set()
    for event in log.events:
        if not ocel.is_own(event.attributes):
            activities.add(event.activity)
        moment = _instant(event.time)
        said = (_NEVER, None) if moment is None else (moment, event.time)
        for object_id in event.objects:
            known = first.get(object_id)
            if known is None or said[0] < known[0]:
                first[object_id] = said
            relations += 1
        count += 1
    return Survey(count, relations, {object_id: text for object_id, (_, text) in first.items()}, frozenset(activities))


def dateless(log: Log, first: Mapping[str, str | None]) -> int:
    """How many objects have something to tell and no date: no event names them at a time that is one."""
    return sum(_tells(item) and first.get(item.id) is None for item in log.objects.values())


# --- JSON -------------------------------------------------------------------------------------------------------------


class _Event1(Struct):
    activity: str = field(name="ocel:activity")
    timestamp: Any = field(name="ocel:timestamp")
    omap: list[str] = field(name="ocel:omap")
    vmap: dict[str, Any] = field(name="ocel:vmap", default_factory=dict)


class _Object1(Struct):
    type: str = field(name="ocel:type")
    ovmap: dict[str, Any] = field(name="ocel:ovmap", default_factory=dict)


class _Log1(Struct):
    events: dict[str, Raw] = field(name="ocel:events")
    objects: dict[str, _Object1] = field(name="ocel:objects")


class _Value(Struct):
    name: str
    value: Any


class _Relation(Struct):
    objectId: str
    qualifier: str = "related"


class _Attribute(Struct):
    name: str
    type: str = ""


class _Type(Struct):
    name: str
    attributes: list[_Attribute] = []


class _Object2(Struct):
    id: str
    type: str
    attributes: list[_Value] = []
    relationships: list[_Relation] = []


class _Event2(_Object2, kw_only=True):
    time: Any


class _Log2(Struct):
    events: list[Raw]
    objects: list[_Object2]
    eventTypes: list[_Type] = []
    objectTypes: list[_Type] = []


_event_1: Final = msgspec.json.Decoder(_Event1)
_event_2: Final = msgspec.json.Decoder(_Event2)


def parse(data: bytes) -> Log:
    """Read a JSON document. Raises MalformedBody naming what is missing, now or when the events are gone through."""
    try:
        return _version_1(data) if b'"ocel:events"' in data else _version_2(data)
    except _UNREADABLE as error:
        raise _no_log(error) from error


def _no_log(error: Exception) -> MalformedBody:
    if isinstance(error, msgspec.ValidationError):
        return MalformedBody(f"this is no OCEL 1.0 or 2.0 JSON log: {error}")
    return MalformedBody(f"not valid JSON: {error}")


def _version_1(data: bytes) -> Log:
    log = msgspec.json.decode(data, type=_Log1)
    return Log(
        _Events1(log.events), {key: LogObject(key, item.type, item.ovmap, ()) for key, item in log.objects.items()}
    )


def _version_2(data: bytes) -> Log:
    log = msgspec.json.decode(data, type=_Log2)
    kinds = _declared(log.objectTypes)
    # the last value stands; its own time is kept by the order of the list, which is by time
    objects = {item.id: LogObject(item.id, item.type, _values(item, kinds), _related(item)) for item in log.objects}
    return Log(_Events2(log.events, _declared(log.eventTypes)), objects)


@dataclass(frozen=True, slots=True)
class _Events1:
    """The events of a version 1 log, still as JSON: decoded all at once they would take seven times the memory."""

    raw: Mapping[str, Raw]

    def __iter__(self) -> Iterator[LogEvent]:
        for key, text in self.raw.items():
            try:
                item = _event_1.decode(text)
            except _UNREADABLE as error:
                raise _no_log(error) from error
            related = tuple((object_id, "") for object_id in item.omap)
            yield LogEvent(key, item.activity, str(item.timestamp), related, item.vmap)


@dataclass(frozen=True, slots=True)
class _Events2:
    """The same of a version 2 log."""

    raw: list[Raw]
    kinds: Kinds

    def __iter__(self) -> Iterator[LogEvent]:
        for text in self.raw:
            try:
                item = _event_2.decode(text)
            except _UNREADABLE as error:
                raise _no_log(error) from error
            yield LogEvent(item.id, item.type, str(item.time), _related(item), _values(item, self.kinds))


def _declared(types: list[_Type]) -> Kinds:
    return {each.name: {item.name: item.type for item in each.attributes} for each in types}


def _values(item: _Object2, types: Kinds) -> dict[str, Any]:
    kinds = types.get(item.type, {})
    return {each.name: typed(each.value, kinds.get(each.name, "")) for each in item.attributes}


def _related(item: _Object2) -> tuple[tuple[str, str], ...]:
    return tuple((each.objectId, each.qualifier) for each in item.relationships)


def typed(value: Any, kind: str) -> Any:
    """A value as its declared type has it: files write times without a zone, and numbers as text."""
    moment = _instant(value) if kind == "time" and isinstance(value, str) else None
    return ocel.value_of(value, kind) if moment is None else ocel.stamp(moment)


# --- events -----------------------------------------------------------------------------------------------------------


def wire_events(
    log: Log, source: str, types: Mapping[str, str], first: Mapping[str, str | None]
) -> Iterator[dict[str, Any] | Past]:
    """All events of a log. `types` maps activities to event types; others become `ocel.<activity>`.

    `first` is the survey's. Raises MalformedBody for an event that Milepost exported and somebody changed beyond
    recognition.
    """
    for event in log.events:
        if ocel.is_own(event.attributes):
            yield _past(event)
            continue
        yield _wire(
            source,
            event.id,
            types.get(event.activity, f"ocel.{word(event.activity)}"),
            event.time,
            {"keys": _keys(log, event.objects), "attributes": _scalars(event.attributes)},
        )
    for item in log.objects.values():
        at = first.get(item.id)
        if at is not None and _tells(item):
            yield _described(log, item, source, at)


def _tells(item: LogObject) -> bool:
    """Whether an object says more than its events do. Of Milepost's own the events tell all."""
    return bool(item.attributes or item.related) and "milepost_key" not in item.attributes


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
    """OCEL times without a zone are UTC; None for what is no time, or none that UTC has."""
    try:
        return aware(datetime.fromisoformat(text.replace("Z", "+00:00"))).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _scalars(values: Mapping[str, Any]) -> dict[str, Any]:
    return {word(name): _scalar(value) for name, value in values.items()}


def _scalar(value: Any) -> Any:
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and -_WHOLE <= value < _WHOLE):
        return value
    return str(value)[:MAX_TEXT]
