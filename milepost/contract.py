"""The wire event: CloudEvents 1.0 JSON with Milepost's `data`. Frozen; a change here is a new version of the contract.

`decode` is the one way from bytes to an `Event`; the collector calls it to validate and the correlator to read what
was stored. `Entry` is what travels in the event log: the sender's own bytes plus what was known at reception.
"""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import blake2b
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from milepost.clock import to_us
from milepost.errors import InvalidEvent

SPEC_VERSION: Final = "1.0"
MAX_KEYS: Final = 200
"""Keys that one event may name, over all types; one more is refused."""
MAX_LINKS: Final = 200
MAX_ATTRIBUTES: Final = 64
MAX_SKEW_US: Final = 5 * 60 * 1_000_000
"""A claimed time further ahead of the receive time than this counts as the receive time (microseconds)."""
FIRST_TIME: Final = datetime(1990, 1, 1, tzinfo=UTC)
LAST_TIME: Final = datetime(2101, 1, 1, tzinfo=UTC)
OUTSIDE: Final = "lies outside the years 1990 to 2100"
"""What to say of a time that no event may have."""

Outcome = Literal["ok", "retried", "failed", "rejected"]
Name = Annotated[str, Meta(min_length=1, max_length=128)]
Key = Annotated[str, Meta(min_length=1, max_length=256)]
Whole = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
"""Greater integers travel as text: not every format on the way has them, and as a key they know no bound."""
KeyType = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[a-z][a-z0-9_]*$")]


class ObjectRef(Struct, frozen=True, forbid_unknown_fields=True):
    """An object as a sender names it: its type and key, before normalisation and namespace."""

    type: KeyType
    key: Key


class Link(Struct, frozen=True):
    """A relation that co-mention can't tell: backorder, return, replacement."""

    parent: ObjectRef
    child: ObjectRef
    rel: Name = "related"


class Data(Struct, frozen=True):
    """What Milepost reads of an event. Unknown fields are kept in the stored body."""

    keys: dict[KeyType, Key | Whole | list[Key | Whole]] = {}
    links: Annotated[list[Link], Meta(max_length=MAX_LINKS)] = []
    outcome: Outcome = "ok"
    code: Annotated[str, Meta(max_length=128)] | None = None
    reason: Annotated[str, Meta(max_length=2000)] | None = None
    attributes: Annotated[
        dict[
            Annotated[str, Meta(min_length=1, max_length=64)],
            Annotated[str, Meta(max_length=1000)] | Whole | float | bool | None,
        ],
        Meta(max_length=MAX_ATTRIBUTES),
    ] = {}


class Event(Struct, frozen=True):
    """A CloudEvents 1.0 event in the structured JSON format."""

    type: Name
    id: Annotated[str, Meta(max_length=256)] = ""
    source: Annotated[str, Meta(max_length=256)] = ""
    specversion: str = SPEC_VERSION
    time: Annotated[datetime, Meta(tz=True)] | None = None
    correlationid: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    causationid: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    correlationfrom: Any = None
    """FROM_TRACE, set by Milepost: the correlation id was taken from a trace, and is no part of the content."""
    data: Data = Data()


class Entry(Struct, array_like=True, gc=False):
    """One accepted event in the event log.

    `identity` is 16 bytes over source and id, `content` a signed 64-bit hash of the sender's canonical fields,
    `received_us` the first receive time, `body` the event as structured CloudEvents JSON.
    """

    identity: bytes
    content: int
    received_us: int
    body: bytes


class Times(Struct, frozen=True):
    """The times of one event in microseconds since 1970: what counts, and what was claimed."""

    occurred_us: int
    claimed_us: int | None
    skewed: bool


class _ClosedLink(Link, frozen=True, forbid_unknown_fields=True): ...


class _ClosedData(Data, frozen=True, forbid_unknown_fields=True):
    links: Annotated[list[_ClosedLink], Meta(max_length=MAX_LINKS)] = []  # type: ignore[assignment]


class _ClosedEvent(Event, frozen=True, forbid_unknown_fields=True):
    """An event in which each value is looked at: in fields that it doesn't know, the decoder looks at none."""

    data: _ClosedData = _ClosedData()
    datacontenttype: Any = None
    dataschema: Any = None
    subject: Any = None
    traceparent: Any = None
    tracestate: Any = None


_decoder: Final = msgspec.json.Decoder(Event)
_closed: Final = msgspec.json.Decoder(_ClosedEvent)
_RESERVED: Final = "correlation"
FROM_TRACE: Final = "trace"


def decode(body: bytes, *, correlated: bool = False) -> Event:
    """Read one structured JSON event. `correlated`: something beside the event gives it a correlation id.

    Raises InvalidEvent, whose message names the path and the mend.
    """
    try:
        event = _decode(body)
        if b"\\u" in body:
            _refuse_bad_characters(msgspec.json.decode(body))
    except msgspec.ValidationError as error:
        raise InvalidEvent(_plain(str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidEvent(f"not valid JSON in UTF-8: {error}") from error
    check(event, correlated=correlated)
    return event


def _decode(body: bytes) -> Event:
    """Read it, and what nothing reads here too: a number that is too large stops whoever shows or exports the body."""
    try:
        return _closed.decode(body)
    except msgspec.ValidationError:
        event = _decoder.decode(body)
    try:
        msgspec.json.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidEvent("event: a number in a field of your own is too large; send it as text") from error
    return event


def is_possible(at: datetime) -> bool:
    """Whether an event may have this time, which has an offset."""
    return FIRST_TIME <= at < LAST_TIME


def check(event: Event, *, correlated: bool = False) -> None:
    """The rules of the contract that types can't say. Raises InvalidEvent."""
    if event.specversion != SPEC_VERSION:
        raise InvalidEvent(f'specversion: "{event.specversion}" is not supported; send "1.0"')
    if event.time is not None and not is_possible(event.time):
        raise InvalidEvent(f"time: {event.time.isoformat()} {OUTSIDE}")
    count = 0
    for key_type, keys in event.data.keys.items():
        names = keys if isinstance(keys, list) else (keys,)
        count += len(names)
        for name in names:
            if isinstance(name, str) and not name.strip():
                raise InvalidEvent(f"data.keys.{key_type}: the key is blank; leave it out instead")
    if count > MAX_KEYS:
        raise InvalidEvent(f"data.keys: {count} keys, at most {MAX_KEYS} are allowed; send several events")
    _refuse_reserved(event.data)
    if not (count or correlated or event.correlationid is not None or event.data.links):
        raise InvalidEvent("data.keys: an event needs at least one key or a correlationid")


def _refuse_reserved(data: Data) -> None:
    """Correlations are objects too, but of Milepost's own making."""
    if _RESERVED in data.keys:
        raise InvalidEvent(f"data.keys.{_RESERVED}: this type is Milepost's own; send the id as correlationid")
    for index, link in enumerate(data.links):
        if _RESERVED in (link.parent.type, link.child.type):
            raise InvalidEvent(f"data.links[{index}]: the type {_RESERVED} is Milepost's own; use a correlationid")


def _refuse_bad_characters(value: Any) -> None:
    """JSON can escape U+0000, which PostgreSQL can't store; lone surrogates fail in the decoder already."""
    if isinstance(value, str):
        if "\x00" in value:
            raise InvalidEvent("the character U+0000 can't be stored; remove it")
    elif isinstance(value, dict):
        for name, inner in value.items():
            _refuse_bad_characters(name)
            _refuse_bad_characters(inner)
    elif isinstance(value, list):
        for inner in value:
            _refuse_bad_characters(inner)


def _plain(message: str) -> str:
    """msgspec says "Expected `str`, got `int` - at `$.data.code`"; people read the place first."""
    text, _, path = message.partition(" - at `$")
    return f"{path.rstrip('`').lstrip('.') or 'event'}: {text}" if path else message


def key_list(value: str | int | list[str | int]) -> list[str]:
    """The keys of one type as strings, in the sender's order, without repeats."""
    if isinstance(value, list):
        return list(dict.fromkeys(str(key) for key in value))
    return [str(value)]


def identity_of(source: str, event_id: str) -> bytes:
    """The 16-byte identity of (source, id)."""
    first = source.encode()
    return blake2b(b"%d:%b%b" % (len(first), first, event_id.encode()), digest_size=16).digest()


def content_of(event: Event) -> int:
    """A signed 64-bit hash of what the sender said: type, time, correlation, data; not source, id or reception."""
    return int.from_bytes(blake2b(_canonical(event), digest_size=8).digest(), "big", signed=True)


def made_up_id(event: Event) -> str:
    """The id of an event that came without one: a hash of its content, so that a repeat is a duplicate."""
    return "sha-" + blake2b(_canonical(event), digest_size=16).hexdigest()


def canonical(event: Event) -> dict[str, Any]:
    """What the sender said, in one form however it was written: what two contents differ in. Time in microseconds."""
    data = event.data
    return {
        "type": event.type,
        "time": None if event.time is None else to_us(event.time),
        "correlationid": None if event.correlationfrom == FROM_TRACE else event.correlationid,
        "causationid": event.causationid,
        "data.keys": {key_type: sorted(key_list(keys)) for key_type, keys in data.keys.items()},
        "data.links": data.links,
        "data.outcome": data.outcome,
        "data.code": data.code,
        "data.reason": data.reason,
        "data.attributes": data.attributes,
    }


def _canonical(event: Event) -> bytes:
    """Stored hashes rest on these bytes: never change them."""
    values = list(canonical(event).values())
    return msgspec.json.encode((values[:6], values[6:]), order="sorted")


def times_of(event: Event, received_us: int) -> Times:
    """The time that counts: the claimed one, unless it is missing or over five minutes ahead of the receive time."""
    if event.time is None:
        return Times(received_us, None, False)
    claimed = to_us(event.time)
    if claimed > received_us + MAX_SKEW_US:
        return Times(received_us, claimed, True)
    return Times(claimed, claimed, False)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the wire event."""
    return msgspec.json.schema(Event)


def read(body: bytes) -> Event:
    """Read the body of an Entry: it was validated when it was accepted."""
    return _decoder.decode(body)
